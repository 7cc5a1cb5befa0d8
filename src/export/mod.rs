//! What leaves as a file. Rows in, bytes out: nothing here knows who asked.

pub mod backup;
pub mod csv;
