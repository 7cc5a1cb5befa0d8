//! `hms-act bench`: figures of the whole product, each beside the raw ceiling taken in the same run on the same
//! Postgres where there is one.
//!
//! It starts a private Postgres of its own in a temporary directory, with the settings that `serve` uses (fsync and
//! synchronous_commit on), and removes it at the end; or it works on a given one, on a database without runs, and tells
//! as not measured what only the machine of the server could tell. The engine is measured inside a whole app
//! (sequencer, housekeeping and all) without HTTP; the rest on the program as its own process, as people meet it. A
//! ratio survives a slow or noisy machine; a rate alone does not.

mod cost;
mod engine;
mod evidence;
mod figures;
mod instances;
mod live;
mod pages;
mod pure;
mod raw;
mod restart;
mod server;
mod service;
mod tables;

use crate::app::database::Database;
use crate::config::{
    AllowedHost, Backup, Config, DEFAULT_MAX_BODY_BYTES, DEFAULT_OVERRIDE_REVIEW_HOURS, Secret,
};
use crate::store::embedded::Cluster;
use crate::store::{pool, runs};
use anyhow::Context;
use figures::{Report, Section};
use server::Program;
use service::Service;
use std::path::Path;
use std::time::Duration;

/// How often it is looked whether runs are over.
const LOOK: Duration = Duration::from_millis(20);

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
    /// One instance and three on the same Postgres, under the same load.
    Instances,
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
    /// The logins of a database to measure on. None: a private Postgres.
    pub given: Option<Given>,
    pub as_json: bool,
}

/// A database that is measured on.
#[derive(Debug, Clone)]
pub struct Given {
    /// The app's login.
    pub url: Secret,
    /// The login that migrates.
    pub owner_url: Secret,
}

impl Given {
    /// What `DATABASE_URL` and `HMS_ACT_OWNER_DATABASE_URL` say.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn of(config: &Config) -> anyhow::Result<Given> {
        let set = |name: &str, value: &Option<Secret>| {
            value.clone().with_context(|| format!("{name}: not set. `bench --given` needs both logins"))
        };
        Ok(Given {
            url: set("DATABASE_URL", &config.database_url)?,
            owner_url: set("HMS_ACT_OWNER_DATABASE_URL", &config.owner_database_url)?,
        })
    }

    /// What is measured stays in the log for ever, so it has no place beside what somebody needs.
    fn refuse_if_used(&self) -> anyhow::Result<()> {
        // Nobody may be let in yet: then the login is made, and it is looked again.
        let Ok(mut connection) = pool::connect(self.url.expose()) else { return Ok(()) };
        anyhow::ensure!(
            !runs::any(&mut connection)?,
            "DATABASE_URL: this database holds runs. The bench fills a database, and nothing removes what it wrote: \
             make a new one for it (CREATE DATABASE)"
        );
        Ok(())
    }
}

impl Plan {
    fn has(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

/// Where it happens: a directory, a Postgres that is private or given, and a service that does nothing.
struct Ground {
    program: Program,
    database: Database,
    service: Service,
}

impl Ground {
    /// The private Postgres, if it is one.
    fn cluster(&self) -> Option<&Cluster> {
        self.database.cluster()
    }

    /// Returns when every run of a protocol is over.
    async fn all_over(&self, protocol: i64) -> anyhow::Result<()> {
        let mut connection = pool::connect(&self.database.app_url)?;
        while runs::open_of_protocol(&mut connection, protocol)? > 0 {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Measures and prints.
///
/// # Errors
/// When the private Postgres does not start, a given one holds runs, a run does not complete, or an answer is not what
/// it should be.
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
    let config = config(place, &service, plan.given.as_ref());
    let refuse_if_used = || plan.given.as_ref().map_or(Ok(()), Given::refuse_if_used);
    refuse_if_used()?;
    let database = Database::open(&config)?;
    refuse_if_used()?;
    let given = plan.given.as_ref().map(|given| given.url.expose().to_owned());
    let program = Program { place: place.to_owned(), database_url: given, service: service.address() };
    let ground = Ground { program, database, service };
    ground.program.add_users()?;
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
    if plan.has(Part::Instances) {
        told(instances::section(ground, plan.runs).await?);
    }
    told(tables::section(ground)?);
    Ok(())
}

/// The app as it is shipped, on the private Postgres of this directory or on the given one.
fn config(place: &Path, service: &Service, given: Option<&Given>) -> Config {
    let address = service.address();
    Config {
        database_url: given.map(|given| given.url.clone()),
        owner_database_url: given.map(|given| given.owner_url.clone()),
        pooled_database_url: None,
        read_database_url: None,
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
