//! Checking a run's chain: every entry's bytes, its place, its link, and that what stands beside it agrees.

use super::disclosure::Disclosure;
use super::entry::{Header, header, open};
use super::{Hash, leaf_hash};
use chrono::{DateTime, Utc};
use serde_json::Value;

/// An entry as it lies in the database: the leaf, and the columns that repeat it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub run_id: i64,
    pub stream: i64,
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub type_name: String,
    pub step: Option<String>,
    pub attempt: Option<i32>,
    pub status: Option<String>,
    pub leaf: Vec<u8>,
    pub leaf_hash: Vec<u8>,
    pub beside: Option<Value>,
    /// What is sealed in it. None: not at hand, as in an export, where it is withheld.
    pub disclosures: Option<Vec<Disclosure>>,
}

/// What is wrong, and with which entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run {run_id} seq {seq}: {message}")]
pub struct Finding {
    pub run_id: i64,
    pub stream: i64,
    pub seq: i64,
    pub message: String,
}

/// Checks the entries of one stream, in `seq` order, one at a time and in constant memory.
#[derive(Debug, Default)]
pub struct ChainCheck {
    seq: u64,
    prev: Option<Hash>,
    at: Option<DateTime<Utc>>,
    origin: Option<String>,
    closed: bool,
}

impl ChainCheck {
    /// Checks the next entry, and gives its leaf hash. The first finding is the one that counts: what follows a
    /// broken link is unproven. A missing entry is named by its own number.
    pub fn check(&mut self, stored: &Stored) -> Result<Hash, Finding> {
        let expected = self.seq as i64 + 1;
        let finding = |seq: i64, message: String| Finding {
            run_id: stored.run_id,
            stream: stored.stream,
            seq,
            message,
        };
        if stored.seq != expected {
            let there = stored.seq;
            return Err(finding(
                expected,
                format!("it is missing or out of order: entry {there} stands there"),
            ));
        }
        self.check_entry(stored).map_err(|message| finding(stored.seq, message))
    }

    fn check_entry(&mut self, stored: &Stored) -> Result<Hash, String> {
        let hash = leaf_hash(&stored.leaf);
        if hash.as_slice() != stored.leaf_hash {
            return Err("its bytes were changed: they do not have the recorded hash".to_owned());
        }
        let header = header(&stored.leaf)?;
        columns_agree(stored, &header)?;
        if header.prev.as_deref().map(str::as_bytes)
            != self.prev.map(hex_of).as_ref().map(<[u8; 64]>::as_slice)
        {
            return Err("it does not link to the entry before it".to_owned());
        }
        if self.origin.as_ref().is_some_and(|origin| *origin != header.log) {
            return Err("it belongs to another log".to_owned());
        }
        if self.at.is_some_and(|at| header.at < at) {
            return Err("its time is before that of the entry before it".to_owned());
        }
        if self.closed {
            return Err("it stands after the closing entry".to_owned());
        }
        let closes = header.type_name == "run.closed";
        if closes || header.names_beside.is_some() || header.seals.is_some() || stored.beside.is_some() {
            let opened = open(&stored.leaf, stored.beside.as_ref())?;
            if let Some(disclosures) = &stored.disclosures {
                opened.check_disclosures(disclosures)?;
            }
            if closes && opened.detail.get("count").and_then(Value::as_u64) != Some(header.seq) {
                return Err("the closing entry states another count than there are entries".to_owned());
            }
        }
        self.closed = closes;
        if self.origin.is_none() {
            self.origin = Some(header.log.into_owned());
        }
        (self.seq, self.prev, self.at) = (header.seq, Some(hash), Some(header.at));
        Ok(hash)
    }
}

/// Lowercase hex, without building a text for each of millions.
fn hex_of(hash: Hash) -> [u8; 64] {
    let mut text = [0; 64];
    hex::encode_to_slice(hash, &mut text).expect("64 digits for 32 bytes");
    text
}

fn columns_agree(stored: &Stored, header: &Header<'_>) -> Result<(), String> {
    let pairs = [
        ("run_id", stored.run_id == header.run_id),
        ("stream", stored.stream == header.stream),
        ("seq", u64::try_from(stored.seq) == Ok(header.seq)),
        ("t", stored.at == header.at),
        ("actor", stored.actor == header.actor),
        ("type", stored.type_name == header.type_name),
        ("step", stored.step.as_deref() == header.step.as_deref()),
        ("attempt", stored.attempt.map(i64::from) == header.attempt.map(i64::from)),
        ("status", stored.status.as_deref() == header.status.as_deref()),
    ];
    match pairs.iter().find(|(_, agrees)| !agrees) {
        Some((column, _)) => Err(format!("the column `{column}` does not agree with the sealed bytes")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Draft, seal};
    use super::*;
    use serde_json::json;

    fn chain(length: u64) -> Vec<Stored> {
        let mut prev = None;
        let at = DateTime::from_timestamp_micros(1_700_000_000_000_000).unwrap();
        (1..=length)
            .map(|seq| {
                let type_name = if seq == length { "run.closed" } else { "step.done" };
                let detail = json!({"count": seq});
                let draft = Draft {
                    origin: "x",
                    run_id: 1,
                    stream: 0,
                    seq,
                    prev,
                    at,
                    actor: "a",
                    type_name,
                    step: None,
                    attempt: None,
                    status: None,
                    checksum: None,
                    detail,
                };
                let sealed = seal(&draft);
                prev = Some(sealed.hash);
                Stored {
                    run_id: 1,
                    stream: 0,
                    seq: seq as i64,
                    at,
                    actor: "a".into(),
                    type_name: type_name.into(),
                    step: None,
                    attempt: None,
                    status: None,
                    leaf: sealed.leaf,
                    leaf_hash: sealed.hash.to_vec(),
                    beside: sealed.beside,
                    disclosures: None,
                }
            })
            .collect()
    }

    fn verify(entries: &[Stored]) -> Result<(), Finding> {
        let mut check = ChainCheck::default();
        entries.iter().try_for_each(|entry| check.check(entry).map(drop))
    }

    #[test]
    fn a_whole_chain_passes() {
        assert_eq!(verify(&chain(5)), Ok(()));
    }

    #[test]
    fn each_kind_of_tampering_is_named_with_its_entry() {
        let mut flipped = chain(5);
        flipped[2].leaf[10] ^= 1;
        assert_eq!(verify(&flipped).unwrap_err().seq, 3);
        let mut rehashed = flipped;
        let byte = rehashed[2].leaf.iter().position(|byte| *byte == b'3').unwrap();
        rehashed[2].leaf[10] ^= 1;
        rehashed[2].leaf[byte] = b'4';
        rehashed[2].leaf_hash = leaf_hash(&rehashed[2].leaf).to_vec();
        assert!(verify(&rehashed).is_err());
        let mut removed = chain(5);
        removed.remove(2);
        assert!(verify(&removed).unwrap_err().message.contains("missing"));
        let mut swapped = chain(5);
        swapped.swap(1, 2);
        assert!(verify(&swapped).is_err());
        let mut column = chain(5);
        column[3].actor = "mallory".into();
        assert_eq!(
            verify(&column).unwrap_err().to_string(),
            "run 1 seq 4: the column `actor` does not agree with the sealed bytes"
        );
    }
}
