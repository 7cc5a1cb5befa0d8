//! The key that signs this instance's tokens: Ed25519, made at the first start, kept in the data directory.
//!
//! Owns the file `token-key.pem` (PKCS#8 v1, mode 0600). Never sends the private half anywhere; the public half goes
//! to the `token_keys` table, where every other instance finds it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const FILE_NAME: &str = "token-key.pem";

/// This instance's signing key and its id.
pub struct TokenKey {
    kid: String,
    signing: SigningKey,
}

/// Why there is no key to sign with. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    #[error("{path} can be read by others (mode {mode:o}). Run: chmod 600 {path}")]
    TooOpen { path: PathBuf, mode: u32 },
    #[error(
        "{path} holds no Ed25519 private key in PKCS#8 PEM. Restore it, or move it away and start again: \
         a new key is made, and tokens signed with the old one stay valid until they expire."
    )]
    Unreadable { path: PathBuf },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("The system gave no randomness for a key: {0}")]
    Randomness(String),
}

impl TokenKey {
    /// Reads `<data_dir>/token-key.pem`, and makes it if it is missing. Two processes that start at once end up
    /// with the same key.
    ///
    /// # Errors
    /// See [`TokenKeyError`].
    pub fn load_or_create(data_dir: &Path) -> Result<TokenKey, TokenKeyError> {
        let path = data_dir.join(FILE_NAME);
        if !path.exists() {
            create(data_dir, &path)?;
        }
        load(&path)
    }

    /// A key that is kept nowhere, for tests and tools.
    ///
    /// # Errors
    /// [`TokenKeyError::Randomness`].
    pub fn generate() -> Result<TokenKey, TokenKeyError> {
        let mut secret = [0_u8; 32];
        SysRng.try_fill_bytes(&mut secret).map_err(|error| TokenKeyError::Randomness(error.to_string()))?;
        Ok(TokenKey::from(SigningKey::from_bytes(&secret)))
    }

    /// The key's id: its RFC 7638 thumbprint.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub fn public_key(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// PKCS#8 v1 (RFC 5208): every tool reads it, while v2 with the public key inside is refused by some.
    pub(super) fn to_pkcs8(&self) -> KeypairBytes {
        KeypairBytes { secret_key: self.signing.to_bytes(), public_key: None }
    }
}

impl From<SigningKey> for TokenKey {
    fn from(signing: SigningKey) -> TokenKey {
        TokenKey { kid: thumbprint(&signing.verifying_key().to_bytes()), signing }
    }
}

/// RFC 7638 thumbprint of an Ed25519 public key (members in RFC 8037's order), base64url.
pub fn thumbprint(public_key: &[u8; 32]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(jwk.as_bytes()))
}

fn load(path: &Path) -> Result<TokenKey, TokenKeyError> {
    let io = |source| TokenKeyError::Io { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokenKeyError::TooOpen { path: path.to_owned(), mode });
    }
    let pem = fs::read_to_string(path).map_err(io)?;
    let signing =
        SigningKey::from_pkcs8_pem(&pem).map_err(|_| TokenKeyError::Unreadable { path: path.to_owned() })?;
    Ok(TokenKey::from(signing))
}

/// Writes the whole key beside its place and links it there, so that no other process ever sees half of it; if
/// somebody else was first, theirs stays.
fn create(data_dir: &Path, path: &Path) -> Result<(), TokenKeyError> {
    let pem = TokenKey::generate()?
        .to_pkcs8()
        .to_pkcs8_pem(Default::default())
        .expect("an Ed25519 key always encodes");
    let io = |source| TokenKeyError::Io { path: path.to_owned(), source };
    fs::create_dir_all(data_dir).map_err(io)?;
    let beside = data_dir.join(format!(".{FILE_NAME}.{}-{:x}", std::process::id(), rand::random::<u64>()));
    let written = write_private(&beside, pem.as_bytes()).and_then(|()| match fs::hard_link(&beside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&beside);
    written.and(removed).map_err(io)?;
    fs::File::open(data_dir).and_then(|directory| directory.sync_all()).map_err(io)
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{FILE_NAME, TokenKey, TokenKeyError, thumbprint};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Dir {
            Dir(std::env::temp_dir().join(format!("hms-act-keys-{:x}", rand::random::<u64>())))
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn key_is_made_once_and_private() {
        let dir = Dir::new();
        let first = TokenKey::load_or_create(&dir.0).expect("made");
        let second = TokenKey::load_or_create(&dir.0).expect("read");
        assert_eq!(first.kid(), second.kid());
        let mode = fs::metadata(dir.0.join(FILE_NAME)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir.0).expect("readable").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn starters_at_once_share_one_key() {
        let dir = Dir::new();
        let kids: Vec<String> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| TokenKey::load_or_create(&dir.0).expect("made").kid().to_owned()))
                .collect();
            starters.into_iter().map(|starter| starter.join().expect("no panic")).collect()
        });
        assert!(kids.iter().all(|kid| *kid == kids[0]), "{kids:?}");
    }

    #[test]
    fn key_that_others_can_read_is_refused() {
        let dir = Dir::new();
        TokenKey::load_or_create(&dir.0).expect("made");
        let path = dir.0.join(FILE_NAME);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("ours");
        let error = TokenKey::load_or_create(&dir.0).err().expect("refused");
        assert!(matches!(error, TokenKeyError::TooOpen { mode: 0o640, .. }));
        assert!(error.to_string().ends_with(&format!("Run: chmod 600 {}", path.display())));
    }

    #[test]
    fn damaged_key_is_not_replaced() {
        let dir = Dir::new();
        TokenKey::load_or_create(&dir.0).expect("made");
        fs::write(dir.0.join(FILE_NAME), "garbage").expect("ours");
        let error = TokenKey::load_or_create(&dir.0).err().expect("refused");
        assert!(matches!(error, TokenKeyError::Unreadable { .. }));
        assert_eq!(fs::read_to_string(dir.0.join(FILE_NAME)).expect("still there"), "garbage");
    }

    #[test]
    fn thumbprint_is_that_of_rfc_8037() {
        // RFC 8037, appendix A.3.
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("base64url");
        let public: [u8; 32] = x.try_into().expect("32 bytes");
        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
