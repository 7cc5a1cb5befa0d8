//! A service on a loopback port that does exactly what a test tells it to, byte by byte.

use super::guard::{Guard, HostPort};
use super::{Call, Target};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A request as it came over the wire.
#[derive(Debug)]
pub struct Received {
    pub head: String,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = self.head.lines().filter_map(|line| line.split_once(": "));
        named.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub fn request_line(&self) -> &str {
        self.head.lines().next().unwrap_or("")
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the request's body is JSON")
    }
}

pub struct Service {
    pub base: String,
    pub guard: Guard,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Service {
    /// Reads each request, then lets `reply` write whatever it likes.
    pub async fn start<F>(reply: impl Fn(TcpStream) -> F + Send + 'static) -> Service
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read(&mut stream).await;
                let _ = sender.send(request);
                tokio::spawn(reply(stream));
            }
        });
        let allowed: HostPort = address.to_string().parse().unwrap();
        Service { base: format!("http://{address}"), guard: Guard::new(vec![allowed]), received }
    }

    /// Answers every request with the same bytes and closes the connection.
    pub async fn answering(bytes: impl Into<Vec<u8>>) -> Service {
        let bytes: Arc<Vec<u8>> = Arc::new(bytes.into());
        Service::start(move |mut stream| {
            let bytes = Arc::clone(&bytes);
            async move {
                let _ = stream.write_all(&bytes).await;
            }
        })
        .await
    }

    pub async fn received(&mut self) -> Received {
        self.received.recv().await.expect("a request came in")
    }

    pub fn was_left_alone(&mut self) -> bool {
        self.received.try_recv().is_err()
    }
}

async fn read(stream: &mut TcpStream) -> Received {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let received = Received { head: head.to_owned(), body: body.to_owned() };
            let length = received.header("content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return received;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return Received { head: String::new(), body: String::new() };
        }
    }
}

/// A whole answer with a JSON body.
pub fn answer(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into()
}

/// An attempt at a step whose action or agent has this configuration.
pub fn call(kind: &str, config: Value) -> Call {
    Call {
        run_id: 9001,
        step: "checks/legal".to_owned(),
        attempt: 1,
        target: Arc::new(Target { name: "fetch_data".to_owned(), kind: kind.to_owned(), config, version: 1 }),
        input: json!({"license_id": 123, "big": 9007199254740993u64}),
        payload: vec![Arc::new(
            json!({"license_id": 123, "name": "Zürich & Söhne"}).as_object().cloned().unwrap_or_default(),
        )],
        idempotency_key: "key-1".to_owned(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        callback_url: None,
        time_limit: Duration::from_secs(60),
    }
}
