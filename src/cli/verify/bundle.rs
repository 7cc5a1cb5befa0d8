//! A run's bundle, offline.

use super::{Findings, Trust, own_keys};
use crate::audit::note::VerifierKey;
use crate::config::Config;
use crate::export::bundle::check::Bundle;
use anyhow::Context;
use std::fs::File;
use std::path::Path;

/// How many findings there were.
pub fn check(config: &Config, path: &Path, key: Option<VerifierKey>) -> anyhow::Result<u64> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let bundle = Bundle::open(file).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    let trust = match key {
        Some(key) => Trust::Given(key),
        None => match own_keys(config, &bundle.origin())? {
            own if own.is_empty() => Trust::OfTheBundle(bundle.own_keys()),
            own => Trust::Own(own),
        },
    };
    let checked = bundle.check(&trust.keys());
    let mut findings = Findings::default();
    checked.findings.iter().for_each(|finding| findings.add(finding));
    checked.words.iter().for_each(|words| findings.add_words(words));
    println!(
        "{} entries of run {} checked, under a head over {} entries; {} broken.",
        checked.entries, checked.run, checked.size, findings.count
    );
    if let Some(key) = checked.signed_by {
        println!("The head is signed by {key}, the key {}.", trust.words());
    }
    Ok(findings.count)
}
