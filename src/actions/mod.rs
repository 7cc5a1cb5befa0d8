//! Executors: what a step calls. One trait, an [`Outcome`], a [`Fault`].
//!
//! Owns the outside world of a step. Never touches run state: it reports an outcome, and the scheduler submits it.

pub mod address;
pub mod agent;
pub mod command;
pub mod config;
mod exchange;
mod fields;
pub mod guard;
pub mod http;
mod json;
mod relay;
mod schema;
mod secrets;
mod template;
#[cfg(test)]
mod testing;

pub use exchange::HttpLimits;

use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// One attempt at one step, as an executor sees it.
#[derive(Debug, Clone)]
pub struct Call {
    pub run_id: i64,
    /// Path of the step, for example `checks/legal` or `draft_letter#2`.
    pub step: String,
    pub attempt: i32,
    /// The registered action or agent: its name, kind and configuration as an admin wrote it.
    pub target: Arc<Target>,
    /// The step's resolved `with`.
    pub input: Value,
    /// The run's payload at the start of the step: maps laid over each other.
    pub payload: crate::engine::state::Scope,
    /// The same for every attempt of a step.
    pub idempotency_key: String,
    /// W3C `traceparent` header.
    pub traceparent: String,
    /// Where a service that answers 202 reports the end of the step. None: no public address.
    pub callback_url: Option<String>,
    /// The most that this attempt may take.
    pub time_limit: Duration,
}

/// A named action or agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub name: String,
    /// `http`, `worker`, `command`, `compute`; for agents `openai`.
    pub kind: String,
    pub config: Value,
    pub version: i32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The step is done with this result.
    Done(Value),
    /// The service took the work (202) and will report by callback.
    Accepted,
}

/// A failed attempt. `message` says what happened and what to do, without secrets.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub message: String,
    /// Connection faults, 408, 429 and 5xx may be retried; other 4xx may not.
    pub retryable: bool,
    pub retry_after: Option<Duration>,
}

#[async_trait]
pub trait Executor: Send + Sync {
    async fn execute(&self, call: &Call) -> Result<Outcome, Fault>;
}
