//! A made-up agency to try HMS-ACT on: a data repository, an AI agent, a letter service and an exporter portal.
//!
//! Owns an HTTP server of its own on a loopback port, so that every step of the demo protocol is a real call.
//! It exists in demo mode only, knows nothing of runs, and never touches the database: what it asks of the
//! product it asks as any outside service would. Everything in it is made up, but for a screening list that
//! somebody loads.

mod agent;
pub mod csl;
mod ledger;
mod letters;
pub mod names;
mod pairing;
mod portal;
mod repository;
pub mod screening;
pub mod seed;
mod sounds;
mod variants;
mod words;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use ledger::{Ledger, LedgerError};
use screening::ScreeningList;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// The variable whose value arrives as [`AgencyOptions::screening_list`].
pub const SCREENING_LIST_VARIABLE: &str = "HMS_ACT_DEMO_SCREENING_LIST";

const SAMPLE_LIST: &str = include_str!("sample_screening_list.csv");
/// The payload's own limit is 1 MiB; an agent's message holds it once more as a quoted string.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// Where the agency keeps its ledger, and whom it screens against.
#[derive(Debug, Clone)]
pub struct AgencyOptions {
    /// Gets `demo-portal-ledger.ndjson` and `demo-agency-port`.
    pub data_dir: PathBuf,
    /// A list in the Consolidated Screening List layout; None is the made-up sample.
    pub screening_list: Option<PathBuf>,
}

/// Why the agency cannot start. Each is one line for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum AgencyError {
    #[error("{SCREENING_LIST_VARIABLE}: {} {reason}", path.display())]
    ScreeningList { path: PathBuf, reason: csl::ListError },
    #[error("the demo agency cannot use its ledger: {0}")]
    Ledger(#[from] LedgerError),
    #[error("the demo agency cannot listen on a loopback port: {0}")]
    Listen(std::io::Error),
}

/// The running agency. Dropping it stops it.
#[derive(Debug)]
pub struct Agency {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Agency {
    /// 127.0.0.1 and the chosen port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For example `http://127.0.0.1:40123`, without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Finishes the calls in flight, then stops.
    pub async fn stop(&self) {
        self.handle.stop(true).await;
    }
}

impl Drop for Agency {
    fn drop(&mut self) {
        // The command is sent when stop() is called; its future only waits for the end.
        drop(self.handle.stop(false));
    }
}

/// Starts the agency on the current runtime. It listens on the port that it had last time, if that is free:
/// actions in the database keep their addresses over a restart then.
pub async fn start(options: AgencyOptions) -> Result<Agency, AgencyError> {
    let list = web::Data::new(load_list(options.screening_list.as_deref())?);
    let ledger = web::Data::new(Ledger::open(&options.data_dir)?);
    let listener = listen(&options.data_dir).map_err(AgencyError::Listen)?;
    let address = listener.local_addr().map_err(AgencyError::Listen)?;
    let server = HttpServer::new(move || {
        let (list, ledger) = (list.clone(), ledger.clone());
        App::new().configure(move |config| routes(config, list, ledger))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(2)
    .listen(listener)
    .map_err(AgencyError::Listen)?
    .run();
    let handle = server.handle();
    tokio::spawn(server);
    tracing::info!(address = %address, "the demo agency is open");
    Ok(Agency { address, handle })
}

/// Every URL of the agency.
fn routes(config: &mut web::ServiceConfig, list: web::Data<ScreeningList>, ledger: web::Data<Ledger>) {
    config
        .app_data(list)
        .app_data(ledger)
        .app_data(web::JsonConfig::default().limit(BODY_LIMIT).error_handler(|error, _| {
            let answer =
                refusal(&HttpResponse::BadRequest, "the body is not the expected JSON", &error.to_string());
            actix_web::error::InternalError::from_response(error, answer).into()
        }))
        .route("/repository/applications", web::get().to(repository::list))
        .route("/repository/applications/{license_id}", web::get().to(repository::show))
        .route("/agent/v1/chat/completions", web::post().to(agent::chat_completions))
        .route("/agent/v1/models", web::get().to(agent::models))
        .route("/letters", web::post().to(letters::draft))
        .route("/portal/licences", web::post().to(portal::publish))
        .route("/portal/licences", web::get().to(portal::list))
        .route("/portal/licences/count", web::get().to(portal::count))
        .route("/audit/sync", web::post().to(portal::sync_audit))
        .default_service(web::to(|| async {
            refusal(
                &HttpResponse::NotFound,
                "no such address",
                "The demo agency has nothing at this address.",
            )
        }));
}

/// A refusal by one of the agency's services: `error` names the kind, `message` says what to do.
fn refusal(status: &dyn Fn() -> actix_web::HttpResponseBuilder, error: &str, message: &str) -> HttpResponse {
    status().json(json!({"error": error, "message": message}))
}

fn load_list(path: Option<&Path>) -> Result<ScreeningList, AgencyError> {
    let Some(path) = path else {
        let entries = csl::parse(SAMPLE_LIST).expect("the sample list in the binary is well formed");
        return Ok(ScreeningList::new("made-up sample list", entries));
    };
    let entries =
        csl::load(path).map_err(|reason| AgencyError::ScreeningList { path: path.to_owned(), reason })?;
    let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    Ok(ScreeningList::new(name, entries))
}

fn listen(data_dir: &Path) -> std::io::Result<TcpListener> {
    let remembered = data_dir.join("demo-agency-port");
    let last = std::fs::read_to_string(&remembered).ok().and_then(|text| text.trim().parse::<u16>().ok());
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = last.map_or_else(|| bind(0), |port| bind(port).or_else(|_| bind(0)))?;
    listener.set_nonblocking(true)?;
    // Without the note the next start gets another port, which the actions then follow.
    if let Err(error) = std::fs::write(&remembered, listener.local_addr()?.port().to_string()) {
        tracing::warn!(%error, "the demo agency cannot note its port");
    }
    Ok(listener)
}

#[cfg(test)]
mod tests;
