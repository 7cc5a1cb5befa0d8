//! The log that the engine left: verified, and exported beside COPY of the same rows.

use super::Ground;
use super::cost::{most_resident, resident};
use super::figures::Section;
use super::server::{Server, fine};
use crate::app;
use crate::config::Config;
use crate::store::embedded::Cluster;
use crate::store::{log, pool};
use anyhow::{Context, ensure};
use futures_util::StreamExt;
use std::process::Stdio;
use std::time::Instant;

/// Each export is taken so often; the fastest counts, of COPY as well.
const TIMES: usize = 3;

pub(super) async fn section(ground: &Ground, config: &Config) -> anyhow::Result<Section> {
    if log::count(&mut pool::connect(&ground.database.app_url)?)? == 0 {
        // Nothing was measured before: the log of a start and a stop is all there is.
        app::start(config).await?.stop().await?;
    }
    let entries = log::count(&mut pool::connect(&ground.database.app_url)?)? as f64;
    let mut section = Section::new("evidence", format!("the log of {entries} entries"));
    let began = Instant::now();
    tokio::task::block_in_place(|| ground.program.told(&["verify"]))?;
    section.add(
        "verify_per_second",
        "verified, entries per second",
        entries / began.elapsed().as_secs_f64(),
        "",
    );

    let server = tokio::task::block_in_place(|| Server::start(&ground.program))?;
    let before = resident(server.pid());
    let (mut csv, mut ndjson, mut copy) = (f64::MAX, f64::MAX, None);
    for _ in 0..TIMES {
        if let Some(cluster) = ground.cluster() {
            let took = tokio::task::block_in_place(|| copied(cluster, &ground.database.app_url))?;
            copy = Some(copy.map_or(took, |fastest: f64| fastest.min(took)));
        }
        csv = csv.min(exported(&server, "/acts/log.csv").await?);
        ndjson = ndjson.min(exported(&server, "/acts/log.ndjson").await?);
    }
    let rate = copy.map(|copy| entries / copy);
    section.add_if_measured("copy_rows_per_second", "raw: psql COPY TO STDOUT, rows per second", rate, "");
    section.add("csv_rows_per_second", "exported as CSV, rows per second", entries / csv, "");
    section.add_share("csv_of_copy", "share of COPY", copy.map(|copy| copy / csv));
    section.add("ndjson_rows_per_second", "exported as NDJSON, rows per second", entries / ndjson, "");
    if let (Some(before), Some(most)) = (before, most_resident(server.pid())) {
        let grown = most.saturating_sub(before) as f64 / 1_048_576.0;
        section.add("export_memory_mib", "memory that exporting took at most", grown, "MiB");
    }
    tokio::task::block_in_place(|| server.stop())?;
    Ok(section)
}

/// Seconds of an export, read to its end and thrown away.
async fn exported(server: &Server, path: &str) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut body = fine(server.get(path).send().await?)?.bytes_stream();
    let mut bytes = 0;
    while let Some(part) = body.next().await {
        bytes += part?.len();
    }
    ensure!(bytes > 0, "{path} is empty");
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds of `psql` copying the same columns, thrown away.
fn copied(cluster: &Cluster, url: &str) -> anyhow::Result<f64> {
    let columns = "run_id, seq, t, actor, type, step, attempt, status, convert_from(leaf, 'UTF8'), \
                   encode(leaf_hash, 'hex')";
    let copy = format!("COPY (SELECT {columns} FROM activity_log) TO STDOUT (FORMAT csv)");
    let psql = cluster.psql().context("psql lies beside the server's programs")?;
    let began = Instant::now();
    let mut copying = std::process::Command::new(psql);
    // The app's login has a limit on its statements.
    copying.args(["-X", "-q", "-d", url, "-c", "SET statement_timeout = 0", "-c", &copy]);
    let done = copying.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    ensure!(done.success(), "psql failed");
    Ok(began.elapsed().as_secs_f64())
}
