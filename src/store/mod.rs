//! The only user of the database: reads by noun, writes guarded by the state that they leave.

pub mod schema;
