//! The only user of the database: reads by noun, writes guarded by the state that they leave.

pub mod schema;
pub mod sessions;
pub mod token_keys;
pub mod users;

/// One connection. r2d2 blocks: take and use it inside `web::block` or on a thread of its own.
pub type Connection = diesel::PgConnection;
/// The app's connections.
pub type Pool = diesel::r2d2::Pool<diesel::r2d2::ConnectionManager<Connection>>;
