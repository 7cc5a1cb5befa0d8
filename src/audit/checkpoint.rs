//! Checkpoints (<https://c2sp.org/tlog-checkpoint>): how long the log is and what its root is, as a text to be signed.

use super::Hash;
use super::note::{self, NoteError, VerifierKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;

/// The head of the log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is the name of its keys too.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// Origin, size and root, a line each.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads what [`Checkpoint::text`] writes, with any further lines. None: that is not a checkpoint.
    pub fn parse(text: &str) -> Option<Checkpoint> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let number: u64 = size.parse().ok()?;
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        let plain = number.to_string() == size && !origin.is_empty() && lines.all(|line| !line.is_empty());
        plain.then(|| Checkpoint { origin: origin.to_owned(), size: number, root })
    }

    /// The signed note. With more than one key while keys change.
    pub fn sign(&self, keys: &[&SigningKey]) -> String {
        note::sign(&self.text(), &self.origin, keys)
    }

    /// The checkpoint of a note, and the key that vouches for it.
    ///
    /// # Errors
    /// See [`NoteError`].
    pub fn open<'k>(
        note: &str,
        trusted: &'k [VerifierKey],
    ) -> Result<(Checkpoint, &'k VerifierKey), NoteError> {
        let (text, key) = note::open(note, trusted)?;
        let checkpoint = Checkpoint::parse(text).ok_or(NoteError::Malformed)?;
        Ok((checkpoint, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_checkpoint_comes_back_as_it_was() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let checkpoint =
            Checkpoint { origin: "acts.example.gov/log".to_owned(), size: 20_852_163, root: [9; 32] };
        let note = checkpoint.sign(&[&key]);
        let trusted = [VerifierKey::new(&checkpoint.origin, key.verifying_key().as_bytes()).unwrap()];
        assert_eq!(Checkpoint::open(&note, &trusted).unwrap(), (checkpoint, &trusted[0]));
    }

    #[test]
    fn what_is_not_a_checkpoint_is_refused() {
        let root = STANDARD.encode([1; 32]);
        for text in [
            "",
            "x\n",
            &format!("x\n01\n{root}\n"),
            &format!("x\n-1\n{root}\n"),
            "x\n1\nAAAA\n",
            &format!("x\n1\n{root}"),
        ] {
            assert_eq!(Checkpoint::parse(text), None, "{text:?}");
        }
        assert!(Checkpoint::parse(&format!("x\n1\n{root}\nextension\n")).is_some());
    }
}
