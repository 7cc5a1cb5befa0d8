//! Adds to a backup what it lacks.
//!
//! A round goes from the newest signed head back to what the last manifest there names. First what the head proves,
//! then the tables of that moment, and last the manifest: one that is there names nothing that is not, wherever a round
//! was broken off. What was sent already is not sent again, for the log only grows.

use super::manifest::{self, LATEST, Manifest, ManifestError, TableObject, fetch};
use super::target::{Target, TargetError};
use super::{
    AT_ONCE, CHECKPOINT, EVENTS, aside_path, beside_path, entries_path, sha256, tile_path, with_hash,
};
use crate::audit::note::VerifierKey;
use crate::audit::tile::{MAX_LEVEL, TILE_WIDTH, width_at};
use crate::store::backup::{self, Placed, Rows, Snapshot};
use crate::store::error::StoreError;
use crate::store::tree::{self, checking, entries_in_bundle, keys};
use crate::store::{Connection, Pool, archive};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

/// Bundles read together: at most 4,096 entries.
const BUNDLES: u64 = 16;
/// Tiles read together: of 8 KiB each.
const TILES: i64 = 256;

/// Whoever holds the key that signs the log.
pub trait Signer: Send + Sync {
    /// The verifier key of it. None: there is none here.
    ///
    /// # Errors
    /// When it cannot be read, as one line.
    fn vkey(&self) -> Result<Option<String>, String>;

    /// The signed note over a text.
    ///
    /// # Errors
    /// As for [`Signer::vkey`].
    fn sign(&self, text: &str) -> Result<String, String>;
}

/// Why a round came to nothing. One line each, that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Key(String),
    /// Another instance signs the log: the backup is its business.
    #[error("the key that signs this log is not in this data directory: run the backup where it is")]
    NotTheSigner,
    #[error("{place}: {message}")]
    Foreign { place: String, message: String },
}

/// Where a round came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Entries that the backup has now. None: nothing was signed yet.
    pub size: Option<u64>,
    pub objects: u64,
    pub bytes: u64,
}

pub struct Backup {
    pub main: Target,
    pub aside: Target,
    pub pool: Pool,
    pub origin: String,
    pub signer: Arc<dyn Signer>,
    /// How far the backup is, as its last manifest says. None: not looked yet.
    reached: Option<Reached>,
    /// The day whose first manifest is written.
    day: Option<NaiveDate>,
    /// The tables as the last manifest names them: most do not change from one round to the next.
    tables: Vec<TableObject>,
}

#[derive(Debug, Clone, Copy)]
struct Reached {
    size: u64,
    /// When that was.
    at: DateTime<Utc>,
}

/// An object on its way.
struct Object {
    name: String,
    content: Vec<u8>,
}

impl Backup {
    pub fn new(main: Target, aside: Target, pool: Pool, origin: String, signer: Arc<dyn Signer>) -> Backup {
        Backup { main, aside, pool, origin, signer, reached: None, day: None, tables: Vec::new() }
    }

    /// Brings the backup up to the newest signed head. `thorough`: looks for everything from the first entry on,
    /// not only for what is new, and brings what lies aside up to date. `told` hears how many entries are done, of how
    /// many.
    ///
    /// # Errors
    /// See [`BackupError`]. What was sent until then stays, and is not sent again.
    pub async fn round(
        &mut self,
        thorough: bool,
        told: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Round, BackupError> {
        let Some(head) = self.read(backup::head).await? else { return Ok(Round::default()) };
        let today = Utc::now().date_naive();
        let thorough = thorough || self.day.is_some_and(|day| day != today);
        if self.reached.is_some_and(|reached| reached.size == head.size) && !thorough {
            return Ok(Round { size: Some(head.size), ..Round::default() });
        }
        self.check_signer().await?;
        let reached = match self.reached {
            Some(reached) => reached,
            None => self.look(head.size).await?,
        };
        let now = Utc::now();
        let Some(snapshot) = self.read(backup::snapshot).await? else { return Ok(Round::default()) };
        let size = snapshot.head.size;
        let (from, there) = match thorough {
            true => (0, self.main.list("tile").await?),
            false => (reached.size, HashSet::new()),
        };
        let mut round = Round { size: Some(size), ..Round::default() };
        self.send_entries(from, size, &there, &mut round, told).await?;
        self.send_erasures(reached.at, from, size, &mut round).await?;
        self.send_tiles(from, size, &there, &mut round).await?;
        if thorough {
            self.tables.clear();
        }
        self.tables = self.finish(snapshot, today, &mut round).await?;
        self.reached = Some(Reached { size, at: now });
        self.day = Some(today);
        Ok(round)
    }

    /// The manifest can only be signed by whoever signs the log.
    async fn check_signer(&self) -> Result<(), BackupError> {
        let known = self.read(keys::all).await?;
        let active = known.into_iter().find(|key| key.retired_at.is_none()).map(|key| key.vkey);
        let own = self.signer.vkey().map_err(BackupError::Key)?;
        if own.is_some() && own == active { Ok(()) } else { Err(BackupError::NotTheSigner) }
    }

    /// How far the backup is. It must be one of this very log.
    async fn look(&self, size: u64) -> Result<Reached, BackupError> {
        let Some(signed) = fetch(&self.main, LATEST).await? else {
            return Ok(Reached { size: 0, at: Utc::now() });
        };
        let known = self.read(keys::all).await?;
        let known: Vec<VerifierKey> = known.iter().filter_map(|key| VerifierKey::parse(&key.vkey)).collect();
        let foreign = |message: String| BackupError::Foreign {
            place: format!("{}/{LATEST}", self.main.name().trim_end_matches('/')),
            message,
        };
        let opened = Manifest::open(&signed, &known)
            .map_err(|why| foreign(format!("{why}. Is this the backup of another log?")))?;
        let there = opened.checkpoint;
        if there.size > size {
            return Err(foreign(format!(
                "the backup has {} entries and this database {size}: it was set back. Nothing was written there",
                there.size
            )));
        }
        let root = self.read(move |connection| tree::root_at(connection, there.size)).await?;
        if root != there.root {
            return Err(foreign(
                "the backup does not begin as this log does: nothing was written there".to_owned(),
            ));
        }
        Ok(Reached { size: there.size, at: opened.manifest.made_at })
    }

    async fn send_entries(
        &self,
        from: u64,
        size: u64,
        there: &HashSet<String>,
        round: &mut Round,
        told: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<(), BackupError> {
        let mut first = from / TILE_WIDTH * TILE_WIDTH;
        while first < size {
            let count = (BUNDLES * TILE_WIDTH).min(size - first);
            let read = self.read(move |connection| {
                let entries = backup::entries(connection, first, count)?;
                let aside = backup::aside(connection, &entries)?;
                Ok((entries, aside))
            });
            let (entries, aside) = read.await?;
            let (objects, archived) = bundles(first, size, &entries);
            let new = objects.into_iter().filter(|object| !there.contains(&object.name));
            self.send_new(new.collect(), round).await?;
            for name in archived.into_iter().filter(|name| !there.contains(name)) {
                if self.main.get(&name).await?.is_none() {
                    return Err(self.lacks_archived(name).await);
                }
            }
            self.send_aside(first / TILE_WIDTH, count, &aside, round).await?;
            first += count;
            told(first, size);
        }
        Ok(())
    }

    /// Entries that are in an archive can only come from there.
    async fn lacks_archived(&self, name: String) -> BackupError {
        let archives = match self.read(archive::all).await {
            Ok(archives) => archives,
            Err(error) => return error.into(),
        };
        let places: BTreeSet<String> = archives.into_iter().map(|archive| archive.place).collect();
        let places = places.into_iter().collect::<Vec<_>>().join(" or ");
        BackupError::Foreign {
            place: format!("{}/{name}", self.main.name().trim_end_matches('/')),
            message: format!(
                "it has entries that are in the archive at {places} and no longer in the log: copy all that is there \
                 to this place first, also what lies aside"
            ),
        }
    }

    /// What was erased among the entries that were sent earlier is gone aside too.
    async fn send_erasures(
        &self,
        since: DateTime<Utc>,
        from: u64,
        size: u64,
        round: &mut Round,
    ) -> Result<(), BackupError> {
        // Clocks differ, and a transaction takes its time.
        let since = since - TimeDelta::minutes(10);
        let touched = self.read(move |connection| backup::touched_by_erasures(connection, since)).await?;
        for bundle in touched.into_iter().filter(|bundle| *bundle < from / TILE_WIDTH) {
            let count = entries_in_bundle(bundle, size);
            let read = self.read(move |connection| {
                let entries = backup::entries(connection, bundle * TILE_WIDTH, count)?;
                backup::aside(connection, &entries)
            });
            self.send_aside(bundle, count, &read.await?, round).await?;
        }
        Ok(())
    }

    async fn send_aside(
        &self,
        first: u64,
        count: u64,
        lines: &BTreeMap<usize, Vec<String>>,
        round: &mut Round,
    ) -> Result<(), BackupError> {
        let bundles = (0..count.div_ceil(TILE_WIDTH)).map(|bundle| {
            let within = (bundle * TILE_WIDTH) as usize..((bundle + 1) * TILE_WIDTH) as usize;
            let lines: String =
                lines.range(within).flat_map(|(_, lines)| lines).fold(String::new(), |mut all, line| {
                    all.push_str(line);
                    all.push('\n');
                    all
                });
            Object { name: aside_path(first + bundle), content: with_hash(lines.as_bytes()) }
        });
        self.replace(bundles.collect(), round).await
    }

    /// Puts the objects aside that are not there as they are.
    async fn replace(&self, objects: Vec<Object>, round: &mut Round) -> Result<(), BackupError> {
        let put = stream::iter(objects).map(|Object { name, content }| async move {
            if self.aside.get(&name).await?.is_some_and(|there| there == content) {
                return Ok(None);
            }
            let bytes = content.len() as u64;
            self.aside.put(&name, content).await.map(|()| Some(bytes))
        });
        count(put.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?, round);
        Ok(())
    }

    async fn send_tiles(
        &self,
        from: u64,
        size: u64,
        there: &HashSet<String>,
        round: &mut Round,
    ) -> Result<(), BackupError> {
        for level in 0..=MAX_LEVEL {
            let mut next = (from >> (8 * u32::from(level))) / TILE_WIDTH;
            loop {
                let tiles =
                    self.read(move |connection| checking::level(connection, level, next, TILES)).await?;
                let Some((last, _)) = tiles.last() else { break };
                next = last.index + 1;
                let objects = tiles.iter().filter_map(|(id, hashes)| {
                    let width = width_at(*id, size);
                    let hashes = hashes.get(..width as usize)?;
                    (width > 0).then(|| Object { name: tile_path(*id, width), content: hashes.concat() })
                });
                let new: Vec<Object> = objects.filter(|object| !there.contains(&object.name)).collect();
                self.send_new(new, round).await?;
            }
        }
        Ok(())
    }

    /// The tables, and then what names them.
    async fn finish(
        &self,
        snapshot: Snapshot,
        today: NaiveDate,
        round: &mut Round,
    ) -> Result<Vec<TableObject>, BackupError> {
        let Snapshot { head, tables, aside, sequences, schema } = snapshot;
        let named: Vec<TableObject> = tables.iter().map(table_object).collect();
        let objects = tables.into_iter().zip(&named).filter(|(_, named)| !self.tables.contains(named));
        let objects = objects.map(|(rows, named)| Object { name: named.object.clone(), content: rows.lines });
        self.send_new(objects.collect(), round).await?;
        let aside = aside.into_iter().map(|rows| {
            debug_assert_eq!(rows.table, EVENTS);
            Object { name: rows.table.to_owned(), content: with_hash(&rows.lines) }
        });
        self.replace(aside.collect(), round).await?;
        let now: DateTime<Utc> = Utc::now();
        let manifest = Manifest::new(&self.origin, now, &head.note, schema, named.clone(), sequences);
        let signed = self.signer.sign(&manifest.text()).map_err(BackupError::Key)?.into_bytes();
        if self.day != Some(today) {
            let daily = Object { name: manifest::of_day(today), content: signed.clone() };
            self.send_new(vec![daily], round).await?;
        }
        self.main.put(LATEST, signed.clone()).await?;
        self.main.put(CHECKPOINT, head.note.clone().into_bytes()).await?;
        count([Some(signed.len() as u64), Some(head.note.len() as u64)], round);
        Ok(named)
    }

    async fn send_new(&self, objects: Vec<Object>, round: &mut Round) -> Result<(), BackupError> {
        let put = stream::iter(objects).map(|Object { name, content }| async move {
            let bytes = content.len() as u64;
            Ok::<_, TargetError>(self.main.put_new(&name, content).await?.then_some(bytes))
        });
        count(put.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?, round);
        Ok(())
    }

    /// Reads from the database, off the event loop.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let pool = self.pool.clone();
        let read = tokio::task::spawn_blocking(move || read(&mut *pool.get()?));
        let broken = |_| StoreError::Connection("the program is ending".to_owned());
        read.await.map_err(broken)?
    }
}

fn count(sent: impl IntoIterator<Item = Option<u64>>, round: &mut Round) {
    for bytes in sent.into_iter().flatten() {
        round.objects += 1;
        round.bytes += bytes;
    }
}

fn table_object(rows: &Rows) -> TableObject {
    let sha256 = sha256(&rows.lines);
    let object = format!("tables/{}/{sha256}.ndjson", rows.table);
    TableObject { table: rows.table.to_owned(), object, sha256, rows: rows.count }
}

/// The objects of these entries, the first of which begins a bundle; and the names of those that cannot be made, since
/// some of their entries are in an archive.
fn bundles(first: u64, size: u64, entries: &[Placed]) -> (Vec<Object>, Vec<String>) {
    let (mut objects, mut archived) = (Vec::new(), Vec::new());
    for (number, entries) in entries.chunks(TILE_WIDTH as usize).enumerate() {
        let index = first / TILE_WIDTH + number as u64;
        let width = entries_in_bundle(index, size);
        let (mut bundle, mut beside) = (Vec::new(), String::new());
        let leaves: Option<Vec<&Vec<u8>>> = entries.iter().map(|entry| entry.leaf.as_ref()).collect();
        let Some(leaves) = leaves else {
            archived.push(entries_path(index, width));
            continue;
        };
        for (place, (entry, leaf)) in entries.iter().zip(leaves).enumerate() {
            // A leaf has at most 65,535 bytes.
            bundle.extend((leaf.len() as u16).to_be_bytes());
            bundle.extend(leaf);
            if let Some(values) = &entry.beside {
                let at = index * TILE_WIDTH + place as u64;
                // Writing to a string cannot fail.
                let _ = writeln!(beside, "{{\"index\":{at},\"beside\":{values}}}");
            }
        }
        objects.push(Object { name: entries_path(index, width), content: bundle });
        if !beside.is_empty() {
            objects.push(Object { name: beside_path(index, width), content: beside.into_bytes() });
        }
    }
    (objects, archived)
}
