//! `/log/{run}/{seq}`: one entry, with its bytes, its hashes and its proof.

use super::chrome::Chrome;
use super::log::{Entry, RunLink, Verified};
use askama::Template;

#[derive(Template)]
#[template(path = "log_entry.html")]
pub struct LogEntry {
    pub chrome: Chrome,
    pub verified: Verified,
    /// `Entry 5 of run 9001`.
    pub title: String,
    /// None: for who may not read the whole log.
    pub log_href: Option<String>,
    pub run: Option<RunLink>,
    pub entry: Entry,
    pub columns: Vec<Column>,
    /// The leaf, laid out for reading.
    pub pretty: String,
    /// The leaf, byte by byte as it is hashed.
    pub raw: String,
    pub raw_href: String,
    /// For example `612`.
    pub bytes: String,
    pub leaf_hash: String,
    /// Whether the bytes have that hash.
    pub hash_holds: bool,
    pub prev_hash: Option<String>,
    /// Whether the entry before has the hash that this one names. None: it is the first.
    pub link_holds: Option<bool>,
    pub prev_href: Option<String>,
    pub next_href: Option<String>,
    pub checksum: Option<String>,
    /// Values that the leaf holds by hash or as text lie beside it.
    pub has_beside: bool,
    /// None: the entry is not in the signed tree yet.
    pub proof: Option<Proof>,
}

/// A column of the table, as it lies in the database.
pub struct Column {
    pub name: String,
    pub value: String,
    /// Other entries with the same value.
    pub href: Option<Others>,
}

pub struct Others {
    pub href: String,
    pub text: String,
}

/// That the entry is in the signed tree: with these hashes anybody computes the root from the leaf hash (RFC 6962).
pub struct Proof {
    pub index: String,
    pub tree_size: String,
    /// In hex, from the leaf to the root.
    pub path: Vec<String>,
    pub root: String,
    /// Whether they do give it, tried just now.
    pub holds: bool,
}
