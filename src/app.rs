//! Composition: what is started in which order, and stopped in the reverse.
//!
//! Start: address → database → keys → membership → committer → sequencer → demo → dispatch, loops, rescue → door.
//! Stop: door (streams end) → dispatch (attempts end or are handed back) → committer (the queue is written) →
//! sequencer (the last entries are signed) → backup (and sent) → membership → database.

pub mod backup;
pub mod database;
mod demo_mode;

use crate::actions::HttpLimits;
use crate::actions::agent::AgentExecutor;
use crate::actions::command::{AllowedPrograms, CommandExecutor};
use crate::actions::guard::{Guard, HostPort};
use crate::actions::http::HttpExecutor;
use crate::auth::session;
use crate::auth::token_keys::TokenKey;
use crate::auth::tokens::KeyRing;
use crate::config::Config;
use crate::demo::Agency;
use crate::export::backup::writing::Backup;
use crate::scheduler::attempt::Executors;
use crate::scheduler::callbacks::Callbacks;
use crate::scheduler::committer::{Committer, Parts};
use crate::scheduler::dispatch::{Dispatch, InHand};
use crate::scheduler::listen::{Listener, Untold};
use crate::scheduler::membership::{Membership, host_name};
use crate::scheduler::rescue::Rescue;
use crate::scheduler::runs::RunCache;
use crate::scheduler::sequencer::{Sealing, Sequencer};
use crate::scheduler::signals::Signals;
use crate::scheduler::{Scheduler, backup as scheduler_backup, figures, loops, stopped};
use crate::store::agency::{AgencyEntry, AgencyLog};
use crate::store::{Pool, sessions, settings, token_keys, users};
use crate::web::doors::Doors;
use crate::web::live::Readings;
use crate::web::measure::measure;
use crate::web::routes;
use crate::web::security::{frame, guard_csrf};
use crate::web::site::{LogReaders, Site};
use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use anyhow::Context;
use database::Database;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Connections for pages, calls and background readers; the committer and the listener have their own.
const POOL_SIZE: u32 = 12;
/// Threads of each worker for what blocks: waiting for one of those connections, mostly, and exports that wait for their
/// readers. A thousand requests at once would make hundreds, each with memory of its own.
const BLOCKING_THREADS: usize = 64;
/// Open requests get this long to end; streams are told, and end at once.
const DOOR_SECONDS: u64 = 3;
/// How often expired sessions go, counted entries are written and figures are added up.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// A running instance.
pub struct Running {
    address: SocketAddr,
    base_url: String,
    stop: watch::Sender<bool>,
    server: ServerHandle,
    tasks: Tasks,
    threads: Threads,
    agency_log: Arc<AgencyLog>,
    demo_agency: Option<Agency>,
    scheduler: Scheduler,
    pool: Pool,
    database: Database,
}

struct Tasks {
    door: tokio::task::JoinHandle<std::io::Result<()>>,
    dispatch: tokio::task::JoinHandle<()>,
    loops: JoinSet<()>,
    rescue: tokio::task::JoinHandle<()>,
    backup: Option<tokio::task::JoinHandle<Backup>>,
    signals: tokio::task::JoinHandle<()>,
    housekeeping: tokio::task::JoinHandle<()>,
}

struct Threads {
    committer: JoinHandle<()>,
    listener: JoinHandle<()>,
    heartbeat: JoinHandle<Membership>,
    sequencer: JoinHandle<Sequencer>,
    sealing: Sealing,
}

/// Starts everything. Returns once requests are answered.
///
/// # Errors
/// One line that names what is wrong: a variable, the port, the database.
pub async fn start(config: &Config) -> anyhow::Result<Running> {
    let socket = TcpListener::bind(config.bind)
        .with_context(|| format!("HMS_ACT_BIND: cannot listen on {}", config.bind))?;
    let address = socket.local_addr()?;
    let base_url = config.public_url.as_ref().map_or(format!("http://{address}"), |_| config.base_url());
    let database = open_database(config).await?;
    let pool = database.serving_pool(POOL_SIZE)?;
    let mut connection = pool.get()?;
    let (key, keys) = publish_key(config, &mut connection)?;
    let origin = log_origin(config, &mut connection)?;
    let callbacks = Arc::new(Callbacks::open(&mut connection, base_url.clone())?);
    let membership = Membership::join(&mut connection, &config.data_dir)?;
    let replica = Database::replica(config, &mut connection, &membership)?;
    let agency_log = Arc::new(AgencyLog::new(pool.clone(), origin.clone(), membership.number()));
    let backup = backup::continuous(config, &pool, &origin)?;
    let demo_agency = demo_mode::open_agency(config).await?;
    greet(config, &mut connection, demo_agency.as_ref())?;
    tell_of_start(config, &agency_log, &key)?;

    let (scheduler, requests) = Scheduler::new(Arc::new(RunCache::default()), pool.clone());
    scheduler.catalog.refresh(&mut connection)?;
    drop(connection);
    let (stop, stopping) = watch::channel(false);
    let log_name = origin.clone();
    let (work, to_do) = mpsc::unbounded_channel();
    let signals = work.clone();
    let untold = Untold::default();
    let committer = Committer::new(Parts {
        database_url: database.app_url.clone(),
        origin,
        instance: Arc::clone(&membership.id),
        untold: untold.clone(),
        runs: scheduler.run_cache(),
        catalog: scheduler.catalog.clone(),
        changes: scheduler.changes.clone(),
        kicks: scheduler.kicks.clone(),
        stopping: stopping.clone(),
        work,
    });
    let committer = thread("committer", move || committer.run(requests))?;
    let listener = Listener {
        database_url: database.app_url.clone(),
        changes: scheduler.changes.clone(),
        runs: scheduler.run_cache(),
        others: Arc::clone(&membership.others),
        untold,
        stopping: stopping.clone(),
    };
    let listener = thread("listener", move || listener.run())?;
    let sealing = Sealing::default();
    let sequencer = Sequencer {
        database_url: database.app_url.clone(),
        data_dir: config.data_dir.clone(),
        origin: log_name,
        agency: Arc::clone(&agency_log),
        sealing: sealing.clone(),
        stopping: stopping.clone(),
    };
    let sequencer = thread("sequencer", move || sequencer.run())?;
    let guard = Guard::new(allowed_hosts(config, demo_agency.as_ref())?);
    let programs = AllowedPrograms::new(config.allow_commands.clone());
    let site = Site {
        scheduler: scheduler.clone(),
        pool: pool.clone(),
        replica,
        agency: Arc::clone(&agency_log),
        guard: guard.clone(),
        programs: programs.clone(),
        callbacks: Arc::clone(&callbacks),
        log_readers: Arc::new(LogReaders::new(database.app_url.clone())),
        readings: Arc::new(Readings::start(&pool, &scheduler)),
        sealing: sealing.clone(),
        demo: config.demo,
        override_review: chrono::TimeDelta::hours(config.override_review_hours.into()),
        stopping: stopping.clone(),
    };
    let doors = Doors::new(pool.clone(), keys, base_url.clone(), config.max_body_bytes);
    let (server, door) = open_door(socket, site, doors)?;
    let in_hand = InHand::default();
    let rescue = Rescue {
        scheduler: scheduler.clone(),
        pool: pool.clone(),
        instance: Arc::clone(&membership.id),
        in_hand: in_hand.clone(),
        live: membership.live(),
    };
    let signals =
        Signals { scheduler: scheduler.clone(), pool: pool.clone(), in_hand: in_hand.clone(), work: signals };
    let (url, beats_until) = (database.app_url.clone(), stopping.clone());
    let heartbeat = thread("heartbeat", move || membership.run(&url, &beats_until))?;
    let dispatch = Dispatch::new(scheduler.clone(), executors(&guard, programs, callbacks), in_hand);
    let tasks = Tasks {
        door,
        dispatch: tokio::spawn(dispatch.run(to_do, stopping.clone())),
        loops: loops::start(&scheduler, &pool, &agency_log, &stopping),
        rescue: tokio::spawn(rescue.run(stopping.clone())),
        backup: backup.map(|backup| tokio::spawn(scheduler_backup::run(backup, stopping.clone()))),
        signals: tokio::spawn(signals.run(stopping.clone())),
        housekeeping: tokio::spawn(keep_house(pool.clone(), Arc::clone(&agency_log), stopping)),
    };
    let threads = Threads { committer, listener, heartbeat, sequencer, sealing };
    Ok(Running {
        address,
        base_url,
        stop,
        server,
        tasks,
        threads,
        agency_log,
        demo_agency,
        scheduler,
        pool,
        database,
    })
}

/// What a first start needs: the demo's users and protocol, or a word on how to create the first admin.
fn greet(
    config: &Config,
    connection: &mut crate::store::Connection,
    demo_agency: Option<&Agency>,
) -> anyhow::Result<()> {
    if let Some(agency) = demo_agency {
        demo_mode::seed(config, connection, &agency.base_url())?;
    } else if !users::has_admin(connection)? {
        println!("Nobody can administer yet. Create the first admin: hms-act user add NAME --role admin");
    }
    Ok(())
}

fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

fn executors(guard: &Guard, programs: AllowedPrograms, callbacks: Arc<Callbacks>) -> Executors {
    Executors {
        callbacks,
        command: CommandExecutor::new(programs),
        http: HttpExecutor::new(guard.clone(), HttpLimits::default()),
        agent: AgentExecutor::new(guard.clone(), HttpLimits::default()),
    }
}

async fn open_database(config: &Config) -> anyhow::Result<Database> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || Database::open(&config)).await?
}

/// The key that this instance signs tokens with, if it has just been made known to the others; and theirs.
fn publish_key(
    config: &Config,
    connection: &mut crate::store::Connection,
) -> anyhow::Result<(Option<TokenKey>, KeyRing)> {
    let key = TokenKey::load_or_create(&config.data_dir)?;
    let is_new = token_keys::publish(connection, key.kid(), &key.public_key())?;
    let keys = token_keys::active(connection)?.into_iter().collect();
    Ok((is_new.then_some(key), keys))
}

/// What an auditor asks first: which program ran where, told what.
fn tell_of_start(config: &Config, agency: &AgencyLog, new_key: &Option<TokenKey>) -> anyhow::Result<()> {
    if let Some(key) = new_key {
        agency.record(AgencyEntry::of_system("key.added", json!({"use": "tokens", "kid": key.kid()})))?;
    }
    let hosts: Vec<String> =
        config.allow_hosts.iter().map(|allowed| format!("{}:{}", allowed.host, allowed.port)).collect();
    let detail = json!({
        "host": host_name(),
        "version": env!("CARGO_PKG_VERSION"),
        "demo": config.demo,
        "public_url": config.base_url(),
        "allow_hosts": hosts,
        "allow_commands": config.allow_commands,
        "override_review_hours": config.override_review_hours,
    });
    Ok(agency.record(AgencyEntry::of_system("instance.started", detail))?)
}

/// The log's name, settled at the first start and the same ever after.
pub fn log_origin(config: &Config, connection: &mut crate::store::Connection) -> anyhow::Result<String> {
    let proposed = match &config.log_origin {
        Some(name) => name.clone(),
        None => format!("hms-act.invalid/{}", hex::encode(rand::random::<[u8; 8]>())),
    };
    let settled = settings::settle(connection, "log_origin", &proposed)?;
    match &config.log_origin {
        Some(name) if *name != settled => anyhow::bail!(
            "HMS_ACT_LOG_ORIGIN: this log is named {settled} in every entry so far; a log cannot be renamed"
        ),
        Some(_) | None => Ok(settled),
    }
}

fn allowed_hosts(config: &Config, agency: Option<&Agency>) -> anyhow::Result<Vec<HostPort>> {
    let configured = config.allow_hosts.iter().map(|allowed| {
        let host =
            if allowed.host.contains(':') { format!("[{}]", allowed.host) } else { allowed.host.clone() };
        format!("{host}:{}", allowed.port)
    });
    let demo = agency.map(|agency| agency.address().to_string());
    let hosts: Result<Vec<HostPort>, String> = configured.chain(demo).map(|text| text.parse()).collect();
    hosts.map_err(|error| anyhow::anyhow!("HMS_ACT_ALLOW_HOSTS: {error}"))
}

type Door = (ServerHandle, tokio::task::JoinHandle<std::io::Result<()>>);

fn open_door(socket: TcpListener, site: Site, doors: Doors) -> anyhow::Result<Door> {
    let (site, doors, recorder) = (web::Data::new(site), web::Data::new(doors), web::Data::new(recorder()));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(site.clone())
            .app_data(doors.clone())
            .app_data(recorder.clone())
            .configure(routes::all)
            .wrap(from_fn(guard_csrf))
            .wrap(session::middleware(doors.pool.clone(), doors.is_secure()))
            .wrap(from_fn(frame))
            .wrap(from_fn(measure))
    })
    .on_connect(|connection, _| send_at_once(connection))
    .workers(std::thread::available_parallelism().map_or(2, usize::from).min(8))
    .worker_max_blocking_threads(BLOCKING_THREADS)
    .disable_signals()
    .shutdown_timeout(DOOR_SECONDS)
    .listen(socket)?
    .run();
    let handle = server.handle();
    Ok((handle, tokio::spawn(server)))
}

/// An answer that comes in parts, as a replay or a stream, must not wait 40 ms for the other side to say that it has
/// the part before (Nagle's algorithm, and acknowledgements that are delayed).
fn send_at_once(connection: &dyn std::any::Any) {
    if let Some(socket) = connection.downcast_ref::<actix_web::rt::net::TcpStream>()
        && let Err(error) = socket.set_nodelay(true)
    {
        tracing::debug!(error = %error, "a connection keeps its delay");
    }
}

/// One recorder per process.
fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let recorder = figures::recorder().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_ok() {
            figures::describe();
        }
        handle
    };
    RECORDER.get_or_init(install).clone()
}

async fn keep_house(pool: Pool, agency_log: Arc<AgencyLog>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(HOUSEKEEPING) => {}
            () = stopped(&mut stopping) => return,
        }
        recorder().run_upkeep();
        let (pool, agency_log) = (pool.clone(), Arc::clone(&agency_log));
        let kept = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
            agency_log.flush(false)?;
            sessions::purge_expired(&mut *pool.get()?)?;
            Ok(())
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(error = %error, "housekeeping failed; it is tried again");
        }
    }
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The way to the runs.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Whether the log is being signed.
    pub fn sealing(&self) -> &Sealing {
        &self.threads.sealing
    }

    /// Where a private database lives, if it is one.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Stops everything, within 10 seconds. What was acknowledged is committed.
    ///
    /// # Errors
    /// When a part did not end well; the others are stopped all the same.
    pub async fn stop(self) -> anyhow::Result<()> {
        // Nobody listening is not an error.
        let _ = self.stop.send(true);
        self.server.stop(true).await;
        let door = self.tasks.door.await;
        let mut loops = self.tasks.loops;
        while loops.join_next().await.is_some() {}
        let _ = self.tasks.housekeeping.await;
        let _ = self.tasks.rescue.await;
        let backup = match self.tasks.backup {
            Some(backup) => backup.await.ok(),
            None => None,
        };
        let _ = self.tasks.signals.await;
        let _ = self.tasks.dispatch.await;
        if let Some(agency) = &self.demo_agency {
            agency.stop().await;
        }
        drop(self.scheduler);
        // Every way to the committer is closed now: it writes what is queued, and ends.
        let Threads { committer, listener, heartbeat, sequencer, .. } = self.threads;
        let ended = tokio::task::spawn_blocking(move || {
            let ended = committer.join().is_ok() & listener.join().is_ok();
            (ended, heartbeat.join().ok(), sequencer.join().ok())
        });
        let (ended, membership, sequencer) = ended.await?;
        let agency_log = self.agency_log;
        let flushed = tokio::task::spawn_blocking(move || {
            let flushed = agency_log.flush(true);
            // It stops whether or not that can be written down.
            let stopped = AgencyEntry::of_system("instance.stopped", json!({"host": host_name()}));
            if let Err(error) = agency_log.record(stopped) {
                tracing::warn!(error = %error, "the end of this instance is not in the log");
            }
            if let Some(sequencer) = sequencer {
                sequencer.finish();
            }
            flushed
        });
        let flushed = flushed.await?;
        if let Some(backup) = backup {
            scheduler_backup::finish(backup).await;
        }
        let (pool, database) = (self.pool, self.database);
        tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
            flushed?;
            if let Some(membership) = membership {
                membership.leave(&mut *pool.get()?)?;
            }
            drop(pool);
            database.close()
        })
        .await??;
        door??;
        anyhow::ensure!(ended, "a thread ended in a panic; the log says where");
        Ok(())
    }
}
