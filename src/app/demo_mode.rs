//! Demo mode: the made-up agency, its users and its protocol. Without `--demo` none of it exists.

use crate::auth::password;
use crate::auth::policy::Role;
use crate::config::Config;
use crate::demo::{Agency, AgencyOptions, seed};
use crate::store::{Connection, protocols, registry, runs, users};

/// Number of the first run in demo mode.
const FIRST_RUN: i64 = 9001;
/// Who the log names for what demo mode sets up.
const AUTHOR: &str = "HMS-ACT demo";

/// Opens the made-up agency on a loopback port, in demo mode.
pub async fn open_agency(config: &Config) -> anyhow::Result<Option<Agency>> {
    if !config.demo {
        return Ok(None);
    }
    let options = AgencyOptions {
        data_dir: config.data_dir.clone(),
        screening_list: config.demo_screening_list.clone(),
    };
    Ok(Some(crate::demo::start(options).await?))
}

/// Puts into the database what is missing there. Safe to repeat: what people changed stays, but for the addresses
/// of the agency, which follow its port.
pub fn seed(config: &Config, connection: &mut Connection, agency_url: &str) -> anyhow::Result<()> {
    for (name, kind, action) in seed::actions(agency_url) {
        match registry::actions::get(connection, name)? {
            None => drop(registry::actions::create(connection, name, kind, &action, AUTHOR)?),
            // Only then: a new version changes the checksums of the steps that use it.
            Some(known) if known.updated_by == AUTHOR && known.config != action => {
                registry::actions::update(connection, name, None, kind, &action, AUTHOR)?;
            }
            Some(_) => {}
        }
    }
    for (name, kind, agent) in seed::agents(agency_url) {
        match registry::agents::get(connection, name)? {
            None => drop(registry::agents::create(connection, name, kind, &agent, AUTHOR)?),
            Some(known) if known.updated_by == AUTHOR && known.config != agent => {
                registry::agents::update(connection, name, None, kind, &agent, AUTHOR)?;
            }
            Some(_) => {}
        }
    }
    if protocols::get(connection, seed::PROTOCOL_ID)?.is_none() {
        let definition = seed::protocol();
        let name = definition["name"].as_str().unwrap_or("Demo protocol").to_owned();
        protocols::create(connection, Some(seed::PROTOCOL_ID), &name, &definition, AUTHOR)?;
        protocols::begin_ids_at(connection, seed::PROTOCOL_ID + 1)?;
    }
    runs::begin_ids_at(connection, FIRST_RUN)?;
    seed_users(config, connection)
}

fn seed_users(config: &Config, connection: &mut Connection) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for role in Role::ALL {
        if users::get(connection, role.as_str())?.is_none() {
            missing.push(role.as_str());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let (password, generated) = match &config.demo_password {
        Some(password) => (password.expose().to_owned(), false),
        None => (readable_password(), true),
    };
    let hash = password::hash(&password)?;
    for name in missing {
        users::create(connection, name, name, &[], Some(&hash))?;
    }
    if generated {
        println!(
            "Demo users: staff, supervisor, auditor, admin. Their password, shown only this once: {password}"
        );
    }
    Ok(())
}

/// 60 random bits in letters that nobody mixes up, in groups of four.
fn readable_password() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let random: [u8; 12] = rand::random();
    let letters: Vec<char> = random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    letters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}
