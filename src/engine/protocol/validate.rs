//! From a JSON document to a [`Protocol`], naming everything that is wrong with it at once.

use super::reader::Reader;
use super::{
    Approvers, Hitl, Invocation, MAX_TASKS, OnFailure, OnReject, OnTimeout, Problem, Protocol, Task, Work,
};
use crate::engine::expression::{Expression, Template, kind_of};
use crate::engine::json;
use serde_json::Value;
use std::collections::HashMap;

/// What an approval may name as a role; every other name is a user.
const DECIDING_ROLES: [&str; 2] = ["supervisor", "admin"];
/// Roles whose holders may not decide anything.
const OTHER_ROLES: [&str; 2] = ["staff", "auditor"];
/// Parts of the language that this version does not run; saying so is kinder than "unknown field".
const LATER_PROTOCOL_FIELDS: &[&str] = &["schedule", "concurrency", "redact"];
const LATER_TASK_FIELDS: &[&str] = &[
    "retry",
    "on_failure",
    "undo",
    "tasks",
    "join",
    "max_concurrency",
    "for_each",
    "as",
    "quorum",
    "form",
    "remind_minutes",
    "escalate_to",
    "returns_to",
    "max_returns",
    "minutes",
    "until",
    "event",
    "key",
];

pub(super) fn protocol(document: &Value) -> Result<Protocol, Vec<Problem>> {
    let Value::Object(map) = document else {
        let message = format!("A protocol is an object with `tasks`, not {}.", kind_of(document));
        return Err(vec![Problem { path: "$".to_owned(), message }]);
    };
    let mut reader = Reader::new(map, "$".to_owned());
    let name = reader.text("name", 200);
    let description = reader.text("description", 10_000);
    let input = reader.value("input").cloned();
    if let Some(input) = &input {
        check_input_schema(input, &mut reader);
    }
    let tasks = tasks(&mut reader);
    let problems = reader.finish(LATER_PROTOCOL_FIELDS);
    if problems.is_empty() {
        Ok(Protocol::new(name, description, input, tasks.into_iter().map(std::sync::Arc::new).collect()))
    } else {
        Err(problems)
    }
}

fn check_input_schema(schema: &Value, reader: &mut Reader<'_>) {
    if !schema.is_object() {
        reader.problem("input", format!("must be a JSON Schema (an object), not {}.", kind_of(schema)));
    } else if let Err(error) = jsonschema::validator_for(schema) {
        reader.problem("input", format!("is not a valid JSON Schema: {error}"));
    }
}

fn tasks(reader: &mut Reader<'_>) -> Vec<Task> {
    let items = match reader.value("tasks") {
        None => {
            reader.problem("tasks", "is missing. Give a list with at least one task.");
            return Vec::new();
        }
        Some(Value::Array(items)) => items,
        Some(other) => {
            reader.problem("tasks", format!("must be a list of tasks, not {}.", kind_of(other)));
            return Vec::new();
        }
    };
    if items.is_empty() {
        reader.problem("tasks", "is empty. Give at least one task.");
    }
    if items.len() > MAX_TASKS {
        reader.problem("tasks", format!("has {} tasks; at most {MAX_TASKS} are allowed.", items.len()));
        return Vec::new();
    }
    let mut read = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = format!("$.tasks[{index}]");
        match item {
            Value::Object(map) => {
                let mut inner = Reader::new(map, path);
                let task = task(&mut inner);
                reader.problems.extend(inner.finish(LATER_TASK_FIELDS));
                read.push((index, task));
            }
            other => reader.problems.push(Problem {
                path,
                message: format!("A task is an object with `id` and `type`, not {}.", kind_of(other)),
            }),
        }
    }
    refuse_duplicates(&read, reader);
    read.into_iter().filter_map(|(_, task)| task).collect()
}

fn refuse_duplicates(tasks: &[(usize, Option<Task>)], reader: &mut Reader<'_>) {
    let (mut ids, mut saved) = (HashMap::new(), HashMap::new());
    for (index, task) in tasks.iter().filter_map(|(index, task)| Some((index, task.as_ref()?))) {
        if let Some(first) = ids.insert(task.id.clone(), *index) {
            let message =
                format!("`{}` is already the id of task {first}. Give each task an id of its own.", task.id);
            reader.problems.push(Problem { path: format!("$.tasks[{index}].id"), message });
        } else if let Some(first) = saved.insert(task.saves.clone(), *index) {
            let message =
                format!("`{}` is already written by task {first}. Save under another key.", task.saves);
            reader.problems.push(Problem { path: format!("$.tasks[{index}].saves"), message });
        }
    }
}

fn task(reader: &mut Reader<'_>) -> Option<Task> {
    let id = reader.name("id");
    if id.is_none() && reader.value("id").is_none() {
        reader.problem("id", "is missing. Give the task an id (letters, digits, `_` and `-`).");
    }
    let title = reader.text("title", 200);
    let saves = reader.name("saves");
    let when = condition(reader);
    let max_time = reader.minutes("max_minutes");
    // `flag` is what happens anyway; the other ways of acting on a stalled step come with retries.
    reader.choice("on_timeout", &[("flag", ())]);
    let work = work(reader, id.as_deref().unwrap_or_default());
    let id = id?;
    Some(Task {
        saves: saves.unwrap_or_else(|| id.clone()),
        id,
        title,
        when,
        max_time,
        on_timeout: OnTimeout::Flag,
        on_failure: OnFailure::Fail,
        work: work?,
    })
}

fn condition(reader: &mut Reader<'_>) -> Option<Expression> {
    let source = reader.text("when", 10_000)?;
    match Expression::compile(&source, &["payload"]) {
        Ok(expression) => Some(expression),
        Err(error) => {
            reader.problem("when", error.to_string());
            None
        }
    }
}

fn work(reader: &mut Reader<'_>, id: &str) -> Option<Work> {
    let Some(kind) = reader.value("type") else {
        reader.problem("type", "is missing. Use one of `script`, `agent`, `hitl`.");
        return None;
    };
    match kind.as_str() {
        Some("script") => Some(Work::Script(invocation(reader, id))),
        Some("agent") => Some(Work::Agent(invocation(reader, id))),
        Some("hitl") => Some(Work::Hitl(Box::new(hitl(reader)))),
        Some(later @ ("parallel" | "wait" | "protocol")) => {
            let message = format!(
                "`{later}` tasks are not part of this version of HMS-ACT. Use `script`, `agent` or `hitl`."
            );
            reader.problem("type", message);
            None
        }
        Some(other) => {
            reader.problem("type", format!("`{other}` is not a type. Use one of `script`, `agent`, `hitl`."));
            None
        }
        None => {
            reader.problem("type", format!("must be a text, not {}.", kind_of(kind)));
            None
        }
    }
}

fn invocation(reader: &mut Reader<'_>, id: &str) -> Invocation {
    let uses = reader.name("uses").unwrap_or_else(|| id.to_owned());
    let with = reader.value("with").cloned().map(json::normalise);
    let with = with.and_then(|with| match Template::compile(&with, &["payload"]) {
        Ok(template) => Some(template),
        Err((path, error)) => {
            reader.problem(&format!("with{path}"), error.to_string());
            None
        }
    });
    Invocation { uses, with, retry: None, undo: None }
}

fn hitl(reader: &mut Reader<'_>) -> Hitl {
    let approvers = approvers(reader);
    let four_eyes = reader.flag("four_eyes").unwrap_or(true);
    let on_reject = reader.choice("on_reject", &[("end", OnReject::End), ("continue", OnReject::Continue)]);
    let due = reader.minutes("due_minutes");
    Hitl {
        approvers,
        quorum: 1,
        four_eyes,
        on_reject: on_reject.unwrap_or(OnReject::End),
        form: None,
        due,
        remind: None,
        escalate_to: None,
        returns_to: None,
        max_returns: 3,
    }
}

fn approvers(reader: &mut Reader<'_>) -> Approvers {
    let names: Vec<String> = match reader.value("approvers") {
        None => vec!["supervisor".to_owned()],
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(items)) if !items.is_empty() && items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(_) => {
            reader.problem("approvers", "must be a role or a user's name, or a list of them.");
            Vec::new()
        }
    };
    if let Some(bad) = names.iter().find(|name| !is_user_name(name)) {
        let message = format!("`{bad}` is neither a role (supervisor, admin) nor a user's name.");
        reader.problem("approvers", message);
    }
    if let Some(role) = names.iter().find(|name| OTHER_ROLES.contains(&name.as_str())) {
        let message = format!(
            "the role `{role}` may not decide, so nobody ever could. Name `supervisor`, `admin` or a user."
        );
        reader.problem("approvers", message);
    }
    let (roles, users) = names.into_iter().partition(|name| DECIDING_ROLES.contains(&name.as_str()));
    Approvers { roles, users }
}

/// The same rule as the users table.
fn is_user_name(name: &str) -> bool {
    let mut letters = name.chars();
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    name.len() <= 64
        && letters.next().is_some_and(plain)
        && letters.all(|letter| plain(letter) || matches!(letter, '.' | '_' | '@' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_minimal_form_of_the_seed_is_a_protocol() {
        let protocol = Protocol::parse(&json!({"tasks": [
            {"id": "fetch_data", "type": "script"}, {"id": "ai_analysis", "type": "agent"},
            {"id": "human_approval", "type": "hitl"}, {"id": "deploy", "type": "script"}]}))
        .unwrap();
        assert_eq!(protocol.tasks.len(), 4);
        assert_eq!(protocol.tasks[2].label(), "Human approval");
        assert_eq!(
            protocol.uses().map(|(_, _, name)| name).collect::<Vec<_>>(),
            ["fetch_data", "ai_analysis", "deploy"]
        );
    }

    #[test]
    fn everything_wrong_is_named_at_once_and_by_place() {
        let problems = Protocol::parse(&json!({"tusks": 1, "tasks": [
            {"id": "a b", "type": "script", "colour": "red"}, {"type": "robot"}, 7,
            {"id": "x", "type": "hitl", "approvers": 3, "max_minutes": -1},
            {"id": "x", "type": "script", "with": {"a": ["${nope.x}"]}},
            {"id": "p", "type": "parallel", "tasks": []}]}))
        .unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        for path in [
            "$.tusks",
            "$.tasks[0].id",
            "$.tasks[0].colour",
            "$.tasks[1].id",
            "$.tasks[1].type",
            "$.tasks[2]",
            "$.tasks[3].approvers",
            "$.tasks[3].max_minutes",
            "$.tasks[4].id",
            "$.tasks[4].with.a[0]",
            "$.tasks[5].type",
            "$.tasks[5].tasks",
        ] {
            assert!(paths.contains(&path), "{path} is not among {paths:?}");
        }
    }

    #[test]
    fn roles_that_may_not_decide_are_no_approvers() {
        for (approvers, accepted) in [
            (json!("supervisor"), true),
            (json!(["ada", "admin"]), true),
            (json!("auditor"), false),
            (json!(["supervisor", "staff"]), false),
        ] {
            let document = json!({"tasks": [{"id": "ask", "type": "hitl", "approvers": approvers}]});
            let problems = Protocol::parse(&document).err().unwrap_or_default();
            let places: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
            let expected: &[&str] = if accepted { &[] } else { &["$.tasks[0].approvers"] };
            assert_eq!(places, expected, "{document}");
        }
    }

    #[test]
    fn a_protocol_that_is_not_an_object_is_refused() {
        for document in [json!([]), json!(1), json!({}), json!({"tasks": []}), json!({"tasks": {}})] {
            assert!(Protocol::parse(&document).is_err(), "{document}");
        }
    }
}
