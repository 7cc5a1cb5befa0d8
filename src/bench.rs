//! `hms-act bench`: figures of the whole product, each beside the raw ceiling taken in the same run on the same
//! Postgres where there is one.
//!
//! It starts a private Postgres of its own in a temporary directory, with the settings that `serve` uses (fsync and
//! synchronous_commit on), and removes it at the end. The engine is measured inside a whole app (sequencer,
//! housekeeping and all) without HTTP; the rest on the program as its own process, as people meet it. A ratio survives
//! a slow or noisy machine; a rate alone does not.

mod cost;
mod engine;
mod evidence;
mod figures;
mod live;
mod pages;
mod pure;
mod raw;
mod restart;
mod server;
mod service;

use crate::app::database::Database;
use crate::config::{AllowedHost, Backup, Config, DEFAULT_MAX_BODY_BYTES, DEFAULT_OVERRIDE_REVIEW_HOURS};
use crate::store::embedded::Cluster;
use anyhow::Context;
use figures::{Report, Section};
use server::Program;
use service::Service;
use std::path::Path;

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Runs per second and how long one takes, beside the raw rate of the same inserts.
    Engine,
    /// Verifying and exporting the log that the engine left, beside COPY.
    Evidence,
    /// Pages and calls of the API with many runs present, alone and beside a full load.
    Pages,
    /// Many open pages of one run.
    Live,
    /// Starting, and going on after a kill.
    Restart,
}

/// What to measure, and how much of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Runs of five steps to complete for the rate.
    pub runs: usize,
    /// Runs that are there when pages are measured.
    pub present: usize,
    /// Pages of a run that are open at once.
    pub streams: usize,
    /// Runs in flight when the program is killed.
    pub in_flight: usize,
    /// Empty: every part.
    pub parts: Vec<Part>,
    pub as_json: bool,
}

impl Plan {
    fn has(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

/// Where it happens: a directory with a private Postgres, and a service that does nothing.
struct Ground {
    program: Program,
    database: Database,
    service: Service,
}

impl Ground {
    fn cluster(&self) -> anyhow::Result<&Cluster> {
        self.database.cluster().context("the bench has a private Postgres")
    }
}

/// Measures and prints.
///
/// # Errors
/// When the private Postgres does not start, a run does not complete, or an answer is not what it should be.
pub fn run(plan: &Plan) -> anyhow::Result<()> {
    let place = std::env::temp_dir().join(format!("hms-act-bench-{}", std::process::id()));
    std::fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    let measured = measure(plan, &place);
    // A leftover directory is only disk space; the figures are worth more.
    let _ = std::fs::remove_dir_all(&place);
    let report = measured?;
    if plan.as_json {
        println!("{:#}", report.as_json());
    } else {
        report.print();
    }
    Ok(())
}

fn measure(plan: &Plan, place: &Path) -> anyhow::Result<Report> {
    let mut report = Report::default();
    // First, while the allocator holds nothing that it could use again: what is taken then is what the process grows by.
    let decided = plan.has(Part::Engine).then(pure::section).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let service = runtime.block_on(async { Service::start() })?;
    let config = config(place, &service);
    let program = Program { place: place.to_owned(), service: service.address() };
    let ground = Ground { program, database: Database::open(&config)?, service };
    ground.program.add_user()?;
    let measured = runtime.block_on(measure_parts(plan, &ground, &config, &mut report));
    report.extend(decided);
    ground.service.stop();
    drop(runtime);
    ground.database.close()?;
    measured.map(|()| report)
}

async fn measure_parts(
    plan: &Plan,
    ground: &Ground,
    config: &Config,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut told = |section: Section| {
        // A long trial says how far it is; the table comes at the end.
        eprintln!("{}: measured", section.title);
        report.add(section);
    };
    if plan.has(Part::Engine) {
        engine::sections(ground, config, plan.runs).await?.into_iter().for_each(&mut told);
    }
    if plan.has(Part::Evidence) {
        told(evidence::section(ground, config).await?);
    }
    if plan.has(Part::Pages) {
        pages::sections(ground, plan.present).await?.into_iter().for_each(&mut told);
    }
    if plan.has(Part::Live) {
        told(live::section(ground, plan.streams).await?);
    }
    if plan.has(Part::Restart) {
        told(restart::section(ground, plan.in_flight).await?);
    }
    Ok(())
}

/// The app as it is shipped, on the private Postgres of this directory.
fn config(place: &Path, service: &Service) -> Config {
    let address = service.address();
    Config {
        database_url: None,
        owner_database_url: None,
        bind: ([127, 0, 0, 1], 0).into(),
        data_dir: place.to_owned(),
        public_url: None,
        allow_hosts: vec![AllowedHost { host: address.ip().to_string(), port: address.port() }],
        allow_commands: Vec::new(),
        demo: false,
        demo_password: None,
        demo_screening_list: None,
        log_origin: None,
        max_body_bytes: DEFAULT_MAX_BODY_BYTES,
        override_review_hours: DEFAULT_OVERRIDE_REVIEW_HOURS,
        backup: Backup::default(),
    }
}
