//! The tree beside the log: each entry has the place and the hash that were signed, and nothing that was signed is gone.

use super::Findings;
use crate::audit::Hash;
use crate::audit::chain::{Finding, Stored};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::VerifierKey;
use crate::audit::tile::{Growth, TILE_WIDTH, TileId};
use crate::scheduler::sequencer::{MEMORY, SealError, extends, last_signed};
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::tree::checking::{self, EntryKey, Range};
use crate::store::tree::{self, checkpoints};
use anyhow::Context;
use chrono::{DateTime, Utc};
use std::collections::{HashMap, VecDeque};
use std::path::Path;

/// Ranges read at a time.
const RANGES: i64 = 20_000;
/// Tiles of the lowest level read at a time, along the whole tree.
const TILES_AT_A_TIME: i64 = 256;
/// Tiles kept: of 8 KiB each.
const TILES: usize = 4_096;
/// Entries without a place that are looked at together.
const LOOSE: usize = 1_000;

/// Hears what is missing.
type Told<'a> = dyn FnMut(&mut Connection, Vec<Finding>) -> Result<(), StoreError> + 'a;

/// Walks along the log in its order, and knows which place in the tree each entry has.
pub struct Places {
    run: Option<i64>,
    /// Begun ranges, in the log's order. The first is the one that the walk is at.
    ranges: VecDeque<Range>,
    /// How many entries of the first range the walk has passed.
    passed: i64,
    /// The key of the last range that was read.
    read: EntryKey,
    tiles: HashMap<i64, Vec<Hash>>,
    loose: Vec<(EntryKey, Hash)>,
    unsigned: u64,
}

impl Places {
    pub fn new(run: Option<i64>) -> Places {
        Places {
            run,
            ranges: VecDeque::new(),
            passed: 0,
            read: (-1, -1, -1),
            tiles: HashMap::new(),
            loose: Vec::new(),
            unsigned: 0,
        }
    }

    /// Reads what is needed up to this entry.
    pub fn read_to(&mut self, connection: &mut Connection, last: Option<&Stored>) -> Result<(), StoreError> {
        let Some(last) = last else { return Ok(()) };
        let until = Some((last.run_id, last.stream, last.seq));
        while self.read_ranges(connection, until)? {}
        if self.tiles.len() > TILES {
            self.tiles.clear();
        }
        let mut needed: Vec<i64> = self.ranges.iter().flat_map(tiles_of).collect();
        needed.sort_unstable();
        needed.dedup();
        needed.retain(|index| self.tiles.get(index).is_none_or(|tile| tile.len() < TILE_WIDTH as usize));
        needed.truncate(TILES);
        self.tiles.extend(checking::tiles(connection, &needed)?);
        Ok(())
    }

    /// True while there are more.
    fn read_ranges(
        &mut self,
        connection: &mut Connection,
        until: Option<EntryKey>,
    ) -> Result<bool, StoreError> {
        let ranges = checking::ranges(connection, self.run, self.read, until, RANGES)?;
        if let Some(last) = ranges.last() {
            self.read = (last.run_id, last.stream, last.first_seq);
        }
        let more = ranges.len() == RANGES as usize;
        self.ranges.extend(ranges);
        Ok(more)
    }

    /// What was signed and should stand before this entry, and does not.
    pub fn missing_before(&mut self, entry: &Stored) -> Vec<Finding> {
        let here = (entry.run_id, entry.stream, entry.seq);
        let mut missing = Vec::new();
        while let Some(range) = self.ranges.front()
            && self.next_of(range) < here
        {
            missing.push(gone(self.next_of(range)));
            self.next_range();
        }
        missing
    }

    fn next_of(&self, range: &Range) -> EntryKey {
        (range.run_id, range.stream, range.first_seq + self.passed)
    }

    fn next_range(&mut self) {
        self.ranges.pop_front();
        self.passed = 0;
    }

    /// The index of this entry, if it is the next that has one; the walk goes past it.
    fn step(&mut self, entry: &Stored) -> Option<i64> {
        let range = self.ranges.front()?;
        if self.next_of(range) != (entry.run_id, entry.stream, entry.seq) {
            return None;
        }
        let (index, is_last) = (range.first_index + self.passed, self.passed + 1 == range.entries);
        self.passed += 1;
        if is_last {
            self.next_range();
        }
        Some(index)
    }

    /// Goes past an entry that is known to be wrong.
    pub fn pass(&mut self, entry: &Stored) {
        self.step(entry);
    }

    /// Whether this entry is the one that has its place in the tree.
    pub fn check(&mut self, connection: &mut Connection, entry: &Stored, hash: &Hash) -> Result<(), Finding> {
        let key = (entry.run_id, entry.stream, entry.seq);
        let Some(index) = self.step(entry) else {
            self.loose.push((key, *hash));
            return Ok(());
        };
        let found = self.hash_at(connection, index).map_err(|error| finding(key, error.to_string()))?;
        if found == Some(*hash) { Ok(()) } else { Err(changed(key)) }
    }

    fn hash_at(&mut self, connection: &mut Connection, index: i64) -> Result<Option<Hash>, StoreError> {
        let (tile, place) = (index / TILE_WIDTH as i64, (index % TILE_WIDTH as i64) as usize);
        if self.tiles.get(&tile).is_none_or(|hashes| hashes.len() <= place) {
            self.tiles.extend(checking::tiles(connection, &[tile])?);
        }
        Ok(self.tiles.get(&tile).and_then(|hashes| hashes.get(place)).copied())
    }

    /// Looks once more at the entries without a place: they must be new.
    pub fn settle(&mut self, connection: &mut Connection, at_end: bool) -> Result<Vec<Finding>, StoreError> {
        if self.loose.is_empty() || (self.loose.len() < LOOSE && !at_end) {
            return Ok(Vec::new());
        }
        let asked = std::mem::take(&mut self.loose);
        let hashes: HashMap<EntryKey, Hash> = asked.iter().copied().collect();
        let keys: Vec<EntryKey> = asked.iter().map(|(key, _)| *key).collect();
        let mut findings = Vec::new();
        for loose in checking::loose(connection, &keys)? {
            let key = (loose.run_id, loose.stream, loose.seq);
            match loose.index {
                Some(index) if self.hash_at(connection, index)? != hashes.get(&key).copied() => {
                    findings.push(changed(key));
                }
                Some(_) => {}
                None if loose.is_new => self.unsigned += 1,
                None => findings.push(finding(key, "it stands in the log, and was never signed".to_owned())),
            }
        }
        Ok(findings)
    }

    /// What was signed and stands nowhere in the log; `told` hears of it, some at a time.
    pub fn rest(&mut self, connection: &mut Connection, told: &mut Told<'_>) -> Result<(), StoreError> {
        let loose = self.settle(connection, true)?;
        told(connection, loose)?;
        loop {
            let more = self.read_ranges(connection, None)?;
            let mut findings = Vec::new();
            while let Some(range) = self.ranges.front() {
                let key = self.next_of(range);
                // The log may have grown behind the walk.
                if !tree::is_there(connection, key)? {
                    findings.push(gone(key));
                }
                self.next_range();
            }
            told(connection, findings)?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Entries that the sequencer has not come to yet.
    pub fn unsigned(&self) -> u64 {
        self.unsigned
    }
}

fn tiles_of(range: &Range) -> std::ops::RangeInclusive<i64> {
    let width = TILE_WIDTH as i64;
    range.first_index / width..=(range.first_index + range.entries - 1) / width
}

fn finding((run_id, stream, seq): EntryKey, message: String) -> Finding {
    Finding { run_id, stream, seq, message }
}

fn gone(key: EntryKey) -> Finding {
    finding(key, "it was signed, and is no longer in the log".to_owned())
}

fn changed(key: EntryKey) -> Finding {
    finding(key, "it is not the entry that was signed here".to_owned())
}

/// How far the log is signed, when, and with which key.
pub type Head = (u64, DateTime<Utc>, String);

/// Builds the whole tree again from its lowest tiles, and holds every signed head against it. The last one must be
/// signed by a key that is `trusted`: it covers all before it, which may be by any key that the log once had. What is
/// added and signed meanwhile is not looked at.
pub fn check_heads(
    connection: &mut Connection,
    trusted: &[VerifierKey],
    known: &[VerifierKey],
    findings: &mut Findings,
) -> anyhow::Result<Option<Head>> {
    check_ranges(connection, findings)?;
    let mut growth = Growth::from_edge(0, &HashMap::new()).context("an empty tree")?;
    let last = checkpoints::latest(connection)?.map_or(0, |head| head.size);
    let known = [trusted, known].concat();
    let mut heads = Heads { connection, trusted, known, last, next: None, good: None };
    heads.advance(None)?;
    heads.check(&growth, findings)?;
    let mut from = 0;
    loop {
        let tiles = checking::level(heads.connection, 0, from, TILES_AT_A_TIME)?;
        let Some((last, _)) = tiles.last() else { break };
        from = last.index + 1;
        let is_end = tiles.len() < TILES_AT_A_TIME as usize;
        for (id, hashes) in tiles {
            if id.index * TILE_WIDTH != growth.size() {
                findings.add_words(&format!("the tree has no tile 0/{}", growth.size() / TILE_WIDTH));
                return Ok(heads.good);
            }
            for hash in hashes {
                growth.push(hash);
                heads.check(&growth, findings)?;
            }
        }
        let full = growth.take_full();
        check_tiles(heads.connection, full.into_iter().filter(|(id, _)| id.level > 0), findings)?;
        // The last tile may have been filled since, and others begun behind it.
        if is_end || growth.size() >= heads.last {
            break;
        }
    }
    check_tiles(heads.connection, growth.partial(), findings)?;
    if let Some(head) = heads.next.take() {
        findings.add_words(&format!(
            "{} entries were signed at {}, and the tree has {}: it was cut off",
            head.size,
            head.signed_at.to_rfc3339(),
            growth.size()
        ));
    }
    Ok(heads.good)
}

/// Holds what was signed last with this data directory against the tree: a database that was set back is whole in
/// itself, and only what lies outside it can tell.
pub fn check_memory(
    connection: &mut Connection,
    data_dir: &Path,
    known: &[VerifierKey],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let looked = last_signed(data_dir, known).and_then(|head| {
        let Some(head) = head else { return Ok(()) };
        let by = data_dir.join(MEMORY).display().to_string();
        let size = tree::size(connection)?;
        extends(connection, size, (head.size, head.root), &by)
    });
    match looked {
        Err(SealError::Refused(words)) => findings.add_words(&words),
        looked => looked?,
    }
    Ok(())
}

/// The signed heads, smallest first, along the growing tree.
struct Heads<'a> {
    connection: &'a mut Connection,
    trusted: &'a [VerifierKey],
    known: Vec<VerifierKey>,
    /// Of the largest when the look began: its entries have their places already.
    last: u64,
    next: Option<checkpoints::SignedHead>,
    /// The last one that holds.
    good: Option<Head>,
}

impl Heads<'_> {
    fn advance(&mut self, after: Option<u64>) -> Result<(), StoreError> {
        let next = checkpoints::after(self.connection, after, 1)?.into_iter().next();
        self.next = next.filter(|head| head.size <= self.last);
        Ok(())
    }

    fn check(&mut self, growth: &Growth, findings: &mut Findings) -> anyhow::Result<()> {
        let Some(head) = self.next.take_if(|head| head.size == growth.size()) else { return Ok(()) };
        let (size, at) = (head.size, head.signed_at);
        let keys = if size >= self.last { self.trusted } else { &self.known };
        match Checkpoint::open(&head.note, keys) {
            Err(error) => findings.add_words(&format!("the checkpoint over {size} entries: {error}")),
            Ok((signed, _)) if signed.size != size || signed.root != growth.root() => {
                let from = self.good.as_ref().map_or(0, |(size, ..)| *size);
                findings.add_words(&self.suspects(from, size)?);
            }
            Ok((_, key)) => self.good = Some((size, at, key.vkey())),
        }
        self.advance(Some(size))?;
        Ok(())
    }

    /// Which entries the difference must be among: those between the last head that holds and this one.
    fn suspects(&mut self, from: u64, size: u64) -> anyhow::Result<String> {
        let first = tree::entry_at(self.connection, from)?;
        let last = tree::entry_at(self.connection, size.saturating_sub(1))?;
        let name = |key: Option<EntryKey>| {
            key.map_or("nothing".to_owned(), |(run, _, seq)| format!("run {run} seq {seq}"))
        };
        Ok(format!(
            "{}: an entry from here to {} (number {from} to {} of the log) was changed after it was signed, and the \
             tree with it",
            name(first),
            name(last),
            size.saturating_sub(1)
        ))
    }
}

/// Every index is given once, to the end.
fn check_ranges(connection: &mut Connection, findings: &mut Findings) -> anyhow::Result<()> {
    let mut next = 0;
    loop {
        let ranges = checking::ranges_by_index(connection, next, RANGES)?;
        for range in &ranges {
            if range.first_index != next {
                let key = (range.run_id, range.stream, range.first_seq);
                findings.add(&finding(key, format!("the tree does not say which entry has number {next}")));
            }
            next = range.first_index + range.entries;
        }
        if ranges.len() < RANGES as usize {
            return Ok(());
        }
    }
}

/// The tiles that are served hold the hashes that the lower ones come to.
fn check_tiles(
    connection: &mut Connection,
    tiles: impl IntoIterator<Item = (TileId, Vec<Hash>)>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for (id, hashes) in tiles {
        let stored = tree::tile(connection, id)?;
        if !stored.starts_with(&hashes) {
            findings.add_words(&format!("tile {}/{} of the tree was changed", id.level, id.index));
        }
    }
    Ok(())
}
