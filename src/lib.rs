//! HMS-ACT: the conductor and black-box recorder for government work.
//!
//! An agency writes down how a thing is done (a *protocol*); HMS-ACT runs it step by step, durably, and writes
//! every move into a log that an auditor can replay and check.
//!
//! Data flows one way: door (`web`) → `auth::policy` → `engine::command` → `scheduler::committer` → events →
//! log, projections, live pages. A module may use only those listed above it here (`tests/architecture.rs`):
//!
//! 1. `engine` and `audit`: pure. What may happen to a run, and how an entry of the log is encoded and checked.
//! 2. `store`: the only user of the database.
//! 3. `actions` and `export`: what a step calls; what leaves as a file.
//! 4. `auth`: who somebody is, and the one policy on what they may do.
//! 5. `scheduler`: the committer, dispatch, timers, rescue.
//! 6. `web`: every URL. `demo`: a made-up agency to try it on.
//! 7. `app`: composition, start and stop. `bench`: figures. `cli`: the commands.

pub mod config;

pub mod audit;
pub mod engine;

pub mod store;

pub mod actions;
pub mod export;

pub mod auth;

pub mod scheduler;

pub mod demo;
pub mod web;

pub mod app;
pub mod bench;
pub mod cli;
