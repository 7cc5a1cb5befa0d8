//! The HTTP side. Owns every URL, and how a request is let in or refused. Never touches run state: it submits
//! commands and shows what is stored.
//!
//! Around every handler, from the outside in: [`measure::measure`] (figures), [`security::frame`] (request id,
//! headers, errors as problems), the
//! session middleware of `auth::session`, [`security::guard_csrf`]. A handler then asks
//! [`principal::authenticate`] who it is, and `auth::policy` what they may do.

pub mod acts;
pub mod api;
pub mod authoring;
pub mod doors;
pub mod json;
pub mod live;
pub mod log_search;
pub mod measure;
pub mod outside;
pub mod pages;
pub mod people;
pub mod principal;
pub mod problem;
pub mod request_id;
pub mod routes;
pub mod security;
pub mod sign_in;
pub mod site;
pub mod static_files;
pub mod work;
