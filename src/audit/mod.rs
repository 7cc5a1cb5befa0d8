//! The activity log as evidence. PURE: bytes in, bytes and findings out.
//!
//! Owns the form of an entry and the link between entries. Never reads the database: `store` hands it rows.
//!
//! An entry is stored as the exact bytes that are hashed, its *leaf*: a JSON object in the canonical form of
//! RFC 8785. `leaf_hash = SHA-256(0x00 ‖ leaf)` (the leaf hash of RFC 6962, section 2.1), and `prev` of the next
//! entry of the same run is that hash. What a leaf can only hold by hash or as a string lies *beside* it, typed. What is
//! sealed is not in the leaf at all, but for a digest ([`disclosure`]).

pub mod chain;
pub mod checkpoint;
pub mod disclosure;
pub mod entry;
pub mod note;
pub mod tile;
pub mod tree;

use sha2::{Digest, Sha256};

/// The most bytes that a leaf may have.
pub const MAX_LEAF_BYTES: usize = 65_535;
/// Version of the entry's form.
pub const ENTRY_VERSION: u32 = 1;

pub type Hash = [u8; 32];

/// RFC 6962, section 2.1: `SHA-256(0x00 ‖ leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(leaf);
    hasher.finalize().into()
}
