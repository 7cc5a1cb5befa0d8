//! What is left of all of it: what the tables take, and how much of them is dead.

use super::Ground;
use super::figures::Section;
use crate::store::{health, pool};

/// Smaller ones are not told.
const BYTES: i64 = 1 << 20;

pub(super) fn section(ground: &Ground) -> anyhow::Result<Section> {
    let mut section = Section::new("tables", "tables at the end, with their indexes");
    for size in health::sizes(&mut pool::connect(&ground.database.app_url)?, BYTES)? {
        let name = &size.name;
        section.add(format!("{name}_mib"), name.clone(), size.bytes as f64 / f64::from(1 << 20), "MiB");
        let rows = (size.living + size.dead).max(1);
        let dead = size.dead as f64 / rows as f64;
        section.add_share(format!("{name}_dead"), format!("{name}, rows that are dead"), Some(dead));
    }
    Ok(section)
}
