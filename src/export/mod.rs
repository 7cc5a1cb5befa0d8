//! What leaves as a file. Rows in, bytes out: nothing here knows who asked.

pub mod csv;
pub mod log;
