//! The ceiling: the log rows of finished runs, written again in batches with nothing around them.

use crate::audit::chain::Stored;
use crate::store::embedded::{self, Cluster};
use crate::store::{log, pool, raw_log, runs};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DATABASE: &str = "raw";
/// Rows in a transaction.
const ROWS: usize = 1_000;
/// Connections that write at the same time.
const CLIENTS: i64 = 2;
/// Copies get numbers from here on, far above those of the runs that are measured.
const FIRST_COPY: i64 = 500_000_000;

/// A database beside the one that is measured, with the same tables: the copies must not stand in a log that is
/// verified later. Its connection string. Nobody may be connected to the other one.
pub(super) fn database(cluster: &Cluster) -> anyhow::Result<String> {
    raw_log::make_database(&cluster.admin_url(), DATABASE, embedded::DATABASE)?;
    Ok(cluster.app_url_of(DATABASE))
}

/// Rows per second, by two clients, for about this long. The rows are like those in the database of `template`.
pub(super) fn rows_per_second(template: &str, url: &str, length: Duration) -> anyhow::Result<f64> {
    let mut connection = pool::connect(template)?;
    // Behind the entries of the agency, which belong to no run.
    let runs = Some((0, i64::MAX, i64::MAX));
    let template: Vec<Stored> = log::in_chain_order(&mut connection, None, runs, ROWS as i64)?;
    anyhow::ensure!(template.len() == ROWS, "there are not yet {ROWS} rows to copy");
    let template = Arc::new(template);
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (url, template) = (url.to_owned(), Arc::clone(&template));
            std::thread::spawn(move || write(&url, &template, client, length))
        })
        .collect();
    let mut rows = 0;
    for client in clients {
        rows += client.join().map_err(|_| anyhow::anyhow!("a raw writer ended in a panic"))??;
    }
    Ok(rows as f64 / began.elapsed().as_secs_f64())
}

fn write(url: &str, template: &[Stored], client: i64, length: Duration) -> anyhow::Result<usize> {
    let mut connection = pool::connect(url)?;
    let mut next = FIRST_COPY + client * 100_000_000;
    runs::ensure_log_room(&mut connection, next)?;
    let (began, mut rows) = (Instant::now(), 0);
    while began.elapsed() < length {
        // The copies keep their grouping into runs, under numbers that were never used.
        let span = template.last().map_or(0, |last| last.run_id)
            - template.first().map_or(0, |first| first.run_id)
            + 1;
        raw_log::copy(&mut connection, template, next)?;
        next += span;
        rows += template.len();
    }
    Ok(rows)
}
