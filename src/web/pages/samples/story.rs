//! Runs told event by event, for the tests of what is shown of them.

use crate::engine::apply::{apply, begin};
use crate::engine::event::{Event, EventKind, Recorded};
use crate::engine::ids::{ApprovalId, InstanceId, RunId, StepPath};
use crate::engine::protocol::{Approvers, Protocol};
use crate::engine::state::{Choice, Payload, ProtocolRef, Run};
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use serde_json::{Value, json};
use std::sync::Arc;

pub struct Story {
    pub run: Run,
    at: DateTime<Utc>,
}

/// 22 November 2026, 14:00 UTC.
pub fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 14, 0, 0).single().expect("the date exists")
}

/// Run 9001 of these tasks, started by staff.
pub fn story(tasks: Value) -> Story {
    let queued = EventKind::RunQueued {
        protocol: ProtocolRef { id: 7, version: 1, name: "Export licence renewal".to_owned() },
        payload: Payload::from_iter([("license_id".to_owned(), json!(123))]),
        lineage: RunId(9001),
        started_by: None,
        parent: None,
        rerun_of: None,
        reason: None,
        redact: Vec::new(),
        slot: None,
        via: None,
    };
    story_of(tasks, queued)
}

/// The same, with another beginning.
pub fn story_of(tasks: Value, queued: EventKind) -> Story {
    let protocol = Arc::new(Protocol::parse(&json!({"tasks": tasks})).expect("valid"));
    let first = Recorded {
        at: start(),
        actor: "staff".to_owned(),
        event: Event { step: None, attempt: None, kind: queued },
    };
    let run = begin(RunId(9001), &first, protocol, Some([0; 32]), None).expect("a beginning");
    Story { run, at: start() }
}

impl Story {
    /// One more event, a second later.
    pub fn then(mut self, actor: &str, step: Option<&str>, attempt: u32, kind: EventKind) -> Story {
        self.at += TimeDelta::seconds(1);
        let event = Event { step: step.map(StepPath::from_log), attempt: Some(attempt), kind };
        apply(&mut self.run, &Recorded { at: self.at, actor: actor.to_owned(), event });
        self
    }

    pub fn run_is(self, actor: &str, kind: EventKind) -> Story {
        self.then(actor, None, 1, kind)
    }

    pub fn begins(self, step: &str, attempt: u32) -> Story {
        self.then("HMS-ACT", Some(step), attempt, started(false))
    }

    pub fn done(self, step: &str, result: Value) -> Story {
        self.begins(step, 1).then("HMS-ACT", Some(step), 1, EventKind::StepDone { result })
    }

    pub fn fails(self, step: &str, error: &str) -> Story {
        let failed = EventKind::StepFailed { error: error.to_owned(), retryable: false };
        self.begins(step, 1).then("HMS-ACT", Some(step), 1, failed)
    }

    pub fn asks(self, step: &str, approval: i64, quorum: u32) -> Story {
        let opened = EventKind::ApprovalOpened {
            approval: ApprovalId(approval),
            title: "Approve".to_owned(),
            approvers: Approvers { roles: vec!["supervisor".to_owned()], ..Approvers::default() },
            quorum,
            four_eyes: true,
            due_at: None,
            again: false,
        };
        self.then("HMS-ACT", Some(step), 1, opened)
    }

    pub fn decides(self, who: &str, step: &str, approval: i64, decision: Choice, reason: &str) -> Story {
        let decided = EventKind::ApprovalDecided {
            approval: ApprovalId(approval),
            decision,
            reason: Some(reason.to_owned()),
            form: None,
            as_role: "supervisor".to_owned(),
            filled: Vec::new(),
            via: None,
        };
        self.then(who, Some(step), 1, decided)
    }
}

pub fn started(worker: bool) -> EventKind {
    EventKind::StepStarted {
        kind: "script".to_owned(),
        uses: "x".to_owned(),
        action_version: 1,
        checksum: String::new(),
        idempotency_key: String::new(),
        instance: (!worker).then_some(InstanceId(1)),
        worker,
    }
}
