//! Who somebody is, and the one policy on what they may do.
//!
//! Owns passwords, tokens, sessions, limits and the policy. Never answers a request: refusals leave here as values,
//! and `web` turns them into answers.

pub mod key_file;
pub mod limits;
pub mod log_keys;
pub mod password;
pub mod policy;
pub mod session;
pub mod token_keys;
pub mod tokens;
