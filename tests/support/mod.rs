//! What the tests stand on.

pub mod browser;
pub mod bucket;
pub mod bundle;
pub mod client;
pub mod gate;
pub mod link;
pub mod outside;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod replica;
pub mod server;
pub mod service;
