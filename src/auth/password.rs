//! Passwords: argon2id, stored as PHC strings.
//!
//! Never keeps or logs a password. Everything here takes tens of milliseconds of processor time by design: call it
//! inside `web::block`, never on an async thread.

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

/// The shortest new password, in characters (NIST SP 800-63B-4 asks for at least 8, or 15 when it stands alone).
pub const MIN_CHARS: usize = 12;
/// The longest password, in bytes: long enough for any passphrase, short enough to cost nothing before hashing.
pub const MAX_BYTES: usize = 1024;

// OWASP Password Storage Cheat Sheet: argon2id, m = 19 MiB, t = 2, p = 1.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A hash of nothing, with today's parameters: verified when there is no user, so that a wrong name takes as long
/// as a wrong password.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm8gdXNlciBpcyBoZXJl$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("A password needs at least {MIN_CHARS} characters. A few unrelated words are easy to remember.")]
    TooShort,
    #[error("A password has at most {MAX_BYTES} bytes.")]
    TooLong,
    /// The machine could not hash: out of memory or of randomness.
    #[error("The password could not be hashed: {0}.")]
    Hashing(argon2::password_hash::Error),
}

/// Whether a new password may be chosen.
///
/// # Errors
/// [`PasswordError::TooShort`] or [`PasswordError::TooLong`].
pub fn check_new(password: &str) -> Result<(), PasswordError> {
    if password.len() > MAX_BYTES {
        return Err(PasswordError::TooLong);
    }
    if password.chars().count() < MIN_CHARS {
        return Err(PasswordError::TooShort);
    }
    Ok(())
}

/// Hashes with a fresh salt, into a PHC string.
///
/// # Errors
/// [`PasswordError::TooLong`], or [`PasswordError::Hashing`].
pub fn hash(password: &str) -> Result<String, PasswordError> {
    if password.len() > MAX_BYTES {
        return Err(PasswordError::TooLong);
    }
    let phc = hasher().hash_password(password.as_bytes()).map_err(PasswordError::Hashing)?;
    Ok(phc.to_string())
}

/// Whether the password matches. `stored` is None when there is no such user or they have no password: the answer
/// is false, after the same work.
pub fn verify(password: &str, stored: Option<&str>) -> bool {
    if password.len() > MAX_BYTES {
        return false;
    }
    let matches = hasher().verify_password(password.as_bytes(), stored.unwrap_or(DUMMY_HASH)).is_ok();
    matches && stored.is_some()
}

fn hasher() -> Argon2<'static> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::{DUMMY_HASH, MAX_BYTES, PasswordError, check_new, hash, hasher, verify};
    use argon2::password_hash::PasswordVerifier;

    #[test]
    fn hash_is_a_phc_string_with_the_recommended_parameters() {
        let phc = hash("correct horse battery").expect("it hashes");
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert_ne!(phc, hash("correct horse battery").expect("it hashes"), "salts differ");
    }

    #[test]
    fn only_the_right_password_verifies() {
        let phc = hash("correct horse battery").expect("it hashes");
        assert!(verify("correct horse battery", Some(&phc)));
        assert!(!verify("correct horse batterY", Some(&phc)));
        assert!(!verify("", Some(&phc)));
    }

    #[test]
    fn nobody_signs_in_without_a_stored_hash() {
        assert!(!verify("", None));
        assert!(!verify("anything at all", None));
    }

    #[test]
    fn dummy_costs_what_a_real_hash_costs() {
        let real = hash("correct horse battery").expect("it hashes");
        let parameters = |phc: &str| phc.split('$').take(4).collect::<Vec<_>>().join("$");
        assert_eq!(parameters(DUMMY_HASH), parameters(&real));
        let refusal = hasher().verify_password(b"x", DUMMY_HASH);
        assert_eq!(refusal, Err(argon2::password_hash::Error::PasswordInvalid), "it parses and is computed");
    }

    #[test]
    fn new_passwords_have_a_length() {
        assert_eq!(check_new("eleven char"), Err(PasswordError::TooShort));
        assert_eq!(check_new("zwölf Zeichn"), Ok(()));
        assert_eq!(check_new(&"x".repeat(MAX_BYTES + 1)), Err(PasswordError::TooLong));
        assert_eq!(hash(&"x".repeat(MAX_BYTES + 1)), Err(PasswordError::TooLong));
        assert!(!verify(&"x".repeat(MAX_BYTES + 1), None));
    }
}
