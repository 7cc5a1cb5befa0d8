//! A gate in front of a server: it lets everything through but the requests it was told to hold.

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

pub struct Gate {
    listener: TcpListener,
    address: SocketAddr,
    /// Requests that contain this are held until the gate is open.
    held: &'static str,
    is_open: Arc<watch::Sender<bool>>,
}

/// Opens a gate.
pub struct Latch(Arc<watch::Sender<bool>>);

impl Latch {
    pub fn open(&self) {
        self.0.send_replace(true);
    }
}

impl Gate {
    pub async fn holding(held: &'static str) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        Gate { listener, address, held, is_open: Arc::new(watch::Sender::new(false)) }
    }

    pub fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).expect("an address")
    }

    /// Forwards what comes to a server, for as long as the test runs.
    pub fn lead_to(self, server: SocketAddr) -> Latch {
        let latch = Latch(Arc::clone(&self.is_open));
        tokio::spawn(async move {
            while let Ok((browser, _)) = self.listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { return };
                let ((from_browser, mut to_browser), (mut from_server, to_server)) =
                    (browser.into_split(), server.into_split());
                let is_open = self.is_open.subscribe();
                tokio::spawn(forward(from_browser, to_server, self.held, is_open));
                // Either end may go at any time.
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_browser).await });
            }
        });
        latch
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    held: &str,
    mut is_open: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if String::from_utf8_lossy(&buffer[..length]).contains(held) {
            let _ = is_open.wait_for(|is_open| *is_open).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
