//! Who somebody is, and the one policy on what they may do.

pub mod policy;
