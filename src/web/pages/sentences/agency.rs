//! What the agency itself writes: sign-ins, refusals, exports, changes of protocols and users.

use super::{KINDS, clip, detail, ended};
use crate::audit::chain::Stored;
use crate::engine::protocol::and;
use crate::web::pages::facts;
use crate::web::pages::status::{Status, StatusKind};
use serde_json::Value;

pub fn status(status: &str) -> Status {
    match status {
        "refused" => Status::refused(),
        other => Status::new(StatusKind::Todo, facts::words(other)),
    }
}

fn key_use(use_of_key: &str) -> &str {
    if use_of_key == "log" { "the log" } else { "tokens" }
}

pub fn of_agency(stored: &Stored) -> String {
    let who = &stored.actor;
    let detail = detail(stored);
    let value = |key: &str| match detail.get(key) {
        Some(Value::String(text)) => clip(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => "unknown".to_owned(),
    };
    if let Some(repeated) = detail.get("repeated").and_then(Value::as_u64) {
        let kind = KINDS.iter().find(|(name, _)| *name == stored.type_name);
        let words = kind.map_or_else(|| facts::words(&stored.type_name), |(_, words)| (*words).to_owned());
        return format!("{words}, by {who}: {repeated} times more.");
    }
    match stored.type_name.as_str() {
        "user.signed_in" => format!("{who} signed in."),
        "user.signed_out" => format!("{who} signed out."),
        "user.sign_in_failed" => format!("A sign-in as {who} failed."),
        "access.refused" => {
            format!("{who} was refused: the permission {} was missing.", value("missing"))
        }
        "command.refused" => format!("What {who} asked for was refused: {}", ended(&value("command"))),
        "log.exported" => format!("{who} exported the log."),
        "log.backed_up" => format!("{who} backed up the log: {} entries.", value("entries")),
        "log.restored" => format!("{who} restored the log from a backup of {} entries.", value("entries")),
        "bundle.made" if detail.get("disclosed").is_some() => {
            format!("{who} took out the evidence of run {} with its sealed values.", value("run"))
        }
        "bundle.made" => format!("{who} took out the evidence of run {}.", value("run")),
        "key.added" => format!("{who} added a key that signs {}.", key_use(&value("use"))),
        "key.rotated" => format!("{who} changed the key that signs the log."),
        "instance.started" => {
            format!("{who} was started on {}, version {}.", value("host"), value("version"))
        }
        "instance.stopped" => format!("{who} was stopped on {}.", value("host")),
        "sealed.read" => {
            format!("{who} read the sealed values of run {}: {}", value("run_id"), ended(&value("reason")))
        }
        "redaction.filed" => format!(
            "{who} asked to erase {} in run {}: {}",
            value("path"),
            value("run_id"),
            ended(&value("reason"))
        ),
        "redaction.approved" => format!(
            "{who} had {} in run {} erased: {}",
            value("path"),
            value("run_id"),
            ended(&value("reason"))
        ),
        "redaction.rejected" => format!(
            "{who} decided that {} in run {} is not erased: {}",
            value("path"),
            value("run_id"),
            ended(&value("reason"))
        ),
        "log.export_ended" if detail.get("outcome").and_then(Value::as_str) == Some("complete") => {
            format!("An export of the log by {who} is complete: {} entries.", value("rows"))
        }
        "log.export_ended" => {
            format!("An export of the log by {who} was {} after {} entries.", value("outcome"), value("rows"))
        }
        "protocol.created" => format!("{who} wrote the protocol {}.", value("name")),
        "protocol.version_saved" => {
            format!("{who} saved version {} of the protocol {}.", value("version"), value("name"))
        }
        "action.saved" => format!("{who} saved the action {}, version {}.", value("name"), value("version")),
        "agent.saved" => format!("{who} saved the agent {}, version {}.", value("name"), value("version")),
        "user.created" => format!("{who} added the user {} as {}.", value("user"), value("role")),
        "user.role_changed" => {
            format!(
                "{who} changed the role of {} from {} to {}.",
                value("user"),
                value("from"),
                value("role")
            )
        }
        "user.groups_changed" => {
            let names = detail.get("groups").and_then(Value::as_array).into_iter().flatten();
            let names: Vec<String> = names.filter_map(Value::as_str).map(str::to_owned).collect();
            match names.as_slice() {
                [] => format!("{who} took {} out of every group.", value("user")),
                names => format!("{who} put {} into the groups {}.", value("user"), and(names)),
            }
        }
        "user.password_set" => format!("{who} set a new password for {}.", value("user")),
        "user.disabled" => format!("{who} switched off the user {}.", value("user")),
        "token.issued" => format!("{who} made a token for {}.", value("user")),
        "event.expired" => format!("{who} removed {} outside events that no run took.", value("untaken")),
        "schedule.missed" => {
            format!("{who} missed scheduled times of {}: {}", value("name"), ended(&value("reason")))
        }
        "schedule.skipped" => {
            format!("{who} left out a scheduled run of {}: {}", value("name"), ended(&value("reason")))
        }
        "schedule.refused" => {
            format!("{who} could not start a scheduled run of {}: {}", value("name"), ended(&value("reason")))
        }
        "work.refused" => format!("{who} answered for work that somebody else has: it was refused."),
        "callback.refused" => format!("A callback by {who} was refused: its token is another step's."),
        "run.what_if" => {
            let version = match detail.get("version") {
                Some(Value::Number(version)) => format!("version {version} of its protocol"),
                _ => "a draft of its protocol".to_owned(),
            };
            format!("{who} asked what {version} would have made of run {}.", value("run_id"))
        }
        "event.received" => format!("{who} reported the event {}.", value("name")),
        "user.enabled" => format!("{who} switched the user {} on again.", value("user")),
        other => format!("{}, by {who}.", facts::words(&other.replace('.', " "))),
    }
}
