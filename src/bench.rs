//! `hms-act bench`: figures beside the raw ceiling taken in the same run.

pub fn run(_runs: usize, _json: bool) -> anyhow::Result<()> {
    anyhow::bail!("no figures yet")
}
