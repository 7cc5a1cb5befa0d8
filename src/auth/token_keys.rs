//! The key that signs this instance's tokens: Ed25519, made at the first start, kept in the data directory.
//!
//! Owns the file `token-key.pem`. Never sends the private half anywhere; the public half goes to the `token_keys`
//! table, where every other instance finds it.

use super::key_file::{self, KeyFile, KeyFileError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::KeypairBytes;
use sha2::{Digest, Sha256};
use std::path::Path;

const FILE: KeyFile = KeyFile {
    name: "token-key.pem",
    if_lost: "move it away and start again: a new key is made, and tokens signed with the old one stay valid until \
              they expire.",
};

/// This instance's signing key and its id.
pub struct TokenKey {
    kid: String,
    signing: SigningKey,
}

impl TokenKey {
    /// Reads `<data_dir>/token-key.pem`, and makes it if it is missing. Two processes that start at once end up
    /// with the same key.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn load_or_create(data_dir: &Path) -> Result<TokenKey, KeyFileError> {
        FILE.load_or_create(data_dir).map(TokenKey::from)
    }

    /// A key that is kept nowhere, for tests and tools.
    ///
    /// # Errors
    /// [`KeyFileError::Randomness`].
    pub fn generate() -> Result<TokenKey, KeyFileError> {
        key_file::generate().map(TokenKey::from)
    }

    /// The key's id: its RFC 7638 thumbprint.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub fn public_key(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    pub(super) fn to_pkcs8(&self) -> KeypairBytes {
        key_file::to_pkcs8(&self.signing)
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

#[cfg(test)]
mod tests {
    use super::thumbprint;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn thumbprint_is_that_of_rfc_8037() {
        // RFC 8037, appendix A.3.
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("base64url");
        let public: [u8; 32] = x.try_into().expect("32 bytes");
        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
