//! A service of the test's own that steps call: it holds its answers until it is told to give them.

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hms_act::config::AllowedHost;
use serde_json::json;
use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

use super::client::GUARD;

/// One call that reached the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub key: String,
    pub run: String,
    pub step: String,
    /// Where it may report later.
    pub callback: String,
}

struct State {
    heard: Mutex<Vec<Heard>>,
    count: watch::Sender<usize>,
    is_open: watch::Sender<bool>,
    /// What the next calls are answered with; 200 when there is none left.
    statuses: Mutex<VecDeque<u16>>,
    /// Where each call is passed on to before it is answered.
    behind: Option<String>,
}

pub struct TestService {
    address: String,
    state: Arc<State>,
    handle: ServerHandle,
}

impl TestService {
    /// Listens on a loopback port, and holds what it is asked.
    pub fn start() -> TestService {
        TestService::before(None)
    }

    /// In front of another service: whatever it is told to answer, the call was made.
    pub fn before(behind: Option<String>) -> TestService {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (count, is_open) = (watch::Sender::new(0), watch::Sender::new(false));
        let state = Arc::new(State {
            heard: Mutex::new(Vec::new()),
            count,
            is_open,
            statuses: Mutex::new(VecDeque::new()),
            behind,
        });
        let handle = serve(listener, &state);
        TestService { address, state, handle }
    }

    /// As a power cut: every connection breaks, and nobody listens. What it was asked it was asked.
    pub async fn kill(&self) {
        self.handle.stop(false).await;
    }

    /// Listens again where it did, and knows what it knew.
    pub fn restart(&mut self) {
        let listener = TcpListener::bind(&self.address).expect("the port is its own");
        self.handle = serve(listener, &self.state);
    }

    /// `127.0.0.1:port`, as `HMS_ACT_ALLOW_HOSTS` wants it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same as a setting.
    pub fn allowed(&self) -> AllowedHost {
        let (host, port) = self.address.split_once(':').expect("host:port");
        AllowedHost { host: host.to_owned(), port: port.parse().expect("a port") }
    }

    pub fn url(&self) -> String {
        format!("http://{}/act", self.address)
    }

    /// Answers what is held, and everything from now on at once.
    pub fn open(&self) {
        self.state.is_open.send_replace(true);
    }

    /// Answers the next calls with these statuses, at once.
    pub fn answer_with(&self, statuses: &[u16]) {
        self.state.statuses.lock().expect("no panic while held").extend(statuses);
        self.open();
    }

    /// Waits until it was called so often, in all.
    pub async fn called(&self, times: usize) {
        let mut count = self.state.count.subscribe();
        let enough = count.wait_for(|count| *count >= times);
        let waited = tokio::time::timeout(GUARD, enough).await;
        assert!(waited.is_ok(), "called {} times, not {times}", *self.state.count.borrow());
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.state.heard.lock().expect("no panic while held").clone()
    }
}

impl Drop for TestService {
    fn drop(&mut self) {
        // The command is sent when stop() is called; its future only waits for the end.
        drop(self.handle.stop(false));
    }
}

fn serve(listener: TcpListener, state: &Arc<State>) -> ServerHandle {
    let shared = web::Data::from(Arc::clone(state));
    let server =
        HttpServer::new(move || App::new().app_data(shared.clone()).default_service(web::to(answer)));
    let server = server.workers(1).disable_signals().shutdown_timeout(0);
    let server = server.listen(listener).expect("bound").run();
    let handle = server.handle();
    tokio::spawn(server);
    handle
}

async fn answer(req: HttpRequest, body: web::Bytes, state: web::Data<State>) -> HttpResponse {
    let header = |name: &str| {
        req.headers().get(name).map_or("", |value| value.to_str().unwrap_or_default()).to_owned()
    };
    let heard = Heard {
        key: header("idempotency-key"),
        run: header("act-run"),
        step: header("act-step"),
        callback: header("act-callback-url"),
    };
    if let Some(behind) = &state.behind {
        let passed_on =
            reqwest::Client::new().post(behind).body(body).header("content-type", "application/json");
        let answered = passed_on.header("idempotency-key", &heard.key).send().await.expect("it answers");
        assert!(answered.status().is_success(), "{}", answered.text().await.unwrap_or_default());
    }
    let count = {
        let mut all = state.heard.lock().expect("no panic while held");
        all.push(heard);
        all.len()
    };
    state.count.send_replace(count);
    let _ = state.is_open.subscribe().wait_for(|is_open| *is_open).await;
    let status = state.statuses.lock().expect("no panic while held").pop_front().unwrap_or(200);
    let status = StatusCode::from_u16(status).expect("a status");
    HttpResponse::build(status).json(json!({"done": true}))
}
