//! Protocols of the whole language, from bytes.

use super::choices::Choices;
use hms_act::engine::protocol::Protocol;
use serde_json::{Value, json};
use std::sync::Arc;

/// The most tasks of one protocol.
const MAX_TASKS: usize = 10;
/// Groups inside groups.
const MAX_DEPTH: usize = 3;

/// Which part of the language a protocol is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Whole,
    /// What ends the same in whatever order the results arrive: nothing that fails, nobody who loses.
    Calm,
    /// Scripts, agents and groups that succeed: what a rerun takes over.
    Work,
}

pub fn parse(document: &Value) -> Arc<Protocol> {
    Arc::new(Protocol::parse(document).unwrap_or_else(|problems| panic!("{problems:#?}\n{document:#}")))
}

pub fn document(bytes: &[u8], language: Language) -> Value {
    let mut writer = Writer { choices: Choices::new(bytes), language, tasks: 0 };
    let length = 1 + writer.choices.below(4);
    let mut document = json!({ "tasks": writer.list(length, Around::default()) });
    if language == Language::Whole && writer.choices.one_in(10) {
        let when_full = writer.choices.of(&["wait", "refuse"]);
        document["concurrency"] = json!({"key": "${payload.case}", "limit": 1, "when_full": when_full});
    }
    document
}

struct Writer<'a> {
    choices: Choices<'a>,
    language: Language,
    tasks: usize,
}

/// What stands around a list of tasks.
#[derive(Debug, Clone, Copy, Default)]
struct Around {
    groups: usize,
    /// What the items of the innermost `for_each` are called.
    item: Option<&'static str>,
}

impl Writer<'_> {
    fn list(&mut self, length: usize, around: Around) -> Vec<Value> {
        let mut list: Vec<Value> = Vec::new();
        for _ in 0..length {
            let earlier: Vec<String> =
                list.iter().filter_map(|task| task["id"].as_str()).map(str::to_owned).collect();
            list.push(self.task(&earlier, around));
        }
        list
    }

    fn task(&mut self, earlier: &[String], around: Around) -> Value {
        let id = format!("t{}", self.tasks);
        self.tasks += 1;
        let room = around.groups < MAX_DEPTH && self.tasks < MAX_TASKS;
        let people = self.language != Language::Work;
        let mut task = match self.choices.below(16) {
            11..=14 if room => self.parallel(around),
            6 | 7 if people => self.wait(),
            8..=10 if people => self.hitl(earlier),
            15 if people => self.subrun(),
            5 => self.agent(),
            _ => self.script(around),
        };
        task["id"] = id.into();
        self.condition(&mut task, around);
        if self.language == Language::Whole {
            self.limits(&mut task);
        }
        task
    }

    fn condition(&mut self, task: &mut Value, around: Around) {
        if !self.choices.one_in(6) {
            return;
        }
        let of_item = around.item.map_or_else(|| "payload.n > 1".to_owned(), |item| format!("{item} > 1"));
        let mut conditions = vec!["payload.n > 0".to_owned(), "payload.n < 0".to_owned(), of_item];
        if self.language == Language::Whole && self.choices.one_in(4) {
            conditions = vec!["payload.not_there > 1".to_owned()];
        }
        task["when"] = self.choices.of(&conditions).into();
    }

    /// What becomes of a task that fails, or takes too long.
    fn limits(&mut self, task: &mut Value) {
        if self.choices.one_in(4) {
            task["on_failure"] = self.choices.of(&["continue", "pause"]).into();
        }
        if self.choices.one_in(4) {
            task["max_minutes"] = (1 + self.choices.below(30)).into();
            let ways: &[&str] = match task["type"].as_str() {
                Some("script" | "agent") => &["flag", "fail", "retry"],
                Some("hitl") if task.get("escalate_to").is_some() => &["flag", "fail", "escalate"],
                _ => &["flag", "fail"],
            };
            task["on_timeout"] = self.choices.of(ways).into();
        }
    }

    fn script(&mut self, around: Around) -> Value {
        let uses: &[&str] = match self.language {
            Language::Whole => {
                let rare = self.choices.one_in(12);
                if rare {
                    &["missing", "compute_badly"]
                } else {
                    &["call", "call", "call", "compute", "work"]
                }
            }
            Language::Calm | Language::Work => &["call", "call", "compute", "work"],
        };
        let uses = self.choices.of(uses);
        let item = around.item.map_or_else(|| "${payload.n}".to_owned(), |item| format!("${{{item}}}"));
        let mut task = match uses {
            "compute" => json!({"uses": "compute", "with": {"n": item}}),
            "compute_badly" => json!({"uses": "compute", "with": "${payload.not_there}"}),
            _ if self.choices.one_in(2) => json!({"uses": uses, "with": {"n": item}}),
            _ => json!({ "uses": uses }),
        };
        task["type"] = "script".into();
        self.retry(&mut task);
        if self.choices.one_in(2) {
            let undo: &[&str] = match self.language {
                Language::Whole => &["take_back", "take_back", "take_back", "compute", "work", "missing"],
                Language::Calm | Language::Work => &["take_back"],
            };
            task["undo"] = self.choices.of(undo).into();
        }
        task
    }

    fn agent(&mut self) -> Value {
        let mut task = json!({"type": "agent", "uses": "ask"});
        if self.language == Language::Whole && self.choices.one_in(16) {
            task["uses"] = "missing".into();
        }
        self.retry(&mut task);
        task
    }

    fn retry(&mut self, task: &mut Value) {
        if self.choices.one_in(2) {
            let (attempts, seconds) = (1 + self.choices.below(3), 1 + self.choices.below(60));
            task["retry"] = json!({"attempts": attempts, "backoff_seconds": seconds});
        }
    }

    fn hitl(&mut self, earlier: &[String]) -> Value {
        let mut task = json!({"type": "hitl", "four_eyes": !self.choices.one_in(4)});
        if self.choices.one_in(3) {
            task["approvers"] = json!(["ada", "sue", "admin"]);
        }
        if self.choices.one_in(4) {
            task["approvers"] = self.slots();
        } else if self.choices.one_in(3) {
            task["quorum"] = 2.into();
        }
        if self.language == Language::Calm {
            return task;
        }
        if self.choices.one_in(3) {
            task["on_reject"] = "continue".into();
        }
        if self.choices.one_in(4) {
            task["form"] = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        }
        if self.choices.one_in(3) {
            task["due_minutes"] = (1 + self.choices.below(60)).into();
            task["escalate_to"] = "admin".into();
        }
        if self.choices.one_in(3) {
            task["remind_minutes"] = (1 + self.choices.below(20)).into();
        }
        if !earlier.is_empty() && self.choices.one_in(2) {
            task["returns_to"] = self.choices.of(earlier).into();
            task["max_returns"] = (1 + self.choices.below(2)).into();
        }
        task
    }

    fn slots(&mut self) -> Value {
        let security = self.choices.of(&[json!("group:security"), json!(["group:security", "sam", "admin"])]);
        let legal = self.choices.of(&[json!("group:legal"), json!(["group:legal", "ada"])]);
        let mut slots =
            json!([{"name": "legal", "approvers": legal}, {"name": "security", "approvers": security}]);
        if self.choices.one_in(3) {
            slots[0]["count"] = 2.into();
            slots[0]["approvers"] = json!(["group:legal", "ada"]);
        }
        json!({ "slots": slots })
    }

    fn wait(&mut self) -> Value {
        let minutes = 1 + self.choices.below(90);
        let waits = [
            json!({ "minutes": minutes }),
            json!({"until": "2027-01-15T09:00:00Z"}),
            json!({"until": "${payload.until}"}),
            json!({"event": "paid"}),
            json!({"event": "paid", "key": "${payload.case}"}),
            json!({"until": "${payload.case}"}),
        ];
        let broken = self.language == Language::Whole && self.choices.one_in(16);
        let valid = waits.len() - 1;
        let mut task = if broken { waits[valid].clone() } else { self.choices.of(&waits[..valid]) };
        task["type"] = "wait".into();
        task
    }

    fn subrun(&mut self) -> Value {
        let with = self.choices.of(&[Value::Null, json!({"n": "${payload.n}"})]);
        let mut task = json!({"type": "protocol", "uses": "child"});
        if !with.is_null() {
            task["with"] = with;
        }
        if self.language == Language::Whole && self.choices.one_in(16) {
            task["uses"] = "missing".into();
        }
        task
    }

    fn parallel(&mut self, around: Around) -> Value {
        let mut task = json!({"type": "parallel"});
        let groups = around.groups + 1;
        let branches = if self.choices.one_in(2) {
            let broken = self.language == Language::Whole && self.choices.one_in(16);
            let items = self.choices.of(&["payload.list", "[1, 2]", "payload.none"]);
            task["for_each"] = if broken { "payload.n" } else { items }.into();
            let item = ["item", "inner", "innermost"][around.groups];
            if item != "item" {
                task["as"] = item.into();
            }
            let length = 1 + self.choices.below(2);
            task["tasks"] = self.list(length, Around { groups, item: Some(item) }).into();
            2
        } else {
            let branches = 1 + self.choices.below(3);
            let lists = (0..branches).map(|_| {
                let length = 1 + self.choices.below(2);
                let mut list = self.list(length, Around { groups, item: around.item });
                if length == 1 { list.remove(0) } else { Value::Array(list) }
            });
            task["tasks"] = Value::Array(lists.collect());
            branches
        };
        if self.language == Language::Whole {
            task["join"] = self.choices.of(&[json!("all"), json!("any"), json!(1 + branches / 2)]);
        }
        if self.choices.one_in(3) {
            task["max_concurrency"] = (1 + self.choices.below(2)).into();
        }
        task
    }
}
