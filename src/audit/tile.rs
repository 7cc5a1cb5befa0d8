//! The tree in tiles, as C2SP tlog-tiles lays it out (<https://c2sp.org/tlog-tiles>).
//!
//! A tile of level `L` and index `N` has the hashes of up to 256 complete subtrees of 256^`L` leaves each, from
//! subtree `256·N` on. A full tile never changes; of those at the right edge of the tree the first so many hashes are
//! there (*partial*). Level 0 has the leaf hashes. Owns the addresses of tiles and the growing of the tree.

use super::Hash;
use super::tree::{Nodes, empty_root, node_hash};
use std::collections::HashMap;

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// Levels of the tree in a tile.
const HEIGHT: u32 = 8;
/// A tree has fewer leaves than 2^63, so its tiles have at most so many levels.
pub const MAX_LEVEL: u8 = 7;

/// Where a tile stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    pub level: u8,
    pub index: u64,
}

/// What an address below `tile/` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Hashes.
    Tile(TileId),
    /// The entries themselves: those of the level-0 tile with this index.
    Entries { index: u64 },
}

impl Resource {
    /// Reads `<L>/<N>` or `entries/<N>`, each with an optional `.p/<W>`; gives the width too: 256 without one.
    /// None: no tile has that address. There is one address for each tile: no leading zeros, no needless `x000`.
    pub fn parse(path: &str) -> Option<(Resource, u64)> {
        let (path, width) = match path.split_once(".p/") {
            Some((path, width)) => {
                let width: u64 = plain_number(width)?;
                (path, (1..TILE_WIDTH).contains(&width).then_some(width)?)
            }
            None => (path, TILE_WIDTH),
        };
        let (kind, index) = path.split_once('/')?;
        let index = parse_index(index)?;
        if kind == "entries" {
            return Some((Resource::Entries { index }, width));
        }
        let level = u8::try_from(plain_number(kind)?).ok().filter(|level| *level <= MAX_LEVEL)?;
        Some((Resource::Tile(TileId { level, index }), width))
    }

    /// The address below `tile/`.
    pub fn path(self, width: u64) -> String {
        let (kind, index) = match self {
            Resource::Tile(TileId { level, index }) => (level.to_string(), index),
            Resource::Entries { index } => ("entries".to_owned(), index),
        };
        let partial = if width < TILE_WIDTH { format!(".p/{width}") } else { String::new() };
        format!("{kind}/{}{partial}", index_path(index))
    }
}

/// `1234067` → `x001/x234/067`.
fn index_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

fn parse_index(path: &str) -> Option<u64> {
    let mut index: u64 = 0;
    let (front, last) = path.rsplit_once('/').unwrap_or(("", path));
    for group in front.split('/').filter(|_| !front.is_empty()) {
        index = index.checked_mul(1000)?.checked_add(three_digits(group.strip_prefix('x')?)?)?;
    }
    index = index.checked_mul(1000)?.checked_add(three_digits(last)?)?;
    (index_path(index) == path).then_some(index)
}

fn three_digits(text: &str) -> Option<u64> {
    (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn plain_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// How many hashes the tile has in a tree of `size` leaves.
pub fn width_at(id: TileId, size: u64) -> u64 {
    let subtrees = size.checked_shr(HEIGHT * u32::from(id.level)).unwrap_or(0);
    subtrees.saturating_sub(id.index.saturating_mul(TILE_WIDTH)).min(TILE_WIDTH)
}

/// The partial tiles at the right edge of a tree of `size` leaves, with their widths: what it grows from.
pub fn edge(size: u64) -> Vec<(TileId, u64)> {
    let level = |level: u8| {
        let subtrees = size.checked_shr(HEIGHT * u32::from(level)).unwrap_or(0);
        (TileId { level, index: subtrees / TILE_WIDTH }, subtrees % TILE_WIDTH)
    };
    (0..=MAX_LEVEL).map(level).filter(|(_, width)| *width > 0).collect()
}

/// A tree that grows: its right edge, and the tiles that changed since they were last taken.
#[derive(Debug, Clone)]
pub struct Growth {
    size: u64,
    /// The hashes of the partial tile of each level.
    edge: Vec<Vec<Hash>>,
    full: Vec<(TileId, Vec<Hash>)>,
}

impl Growth {
    /// Goes on from a tree of `size` leaves; `tiles` are those that [`edge`] names, at least so wide.
    /// None: one is missing or too narrow.
    pub fn from_edge(size: u64, tiles: &HashMap<TileId, Vec<Hash>>) -> Option<Growth> {
        let mut edge_tiles = vec![Vec::new(); usize::from(MAX_LEVEL) + 1];
        for (id, width) in edge(size) {
            edge_tiles[usize::from(id.level)] = tiles.get(&id)?.get(..width as usize)?.to_vec();
        }
        Some(Growth { size, edge: edge_tiles, full: Vec::new() })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf at the end.
    pub fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0..=MAX_LEVEL {
            let tile = &mut self.edge[usize::from(level)];
            tile.push(hash);
            if (tile.len() as u64) < TILE_WIDTH {
                return;
            }
            let hashes = std::mem::take(tile);
            let index = (self.size >> (HEIGHT * (u32::from(level) + 1))) - 1;
            hash = complete(&hashes);
            self.full.push((TileId { level, index }, hashes));
        }
    }

    /// The tiles that were filled since the last call.
    pub fn take_full(&mut self) -> Vec<(TileId, Vec<Hash>)> {
        std::mem::take(&mut self.full)
    }

    /// The partial tiles as they stand.
    pub fn partial(&self) -> Vec<(TileId, Vec<Hash>)> {
        edge(self.size).into_iter().map(|(id, _)| (id, self.edge[usize::from(id.level)].clone())).collect()
    }

    pub fn root(&self) -> Hash {
        // Complete subtrees from the smallest, at the right, to the largest: each joins what stands right of it.
        let mut root: Option<Hash> = None;
        for tile in &self.edge {
            let mut rest = tile.as_slice();
            while !rest.is_empty() {
                let size = 1 << rest.len().trailing_zeros();
                let (left, last) = rest.split_at(rest.len() - size);
                let hash = complete(last);
                root = Some(root.map_or(hash, |right| node_hash(&hash, &right)));
                rest = left;
            }
        }
        root.unwrap_or_else(empty_root)
    }
}

/// The hash over neighbouring complete subtrees of one size; their number is a power of two.
fn complete(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row[0]
}

/// Reads nodes out of tiles, each tile once.
pub struct TileReader<F> {
    fetch: F,
    tiles: HashMap<TileId, Vec<Hash>>,
    /// Nodes within tiles that were computed: neighbouring proofs share most of theirs.
    computed: HashMap<(u32, u64), Hash>,
}

impl<E, F: FnMut(TileId) -> Result<Vec<Hash>, E>> TileReader<F> {
    /// `fetch` gives all hashes that a tile has by now.
    pub fn new(fetch: F) -> TileReader<F> {
        TileReader { fetch, tiles: HashMap::new(), computed: HashMap::new() }
    }
}

/// Why a node could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TileError<E> {
    #[error("tile {}/{} is too narrow: the tree is damaged", .0.level, .0.index)]
    TooNarrow(TileId),
    #[error("{0}")]
    Read(E),
}

impl<E, F: FnMut(TileId) -> Result<Vec<Hash>, E>> Nodes for TileReader<F> {
    type Error = TileError<E>;

    fn node(&mut self, level: u32, index: u64) -> Result<Hash, TileError<E>> {
        if let Some(hash) = self.computed.get(&(level, index)) {
            return Ok(*hash);
        }
        let (node, tile_level, height) = ((level, index), level / HEIGHT, level % HEIGHT);
        let first = index << height;
        let level = u8::try_from(tile_level).unwrap_or(u8::MAX);
        let id = TileId { level, index: first / TILE_WIDTH };
        if !self.tiles.contains_key(&id) {
            let hashes = (self.fetch)(id).map_err(TileError::Read)?;
            self.tiles.insert(id, hashes);
        }
        let low = (first % TILE_WIDTH) as usize;
        let hashes = self.tiles.get(&id).and_then(|hashes| hashes.get(low..low + (1 << height)));
        let hash = hashes.map(complete).ok_or(TileError::TooNarrow(id))?;
        if height > 0 {
            self.computed.insert(node, hash);
        }
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::leaf_hash;
    use crate::audit::tree;
    use proptest::prelude::*;
    use std::convert::Infallible;

    #[test]
    fn addresses_are_those_of_the_specification() {
        let tile = |level, index| Resource::Tile(TileId { level, index });
        assert_eq!(tile(0, 1_234_067).path(256), "0/x001/x234/067");
        assert_eq!(tile(1, 0).path(8), "1/000.p/8");
        assert_eq!(Resource::Entries { index: 1_000 }.path(255), "entries/x001/000.p/255");
        for (resource, width) in
            [(tile(3, 999_999_999), 256), (tile(0, 7), 1), (Resource::Entries { index: 5 }, 256)]
        {
            assert_eq!(Resource::parse(&resource.path(width)), Some((resource, width)));
        }
    }

    #[test]
    fn no_tile_has_two_addresses() {
        for path in [
            "",
            "0",
            "0/",
            "0/7",
            "0/0007",
            "0/x000/007",
            "00/007",
            "0/007.p/0",
            "0/007.p/256",
            "0/007.p/07",
            "8/000",
            "0/x1/007",
            "0/007/",
            "-1/000",
            "entries/",
            "data/000",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
            "0/٠٠٧",
        ] {
            assert_eq!(Resource::parse(path), None, "{path}");
        }
    }

    fn grown(count: u64) -> (HashMap<TileId, Vec<Hash>>, Growth) {
        let mut growth = Growth::from_edge(0, &HashMap::new()).unwrap();
        (0..count).for_each(|index| growth.push(leaf_hash(&index.to_be_bytes())));
        let mut tiles: HashMap<_, _> = growth.take_full().into_iter().collect();
        tiles.extend(growth.partial());
        (tiles, growth)
    }

    #[test]
    fn tiles_of_every_level_fit_each_other() {
        let (tiles, growth) = grown(70_000);
        assert_eq!(tiles[&TileId { level: 0, index: 272 }].len(), 256);
        assert_eq!(tiles[&TileId { level: 0, index: 273 }].len(), (70_000 % 256) as usize);
        assert_eq!(tiles[&TileId { level: 1, index: 0 }].len(), 256);
        assert_eq!(tiles[&TileId { level: 2, index: 0 }].len(), 1);
        let mut reader =
            TileReader::new(|id| Ok::<_, Infallible>(tiles.get(&id).cloned().unwrap_or_default()));
        assert_eq!(tree::root(&mut reader, 70_000).unwrap(), growth.root());
        for index in [0, 255, 256, 65_535, 65_536, 69_999] {
            let proof = tree::inclusion_proof(&mut reader, index, 70_000).unwrap();
            assert!(tree::is_included(
                &leaf_hash(&index.to_be_bytes()),
                index,
                70_000,
                &proof,
                &growth.root()
            ));
        }
        assert_eq!(width_at(TileId { level: 1, index: 1 }, 70_000), 70_000 / 256 - 256);
        assert_eq!(width_at(TileId { level: 7, index: 5 }, 70_000), 0);
    }

    proptest! {
        #[test]
        fn a_tree_that_grows_in_two_goes_is_the_same(first in 0_u64..1_500, more in 0_u64..1_500) {
            let (tiles, _) = grown(first);
            let mut growth = Growth::from_edge(first, &tiles).unwrap();
            (first..first + more).for_each(|index| growth.push(leaf_hash(&index.to_be_bytes())));
            let (_, at_once) = grown(first + more);
            prop_assert_eq!(growth.root(), at_once.root());
            prop_assert_eq!(growth.partial(), at_once.partial());
        }
    }
}
