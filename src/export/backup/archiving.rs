//! Which runs may leave the log, and that a backup has them: proven, byte by byte, before anything is removed.
//!
//! Never removes anything itself: that is [`crate::store::archive`]'s.

use super::objects::{self, Bundle, Fetched, Source, named};
use super::target::TargetError;
use super::{AT_ONCE, aside_path, without_hash};
use crate::audit::Hash;
use crate::audit::tile::TILE_WIDTH;
use crate::store::Pool;
use crate::store::archive::Candidate;
use crate::store::error::StoreError;
use crate::store::tree::checking::{self, Range};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Tiles that are read from the database together.
const TILES: usize = 256;
/// So many findings are told one by one.
const TOLD: usize = 20;

/// Why it is not known whether a backup has what it should.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the program is ending")]
    Ending,
}

/// Those of the candidates that may leave together: all their entries have places before `end`, the whole lineage
/// leaves, and so does the run that they are a part of.
pub fn settle(candidates: Vec<Candidate>, end: u64) -> Vec<Candidate> {
    let mut runs_of: HashMap<i64, usize> = HashMap::new();
    for run in &candidates {
        *runs_of.entry(run.lineage).or_default() += 1;
    }
    let mut staying: HashSet<i64> = HashSet::new();
    let is_placed = |run: &Candidate| run.placed == run.version && run.end as u64 <= end;
    staying.extend(candidates.iter().filter(|run| !is_placed(run)).map(|run| run.lineage));
    let lineage_of: HashMap<i64, i64> = candidates.iter().map(|run| (run.run_id, run.lineage)).collect();
    // A parent that stays keeps its parts, and they theirs.
    loop {
        let stays = |run: &&Candidate| {
            let parent = run.parent.map(|parent| lineage_of.get(&parent));
            !staying.contains(&run.lineage)
                && parent.is_some_and(|lineage| lineage.is_none_or(|lineage| staying.contains(lineage)))
        };
        let more: Vec<i64> = candidates.iter().filter(stays).map(|run| run.lineage).collect();
        if more.is_empty() {
            break;
        }
        staying.extend(more);
    }
    candidates.into_iter().filter(|run| !staying.contains(&run.lineage)).collect()
}

/// What the log says of an archive: the SHA-256, in hex, of a line `<run> <entries>` for each run, by number.
#[derive(Default)]
pub struct Listing {
    hasher: Sha256,
    pub runs: u64,
    pub entries: u64,
}

impl Listing {
    pub fn add(&mut self, run: i64, entries: i64) {
        self.hasher.update(format!("{run} {entries}\n"));
        self.runs += 1;
        self.entries += entries as u64;
    }

    pub fn sha256(self) -> String {
        hex::encode(self.hasher.finalize())
    }
}

/// The bundles that hold these ranges.
pub fn bundles_of(ranges: &[Range]) -> BTreeSet<u64> {
    let width = TILE_WIDTH as i64;
    let bundles = |range: &Range| range.first_index / width..=(range.first_index + range.entries - 1) / width;
    ranges.iter().flat_map(bundles).map(|bundle| bundle as u64).collect()
}

/// What does not hold in these bundles of the backup, which are full ones: every entry has the hash that the tree here
/// has in its place, with the values that it names beside it. Empty: the backup has them all. `told` hears how many
/// bundles are done.
///
/// # Errors
/// When it cannot be told.
pub async fn prove(
    source: &Source,
    pool: &Pool,
    bundles: &BTreeSet<u64>,
    told: &mut (dyn FnMut(u64) + Send),
) -> Result<Vec<String>, ArchiveError> {
    let bundles: Vec<u64> = bundles.iter().copied().collect();
    let (mut findings, mut done) = (Vec::new(), 0);
    for some in bundles.chunks(TILES) {
        let (pool, indexes) = (pool.clone(), some.iter().map(|index| *index as i64).collect::<Vec<_>>());
        let read = tokio::task::spawn_blocking(move || {
            checking::tiles(&mut *pool.get().map_err(StoreError::from)?, &indexes)
        });
        let tiles: HashMap<i64, Vec<Hash>> =
            read.await.map_err(|_| ArchiveError::Ending)??.into_iter().collect();
        let fetching = some.iter().map(|index| objects::fetch(source, *index, (index + 1) * TILE_WIDTH));
        let mut fetched = stream::iter(fetching).buffered(AT_ONCE);
        while let Some(fetched) = fetched.next().await {
            match fetched? {
                Fetched::Missing(path) => findings.push(format!("{path}: it is missing")),
                Fetched::Bundle(bundle) => {
                    let tile = tiles.get(&(bundle.index as i64)).map(Vec::as_slice).unwrap_or_default();
                    findings.extend(check(&bundle, tile));
                }
            }
            done += 1;
            told(done);
        }
        if findings.len() > TOLD {
            findings.truncate(TOLD);
            findings.push("and perhaps more: it was not looked any further".to_owned());
            break;
        }
    }
    Ok(findings)
}

fn check(bundle: &Bundle, tile: &[Hash]) -> Vec<String> {
    let (entries, mut findings) = bundle.open();
    for (place, entry) in entries.iter().enumerate() {
        if tile.get(place) != Some(&entry.hash) {
            let number = bundle.index * TILE_WIDTH + place as u64;
            findings.push(format!(
                "{} (number {number} of the log, in {}): it is not the entry that was signed",
                named(&entry.leaf),
                bundle.path()
            ));
        } else {
            findings.extend(bundle.check_beside(entry).err());
        }
    }
    let path = aside_path(bundle.index);
    match &bundle.aside {
        None => findings.push(format!("{path}: it is missing aside")),
        Some(object) if without_hash(object).is_none() => {
            findings.push(format!("{path}: it was changed aside"));
        }
        Some(_) => {}
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(run_id: i64, lineage: i64, parent: Option<i64>) -> Candidate {
        Candidate { run_id, lineage, version: 4, parent, placed: 4, end: run_id * 10 }
    }

    fn ids(candidates: Vec<Candidate>, end: u64) -> Vec<i64> {
        settle(candidates, end).into_iter().map(|run| run.run_id).collect()
    }

    #[test]
    fn a_lineage_leaves_whole_or_not_at_all() {
        assert_eq!(ids(vec![run(1, 1, None), run(2, 2, None), run(3, 1, None)], 30), [1, 2, 3]);
        assert_eq!(ids(vec![run(1, 1, None), run(2, 2, None), run(3, 1, None)], 29), [2]);
        let unsigned = Candidate { placed: 3, ..run(3, 1, None) };
        assert_eq!(ids(vec![run(1, 1, None), run(2, 2, None), unsigned], 30), [2]);
    }

    #[test]
    fn a_part_stays_as_long_as_its_parent() {
        // 2 is a part of 1, 3 of 2; 5 of a run that is no candidate.
        let family = || vec![run(1, 1, None), run(2, 2, Some(1)), run(3, 3, Some(2)), run(5, 5, Some(99))];
        assert_eq!(ids(family(), 100), [1, 2, 3]);
        let open_parent: Vec<Candidate> = family().into_iter().skip(1).collect();
        assert_eq!(ids(open_parent, 100), [] as [i64; 0]);
    }

    proptest! {
        #[test]
        fn whatever_leaves_leaves_nothing_behind_that_needs_it(
            parts in prop::collection::vec((1..8_i64, prop::option::of(1..30_i64), 0..2_i64), 1..30),
        ) {
            let candidates: Vec<Candidate> = parts.iter().zip(1..).map(|((lineage, parent, missing), run_id)| {
                let parent = parent.filter(|parent| *parent < run_id);
                Candidate { placed: 4 - missing, ..run(run_id, *lineage, parent) }
            }).collect();
            let left = settle(candidates.clone(), 1_000);
            let leaving: HashSet<i64> = left.iter().map(|run| run.run_id).collect();
            for run in &left {
                prop_assert_eq!(run.placed, run.version);
                prop_assert!(run.parent.is_none_or(|parent| leaving.contains(&parent)));
                let lineage = candidates.iter().filter(|other| other.lineage == run.lineage);
                prop_assert!(lineage.into_iter().all(|other| leaving.contains(&other.run_id)));
            }
        }
    }

    #[test]
    fn the_listing_is_as_anybody_computes_it() {
        let mut listing = Listing::default();
        [(7, 12), (9, 3)].into_iter().for_each(|(run, entries)| listing.add(run, entries));
        assert_eq!((listing.runs, listing.entries), (2, 15));
        assert_eq!(listing.sha256(), hex::encode(Sha256::digest(b"7 12\n9 3\n")));
    }
}
