//! Agents: a step asks a model behind an OpenAI-compatible API, and its answer is held against a JSON Schema.
//!
//! Owns the configuration of an agent and what counts as an answer. The wire format is genai's; the call itself goes
//! through the guard ([`relay`](super::relay)). Must never believe a model: what breaks the schema is a fault.

use super::exchange::{HttpLimits, exchange, readable, set_header, within};
use super::fields::{ConfigProblem, Fields};
use super::guard::{self, Guard};
use super::http::{CALL_NAMES, check_template, identify, misconfigured, read_timeout};
use super::relay::Relay;
use super::schema::Schema;
use super::secrets::Secrets;
use super::template::{self, Names};
use super::{Call, Executor, Fault, Outcome, json};
use async_trait::async_trait;
use genai::adapter::AdapterKind;
use genai::chat::{
    ChatMessage, ChatOptions, ChatRequest, ChatResponse, JsonSpec, ReasoningEffort, StopReason,
};
use genai::resolver::{AuthData, Endpoint};
use genai::{ModelIden, ServiceTarget};
use reqwest::{Method, Request};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

const FIELDS: [&str; 8] =
    ["endpoint", "model", "prompt", "schema", "api_key_env", "temperature", "max_tokens", "timeout_seconds"];
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// Only these variables can be named in a configuration, so that it cannot send another secret away.
const KEY_PREFIX: &str = "HMS_ACT_AGENT_";

/// Looks up an environment variable.
type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Asks models.
pub struct AgentExecutor {
    guard: Guard,
    limits: HttpLimits,
    genai: genai::Client,
    environment: Environment,
}

impl AgentExecutor {
    /// Keys come from the process's environment.
    pub fn new(guard: Guard, limits: HttpLimits) -> AgentExecutor {
        AgentExecutor::with_environment(guard, limits, Arc::new(|name| std::env::var(name).ok()))
    }

    /// Keys come from `environment`.
    pub fn with_environment(guard: Guard, limits: HttpLimits, environment: Environment) -> AgentExecutor {
        let to_relay = guard::build(|| guard::restricted_client().pool_max_idle_per_host(0));
        let genai = genai::Client::builder()
            .with_reqwest(to_relay)
            .build()
            .expect("genai builds with a client that exists");
        AgentExecutor { guard, limits, genai, environment }
    }

    async fn ask(&self, config: &AgentConfig, call: &Call) -> Result<Value, Fault> {
        let key = config.key(&self.environment)?;
        let secrets = Secrets::new(key.as_deref());
        let chat = config.chat(call)?;
        let relay =
            Relay::open().await.map_err(|cause| Fault::passing(format!("No free local port ({cause}).")))?;
        let target = ServiceTarget {
            endpoint: Endpoint::from_owned(relay.endpoint()),
            // The key is added behind the relay.
            auth: AuthData::from_single(""),
            // The prefix is cut off again: without it, a model called `a::b` would lose its `a::`.
            model: ModelIden::new(AdapterKind::OpenAI, format!("openai::{}", config.model)),
        };
        let options = config.options();
        let asked = async {
            let answer = self.genai.exec_chat(target, chat, Some(&options)).await;
            answer.map_err(|_| Fault::passing("The model's answer is not a chat completion."))
        };
        let forwarded = relay.serve(async |body: Value| {
            let request = config.request(call, &body, key.as_deref())?;
            Ok(exchange(&self.guard, &self.limits, request, &secrets).await?.body)
        });
        let (answer, ()) = tokio::try_join!(asked, forwarded)?;
        config.result(answer)
    }
}

#[async_trait]
impl Executor for AgentExecutor {
    async fn execute(&self, call: &Call) -> Result<Outcome, Fault> {
        let config =
            AgentConfig::read(&call.target.config).map_err(|problems| misconfigured(call, &problems))?;
        let limit = config.timeout.min(call.time_limit);
        within(limit, self.ask(&config, call)).await.map(Outcome::Done)
    }
}

/// The configuration of an agent, read.
#[derive(Debug)]
pub(super) struct AgentConfig {
    /// Base address of the API.
    pub endpoint: Url,
    model: String,
    prompt: String,
    schema: Option<(Value, Schema)>,
    api_key_env: Option<String>,
    temperature: Option<f64>,
    max_tokens: Option<u32>,
    timeout: Duration,
}

impl AgentConfig {
    /// Reads a configuration, or says everything that is wrong with it.
    pub fn read(config: &Value) -> Result<AgentConfig, Vec<ConfigProblem>> {
        let mut fields = Fields::open(config, &FIELDS);
        let endpoint = read_endpoint(&mut fields);
        let model = fields.required_text("model");
        let prompt = fields.required_text("prompt");
        if let Some(prompt) = prompt {
            check_template(&mut fields, "prompt", &Value::from(prompt), &CALL_NAMES);
        }
        let schema = read_schema(&mut fields);
        let api_key_env = read_key_name(&mut fields);
        let temperature = read_temperature(&mut fields);
        let max_tokens = read_max_tokens(&mut fields);
        let timeout = read_timeout(&mut fields, DEFAULT_TIMEOUT);
        match (endpoint, model, prompt) {
            (Some(endpoint), Some(model), Some(prompt)) if fields.problems.is_empty() => Ok(AgentConfig {
                endpoint,
                model: model.to_owned(),
                prompt: prompt.to_owned(),
                schema,
                api_key_env,
                temperature,
                max_tokens,
                timeout,
            }),
            _ => Err(fields.problems),
        }
    }

    /// The key itself: the variable, or the file that the variable with `_FILE` behind it names.
    fn key(&self, environment: &Environment) -> Result<Option<String>, Fault> {
        let Some(name) = &self.api_key_env else { return Ok(None) };
        let missing = |why: String| {
            Fault::lasting(format!("The agent's key is missing: {why}. An administrator sets it."))
        };
        let key = match (environment(name), environment(&format!("{name}_FILE"))) {
            (Some(key), _) => key,
            (None, Some(file)) => std::fs::read_to_string(&file).map_err(|cause| {
                missing(format!("the file named by {name}_FILE cannot be read ({cause})"))
            })?,
            (None, None) => return Err(missing(format!("neither {name} nor {name}_FILE is set"))),
        };
        match key.trim() {
            "" => Err(missing(format!("{name} is empty"))),
            key => Ok(Some(key.to_owned())),
        }
    }

    /// The system prompt, and the step's input as JSON.
    fn chat(&self, call: &Call) -> Result<ChatRequest, Fault> {
        let names: &Names<'_> = &[("input", (&call.input).into()), ("payload", (&call.payload).into())];
        let prompt = template::fill(&Value::from(self.prompt.as_str()), names).map_err(|why| {
            Fault::lasting(format!(
                "The prompt of the agent {} cannot be filled in: {why}.",
                call.target.name
            ))
        })?;
        let prompt = match prompt {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(ChatRequest::from_system(prompt).append_message(ChatMessage::user(call.input.to_string())))
    }

    fn options(&self) -> ChatOptions {
        // A budget is never sent to this kind of API. Without one, a name like `screening-high` would be taken apart
        // into a model and a reasoning effort.
        let mut options = ChatOptions::default().with_reasoning_effort(ReasoningEffort::Budget(0));
        options.temperature = self.temperature;
        options.max_tokens = self.max_tokens;
        options.response_format =
            self.schema.as_ref().map(|(schema, _)| JsonSpec::new("answer", schema.clone()).into());
        options
    }

    /// The real request, with genai's body.
    fn request(&self, call: &Call, body: &Value, key: Option<&str>) -> Result<Request, Fault> {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("{}/chat/completions", self.endpoint.path().trim_end_matches('/')));
        let mut request = Request::new(Method::POST, url);
        let headers = request.headers_mut();
        set_header(headers, "Content-Type", "application/json")?;
        if let Some(key) = key {
            set_header(headers, "Authorization", &format!("Bearer {key}"))?;
        }
        identify(call, headers)?;
        *request.body_mut() = Some(body.to_string().into());
        Ok(request)
    }

    /// The JSON in the answer's text. What is wrong with it may be right at the next attempt.
    fn result(&self, answer: ChatResponse) -> Result<Value, Fault> {
        let cut = match answer.stop_reason {
            Some(StopReason::MaxTokens(_)) => " It was cut off at max_tokens.",
            Some(StopReason::ContentFilter(_)) => " It was stopped by the service's content filter.",
            _ => "",
        };
        let text = answer
            .into_first_text()
            .ok_or_else(|| Fault::passing(format!("The model's answer holds no text.{cut}")))?;
        let value = json::parse(without_fence(&text).as_bytes())
            .map_err(|why| Fault::passing(format!("The model's answer {why}.{cut}")))?;
        let violations = match &self.schema {
            Some((_, schema)) => schema.violations(&value),
            None => Vec::new(),
        };
        if violations.is_empty() {
            return Ok(value);
        }
        Err(Fault::passing(format!("The model's answer breaks its schema: {}", violations.join("; "))))
    }
}

/// The inside of a Markdown code fence, if the whole text is one.
fn without_fence(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match inside {
        Some(inside) => inside.strip_prefix("json").or(inside.strip_prefix("JSON")).unwrap_or(inside).trim(),
        None => text,
    }
}

fn read_endpoint(fields: &mut Fields<'_>) -> Option<Url> {
    let text = fields.required_text("endpoint")?;
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && !text.contains("${") => Some(url),
        Ok(_) => {
            fields.problem("endpoint", "Must be an http:// or https:// address without ${…}.");
            None
        }
        Err(cause) => {
            fields.problem("endpoint", format!("The address is not a URL ({cause})."));
            None
        }
    }
}

fn read_schema(fields: &mut Fields<'_>) -> Option<(Value, Schema)> {
    let schema = fields.value("schema")?;
    match Schema::compile(schema) {
        Ok(compiled) => Some((schema.clone(), compiled)),
        Err(why) => {
            fields.problem(
                "schema",
                format!("Is not a JSON Schema that can be used: {}.", readable(&why, 200)),
            );
            None
        }
    }
}

fn read_key_name(fields: &mut Fields<'_>) -> Option<String> {
    let name = fields.text("api_key_env")?;
    let tail = name.strip_prefix(KEY_PREFIX).unwrap_or("");
    let plain = tail.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if plain && !tail.is_empty() && !tail.ends_with("_FILE") {
        return Some(name.to_owned());
    }
    fields.problem(
        "api_key_env",
        format!(
            "Must be the name of a variable that begins with {KEY_PREFIX}, in capitals, without a closing _FILE."
        ),
    );
    None
}

fn read_temperature(fields: &mut Fields<'_>) -> Option<f64> {
    let value = fields.value("temperature")?;
    let temperature = value.as_f64().filter(|number| (0.0..=2.0).contains(number));
    if temperature.is_none() {
        fields.problem("temperature", "Must be a number from 0 to 2.");
    }
    temperature
}

fn read_max_tokens(fields: &mut Fields<'_>) -> Option<u32> {
    let value = fields.value("max_tokens")?;
    let tokens = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
    if tokens.is_none() {
        fields.problem("max_tokens", "Must be a whole number above 0.");
    }
    tokens
}

#[cfg(test)]
mod tests;
