//! The Merkle tree over the log: RFC 6962, section 2.1 (the same hashes and proofs as RFC 9162, section 2.1).
//!
//! Leaf `i` is the leaf hash of the entry with index `i`. Everything here is computed from *nodes*, the hashes of
//! complete subtrees; where they are kept is the business of [`super::tile`] and the store. Never reads anything
//! itself, and never trusts a proof: verifying recomputes the root.

use super::Hash;
use sha2::{Digest, Sha256};

/// RFC 6962, section 2.1: `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The root of a tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Hands out the hashes of complete subtrees.
pub trait Nodes {
    type Error;
    /// The hash of the 2^`level` leaves from `index` · 2^`level` on.
    ///
    /// # Errors
    /// Whatever reading it meets. A node that the tree does not have is an error too.
    fn node(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of the tree's first `size` leaves.
///
/// # Errors
/// Of reading nodes.
pub fn root<N: Nodes>(nodes: &mut N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 { Ok(empty_root()) } else { subtree(nodes, 0, size) }
}

/// The audit path of leaf `index` in the tree of `size` leaves, from the leaf upwards (RFC 6962, section 2.1.1).
/// `index` must be below `size`.
///
/// # Errors
/// Of reading nodes.
pub fn inclusion_proof<N: Nodes>(nodes: &mut N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut low, mut high) = (0, size);
    let mut path = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            path.push(subtree(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(subtree(nodes, low, middle)?);
            low = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Proves that the tree of `new` leaves begins with the tree of `old` (RFC 6962, section 2.1.2). `old` is at most
/// `new`; the proof is empty when they are equal or `old` is 0.
///
/// # Errors
/// Of reading nodes.
pub fn consistency_proof<N: Nodes>(nodes: &mut N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut low, mut high) = (0, new);
    let mut path = Vec::new();
    if old == 0 || old == new {
        return Ok(path);
    }
    while old != high {
        let middle = low + split(high - low);
        if old <= middle {
            path.push(subtree(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(subtree(nodes, low, middle)?);
            low = middle;
        }
    }
    // The old tree itself need not be sent when it is the left edge: whoever checks knows its root.
    if low > 0 {
        path.push(subtree(nodes, low, high)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks an audit path (the algorithm of RFC 9162, section 2.1.3.2).
pub fn is_included(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for step in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(step, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Checks a consistency proof (the algorithm of RFC 9162, section 2.1.4.2).
pub fn is_consistent(old: u64, new: u64, proof: &[Hash], old_root: &Hash, new_root: &Hash) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut steps = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { steps.next() };
    let Some(first) = first else { return false };
    let (mut place, mut last) = (old - 1, new - 1);
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let (mut of_old, mut of_new) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            of_old = node_hash(step, &of_old);
            of_new = node_hash(step, &of_new);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            of_new = node_hash(&of_new, step);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && of_old == *old_root && of_new == *new_root
}

/// The hash over the leaves from `low` up to `high`, where `low` is a place at which the tree splits.
fn subtree<N: Nodes>(nodes: &mut N, low: u64, high: u64) -> Result<Hash, N::Error> {
    let size = high - low;
    if size.is_power_of_two() && low.is_multiple_of(size) {
        return nodes.node(size.trailing_zeros(), low / size);
    }
    let middle = low + split(size);
    let (left, right) = (subtree(nodes, low, middle)?, subtree(nodes, middle, high)?);
    Ok(node_hash(&left, &right))
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::leaf_hash;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// A tree by the book: the definition of RFC 6962, without any tiles.
    struct Leaves(Vec<Hash>);

    impl Nodes for Leaves {
        type Error = Infallible;
        fn node(&mut self, level: u32, index: u64) -> Result<Hash, Infallible> {
            let (low, size) = ((index << level) as usize, 1 << level);
            Ok(by_definition(&self.0[low..low + size]))
        }
    }

    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                node_hash(&by_definition(left), &by_definition(right))
            }
        }
    }

    fn leaves(count: u64) -> Leaves {
        Leaves((0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect())
    }

    /// The reference data of RFC 6962 implementations: eight leaves and the roots over the first 1 to 8 of them
    /// (`testonly/reference.go` of transparency-dev/merkle, Apache-2.0).
    #[test]
    fn roots_are_those_of_the_reference_tree() {
        let inputs = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            concat!("60616263646566", "6768696a6b6c6d6e6f"),
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Leaves(inputs.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect());
        for (index, expected) in roots.iter().enumerate() {
            assert_eq!(hex::encode(root(&mut tree, index as u64 + 1).unwrap()), *expected);
        }
        assert_eq!(
            hex::encode(empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    proptest! {
        #[test]
        fn every_leaf_of_every_tree_is_proven_and_no_other(size in 1_u64..200, index in 0_u64..200, other in 0_u64..200) {
            let (index, other) = (index % size, other % size);
            let mut tree = leaves(size);
            let root = root(&mut tree, size).unwrap();
            let proof = inclusion_proof(&mut tree, index, size).unwrap();
            prop_assert!(is_included(&tree.0[index as usize], index, size, &proof, &root));
            if other != index {
                prop_assert!(!is_included(&tree.0[other as usize], index, size, &proof, &root));
                prop_assert!(!is_included(&tree.0[index as usize], other, size, &proof, &root));
            }
            for at in 0..proof.len() {
                let mut bent = proof.clone();
                bent[at][0] ^= 1;
                prop_assert!(!is_included(&tree.0[index as usize], index, size, &bent, &root));
                prop_assert!(!is_included(&tree.0[index as usize], index, size, &proof[..at], &root));
            }
        }

        #[test]
        fn every_tree_extends_its_beginnings_and_nothing_else(new in 1_u64..200, old in 0_u64..200) {
            let old = old % (new + 1);
            let mut tree = leaves(new);
            let (old_root, new_root) = (root(&mut tree, old).unwrap(), root(&mut tree, new).unwrap());
            let proof = consistency_proof(&mut tree, old, new).unwrap();
            prop_assert!(is_consistent(old, new, &proof, &old_root, &new_root));
            let mut bent = old_root;
            bent[31] ^= 1;
            prop_assert!(!is_consistent(old, new, &proof, &bent, &new_root));
            if old > 0 {
                let mut bent = new_root;
                bent[0] ^= 1;
                prop_assert!(!is_consistent(old, new, &proof, &old_root, &bent));
            }
            for at in 0..proof.len() {
                prop_assert!(!is_consistent(old, new, &proof[..at], &old_root, &new_root));
            }
        }
    }
}
