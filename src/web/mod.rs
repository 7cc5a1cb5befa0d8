//! The web door: every URL, the pages, the API, the live streams.

pub mod pages;
pub mod static_files;
