//! A caller of the API: one user's token, and the requests that they send.

use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::time::Duration;

/// A guard against a test that would wait for ever, far beyond what anything here takes.
pub const GUARD: Duration = Duration::from_secs(120);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// Null when the body is not JSON.
    pub json: Value,
}

impl Answer {
    pub async fn of(response: Response) -> Answer {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("the answer is whole and UTF-8");
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, text, json }
    }

    /// Empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header is ASCII"))
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Checks that this is a refusal of its own (RFC 9457), and gives its `detail`.
    #[track_caller]
    pub fn problem(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.json["status"], status, "{}", self.text);
        assert_eq!(self.json["type"], "about:blank", "{}", self.text);
        let request_id = self.json["request_id"].as_str().expect("a problem names its request");
        assert_eq!(request_id, self.header("x-request-id"));
        let detail = self.json["detail"].as_str().expect("a problem says what happened");
        assert!(detail.ends_with(['.', '…']) || status == 422, "not a sentence: {detail:?}");
        detail
    }

    /// The paths and messages of a 422.
    #[track_caller]
    pub fn errors(&self) -> Vec<(&str, &str)> {
        self.problem(422);
        let errors = self.json["errors"].as_array().expect("a 422 lists its errors");
        errors
            .iter()
            .map(|error| (error["path"].as_str().expect("a path"), error["message"].as_str().expect("text")))
            .collect()
    }
}

/// Somebody who calls.
#[derive(Clone)]
pub struct Caller {
    http: reqwest::Client,
    base_url: String,
    token: Option<String>,
}

impl Caller {
    pub fn new(base_url: &str, token: Option<String>) -> Caller {
        // Well before the server closes an idle connection (5 s), perhaps just when it is used again.
        let idle = Duration::from_secs(1);
        let http = reqwest::Client::builder().no_proxy().pool_idle_timeout(idle).build().expect("a client");
        Caller { http, base_url: base_url.to_owned(), token }
    }

    /// The same connections, with another token.
    pub fn with_token(&self, token: Option<String>) -> Caller {
        Caller { token, ..self.clone() }
    }

    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base_url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(request: RequestBuilder) -> Answer {
        Answer::of(request.send().await.expect("the server answers")).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        Caller::send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Caller::send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        Caller::send(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        Caller::send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// Any bytes as a JSON body.
    pub async fn post_bytes(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        Caller::send(request.body(body)).await
    }

    /// Starts a run and gives its number.
    pub async fn start(&self, protocol_id: i64, payload: Value) -> i64 {
        let body = json!({"protocol_id": protocol_id, "payload": payload});
        let started = self.post("/acts/run", body).await.expect(202);
        started.json["run_id"].as_i64().expect("a number")
    }

    /// Publishes a protocol and gives its number.
    pub async fn publish(&self, name: &str, definition: Value) -> i64 {
        let made = self.post("/acts/protocols", json!({"name": name, "definition": definition})).await;
        made.expect(201).json["id"].as_i64().expect("a number")
    }

    /// Does something to a run: `pause`, `retry` and so on.
    pub async fn act(&self, id: i64, act: &str, body: Value) -> Answer {
        self.post(&format!("/acts/runs/{id}/{act}"), body).await
    }

    pub async fn run(&self, id: i64) -> Value {
        self.get(&format!("/acts/runs/{id}")).await.expect(200).json
    }

    /// The run, once it is as `until` wants it. Looks after each entry of its log: the tape begins at the first
    /// entry, so that nothing can happen unseen between two looks.
    pub async fn wait_until(&self, id: i64, until: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            let tape = self.request(Method::GET, &format!("/acts/runs/{id}/replay?follow=1"));
            let mut tape = tape.send().await.expect("the server answers");
            assert_eq!(tape.status(), 200);
            while tape.chunk().await.expect("the tape does not break").is_some() {
                let run = self.run(id).await;
                if until(&run) {
                    return run;
                }
            }
            let run = self.run(id).await;
            assert!(until(&run), "it ended otherwise: {run:#}");
            run
        };
        match tokio::time::timeout(GUARD, look).await {
            Ok(run) => run,
            Err(_) => panic!("nothing happens any more: {:#}", self.run(id).await),
        }
    }

    /// The first entry of a type in a run's log, once it is there.
    pub async fn wait_for_entry(&self, id: i64, type_name: &str) -> Value {
        let read = async {
            let tape = self.request(Method::GET, &format!("/acts/runs/{id}/replay?follow=1"));
            let mut tape = tape.send().await.expect("the server answers");
            let mut lines = String::new();
            while let Some(more) = tape.chunk().await.expect("the tape does not break") {
                lines.push_str(std::str::from_utf8(&more).expect("whole lines"));
                let whole = lines.split_inclusive('\n').filter(|line| line.ends_with('\n'));
                let entries = whole.map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
                if let Some(entry) = entries.into_iter().find(|entry| entry["type"] == type_name) {
                    return entry;
                }
            }
            panic!("it ended without {type_name}");
        };
        tokio::time::timeout(GUARD, read).await.expect("it comes")
    }

    pub async fn wait_for_status(&self, id: i64, status: &str) -> Value {
        self.wait_until(id, |run| run["status"] == status).await
    }

    /// The pending approval of a waiting run.
    pub async fn approval(&self, run_id: i64) -> i64 {
        let path = format!("/acts/approvals?status=pending&run_id={run_id}");
        let found = self.get(&path).await.expect(200).json;
        let approvals = found["approvals"].as_array().expect("a list");
        assert_eq!(approvals.len(), 1, "{found}");
        approvals[0]["id"].as_i64().expect("a number")
    }

    pub async fn decide(&self, approval: i64, decision: &str, reason: &str) -> Answer {
        let body = json!({"decision": decision, "reason": reason});
        self.post(&format!("/acts/approvals/{approval}/decision"), body).await
    }

    /// The lines of a run's replay, as they came.
    pub async fn replay(&self, id: i64) -> Vec<String> {
        let tape = self.get(&format!("/acts/runs/{id}/replay")).await.expect(200);
        assert_eq!(tape.header("content-type"), "application/x-ndjson");
        assert!(tape.text.ends_with('\n'));
        tape.text.lines().map(str::to_owned).collect()
    }

    /// The entries of a run's replay.
    pub async fn entries(&self, id: i64) -> Vec<Value> {
        let lines = self.replay(id).await;
        lines.iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// The events of a stream (`text/event-stream`): id and data.
    pub async fn events(&self, path: &str, last_event_id: Option<&str>) -> Vec<(String, String)> {
        let mut request = self.request(Method::GET, path).header(ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let stream = Caller::send(request).await.expect(200);
        assert_eq!(stream.header("content-type"), "text/event-stream");
        let events = stream.text.split("\n\n").filter(|event| !event.is_empty());
        events
            .map(|event| {
                let (id, data) = event.split_once('\n').expect("two lines");
                let id = id.strip_prefix("id: ").expect("an id");
                (id.to_owned(), data.strip_prefix("data: ").expect("data").to_owned())
            })
            .collect()
    }
}
