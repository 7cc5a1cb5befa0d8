//! Proves a backup, byte by byte, and fills an empty database with it.
//!
//! One way through: what is fetched is checked against its tile and its stand-ins before it is written, and the root
//! over all of it against the signature before anything of it is committed. Whatever does not hold is named, the search
//! goes on to the end, and the database stays empty.

use super::manifest::{ManifestError, Opened, TableObject};
use super::target::{Target, TargetError};
use super::{
    AT_ONCE, CHECKPOINT, EVENTS, aside_path, beside_path, entries_path, hashes, sha256, tile_path,
    without_hash,
};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::VerifierKey;
use crate::audit::tile::{Growth, MAX_LEVEL, TILE_WIDTH, TileId, width_at};
use crate::audit::{Hash, entry, leaf_hash};
use crate::store::error::StoreError;
use crate::store::restore::{self, Entry, Restored, Restoring};
use crate::store::tree::checkpoints::SignedHead;
use crate::store::tree::entries_in_bundle;
use futures_util::{StreamExt, stream};
use std::collections::{BTreeMap, HashMap};
use tokio::sync::mpsc;

/// Entries written in one statement, more or less.
const PAGE: usize = 4_096;
/// So many findings are told one by one.
const TOLD: usize = 20;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What does not hold, each with its name.
    #[error("the backup is damaged: {} finding(s). Nothing was restored", .0.len())]
    Damaged(Vec<String>),
}

/// How far it is: entries checked and written, then entries folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Written(u64),
    Folded(u64),
}

/// Both places of a backup.
#[derive(Debug, Clone)]
pub struct Source {
    pub main: Target,
    pub aside: Target,
}

/// What one bundle of entries comes with.
struct Bundle {
    index: u64,
    entries: Vec<u8>,
    tile: Vec<u8>,
    beside: Option<Vec<u8>>,
    aside: Option<Vec<u8>>,
}

enum Piece {
    Bundle(Bundle),
    /// A tile above the lowest level.
    Tile(TileId, Vec<u8>),
    Missing(String),
    Failed(TargetError),
}

/// Restores what `opened` names. Blocks; `runtime` fetches meanwhile.
///
/// # Errors
/// See [`RestoreError`]; the database is then as empty as it was.
pub fn restore(
    runtime: &tokio::runtime::Handle,
    source: &Source,
    opened: &Opened,
    trusted: &[VerifierKey],
    owner_url: &str,
    told: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    let mut findings = Vec::new();
    let (tables, events) = runtime.block_on(async {
        check_served_head(source, trusted, &mut findings).await?;
        let tables = fetch_tables(source, &opened.manifest.tables, &mut findings).await?;
        Ok::<_, RestoreError>((tables, fetch_events(source, &mut findings).await?))
    })?;
    restore::restore(owner_url, |restoring| {
        if findings.is_empty() {
            for (table, lines) in &tables {
                restoring.rows(table, lines)?;
            }
            restoring.events(events.as_bytes())?;
        }
        let size = opened.checkpoint.size;
        let (sender, mut pieces) = mpsc::channel(AT_ONCE);
        let fetching = runtime.spawn(fetch_all(source.clone(), size, sender));
        let mut filling = Filling::new(size, findings);
        while let Some(piece) = pieces.blocking_recv() {
            if !filling.take(restoring, piece, told)? {
                break;
            }
        }
        fetching.abort();
        filling.finish(restoring, opened)?;
        let restored = restoring.fold(&mut |entries| told(Progress::Folded(entries)))?;
        restoring.sequences(&opened.manifest.sequences)?;
        // Once more from the tables themselves: what was written is what was signed.
        if restoring.count()? != size || restoring.root(size)? != opened.checkpoint.root {
            let message = "the database does not hold what was written into it: look at its disk";
            return Err(StoreError::Corrupt(message.to_owned()).into());
        }
        Ok(restored)
    })
}

/// The head that clients of the layout read: written after the manifest, so it may be missing or an earlier one.
async fn check_served_head(
    source: &Source,
    trusted: &[VerifierKey],
    findings: &mut Vec<String>,
) -> Result<(), RestoreError> {
    let Some(note) = source.main.get(CHECKPOINT).await? else { return Ok(()) };
    let note = String::from_utf8_lossy(&note);
    if let Err(error) = Checkpoint::open(&note, trusted) {
        findings.push(format!("{CHECKPOINT}: {error}"));
    }
    Ok(())
}

async fn fetch_tables(
    source: &Source,
    tables: &[TableObject],
    findings: &mut Vec<String>,
) -> Result<Vec<(String, Vec<u8>)>, RestoreError> {
    let known = |table: &str| crate::store::backup::TABLES.iter().any(|known| known.name == table);
    let mut fetched = Vec::new();
    for TableObject { table, object, sha256: expected, .. } in tables {
        match source.main.get(object).await? {
            _ if !known(table) => findings.push(format!("{object}: there is no table {table} here")),
            None => findings.push(format!("{object}: it is missing")),
            Some(lines) if sha256(&lines) != *expected => {
                findings.push(format!(
                    "{object}: it was changed: it does not have the hash that the manifest names"
                ));
            }
            Some(lines) => fetched.push((table.clone(), lines)),
        }
    }
    Ok(fetched)
}

async fn fetch_events(source: &Source, findings: &mut Vec<String>) -> Result<String, RestoreError> {
    let Some(object) = source.aside.get(EVENTS).await? else {
        findings.push(format!("{}/{EVENTS}: it is missing", source.aside.name()));
        return Ok(String::new());
    };
    let lines = without_hash(&object).map(str::to_owned);
    Ok(lines.unwrap_or_else(|| {
        findings.push(format!("{}/{EVENTS}: it was changed", source.aside.name()));
        String::new()
    }))
}

async fn fetch_all(source: Source, size: u64, sender: mpsc::Sender<Piece>) {
    let bundles = (0..size.div_ceil(TILE_WIDTH)).map(|index| fetch_bundle(&source, index, size));
    let mut bundles = stream::iter(bundles).buffered(AT_ONCE);
    while let Some(piece) = bundles.next().await {
        if sender.send(piece).await.is_err() {
            return;
        }
    }
    for level in 1..=MAX_LEVEL {
        let tiles = size.checked_shr(8 * u32::from(level)).unwrap_or(0).div_ceil(TILE_WIDTH);
        for index in 0..tiles {
            let id = TileId { level, index };
            let path = tile_path(id, width_at(id, size));
            let piece = match source.main.get(&path).await {
                Ok(Some(tile)) => Piece::Tile(id, tile),
                Ok(None) => Piece::Missing(path),
                Err(error) => Piece::Failed(error),
            };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    }
}

async fn fetch_bundle(source: &Source, index: u64, size: u64) -> Piece {
    let width = entries_in_bundle(index, size);
    let (entries, tile) = (entries_path(index, width), tile_path(TileId { level: 0, index }, width));
    let fetched = async {
        let Some(entries) = source.main.get(&entries).await? else { return Ok(Piece::Missing(entries)) };
        let Some(tile) = source.main.get(&tile).await? else { return Ok(Piece::Missing(tile)) };
        let beside = match names_beside(&entries) {
            true => source.main.get(&beside_path(index, width)).await?,
            false => None,
        };
        let aside = source.aside.get(&aside_path(index)).await?;
        Ok(Piece::Bundle(Bundle { index, entries, tile, beside, aside }))
    };
    fetched.await.unwrap_or_else(Piece::Failed)
}

/// Whether some leaf may name values beside it.
fn names_beside(entries: &[u8]) -> bool {
    const NAMED: &[u8] = b"\"beside\":[";
    entries.windows(NAMED.len()).any(|bytes| bytes == NAMED)
}

/// An entry that is not the one that its tile holds.
struct Suspect {
    bundle: u64,
    name: String,
}

/// A database on its way from empty to full.
struct Filling {
    size: u64,
    growth: Growth,
    /// What the entries come to, above the lowest level.
    upper: HashMap<TileId, Vec<Hash>>,
    page: Vec<Entry>,
    aside: Vec<String>,
    first_of_page: u64,
    findings: Vec<String>,
    suspects: Vec<Suspect>,
    upper_changed: Vec<TileId>,
}

impl Filling {
    fn new(size: u64, findings: Vec<String>) -> Filling {
        Filling {
            size,
            growth: Growth::from_edge(0, &HashMap::new()).expect("an empty tree has no edge"),
            upper: HashMap::new(),
            page: Vec::new(),
            aside: Vec::new(),
            first_of_page: 0,
            findings,
            suspects: Vec::new(),
            upper_changed: Vec::new(),
        }
    }

    /// False: it is of no use to go on.
    fn take(
        &mut self,
        restoring: &mut Restoring<'_>,
        piece: Piece,
        told: &mut dyn FnMut(Progress),
    ) -> Result<bool, RestoreError> {
        match piece {
            Piece::Failed(error) => return Err(error.into()),
            Piece::Missing(path) => {
                self.findings.push(format!("{path}: it is missing"));
                return Ok(false);
            }
            Piece::Bundle(bundle) => {
                let before = self.growth.size();
                self.bundle(&bundle);
                if self.growth.size() != before + entries_in_bundle(bundle.index, self.size) {
                    return Ok(false);
                }
                if self.page.len() >= PAGE || self.growth.size() == self.size {
                    self.write(restoring)?;
                    told(Progress::Written(self.growth.size()));
                }
            }
            Piece::Tile(id, tile) => {
                if hashes(&tile).as_ref() != self.expected(id) {
                    self.upper_changed.push(id);
                }
            }
        }
        Ok(true)
    }

    fn expected(&mut self, id: TileId) -> Option<&Vec<Hash>> {
        if !self.upper.contains_key(&id) {
            self.upper.extend(self.growth.partial().into_iter().filter(|(id, _)| id.level > 0));
        }
        self.upper.get(&id)
    }

    fn bundle(&mut self, bundle: &Bundle) {
        let (index, width) = (bundle.index, entries_in_bundle(bundle.index, self.size));
        let path = entries_path(index, width);
        let tile = hashes(&bundle.tile).unwrap_or_default();
        if tile.len() as u64 != width {
            self.findings.push(format!(
                "{}: it has another length than {width} hashes",
                tile_path(TileId { level: 0, index }, width)
            ));
        }
        let mut beside = self.beside_of(bundle, width);
        let mut rest = bundle.entries.as_slice();
        for place in 0..width {
            let number = index * TILE_WIDTH + place;
            let Some((leaf, after)) = cut(rest) else {
                self.findings
                    .push(format!("{path}: it is cut off at number {number} of the log: {}", named(rest)));
                return;
            };
            rest = after;
            let hash = leaf_hash(leaf);
            self.growth.push(hash);
            if tile.get(place as usize).is_some_and(|expected| *expected != hash) {
                let name = format!("{} (number {number} of the log, in {path})", named(leaf));
                self.suspects.push(Suspect { bundle: index, name });
                continue;
            }
            let values = beside.remove(&number);
            if let Err(message) = check_beside(leaf, values.as_deref()) {
                let beside = beside_path(index, width);
                self.findings.push(format!("{}: {message} (in {path} and {beside})", named(leaf)));
            }
            self.page.push(Entry { leaf: leaf.to_vec(), hash, beside: values });
        }
        if !rest.is_empty() {
            self.findings.push(format!("{path}: something stands behind its {width} entries"));
        }
        for number in beside.keys() {
            self.findings.push(format!("{}: nothing lies beside number {number}", beside_path(index, width)));
        }
        self.keep_aside(bundle);
    }

    /// The values beside the entries, by their number in the log, as they were written.
    fn beside_of(&mut self, bundle: &Bundle, width: u64) -> BTreeMap<u64, String> {
        let Some(object) = &bundle.beside else { return BTreeMap::new() };
        let read = || -> Option<BTreeMap<u64, String>> {
            let text = std::str::from_utf8(object).ok()?;
            let line = |line: &str| {
                let (number, values) = line.strip_prefix("{\"index\":")?.split_once(",\"beside\":")?;
                Some((number.parse().ok()?, values.strip_suffix('}')?.to_owned()))
            };
            text.lines().map(line).collect()
        };
        read().unwrap_or_else(|| {
            let path = beside_path(bundle.index, width);
            self.findings.push(format!("{path}: it was changed: it cannot be read"));
            BTreeMap::new()
        })
    }

    fn keep_aside(&mut self, bundle: &Bundle) {
        let path = || aside_path(bundle.index);
        let Some(object) = &bundle.aside else {
            self.findings.push(format!("{}: it is missing aside", path()));
            return;
        };
        match without_hash(object) {
            Some(lines) => self.aside.extend(lines.lines().map(str::to_owned)),
            None => self.findings.push(format!("{}: it was changed aside", path())),
        }
    }

    fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.suspects.is_empty() && self.upper_changed.is_empty()
    }

    /// Once something is wrong, nothing is written any more: it would be taken back in the end.
    fn write(&mut self, restoring: &mut Restoring<'_>) -> Result<(), RestoreError> {
        let (page, aside) = (std::mem::take(&mut self.page), std::mem::take(&mut self.aside));
        let full = self.growth.take_full();
        let first = std::mem::replace(&mut self.first_of_page, self.growth.size());
        self.upper.extend(full.iter().filter(|(id, _)| id.level > 0).cloned());
        if self.is_sound() {
            restoring.entries(first, &page)?;
            restoring.aside(&aside.iter().map(String::as_str).collect::<Vec<_>>())?;
            restoring.tiles(full)?;
        }
        Ok(())
    }

    /// What the whole comes to: the signature says whether entries or tiles were changed where they differ.
    fn finish(mut self, restoring: &mut Restoring<'_>, opened: &Opened) -> Result<(), RestoreError> {
        let root = self.growth.root();
        let as_signed = self.growth.size() == self.size && root == opened.checkpoint.root;
        let mut findings = std::mem::take(&mut self.findings);
        if as_signed {
            let mut bundles: Vec<u64> = self.suspects.iter().map(|suspect| suspect.bundle).collect();
            bundles.dedup();
            let lowest = bundles.into_iter().map(|index| TileId { level: 0, index });
            for id in lowest.chain(self.upper_changed.iter().copied()) {
                let path = tile_path(id, width_at(id, self.size));
                findings.push(format!("{path}: it was changed: it does not hold the hashes of its entries"));
            }
        } else {
            let entries = self.suspects.iter().take(TOLD);
            findings.extend(
                entries.map(|suspect| format!("{}: it is not the entry that was signed", suspect.name)),
            );
            if self.suspects.len() > TOLD {
                findings.push(format!("and {} entries more", self.suspects.len() - TOLD));
            }
            if findings.is_empty() {
                let changed: Vec<String> =
                    self.upper_changed.iter().map(|id| tile_path(*id, width_at(*id, self.size))).collect();
                findings.push(format!(
                    "entries and their tiles were changed together: the root over all {} entries is not the one that \
                     was signed{}",
                    self.size,
                    if changed.is_empty() { String::new() } else { format!(" (above them: {})", changed.join(", ")) }
                ));
            }
        }
        if !findings.is_empty() {
            return Err(RestoreError::Damaged(findings));
        }
        restoring.tiles(self.growth.partial())?;
        let head = SignedHead {
            size: self.size,
            root,
            note: opened.manifest.checkpoint.clone(),
            signed_at: opened.manifest.made_at,
        };
        Ok(restoring.head(&head)?)
    }
}

fn cut(bundle: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bundle.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// `run R seq S`, read as well as it can be: what stands there may be no entry any more.
fn named(leaf: &[u8]) -> String {
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
