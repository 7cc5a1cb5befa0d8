//! The only user of the database: reads by noun, writes for the committer, and how the database itself comes up.
//!
//! Order at start: [`embedded`] (when no `DATABASE_URL` is given) → [`bootstrap`] → [`migrate`] → [`pool`].
//! Never decides what may happen to a run: that is the engine's.

pub mod bootstrap;
pub mod conninfo;
pub mod embedded;
pub mod error;
pub mod migrate;
pub mod pool;
