//! What an admin wrote about an action or an agent, checked when it is saved.
//!
//! Owns the list of kinds. Everything wrong is named at once. Must never call anything: a name is not resolved here.

use super::agent::AgentConfig;
use super::command::CommandConfig;
pub use super::fields::ConfigProblem;
use super::fields::Fields;
use super::guard::Guard;
use super::http::HttpConfig;
use serde_json::Value;
use url::Url;

/// Everything that is wrong with an action. With a guard, an address that would be refused is a problem, too.
pub fn check_action(kind: &str, config: &Value, guard: Option<&Guard>) -> Vec<ConfigProblem> {
    match kind {
        "http" => match HttpConfig::read(config) {
            Ok(read) => refused_address(guard, "url", &read.skeleton),
            Err(problems) => problems,
        },
        "command" => CommandConfig::read(config).err().unwrap_or_default(),
        // A worker brings all that it needs along: it is known by the action's name.
        "compute" | "worker" => Fields::open(config, &[]).problems,
        other => {
            vec![kind_problem(format!("Unknown kind `{other}`. Known are: http, compute, worker, command."))]
        }
    }
}

/// Everything that is wrong with an agent.
pub fn check_agent(kind: &str, config: &Value, guard: Option<&Guard>) -> Vec<ConfigProblem> {
    match kind {
        "openai" => match AgentConfig::read(config) {
            Ok(read) => refused_address(guard, "endpoint", &read.endpoint),
            Err(problems) => problems,
        },
        other => vec![kind_problem(format!("Unknown kind `{other}`. Known is: openai."))],
    }
}

fn kind_problem(message: String) -> ConfigProblem {
    ConfigProblem { path: "$.kind".to_owned(), message }
}

fn refused_address(guard: Option<&Guard>, field: &str, url: &Url) -> Vec<ConfigProblem> {
    let refused = guard.and_then(|guard| guard.check(url).err());
    let problem =
        refused.map(|refused| ConfigProblem { path: format!("$.config.{field}"), message: refused.message });
    problem.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(problems: &[ConfigProblem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.path.as_str()).collect()
    }

    #[test]
    fn all_problems_of_an_http_action_come_at_once() {
        let config = json!({
            "method": "STEAL", "url": "http://${payload.host}/x", "timeout_seconds": 0, "retries": 3,
            "headers": {"Accept-Language": 5, "Idempotency-Key": "mine", "X Y": "a", "X-A": "a\nb"},
            "result": "", "body": {"deep": ["${payload.x"]}
        });
        let problems = check_action("http", &config, None);
        assert_eq!(
            paths(&problems),
            [
                "$.config.retries",
                "$.config.method",
                "$.config.url",
                "$.config.headers.Accept-Language",
                "$.config.headers.Idempotency-Key",
                "$.config.headers.X Y",
                "$.config.headers.X-A",
                "$.config.body.deep[0]",
                "$.config.result",
                "$.config.timeout_seconds",
            ]
        );
    }

    #[test]
    fn wrong_types_and_missing_fields_are_named() {
        assert_eq!(paths(&check_action("http", &json!([]), None)), ["$.config"]);
        assert_eq!(paths(&check_action("http", &json!({}), None)), ["$.config.url"]);
        let config = json!({"url": 1, "method": 2, "headers": [], "timeout_seconds": "30", "result": {}});
        assert_eq!(
            paths(&check_action("http", &config, None)),
            [
                "$.config.method",
                "$.config.url",
                "$.config.headers",
                "$.config.result",
                "$.config.timeout_seconds"
            ]
        );
        for seconds in [json!(0), json!(-1), json!(3600.5), json!(1e300), json!(null), json!(true)] {
            let config = json!({"url": "https://data.gov/", "timeout_seconds": seconds});
            assert_eq!(paths(&check_action("http", &config, None)), ["$.config.timeout_seconds"]);
        }
    }

    #[test]
    fn expressions_are_checked_where_they_stand() {
        for (field, value, path) in [
            ("url", json!("https://data.gov/${secrets.x}"), "$.config.url"),
            ("url", json!("https://data.gov/${1 +}"), "$.config.url"),
            ("headers", json!({"X-A": "${status}"}), "$.config.headers.X-A"),
            ("body", json!([1, {"a": "${body}"}]), "$.config.body[1].a"),
            ("result", json!("payload.x"), "$.config.result"),
            ("result", json!("body.x ||"), "$.config.result"),
        ] {
            let mut config = json!({"url": "https://data.gov/"});
            config[field] = value;
            let problems = check_action("http", &config, None);
            assert_eq!(paths(&problems), [path], "{problems:?}");
        }
    }

    #[test]
    fn a_good_action_has_no_problems() {
        let config = json!({
            "method": "put", "url": "https://data.gov/licences/${payload.id}?full=${input.full}",
            "headers": {"X-Case": "${payload.id}"}, "body": {"a": "${input.a}"},
            "result": "body.data", "timeout_seconds": 0.5
        });
        assert_eq!(check_action("http", &config, Some(&Guard::new(Vec::new()))), []);
    }

    #[test]
    fn a_private_address_is_a_problem_unless_it_is_allowed() {
        let config = json!({"url": "http://127.0.0.1:8090/licences/${payload.id}"});
        let problems = check_action("http", &config, Some(&Guard::new(Vec::new())));
        assert_eq!(paths(&problems), ["$.config.url"]);
        assert!(problems[0].message.contains("HMS_ACT_ALLOW_HOSTS"));
        let guard = Guard::new(vec!["127.0.0.1:8090".parse().unwrap()]);
        assert_eq!(check_action("http", &config, Some(&guard)), []);
        for url in ["file:///etc/passwd", "https://user:secret@data.gov/"] {
            let problems = check_action("http", &json!({"url": url}), Some(&guard));
            assert_eq!(paths(&problems), ["$.config.url"], "{url}");
        }
    }

    #[test]
    fn kinds_without_a_configuration_take_none() {
        for kind in ["compute", "worker"] {
            assert_eq!(check_action(kind, &json!({}), None), []);
            assert_eq!(paths(&check_action(kind, &json!({"a": 1}), None)), ["$.config.a"]);
        }
        assert_eq!(paths(&check_action("shell", &json!({}), None)), ["$.kind"]);
        assert_eq!(paths(&check_agent("oracle", &json!({}), None)), ["$.kind"]);
    }

    #[test]
    fn all_problems_of_a_command_come_at_once() {
        let config = json!({
            "program": "fees", "args": ["--x", 5, "${payload.x", "a\0"], "timeout_seconds": 0, "shell": true,
            "max_output_bytes": 1e9, "environment": {"A B": "x", "LD_PRELOAD": "x", "PATH": "/", "OK": 1}
        });
        assert_eq!(
            paths(&check_action("command", &config, None)),
            [
                "$.config.shell",
                "$.config.program",
                "$.config.args[1]",
                "$.config.args[2]",
                "$.config.args[3]",
                "$.config.timeout_seconds",
                "$.config.max_output_bytes",
                "$.config.environment.A B",
                "$.config.environment.LD_PRELOAD",
                "$.config.environment.PATH",
                "$.config.environment.OK",
            ]
        );
        for program in ["", "./fees", "/opt/../bin/sh", "/opt/./fees"] {
            let problems = check_action("command", &json!({"program": program}), None);
            assert_eq!(paths(&problems), ["$.config.program"], "{program}");
        }
        let good = json!({
            "program": "/usr/local/bin/fees", "args": ["--of", "${input.y}"], "timeout_seconds": 5,
            "max_output_bytes": 4096, "environment": {"FEES_TABLE": "2026"}
        });
        assert_eq!(check_action("command", &good, None), []);
    }

    #[test]
    fn all_problems_of_an_agent_come_at_once() {
        let config = json!({
            "endpoint": "ftp:/x/${payload.x}", "model": "", "prompt": 5, "schema": {"type": "thing"},
            "api_key_env": "DATABASE_URL", "temperature": 9, "max_tokens": 1.5, "timeout_seconds": 99999, "x": 1
        });
        assert_eq!(
            paths(&check_agent("openai", &config, None)),
            [
                "$.config.x",
                "$.config.endpoint",
                "$.config.model",
                "$.config.prompt",
                "$.config.schema",
                "$.config.api_key_env",
                "$.config.temperature",
                "$.config.max_tokens",
                "$.config.timeout_seconds",
            ]
        );
        let missing = check_agent("openai", &json!({}), None);
        assert_eq!(paths(&missing), ["$.config.endpoint", "$.config.model", "$.config.prompt"]);
    }

    #[test]
    fn a_good_agent_has_no_problems() {
        let config = json!({
            "endpoint": "https://models.agency.gov/v1", "model": "screening-1", "prompt": "Screen ${payload.name}.",
            "schema": {"type": "object", "required": ["risk"], "properties": {"risk": {"enum": ["low", "high"]}}},
            "api_key_env": "HMS_ACT_AGENT_SCREENING_KEY", "temperature": 0, "max_tokens": 500,
            "timeout_seconds": 120
        });
        assert_eq!(check_agent("openai", &config, Some(&Guard::new(Vec::new()))), []);
    }

    #[test]
    fn a_schema_that_refers_elsewhere_is_refused() {
        for reference in
            ["http://schemas.example/risk.json", "https://schemas.example/x", "file:///etc/passwd"]
        {
            let config = json!({
                "endpoint": "https://models.agency.gov/v1", "model": "m", "prompt": "p",
                "schema": {"properties": {"risk": {"$ref": reference}}}
            });
            let problems = check_agent("openai", &config, None);
            assert_eq!(paths(&problems), ["$.config.schema"], "{reference}");
        }
    }
}
