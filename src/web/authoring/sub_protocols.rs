//! The protocols that a protocol runs inside itself: each must exist, and none may lead back to where it began.

use crate::engine::protocol::{Protocol, UsedAs};
use crate::engine::state::ProtocolRef;
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::protocols::{self, ProtocolCache};
use std::collections::{HashMap, HashSet};

/// What the protocol is called that is being published. Nothing is known of one that is only looked at.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// None: it is new.
    pub id: Option<i64>,
    /// None: the name that it has stays.
    pub name: Option<String>,
}

/// Everything wrong with the protocols that `definition` uses, each with its JSON path.
///
/// # Errors
/// When the database cannot be asked.
pub fn problems(
    connection: &mut Connection,
    cache: &ProtocolCache,
    own: Own,
    definition: &Protocol,
) -> Result<Vec<(String, String)>, StoreError> {
    let used: Vec<(String, &str)> = used_by(definition).collect();
    if used.is_empty() {
        return Ok(Vec::new());
    }
    let published = Published::read(connection, own)?;
    let mut problems = Vec::new();
    for (path, name) in used {
        let Some(found) = published.find(name) else {
            let message = format!(
                "There is no protocol `{name}`. Save it first, or use the number or name of another one."
            );
            problems.push((path, message));
            continue;
        };
        let mut way = Vec::new();
        if published.leads_back(connection, cache, found, &mut way, &mut HashSet::new())? {
            problems.push((path, circle(&published.own, &way)));
        }
    }
    Ok(problems)
}

fn used_by(protocol: &Protocol) -> impl Iterator<Item = (String, &str)> {
    let uses = protocol.uses().into_iter();
    uses.filter(|(_, used_as, _)| *used_as == UsedAs::Protocol).map(|(path, _, name)| (path, name))
}

fn circle(own: &ProtocolRef, way: &[String]) -> String {
    let names: Vec<String> = [&own.name].into_iter().chain(way).map(|name| format!("`{name}`")).collect();
    format!(
        "leads back to this protocol, so a run would never end: {}. Take one of these steps out.",
        names.join(" → ")
    )
}

/// The latest version of every protocol, as it will be when this one is saved.
struct Published {
    own: ProtocolRef,
    by_name: HashMap<String, ProtocolRef>,
    names: HashMap<i64, String>,
}

impl Published {
    fn read(connection: &mut Connection, own: Own) -> Result<Published, StoreError> {
        let mut latest = protocols::latest(connection)?;
        let is_own = |other: &ProtocolRef| match own.id {
            Some(id) => other.id == id,
            None => own.name.as_ref() == Some(&other.name),
        };
        let before = latest.iter().position(is_own).map(|position| latest.swap_remove(position));
        let (id, name) = before.map_or((0, "this protocol".to_owned()), |before| (before.id, before.name));
        let is_named = id != 0 || own.name.is_some();
        let own = ProtocolRef { id, version: 0, name: own.name.unwrap_or(name) };
        latest.extend(is_named.then(|| own.clone()));
        let names = latest.iter().map(|protocol| (protocol.id, protocol.name.clone())).collect();
        let by_name = latest.into_iter().map(|protocol| (protocol.name.clone(), protocol)).collect();
        Ok(Published { own, by_name, names })
    }

    /// As the engine finds it when a step begins.
    fn find(&self, name: &str) -> Option<&ProtocolRef> {
        let by_id = || self.names.get(&name.parse().ok()?);
        self.by_name.get(name).or_else(|| self.by_name.get(by_id()?))
    }

    /// True when a run of `from` could begin a run of the protocol that is being published. `way`: through which.
    fn leads_back(
        &self,
        connection: &mut Connection,
        cache: &ProtocolCache,
        from: &ProtocolRef,
        way: &mut Vec<String>,
        seen: &mut HashSet<i64>,
    ) -> Result<bool, StoreError> {
        way.push(from.name.clone());
        if from.id == self.own.id {
            return Ok(true);
        }
        if seen.insert(from.id) {
            let protocol = match cache.get(connection, from.id, from.version) {
                Ok(protocol) => Some(protocol),
                // Written under other rules; no run of it begins.
                Err(StoreError::Newer(_)) => None,
                Err(other) => return Err(other),
            };
            for (_, name) in protocol.iter().flat_map(|protocol| used_by(protocol)) {
                if let Some(next) = self.find(name)
                    && self.leads_back(connection, cache, next, way, seen)?
                {
                    return Ok(true);
                }
            }
        }
        way.pop();
        Ok(false)
    }
}
