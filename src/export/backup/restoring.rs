//! Proves a backup, byte by byte, and fills an empty database with it.
//!
//! One way through: what is fetched is checked against its tile and its stand-ins before it is written, and the root
//! over all of it against the signature before anything of it is committed. Whatever does not hold is named, the search
//! goes on to the end, and the database stays empty.

use super::manifest::{ManifestError, Opened, TableObject};
use super::objects::{self, Bundle, Fetched, Source, named};
use super::target::TargetError;
use super::{AT_ONCE, CHECKPOINT, EVENTS, aside_path, hashes, sha256, tile_path, without_hash};
use crate::audit::Hash;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::VerifierKey;
use crate::audit::tile::{Growth, MAX_LEVEL, TILE_WIDTH, TileId, width_at};
use crate::store::error::StoreError;
use crate::store::restore::{self, Entry, Restored, Restoring};
use crate::store::tree::checkpoints::SignedHead;
use crate::store::tree::entries_in_bundle;
use futures_util::{StreamExt, stream};
use std::collections::HashMap;
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
    let bundles = (0..size.div_ceil(TILE_WIDTH)).map(|index| objects::fetch(&source, index, size));
    let mut bundles = stream::iter(bundles).buffered(AT_ONCE);
    while let Some(fetched) = bundles.next().await {
        let piece = match fetched {
            Ok(Fetched::Bundle(bundle)) => Piece::Bundle(bundle),
            Ok(Fetched::Missing(path)) => Piece::Missing(path),
            Err(error) => Piece::Failed(error),
        };
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
        let tile = hashes(&bundle.tile).unwrap_or_default();
        if tile.len() as u64 != bundle.width {
            let id = TileId { level: 0, index: bundle.index };
            let path = tile_path(id, bundle.width);
            self.findings.push(format!("{path}: it has another length than {} hashes", bundle.width));
        }
        let (entries, findings) = bundle.open();
        self.findings.extend(findings);
        let is_whole = entries.len() as u64 == bundle.width;
        for (place, entry) in entries.into_iter().enumerate() {
            self.growth.push(entry.hash);
            if tile.get(place).is_some_and(|expected| *expected != entry.hash) {
                let number = bundle.index * TILE_WIDTH + place as u64;
                let name =
                    format!("{} (number {number} of the log, in {})", named(&entry.leaf), bundle.path());
                self.suspects.push(Suspect { bundle: bundle.index, name });
                continue;
            }
            self.findings.extend(bundle.check_beside(&entry).err());
            self.page.push(entry);
        }
        if is_whole {
            self.keep_aside(bundle);
        }
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
