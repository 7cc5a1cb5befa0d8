//! `http` actions: a step is one HTTP call.
//!
//! Owns the configuration of an `http` action and the request made from it. Must never interpret a payload's value
//! as part of an address, a header's name or another header (see [`template`]).

use super::exchange::{Answer, HttpLimits, exchange, set_header, within};
use super::fields::{ConfigProblem, Fields};
use super::guard::Guard;
use super::secrets::Secrets;
use super::template::{self, Names};
use super::{Call, Executor, Fault, Outcome};
use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use reqwest::{Method, Request};
use serde_json::Value;
use std::time::Duration;
use url::Url;

const FIELDS: [&str; 6] = ["method", "url", "headers", "body", "result", "timeout_seconds"];
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// What the templates of a call may use.
pub(super) const CALL_NAMES: [&str; 2] = ["input", "payload"];
/// Seconds.
const MAX_TIMEOUT: f64 = 3600.0;
/// Headers that are ours or the connection's.
const RESERVED_HEADERS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "act-callback-url",
    "act-run",
    "act-step",
    "connection",
    "content-length",
    "host",
    "idempotency-key",
    "te",
    "traceparent",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Calls HTTP services.
pub struct HttpExecutor {
    guard: Guard,
    limits: HttpLimits,
}

impl HttpExecutor {
    pub fn new(guard: Guard, limits: HttpLimits) -> HttpExecutor {
        HttpExecutor { guard, limits }
    }
}

#[async_trait]
impl Executor for HttpExecutor {
    async fn execute(&self, call: &Call) -> Result<Outcome, Fault> {
        let config =
            HttpConfig::read(&call.target.config).map_err(|problems| misconfigured(call, &problems))?;
        let request = config.request(call)?;
        let secrets = config.secrets(&request);
        let limit = config.timeout.min(call.time_limit);
        let answer = within(limit, exchange(&self.guard, &self.limits, request, &secrets)).await?;
        config.outcome(call, answer).map_err(|fault| secrets.hide_in(fault))
    }
}

/// The configuration of an `http` action, read.
#[derive(Debug)]
pub(super) struct HttpConfig {
    method: Method,
    url: String,
    /// The URL with a harmless word in the place of every value.
    pub skeleton: Url,
    headers: Vec<(String, String)>,
    body: Option<Value>,
    /// A template: the CEL expression in `${ … }`.
    result: Option<Value>,
    timeout: Duration,
}

impl HttpConfig {
    /// Reads a configuration, or says everything that is wrong with it.
    pub fn read(config: &Value) -> Result<HttpConfig, Vec<ConfigProblem>> {
        let mut fields = Fields::open(config, &FIELDS);
        let method = read_method(&mut fields);
        let url = read_url(&mut fields);
        let headers = read_headers(&mut fields);
        let body = fields.value("body").cloned();
        if let Some(body) = &body {
            check_template(&mut fields, "body", body, &CALL_NAMES);
        }
        let result = fields.text("result").map(|cel| Value::String(format!("${{{cel}}}")));
        if let Some(result) = &result {
            check_template(&mut fields, "result", result, &["body", "status"]);
        }
        let timeout = read_timeout(&mut fields, DEFAULT_TIMEOUT);
        match (method, url) {
            (Some(method), Some((url, skeleton))) if fields.problems.is_empty() => {
                Ok(HttpConfig { method, url, skeleton, headers, body, result, timeout })
            }
            _ => Err(fields.problems),
        }
    }

    fn request(&self, call: &Call) -> Result<Request, Fault> {
        let names: &Names<'_> = &[("input", (&call.input).into()), ("payload", (&call.payload).into())];
        let unfilled = |field: &str, why: String| {
            Fault::lasting(format!(
                "The {field} of the action {} cannot be filled in: {why}.",
                call.target.name
            ))
        };
        let url = template::fill_url(&self.url, names).map_err(|why| unfilled("url", why))?;
        let mut request = Request::new(self.method.clone(), url);
        let body = match &self.body {
            Some(body) => Some(crate::engine::json::sorted(
                template::fill(body, names).map_err(|why| unfilled("body", why))?,
            )),
            None if sends_input(&self.method) => Some(call.input.clone()),
            None => None,
        };
        if let Some(body) = body {
            set_header(request.headers_mut(), CONTENT_TYPE.as_str(), "application/json")?;
            *request.body_mut() = Some(body.to_string().into());
        }
        for (name, value) in &self.headers {
            let value = template::fill_header(value, names).map_err(|why| unfilled(name, why))?;
            set_header(request.headers_mut(), name, &value)?;
        }
        identify(call, request.headers_mut())?;
        Ok(request)
    }

    /// What the configured headers say: tokens and keys above all.
    fn secrets(&self, request: &Request) -> Secrets {
        let sent = self.headers.iter().filter_map(|(name, _)| request.headers().get(name));
        Secrets::new(sent.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok()))
    }

    fn outcome(&self, call: &Call, answer: Answer) -> Result<Outcome, Fault> {
        if answer.status.as_u16() == 202 {
            return match call.callback_url {
                Some(_) => Ok(Outcome::Accepted),
                None => Err(Fault::lasting(
                    "The service answered 202 and would report later, but it was given no address to report to. Set \
                     HMS_ACT_PUBLIC_URL, or let the service answer 200 with its result.",
                )),
            };
        }
        let Some(result) = &self.result else { return Ok(Outcome::Done(answer.body)) };
        let status = Value::from(answer.status.as_u16());
        let names: &Names<'_> = &[("body", (&answer.body).into()), ("status", (&status).into())];
        template::fill(result, names).map(Outcome::Done).map_err(|why| {
            Fault::lasting(format!("The result of the action {} cannot be read: {why}.", call.target.name))
        })
    }
}

/// The headers by which a service knows the call: what it belongs to, and that a repetition is the same call.
pub(super) fn identify(call: &Call, headers: &mut HeaderMap) -> Result<(), Fault> {
    set_header(headers, "Idempotency-Key", &call.idempotency_key)?;
    set_header(headers, "traceparent", &call.traceparent)?;
    set_header(headers, "Act-Run", &call.run_id.to_string())?;
    set_header(headers, "Act-Step", &call.step)?;
    match &call.callback_url {
        Some(url) => set_header(headers, "Act-Callback-Url", url),
        None => Ok(()),
    }
}

/// A configuration that was saved and cannot be read all the same.
pub(super) fn misconfigured(call: &Call, problems: &[ConfigProblem]) -> Fault {
    let list: Vec<String> =
        problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
    Fault::lasting(format!("The configuration of {} is wrong. {}", call.target.name, list.join(" ")))
}

/// `timeout_seconds`, for actions and agents.
pub(super) fn read_timeout(fields: &mut Fields<'_>, default: Duration) -> Duration {
    fields.number("timeout_seconds", 0.0, MAX_TIMEOUT).map_or(default, Duration::from_secs_f64)
}

/// Checks the expressions of a field; the problem names the place inside it.
pub(super) fn check_template(fields: &mut Fields<'_>, name: &str, template: &Value, names: &[&str]) {
    if let Err((path, why)) = template::check(template, names) {
        fields.problem(&format!("{name}{path}"), format!("Here {why}."));
    }
}

fn read_method(fields: &mut Fields<'_>) -> Option<Method> {
    if fields.value("method").is_none() {
        return Some(Method::POST);
    }
    let name = fields.text("method")?.to_ascii_uppercase();
    if METHODS.contains(&name.as_str()) {
        return Method::from_bytes(name.as_bytes()).ok();
    }
    fields.problem("method", format!("Must be one of {}.", METHODS.join(", ")));
    None
}

fn read_url(fields: &mut Fields<'_>) -> Option<(String, Url)> {
    let text = fields.required_text("url")?;
    match template::skeleton(text) {
        Ok(skeleton) if matches!(skeleton.scheme(), "http" | "https") => {
            check_template(fields, "url", &Value::from(text), &CALL_NAMES);
            Some((text.to_owned(), skeleton))
        }
        Ok(_) => {
            fields.problem("url", "Must begin with http:// or https://.");
            None
        }
        Err(why) => {
            fields.problem("url", format!("The address {why}."));
            None
        }
    }
}

fn read_headers(fields: &mut Fields<'_>) -> Vec<(String, String)> {
    let headers = match fields.value("headers") {
        None => return Vec::new(),
        Some(Value::Object(headers)) => headers,
        Some(_) => {
            fields.problem("headers", "Must be an object of texts.");
            return Vec::new();
        }
    };
    let mut read = Vec::new();
    for (name, value) in headers {
        match header_problem(name, value) {
            Some(message) => fields.problem(&format!("headers.{name}"), message),
            None => read.extend(value.as_str().map(|text| (name.clone(), text.to_owned()))),
        }
    }
    read
}

fn header_problem(name: &str, value: &Value) -> Option<String> {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Some("Is not a header's name.".to_owned());
    }
    if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Some("Is set on every call and cannot be configured.".to_owned());
    }
    let Some(text) = value.as_str() else { return Some("Must be a text.".to_owned()) };
    if text.chars().any(char::is_control) {
        return Some("Must be one line without control characters.".to_owned());
    }
    template::check(value, &CALL_NAMES).err().map(|(_, why)| format!("Here {why}."))
}

fn sends_input(method: &Method) -> bool {
    *method == Method::POST || *method == Method::PUT || *method == Method::PATCH
}

#[cfg(test)]
mod tests;
