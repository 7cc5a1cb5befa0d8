//! A service that does nothing: what `http` actions call while they are measured.

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

pub(super) struct Service {
    address: SocketAddr,
    handle: ServerHandle,
    calls: Arc<AtomicUsize>,
    /// Whether calls wait.
    held: watch::Sender<bool>,
}

impl Service {
    /// Within a runtime.
    pub fn start() -> anyhow::Result<Service> {
        let (held, waiting) = watch::channel(false);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let server = HttpServer::new(move || {
            let (calls, held) = (Arc::clone(&counted), waiting.clone());
            App::new().default_service(web::to(move || answer(Arc::clone(&calls), held.clone())))
        });
        let server = server.workers(1).disable_signals().listen(listener)?.run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Service { address, handle, calls, held })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Calls so far, answered or not.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Whether calls wait for their answer from now on.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    pub fn stop(&self) {
        drop(self.handle.stop(false));
    }
}

async fn answer(calls: Arc<AtomicUsize>, mut held: watch::Receiver<bool>) -> HttpResponse {
    calls.fetch_add(1, Ordering::Relaxed);
    // The sender is there as long as the service.
    let _ = held.wait_for(|held| !held).await;
    HttpResponse::Ok().json(json!({"status": "approved"}))
}
