//! The program as its own process on the ground of the bench, and those who call it.

use anyhow::{Context, bail, ensure};
use reqwest::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Callers at the same time: enough that three servers are busy.
const CALLERS: usize = 192;
/// Whoever measures.
const USER: &str = "bench";
const PASSWORD: &str = "a password for one bench";
/// Decides what the other one starts.
const JUDGE: &str = "judge";
const SCOPES: &str = "runs:read runs:write approvals:decide log:read protocols:write admin";

/// How the program is started: in a directory, with the settings of the bench and no others.
#[derive(Clone)]
pub(super) struct Program {
    pub place: PathBuf,
    /// None: the private Postgres of the directory.
    pub database_url: Option<String>,
    /// What actions may call.
    pub service: SocketAddr,
}

impl Program {
    /// Adds somebody who may sign in. Blocks, as all of these.
    pub fn add_user(&self, name: &str, role: &str) -> anyhow::Result<()> {
        let mut command = self.command(&["user", "add", name, "--role", role])?;
        let mut adding = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        writeln!(adding.stdin.take().context("a pipe")?, "{PASSWORD}")?;
        ensure!(adding.wait()?.success(), "`hms-act user add` failed");
        Ok(())
    }

    /// Adds whoever measures.
    pub fn add_users(&self) -> anyhow::Result<()> {
        self.add_user(USER, "admin")?;
        self.told(&["user", "add", JUDGE, "--role", "supervisor", "--no-password"])?;
        Ok(())
    }

    /// Runs another command to its end; the last line that it printed.
    pub fn told(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments)?.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "`hms-act {}` failed: {said}", arguments.join(" "));
        Ok(said.lines().last().unwrap_or_default().to_owned())
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.current_dir(&self.place).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HMS_ACT_DATA_DIR", &self.place).env("RUST_LOG", "error");
        command.env("HMS_ACT_ALLOW_HOSTS", self.service.to_string());
        command.envs(self.database_url.iter().map(|url| ("DATABASE_URL", url)));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(command)
    }
}

/// Starts runs from many callers at the same time, each at one of these servers, and returns when all are acknowledged.
pub(super) async fn start_runs(servers: &[Arc<Server>], protocol: i64, runs: usize) -> anyhow::Result<()> {
    let mut callers = JoinSet::new();
    for (caller, server) in servers.iter().cycle().take(CALLERS).enumerate() {
        let server = Arc::clone(server);
        callers.spawn(async move {
            for number in (caller..runs).step_by(CALLERS) {
                server.start_run(protocol, serde_json::json!({"license_id": number})).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}

pub(super) struct Server {
    child: Child,
    base_url: String,
    client: Client,
    token: String,
    judge: String,
    /// From the start of the process until it said that it is open.
    pub opened: Duration,
}

impl Server {
    /// Returns when it is open. Blocks.
    pub fn start(program: &Program) -> anyhow::Result<Server> {
        let began = Instant::now();
        let mut child = program.command(&["serve", "--bind", "127.0.0.1:0"])?.spawn()?;
        let said = BufReader::new(child.stdout.take().context("a pipe")?);
        let open = said
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("HMS-ACT is open at ").map(str::to_owned));
        let opened = began.elapsed();
        let Some(base_url) = open else {
            let status = child.wait()?;
            bail!("`hms-act serve` ended with {status}");
        };
        let token = |user| program.told(&["token", "--user", user, "--scope", SCOPES, "--ttl", "86400"]);
        let (token, judge) = (token(USER)?, token(JUDGE)?);
        let client = Client::builder().redirect(Policy::none()).pool_max_idle_per_host(4_096).build()?;
        Ok(Server { child, base_url, client, token, judge, opened })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks with a token.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client
            .get(format!("{}{path}", self.base_url))
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
    }

    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.base_url)).json(body);
        request.header(AUTHORIZATION, format!("Bearer {}", self.token))
    }

    /// Approves, as somebody else than whoever starts runs.
    pub async fn approve(&self, approval: i64) -> anyhow::Result<()> {
        let address = format!("{}/acts/approvals/{approval}/decision", self.base_url);
        let decision = serde_json::json!({"decision": "approve", "reason": "The parties are clean."});
        let request = self.client.post(address).json(&decision);
        let request = request.header(AUTHORIZATION, format!("Bearer {}", self.judge));
        self.json(request).await.map(drop)
    }

    /// Answers in full, in JSON.
    pub async fn json(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        Ok(fine(request.send().await?)?.json().await?)
    }

    /// Publishes a protocol.
    pub async fn publish(&self, name: &str, definition: Value) -> anyhow::Result<i64> {
        let body = serde_json::json!({"name": name, "definition": definition});
        let created = self.json(self.post("/acts/protocols", &body)).await?;
        created["id"].as_i64().context("a protocol has a number")
    }

    /// Starts a run and returns its number.
    pub async fn start_run(&self, protocol: i64, payload: Value) -> anyhow::Result<i64> {
        let body = serde_json::json!({"protocol_id": protocol, "payload": payload});
        let started = self.json(self.post("/acts/run", &body)).await?;
        started["run_id"].as_i64().context("a run has a number")
    }

    /// The cookie of somebody who signed in.
    pub async fn sign_in(&self, user: &str) -> anyhow::Result<String> {
        let form = self.client.get(format!("{}/sign-in", self.base_url)).send().await?;
        let cookie = cookie(&form)?;
        let page = form.text().await?;
        let csrf = page.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let csrf = csrf.context("the form of /sign-in has no csrf")?;
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("csrf", csrf), ("next", "/"), ("user", user), ("password", PASSWORD)])
            .finish();
        let request = self.client.post(format!("{}/sign-in", self.base_url)).header(COOKIE, cookie);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let signed_in = request.send().await?;
        ensure!(signed_in.status().as_u16() == 303, "signing in was answered with {}", signed_in.status());
        self::cookie(&signed_in)
    }

    /// Asks as a browser in a session.
    pub fn visit(&self, path: &str, cookie: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base_url)).header(COOKIE, cookie)
    }

    /// Ends it in order.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        ensure!(self.child.wait()?.success(), "`hms-act serve` did not end in order");
        Ok(())
    }

    /// As a power cut.
    pub fn kill9(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer that is none of 2xx is an error that says which.
pub(super) fn fine(answer: Response) -> anyhow::Result<Response> {
    ensure!(answer.status().is_success(), "{} was answered with {}", answer.url().path(), answer.status());
    Ok(answer)
}

fn cookie(answer: &Response) -> anyhow::Result<String> {
    let cookies = answer.headers().get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs: Vec<&str> = cookies.filter_map(|cookie| cookie.split(';').next()).collect();
    ensure!(!pairs.is_empty(), "{} gave no cookie", answer.url().path());
    Ok(pairs.join("; "))
}
