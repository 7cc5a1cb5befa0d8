//! Private keys in files: Ed25519, made when they are first needed, kept in the data directory.
//!
//! Owns the form of the file (PKCS#8 v1 in PEM, mode 0600). Never sends the private half anywhere.

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use rand::TryRng;
use rand::rngs::SysRng;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why there is no key to sign with. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{path} can be read by others (mode {mode:o}). Run: chmod 600 {path}")]
    TooOpen { path: PathBuf, mode: u32 },
    #[error("{path} holds no Ed25519 private key in PKCS#8 PEM. Restore it; if it is lost, {if_lost}")]
    Unreadable { path: PathBuf, if_lost: &'static str },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("The system gave no randomness for a key: {0}")]
    Randomness(String),
}

/// A key's place in the data directory.
#[derive(Debug, Clone, Copy)]
pub struct KeyFile {
    pub name: &'static str,
    /// What to do when the file is damaged and there is no copy: the end of a sentence.
    pub if_lost: &'static str,
}

impl KeyFile {
    /// Reads the key, and makes it if it is missing. Two processes that start at once end up with the same key.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn load_or_create(&self, data_dir: &Path) -> Result<SigningKey, KeyFileError> {
        if let Some(key) = self.load(data_dir)? {
            return Ok(key);
        }
        self.write(data_dir, &generate()?, fs::hard_link)?;
        let path = data_dir.join(self.name);
        self.load(data_dir)?.ok_or_else(|| KeyFileError::Io { path, source: io::ErrorKind::NotFound.into() })
    }

    /// Reads the key. None: there is no such file.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn load(&self, data_dir: &Path) -> Result<Option<SigningKey>, KeyFileError> {
        let path = data_dir.join(self.name);
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.permissions().mode() & 0o777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeyFileError::Io { path, source }),
        };
        if mode & 0o077 != 0 {
            return Err(KeyFileError::TooOpen { path, mode });
        }
        let pem = match fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(source) => return Err(KeyFileError::Io { path, source }),
        };
        let key = SigningKey::from_pkcs8_pem(&pem);
        key.map(Some).map_err(|_| KeyFileError::Unreadable { path, if_lost: self.if_lost })
    }

    /// Puts a key in the place of the one that is there.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn replace(&self, data_dir: &Path, key: &SigningKey) -> Result<(), KeyFileError> {
        self.write(data_dir, key, fs::rename)
    }

    /// Writes the whole key beside its place and `put`s it there, so that no other process ever sees half of it; if
    /// somebody else was first with a link, theirs stays.
    fn write(
        &self,
        data_dir: &Path,
        key: &SigningKey,
        put: fn(PathBuf, PathBuf) -> io::Result<()>,
    ) -> Result<(), KeyFileError> {
        let pem = to_pkcs8(key).to_pkcs8_pem(Default::default()).expect("an Ed25519 key always encodes");
        let path = data_dir.join(self.name);
        let io = |source| KeyFileError::Io { path: path.clone(), source };
        fs::create_dir_all(data_dir).map_err(io)?;
        let beside =
            data_dir.join(format!(".{}.{}-{:x}", self.name, std::process::id(), rand::random::<u64>()));
        let written =
            write_private(&beside, pem.as_bytes()).and_then(|()| match put(beside.clone(), path.clone()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                put => put,
            });
        let removed = match fs::remove_file(&beside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        written.and(removed).map_err(io)?;
        fs::File::open(data_dir).and_then(|directory| directory.sync_all()).map_err(io)
    }
}

/// A new key, kept nowhere.
///
/// # Errors
/// [`KeyFileError::Randomness`].
pub fn generate() -> Result<SigningKey, KeyFileError> {
    let mut secret = [0_u8; 32];
    SysRng.try_fill_bytes(&mut secret).map_err(|error| KeyFileError::Randomness(error.to_string()))?;
    Ok(SigningKey::from_bytes(&secret))
}

/// PKCS#8 v1 (RFC 5208): every tool reads it, while v2 with the public key inside is refused by some.
pub fn to_pkcs8(key: &SigningKey) -> KeypairBytes {
    KeypairBytes { secret_key: key.to_bytes(), public_key: None }
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{KeyFile, KeyFileError, generate};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    const KEY: KeyFile = KeyFile { name: "key.pem", if_lost: "make another." };

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
        let first = KEY.load_or_create(&dir.0).expect("made");
        let second = KEY.load_or_create(&dir.0).expect("read");
        assert_eq!(first, second);
        let mode = fs::metadata(dir.0.join(KEY.name)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir.0).expect("readable").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn starters_at_once_share_one_key() {
        let dir = Dir::new();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let starters: Vec<_> =
                (0..8).map(|_| scope.spawn(|| KEY.load_or_create(&dir.0).expect("made"))).collect();
            starters.into_iter().map(|starter| starter.join().expect("no panic")).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn key_that_others_can_read_is_refused() {
        let dir = Dir::new();
        KEY.load_or_create(&dir.0).expect("made");
        let path = dir.0.join(KEY.name);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("ours");
        let error = KEY.load_or_create(&dir.0).expect_err("refused");
        assert!(matches!(error, KeyFileError::TooOpen { mode: 0o640, .. }));
        assert!(error.to_string().ends_with(&format!("Run: chmod 600 {}", path.display())));
    }

    #[test]
    fn damaged_key_is_not_replaced() {
        let dir = Dir::new();
        KEY.load_or_create(&dir.0).expect("made");
        fs::write(dir.0.join(KEY.name), "garbage").expect("ours");
        let error = KEY.load_or_create(&dir.0).expect_err("refused");
        assert!(matches!(error, KeyFileError::Unreadable { .. }));
        assert_eq!(fs::read_to_string(dir.0.join(KEY.name)).expect("still there"), "garbage");
    }

    #[test]
    fn replaced_key_is_the_new_one_and_as_private() {
        let dir = Dir::new();
        KEY.load_or_create(&dir.0).expect("made");
        let next = generate().expect("random");
        KEY.replace(&dir.0, &next).expect("replaced");
        assert_eq!(KEY.load(&dir.0).expect("read"), Some(next));
        assert_eq!(fs::read_dir(&dir.0).expect("readable").count(), 1, "nothing is left beside it");
    }
}
