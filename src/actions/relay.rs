//! The other end of genai's connection.
//!
//! genai reads an answer whole, whatever its size, and follows its own ideas of what a fault is. So it is only ever
//! connected to a relay on the loopback interface, which lives for one call: the relay takes genai's request and
//! hands it to a function that makes the real call under the guard and the limits. Owns nothing but that hand-over;
//! must never see a secret (keys are added on the far side) and never serve a request that lacks its random path.

use super::Fault;
use serde_json::Value;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const MAX_HEAD_BYTES: usize = 16 * 1024;
/// genai's own request: the prompt and the step's input.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// For a request to come in whole, over the loopback interface.
const PATIENCE: Duration = Duration::from_secs(30);

/// Listens for exactly one request.
pub(super) struct Relay {
    listener: TcpListener,
    base: String,
    port: u16,
}

impl Relay {
    pub async fn open() -> io::Result<Relay> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let secret: u128 = rand::random();
        Ok(Relay { listener, base: format!("/{secret:032x}/"), port })
    }

    /// The base address for genai.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.base)
    }

    /// Answers one request with what `forward` makes of its body.
    pub async fn serve<F>(self, forward: impl FnOnce(Value) -> F) -> Result<(), Fault>
    where
        F: Future<Output = Result<Value, Fault>>,
    {
        let broken =
            |cause: io::Error| Fault::passing(format!("The agent's call could not be made ({cause})."));
        // Every local user can knock. Each is heard on its own, so that nobody keeps genai waiting.
        let mut knocks = JoinSet::new();
        let (mut stream, request) = loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted.map_err(broken)?;
                    knocks.spawn(hear(stream, self.base.clone()));
                }
                Some(heard) = knocks.join_next() => {
                    if let Ok(Some(heard)) = heard {
                        break heard;
                    }
                }
            }
        };
        let answer = forward(request).await?.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        stream.write_all(head.as_bytes()).await.map_err(broken)?;
        stream.write_all(answer.as_bytes()).await.map_err(broken)?;
        stream.shutdown().await.map_err(broken)
    }
}

/// The connection and the body of a request under `base`. `None`: somebody else knocked, in whatever way.
async fn hear(mut stream: TcpStream, base: String) -> Option<(TcpStream, Value)> {
    let request = tokio::time::timeout(PATIENCE, read_request(&mut stream, &base)).await;
    request.ok()?.ok()?.map(|request| (stream, request))
}

/// The JSON body of a request under `base`. `None`: it is not for us.
async fn read_request(stream: &mut TcpStream, base: &str) -> io::Result<Option<Value>> {
    let mut received = Vec::new();
    let head_end = loop {
        if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if received.len() > MAX_HEAD_BYTES || stream.read_buf(&mut received).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&received[..head_end]).into_owned();
    let length = content_length(&head);
    if !head.starts_with(&format!("POST {base}")) || length > MAX_REQUEST_BYTES {
        return Ok(None);
    }
    let mut body = received.split_off(head_end);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(serde_json::from_slice(&body).ok())
}

fn content_length(head: &str) -> usize {
    let named = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = named.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    async fn knock(port: u16, request: String) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap_or_default();
        answer
    }

    #[tokio::test]
    async fn only_the_holder_of_the_path_is_served() {
        let relay = Relay::open().await.unwrap();
        let (port, base) = (relay.port, relay.base.clone());
        let served = tokio::spawn(relay.serve(async |body: Value| Ok(json!({"got": body}))));
        let request =
            |path: &str| format!("POST {path}chat HTTP/1.1\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}");
        assert_eq!(knock(port, request("/")).await, "");
        assert_eq!(knock(port, request("/00000000000000000000000000000000/")).await, "");
        assert!(knock(port, request(&base)).await.ends_with("{\"got\":{\"a\":1}}"));
        assert_eq!(served.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn whoever_knocks_and_says_nothing_or_hangs_up_keeps_nobody_waiting() {
        let relay = Relay::open().await.unwrap();
        let (port, base) = (relay.port, relay.base.clone());
        let _silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let hangs_up = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        hangs_up.set_zero_linger().unwrap();
        drop(hangs_up);
        let served = tokio::spawn(relay.serve(async |body: Value| Ok(body)));
        let request = format!("POST {base}chat HTTP/1.1\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}");
        let heard = tokio::time::timeout(PATIENCE, knock(port, request)).await;
        assert!(heard.expect("it is not kept waiting").ends_with("{\"a\":1}"));
        assert_eq!(served.await.unwrap(), Ok(()));
    }
}
