//! The objects of a backup that hold entries: fetched together, and taken apart.

use super::target::{Target, TargetError};
use super::{aside_path, beside_path, entries_path, tile_path};
use crate::audit::tile::{TILE_WIDTH, TileId};
use crate::audit::{entry, leaf_hash};
use crate::store::restore::Entry;
use crate::store::tree::entries_in_bundle;
use std::collections::BTreeMap;

/// Both places of a backup.
#[derive(Debug, Clone)]
pub struct Source {
    pub main: Target,
    pub aside: Target,
}

/// What one bundle of entries comes with.
pub struct Bundle {
    pub index: u64,
    pub width: u64,
    entries: Vec<u8>,
    pub tile: Vec<u8>,
    beside: Option<Vec<u8>>,
    pub aside: Option<Vec<u8>>,
}

pub enum Fetched {
    Bundle(Bundle),
    /// The object with this name, and so all of it.
    Missing(String),
}

/// The bundle with this index in a tree of `size` entries.
///
/// # Errors
/// When the place cannot be read.
pub async fn fetch(source: &Source, index: u64, size: u64) -> Result<Fetched, TargetError> {
    let width = entries_in_bundle(index, size);
    let (path, tile) = (entries_path(index, width), tile_path(TileId { level: 0, index }, width));
    let Some(entries) = source.main.get(&path).await? else { return Ok(Fetched::Missing(path)) };
    let Some(tile) = source.main.get(&tile).await? else { return Ok(Fetched::Missing(tile)) };
    let beside = match names_beside(&entries) {
        true => source.main.get(&beside_path(index, width)).await?,
        false => None,
    };
    let aside = source.aside.get(&aside_path(index)).await?;
    Ok(Fetched::Bundle(Bundle { index, width, entries, tile, beside, aside }))
}

/// Whether some leaf may name values beside it.
fn names_beside(entries: &[u8]) -> bool {
    const NAMED: &[u8] = b"\"beside\":[";
    entries.windows(NAMED.len()).any(|bytes| bytes == NAMED)
}

impl Bundle {
    /// Where its entries lie.
    pub fn path(&self) -> String {
        entries_path(self.index, self.width)
    }

    /// Its entries in their order, up to where they can be told apart; and what is wrong with their form.
    pub fn open(&self) -> (Vec<Entry>, Vec<String>) {
        let (mut entries, mut findings) = (Vec::new(), Vec::new());
        let mut beside = self.beside_of(&mut findings);
        let mut rest = self.entries.as_slice();
        for number in self.index * TILE_WIDTH..self.index * TILE_WIDTH + self.width {
            let Some((leaf, after)) = cut(rest) else {
                findings.push(format!(
                    "{}: it is cut off at number {number} of the log: {}",
                    self.path(),
                    named(rest)
                ));
                return (entries, findings);
            };
            rest = after;
            let values = beside.remove(&number);
            entries.push(Entry { leaf: leaf.to_vec(), hash: leaf_hash(leaf), beside: values });
        }
        if !rest.is_empty() {
            findings.push(format!("{}: something stands behind its {} entries", self.path(), self.width));
        }
        for number in beside.keys() {
            let path = beside_path(self.index, self.width);
            findings.push(format!("{path}: nothing lies beside number {number}"));
        }
        (entries, findings)
    }

    /// The values beside the entries, by their number in the log, as they were written.
    fn beside_of(&self, findings: &mut Vec<String>) -> BTreeMap<u64, String> {
        let Some(object) = &self.beside else { return BTreeMap::new() };
        let read = || -> Option<BTreeMap<u64, String>> {
            let text = std::str::from_utf8(object).ok()?;
            let line = |line: &str| {
                let (number, values) = line.strip_prefix("{\"index\":")?.split_once(",\"beside\":")?;
                Some((number.parse().ok()?, values.strip_suffix('}')?.to_owned()))
            };
            text.lines().map(line).collect()
        };
        read().unwrap_or_else(|| {
            let path = beside_path(self.index, self.width);
            findings.push(format!("{path}: it was changed: it cannot be read"));
            BTreeMap::new()
        })
    }

    /// That what lies beside this entry is what the entry names.
    ///
    /// # Errors
    /// What is wrong, with the objects that it is in.
    pub fn check_beside(&self, entry: &Entry) -> Result<(), String> {
        check_beside(&entry.leaf, entry.beside.as_deref()).map_err(|message| {
            let beside = beside_path(self.index, self.width);
            format!("{}: {message} (in {} and {beside})", named(&entry.leaf), self.path())
        })
    }
}

fn cut(bundle: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bundle.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// `run R seq S`, read as well as it can be: what stands there may be no entry any more.
pub fn named(leaf: &[u8]) -> String {
    let text = String::from_utf8_lossy(leaf);
    // In the canonical form both stand behind the detail, which may hold anything.
    let number = |key: &str| {
        let (_, after) = text.rsplit_once(key)?;
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    };
    match (number("\"run\":"), number("\"seq\":")) {
        (Some(run), Some(seq)) => format!("run {run} seq {seq}"),
        _ => "an entry that cannot be read any more".to_owned(),
    }
}

fn check_beside(leaf: &[u8], values: Option<&str>) -> Result<(), String> {
    let header = entry::header(leaf)?;
    if header.names_beside.is_none() && values.is_none() {
        return Ok(());
    }
    let parsed = values.map(serde_json::from_str).transpose();
    let parsed = parsed.map_err(|error| format!("what lies beside it is not JSON: {error}"))?;
    entry::open(leaf, parsed.as_ref()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_named_even_when_they_are_broken() {
        let leaf = br#"{"actor":"x","detail":{"run":5,"seq":"#;
        assert_eq!(named(leaf), "an entry that cannot be read any more");
        let leaf =
            br#"{"actor":"x","detail":{"run":5},"log":"l","prev":nul!,"run":9001,"seq":12,"step":"s"}"#;
        assert_eq!(named(leaf), "run 9001 seq 12");
    }

    #[test]
    fn a_bundle_is_cut_where_its_lengths_say() {
        assert_eq!(cut(&[0, 2, 7, 8, 9]), Some((&[7, 8][..], &[9][..])));
        assert_eq!(cut(&[0, 4, 7, 8, 9]), None);
        assert_eq!(cut(&[0]), None);
    }
}
