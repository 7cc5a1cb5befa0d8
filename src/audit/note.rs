//! Signed notes (<https://c2sp.org/signed-note>): a text, and below it signatures that name their key.
//!
//! Owns the form of a note and of the keys that check it. Only Ed25519 (signature type 1). Never keeps a key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// Ed25519, in a key's encoding and its id.
const ED25519: u8 = 1;
/// Stands before each signature.
const DASH: &str = "\u{2014} ";

/// The public half of a key that signs notes, and the name that it signs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: VerifyingKey,
}

impl VerifierKey {
    /// None: the bytes are no public key, or the name cannot stand in a note.
    pub fn new(name: &str, public: &[u8; 32]) -> Option<VerifierKey> {
        let public = VerifyingKey::from_bytes(public).ok()?;
        is_name(name).then(|| VerifierKey { name: name.to_owned(), public })
    }

    /// Reads `<name>+<id>+<key>`.
    pub fn parse(vkey: &str) -> Option<VerifierKey> {
        let mut parts = vkey.trim_end_matches('\n').splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = STANDARD.decode(key).ok()?;
        let (algorithm, public) = key.split_first()?;
        let key = VerifierKey::new(name, public.try_into().ok()?)?;
        (*algorithm == ED25519 && id == hex::encode(key.id())).then_some(key)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of SHA-256(name ‖ LF ‖ algorithm ‖ public key).
    pub fn id(&self) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(self.name.as_bytes());
        hasher.update([b'\n', ED25519]);
        hasher.update(self.public.as_bytes());
        let hash: [u8; 32] = hasher.finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// As others are given it: `<name>+<id>+<key>`.
    pub fn vkey(&self) -> String {
        let mut key = vec![ED25519];
        key.extend(self.public.as_bytes());
        format!("{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(key))
    }
}

/// Whether a key may have this name: not empty, no spaces, no plus.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|char| char.is_whitespace() || char.is_control() || char == '+')
}

/// Signs a text, which must end in a line feed, under a name. The text and all signatures are the note.
pub fn sign(text: &str, name: &str, keys: &[&SigningKey]) -> String {
    let mut note = format!("{text}\n");
    for key in keys {
        let verifier = VerifierKey { name: name.to_owned(), public: key.verifying_key() };
        let mut bytes = verifier.id().to_vec();
        bytes.extend(key.sign(text.as_bytes()).to_bytes());
        note.push_str(&format!("{DASH}{name} {}\n", STANDARD.encode(bytes)));
    }
    note
}

/// Why a note proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("this is not a signed note")]
    Malformed,
    #[error("a signature does not fit the text: the note was changed")]
    BadSignature,
    #[error("none of its signatures is by the key that is trusted ({})", .0.join(", "))]
    Untrusted(Vec<String>),
}

/// The text of a note and the key that vouches for it: the first of `trusted` that signed it. A signature that claims
/// to be by a trusted key and is not makes the whole note void; those of unknown keys are passed over.
///
/// # Errors
/// See [`NoteError`].
pub fn open<'n, 'k>(
    note: &'n str,
    trusted: &'k [VerifierKey],
) -> Result<(&'n str, &'k VerifierKey), NoteError> {
    let (text, signatures) = split(note).ok_or(NoteError::Malformed)?;
    let mut vouched = None;
    for line in signatures.lines() {
        let (name, id, signature) = signature(line).ok_or(NoteError::Malformed)?;
        let Some(key) = trusted.iter().find(|key| key.name == name && key.id() == id) else { continue };
        let signature = Signature::from_slice(&signature).map_err(|_| NoteError::BadSignature)?;
        key.public.verify_strict(text.as_bytes(), &signature).map_err(|_| NoteError::BadSignature)?;
        vouched = vouched.or(Some(key));
    }
    let names = || trusted.iter().map(VerifierKey::vkey).collect();
    vouched.map(|key| (text, key)).ok_or_else(|| NoteError::Untrusted(names()))
}

/// The text with its last line feed, and the lines of signatures.
fn split(note: &str) -> Option<(&str, &str)> {
    let blank = note.rfind("\n\n")?;
    let (text, signatures) = (&note[..=blank], &note[blank + 2..]);
    let plain = note.chars().all(|char| char == '\n' || !char.is_control());
    (plain && signatures.ends_with('\n')).then_some((text, signatures))
}

fn signature(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (id, signature) = bytes.split_at_checked(4)?;
    (is_name(name) && !signature.is_empty()).then_some((name, id.try_into().ok()?, signature.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of golang.org/x/mod/sumdb/note (BSD-3-Clause).
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_another_implementation_is_opened() {
        let key = VerifierKey::parse(VKEY).expect("its key");
        assert_eq!(key.vkey(), VKEY);
        let keys = [key];
        let (text, by) = open(NOTE, &keys).expect("it holds");
        assert!(text.ends_with("what your problem is.\n"));
        assert_eq!(by.name(), "PeterNeumann");
    }

    #[test]
    fn what_was_signed_is_opened_and_what_was_bent_is_not() {
        let (old, new) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let trusted =
            |key: &SigningKey| [VerifierKey::new("x.gov/log", key.verifying_key().as_bytes()).unwrap()];
        let note = sign("x.gov/log\n1\nroot\n", "x.gov/log", &[&old, &new]);
        for key in [&old, &new] {
            assert_eq!(open(&note, &trusted(key)).expect("both vouch").0, "x.gov/log\n1\nroot\n");
        }
        assert_eq!(open(&note.replace("1\nr", "2\nr"), &trusted(&old)), Err(NoteError::BadSignature));
        let stranger = SigningKey::from_bytes(&[3; 32]);
        assert!(matches!(open(&note, &trusted(&stranger)), Err(NoteError::Untrusted(_))));
        for broken in ["", "text", "text\n\n", "text\n\nno signature\n", &note[..note.len() - 1]] {
            assert!(open(broken, &trusted(&old)).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_key_whose_parts_do_not_fit_is_refused() {
        for vkey in [
            "",
            "a+b",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "a b+00000000+AR==",
        ] {
            assert_eq!(VerifierKey::parse(vkey), None, "{vkey}");
        }
    }
}
