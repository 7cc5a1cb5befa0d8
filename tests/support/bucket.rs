//! A server that speaks the S3 protocol (moto, from PyPI), on a loopback port, with buckets that are a test's own.

use super::client::GUARD;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// Where `.ci/setup test` puts it.
fn program() -> PathBuf {
    let home = std::env::var_os("HOME").expect("a home directory");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(PathBuf::from(home).join(".cache"), PathBuf::from);
    cache.join("hms-act-test/moto/bin/moto_server")
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port()
}

pub struct Buckets {
    server: Child,
    endpoint: String,
    http: reqwest::Client,
}

impl Buckets {
    /// Returns once it answers.
    pub fn start(port: u16) -> Buckets {
        let mut command = Command::new(program());
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = command.spawn().expect("moto runs; make setup-test installs it");
        let said = server.stderr.take().expect("piped");
        let (sender, receiver) = mpsc::channel();
        // Goes on reading, so that it never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                if line.contains("Running on") {
                    let _ = sender.send(());
                }
            }
        });
        receiver.recv_timeout(GUARD).expect("it opens");
        let endpoint = format!("http://127.0.0.1:{port}");
        Buckets { server, endpoint, http: reqwest::Client::new() }
    }

    /// A bucket whose objects nobody can remove for a day.
    pub async fn make_locked(&self, bucket: &str) {
        let made = self.http.put(format!("{}/{bucket}", self.endpoint));
        let made = made.header("x-amz-bucket-object-lock-enabled", "true").send().await.expect("an answer");
        assert_eq!(made.status(), 200);
        let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                    <Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
        let ruled = self.http.put(format!("{}/{bucket}?object-lock", self.endpoint)).body(rule).send();
        assert_eq!(ruled.await.expect("an answer").status(), 200);
    }

    pub async fn make(&self, bucket: &str) {
        let made = self.http.put(format!("{}/{bucket}", self.endpoint)).send().await.expect("an answer");
        assert_eq!(made.status(), 200);
    }

    /// What is there under a name, with the mode in which it is locked.
    pub async fn get(&self, name: &str) -> Option<(Vec<u8>, String)> {
        // Somebody with rights: moto looks at no signature.
        let who = "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let got = self.http.get(format!("{}/{name}", self.endpoint)).header("authorization", who).send();
        let got = got.await.expect("an answer");
        if got.status() == 404 {
            return None;
        }
        assert_eq!(got.status(), 200, "{name}");
        let mode =
            got.headers().get("x-amz-object-lock-mode").map(|mode| mode.to_str().expect("ASCII").to_owned());
        Some((got.bytes().await.expect("a body").to_vec(), mode.unwrap_or_default()))
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
