//! `hitl` tasks: who may decide, how many, and what happens when nobody does.

use super::super::reader::Reader;
use super::super::{Approvers, Hitl, OnReject};
use super::approvers::{approvers, people};
use super::json_schema;
use super::task::Siblings;
use serde_json::Value;

/// The most people that may have to agree.
pub(super) const MAX_QUORUM: u32 = 100;
/// The most times that work may be sent back.
const MAX_RETURNS: u32 = 100;
const DEFAULT_RETURNS: u32 = 3;

pub(super) fn hitl(reader: &mut Reader<'_>, siblings: &Siblings<'_>) -> Hitl {
    let approvers = approvers(reader)
        .unwrap_or_else(|| Approvers { roles: vec!["supervisor".to_owned()], ..Approvers::default() });
    let on_reject = reader.choice("on_reject", &[("end", OnReject::End), ("continue", OnReject::Continue)]);
    let returns_to = returns_to(reader, siblings);
    Hitl {
        quorum: quorum(reader, &approvers),
        four_eyes: reader.flag("four_eyes").unwrap_or(true),
        on_reject: on_reject.unwrap_or(OnReject::End),
        form: form(reader),
        due: reader.minutes("due_minutes"),
        remind: reader.minutes("remind_minutes"),
        escalate_to: escalate_to(reader),
        max_returns: max_returns(reader),
        approvers,
        returns_to,
    }
}

fn quorum(reader: &mut Reader<'_>, approvers: &Approvers) -> u32 {
    let quorum = reader.whole("quorum", 1..=MAX_QUORUM);
    if reader.value("approvers").is_some_and(Value::is_object) {
        if reader.has("quorum") {
            let message = "stands beside slots, which say themselves how many must approve. Remove it, and give \
                           slots a `count`.";
            reader.problem("quorum", message);
        }
        return approvers.seats().max(1);
    }
    let Some(quorum) = quorum else { return 1 };
    let anybody = approvers.roles.len() + approvers.groups.len() > 0;
    if !anybody && quorum as usize > approvers.users.len() {
        let message = format!(
            "asks for {quorum} who agree, and `approvers` names only {}. Name more, name a role, or lower it.",
            approvers.users.len()
        );
        reader.beyond_schema("quorum", message);
    }
    quorum
}

fn form(reader: &mut Reader<'_>) -> Option<Value> {
    let form = json_schema(reader, "form")?;
    if form.get("type").and_then(Value::as_str) != Some("object") {
        reader.problem(
            "form",
            "must describe an object: add `\"type\": \"object\"`, and the fields as `properties`.",
        );
    }
    Some(form)
}

fn escalate_to(reader: &mut Reader<'_>) -> Option<Approvers> {
    let named = people(reader, "escalate_to", "a list of them");
    let escalates = reader.value("on_timeout").and_then(Value::as_str) == Some("escalate");
    if reader.has("escalate_to") && !reader.has("due_minutes") && !escalates {
        let message =
            "would never be asked. Add `due_minutes`, or `max_minutes` with `\"on_timeout\": \"escalate\"`.";
        reader.problem("escalate_to", message);
    }
    named
}

fn returns_to(reader: &mut Reader<'_>, siblings: &Siblings<'_>) -> Option<String> {
    let id = reader.name("returns_to")?;
    let wrong = match siblings.positions.get(id.as_str()) {
        Some(position) if *position < siblings.position => return Some(id),
        Some(position) if *position == siblings.position => {
            format!("`{id}` is this task itself. Name an earlier one of the same list.")
        }
        Some(_) => {
            format!("`{id}` comes later. Work can only be sent back: name an earlier task of the same list.")
        }
        None => format!(
            "there is no task `{id}` earlier in the same list. Name one that is: not one inside a group, or around it."
        ),
    };
    reader.beyond_schema("returns_to", wrong);
    None
}

fn max_returns(reader: &mut Reader<'_>) -> u32 {
    let most = reader.whole("max_returns", 1..=MAX_RETURNS);
    if reader.has("max_returns") && !reader.has("returns_to") {
        reader.problem(
            "max_returns",
            "needs `returns_to`: nothing is ever sent back without it. Add it, or remove this.",
        );
    }
    most.unwrap_or(DEFAULT_RETURNS)
}
