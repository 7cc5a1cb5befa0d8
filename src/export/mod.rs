//! What leaves as a file. Nothing here knows who asked.

pub mod backup;
pub mod bundle;
pub mod csv;
pub mod log;
