//! The backup as this program is set up: its two places, how they are reached, and who signs.

use crate::auth::log_keys::ManifestSigner;
use crate::config::{Backup as Settings, Config};
use crate::export::backup::target::{Hidden, S3Access, Target};
use crate::export::backup::writing::Backup;
use crate::store::Pool;
use anyhow::Context;
use std::sync::Arc;

/// The backup that goes on while the app serves. None: there is none.
///
/// # Errors
/// One line that names the variable.
pub fn continuous(config: &Config, pool: &Pool, origin: &str) -> anyhow::Result<Option<Backup>> {
    let Some(to) = &config.backup.to else { return Ok(None) };
    let places = places(config, to, config.backup.aside.as_deref()).context("HMS_ACT_BACKUP")?;
    let (main, aside) = open(&places, &access(config))?;
    Ok(Some(backup(config, (main, aside), pool, origin)))
}

/// One that is ready to be written.
pub fn backup(config: &Config, (main, aside): (Target, Target), pool: &Pool, origin: &str) -> Backup {
    let signer = ManifestSigner { data_dir: config.data_dir.clone(), origin: origin.to_owned() };
    Backup::new(main, aside, pool.clone(), origin.to_owned(), Arc::new(signer))
}

/// Both places, as they are named.
pub struct Places {
    pub main: String,
    pub aside: String,
}

/// # Errors
/// When a bucket is named without a place for what an erasure must reach.
pub fn places(config: &Config, main: &str, aside: Option<&str>) -> anyhow::Result<Places> {
    let aside = match aside.or(config.backup.aside.as_deref()) {
        Some(aside) => aside.to_owned(),
        None if main.starts_with("s3://") => anyhow::bail!(
            "say with HMS_ACT_BACKUP_ASIDE (or --aside) where salts, disclosures and outside events are kept: another \
             bucket without Object Lock and without versions, or a directory, so that an erasure can reach them there"
        ),
        None => format!("{}/aside", main.trim_end_matches('/')),
    };
    anyhow::ensure!(
        aside.trim_end_matches('/') != main.trim_end_matches('/'),
        "the place aside must be another one"
    );
    Ok(Places { main: main.to_owned(), aside })
}

/// Opens both to be written, and says when others on this machine could read what is there.
///
/// # Errors
/// One line that names the place.
pub fn open(places: &Places, access: &S3Access) -> anyhow::Result<(Target, Target)> {
    let targets = (Target::open(&places.main, access)?, Target::open(&places.aside, access)?);
    for target in [&targets.0, &targets.1] {
        if target.is_open_to_others() {
            tracing::warn!(
                "{} can be read by others: a backup holds hashes of passwords and all that was logged. Run: chmod 700 {}",
                target.name(),
                target.name()
            );
        }
    }
    Ok(targets)
}

/// How buckets are reached.
pub fn access(config: &Config) -> S3Access {
    let Settings { s3_endpoint, region, access_key_id, secret_access_key, session_token, .. } =
        &config.backup;
    let hidden = |secret: &Option<crate::config::Secret>| {
        secret.as_ref().map(|secret| Hidden(secret.expose().to_owned()))
    };
    S3Access {
        endpoint: s3_endpoint.clone(),
        region: region.clone(),
        access_key_id: access_key_id.clone(),
        secret_access_key: hidden(secret_access_key),
        session_token: hidden(session_token),
        plain_hosts: config
            .allow_hosts
            .iter()
            .map(|allowed| format!("{}:{}", allowed.host, allowed.port))
            .collect(),
    }
}
