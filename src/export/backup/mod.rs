//! The log and what belongs to it at another place: a directory or a bucket.
//!
//! Two targets. The *main* one is only ever added to, so that it can lie under Object Lock:
//!
//! - `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`: the log's tree and its entries, as C2SP tlog-tiles lays them
//!   out and `/acts/log/` serves them. A name says how much is in it, so no object ever changes.
//! - `beside/<N>[.p/<W>]`: the values that lie beside the entries of a bundle, where there are any.
//! - `tables/<table>/<SHA-256>.ndjson`: tables that no entry could give back, as they stood at a moment.
//! - `manifest/<date>.json`, the first of each day, and `manifest/latest.json`: a signed note that names the head it
//!   belongs to, its tables, and how far the sequences had come. What `latest` names is there when it is written.
//! - `checkpoint`: the signed head, for clients of the C2SP layout.
//!
//! The one *aside* holds what an erasure must reach: `entries/<N>` (salts, keys of starts, disclosures, with the bundle
//! whose entries they belong to) and `events`. Its objects are written anew when what they hold is less or more.
//!
//! [`writing`] adds what is missing, [`restoring`] proves all of it and fills a database.

pub mod archiving;
pub mod manifest;
pub mod objects;
pub mod restoring;
pub mod target;
pub mod writing;

use crate::audit::Hash;
use crate::audit::tile::{Resource, TileId};
use sha2::{Digest, Sha256};

pub const CHECKPOINT: &str = "checkpoint";
/// The outside events that no run had, aside.
pub const EVENTS: &str = "events";
/// Objects that are sent or fetched at the same time.
const AT_ONCE: usize = 16;

fn tile_path(id: TileId, width: u64) -> String {
    format!("tile/{}", Resource::Tile(id).path(width))
}

fn entries_path(index: u64, width: u64) -> String {
    format!("tile/{}", Resource::Entries { index }.path(width))
}

fn beside_path(index: u64, width: u64) -> String {
    entries_path(index, width).replacen("tile/entries/", "beside/", 1)
}

fn aside_path(index: u64) -> String {
    let full = crate::audit::tile::TILE_WIDTH;
    entries_path(index, full).replacen("tile/", "", 1)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Lines with their hash before them: what lies aside is named in no signed manifest, for it may have to go.
fn with_hash(lines: &[u8]) -> Vec<u8> {
    let mut object = format!("{{\"sha256\":\"{}\"}}\n", sha256(lines)).into_bytes();
    object.extend(lines);
    object
}

/// The lines, if they have the hash that stands before them.
fn without_hash(object: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(object).ok()?;
    let (first, lines) = text.split_once('\n')?;
    let told = first.strip_prefix("{\"sha256\":\"")?.strip_suffix("\"}")?;
    (sha256(lines.as_bytes()) == told).then_some(lines)
}

/// The hashes of a tile. None: it is cut off.
fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_aside_is_read_as_it_was_written_or_not_at_all() {
        let object = with_hash(b"{\"a\":1}\n{\"b\":2}\n");
        assert_eq!(without_hash(&object), Some("{\"a\":1}\n{\"b\":2}\n"));
        for at in 0..object.len() {
            let mut flipped = object.clone();
            flipped[at] ^= 1;
            assert_eq!(without_hash(&flipped), None, "byte {at}");
        }
    }

    #[test]
    fn objects_stand_where_the_log_serves_them() {
        assert_eq!(entries_path(1_234, 256), "tile/entries/x001/234");
        assert_eq!(beside_path(1_234, 7), "beside/x001/234.p/7");
        assert_eq!(aside_path(1_234), "entries/x001/234");
        assert_eq!(tile_path(TileId { level: 1, index: 0 }, 5), "tile/1/000.p/5");
    }
}
