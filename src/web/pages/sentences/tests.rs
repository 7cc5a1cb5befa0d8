use super::*;
use crate::audit::entry::{Draft, seal};
use crate::engine::event::Event;
use crate::engine::ids::{ApprovalId, InstanceId, RunId};
use crate::engine::protocol::Approvers;
use crate::engine::state::ProtocolRef;
use chrono::Utc;
use serde_json::json;

fn protocol() -> Protocol {
    Protocol::parse(
        &json!({"tasks": [{"id": "ai_analysis", "type": "agent", "title": "Screen the parties"}]}),
    )
    .expect("valid")
}

fn said(kind: EventKind, actor: &str) -> (String, Option<String>) {
    let step = Some(StepPath::top("ai_analysis", 1));
    let event = Event { step, attempt: Some(1), kind };
    let recorded = Recorded { at: Utc::now(), actor: actor.to_owned(), event };
    let status = status_of(&recorded.event.kind).map(|status| status.word);
    (of_event(&recorded, 9001, Some(&protocol())), status)
}

fn check(kind: EventKind, sentence: &str, status: Option<&str>) {
    let known = KINDS.iter().any(|(name, _)| *name == kind.type_name());
    assert!(known, "{} cannot be filtered for", kind.type_name());
    assert_eq!(said(kind, "ada"), (sentence.to_owned(), status.map(str::to_owned)));
}

#[test]
fn events_of_steps_are_sentences() {
    let started = EventKind::StepStarted {
        kind: "agent".to_owned(),
        uses: "ai_analysis".to_owned(),
        action_version: 1,
        checksum: String::new(),
        idempotency_key: String::new(),
        instance: Some(InstanceId(1)),
        worker: false,
    };
    check(started, "Screen the parties began.", Some("Running"));
    let done = EventKind::StepDone { result: json!({"risk": "high"}) };
    check(done, "Screen the parties is done: high risk.", Some("Done"));
    check(EventKind::StepDone { result: json!(7) }, "Screen the parties is done.", Some("Done"));
    let failed = EventKind::StepFailed { error: "It answered 503".to_owned(), retryable: true };
    check(failed, "Screen the parties failed: It answered 503.", Some("Failed"));
    let why = || "the run ended as cancelled".to_owned();
    check(
        EventKind::StepSkipped { reason: why(), as_role: None, via: None },
        "Screen the parties was skipped: the run ended as cancelled.",
        Some("Skipped"),
    );
    check(
        EventKind::StepCancelled { reason: why() },
        "Screen the parties was cancelled: the run ended as cancelled.",
        Some("Cancelled"),
    );
    let rescued = EventKind::StepRescued { instance: None, reason: "the instance is gone".to_owned() };
    check(rescued, "Screen the parties was taken over: the instance is gone.", None);
    let stalled = EventKind::StepStalled { deadline: Utc::now() };
    check(stalled, "Screen the parties takes longer than its time limit.", Some("Taking too long"));
}

#[test]
fn decisions_name_who_took_them_and_why() {
    let opened = EventKind::ApprovalOpened {
        approval: ApprovalId(5),
        title: "Approve".to_owned(),
        approvers: Approvers { roles: vec!["supervisor".to_owned()], users: Vec::new() },
        quorum: 1,
        four_eyes: true,
        due_at: None,
        again: false,
    };
    check(opened, "Screen the parties waits for a supervisor.", Some("Waiting for a supervisor"));
    let decided = |decision, reason: Option<&str>| EventKind::ApprovalDecided {
        approval: ApprovalId(5),
        decision,
        reason: reason.map(str::to_owned),
        form: None,
        as_role: "supervisor".to_owned(),
        via: None,
    };
    let approve = decided(Choice::Approve, Some("All is well."));
    check(approve, "ada approved Screen the parties: All is well.", Some("Approved"));
    check(decided(Choice::Reject, None), "ada rejected Screen the parties.", Some("Rejected"));
}

#[test]
fn events_of_runs_are_sentences() {
    let queued = EventKind::RunQueued {
        protocol: ProtocolRef { id: 7, version: 2, name: "Renewal".to_owned() },
        payload: serde_json::Map::new(),
        lineage: RunId(9001),
        started_by: None,
        parent: None,
        rerun_of: None,
        reason: None,
        slot: None,
        via: None,
    };
    check(queued, "Run 9001 was started with Renewal, version 2.", Some("About to start"));
    let reason = || "look at it".to_owned();
    check(
        EventKind::RunPaused { reason: reason(), step: None, via: None },
        "The run was paused: look at it.",
        Some("Paused"),
    );
    let resumed = EventKind::RunResumed { reason: reason(), via: None };
    check(resumed, "ada let the run go on: look at it.", Some("Running"));
    let cancelled = EventKind::CancelRequested { reason: reason(), via: None };
    check(cancelled, "ada cancelled the run: look at it.", None);
    for outcome in RunStatus::ALL.into_iter().filter(|status| status.is_final()) {
        let (sentence, status) = said(EventKind::RunClosed { outcome, reason: None, count: 9 }, "ada");
        assert!(sentence.starts_with("The run ") && status.is_some(), "{sentence}");
    }
}

fn stored(run_id: i64, type_name: &str, detail: Value) -> Stored {
    let sealed = seal(&Draft {
        origin: "test",
        run_id,
        stream: 0,
        seq: 1,
        prev: None,
        at: Utc::now(),
        actor: "ada",
        type_name,
        step: None,
        attempt: None,
        status: Some("refused"),
        checksum: None,
        detail,
    });
    Stored {
        run_id,
        stream: 0,
        seq: 1,
        at: Utc::now(),
        actor: "ada".to_owned(),
        type_name: type_name.to_owned(),
        step: None,
        attempt: None,
        status: Some("refused".to_owned()),
        leaf: sealed.leaf,
        leaf_hash: sealed.hash.to_vec(),
        beside: sealed.beside,
    }
}

#[test]
fn what_the_agency_writes_is_told_too() {
    let via = json!({"auth": "session", "address": "192.0.2.7"});
    let refused = stored(0, "access.refused", json!({"missing": "log:read", "via": via}));
    let entry = entry(&refused, None, Depth::Full);
    assert_eq!(entry.sentence, "ada was refused: the permission log:read was missing.");
    assert_eq!(entry.status.map(|status| status.word).as_deref(), Some("Refused"));
    assert!(entry.facts.iter().all(|fact| !fact.value.contains("192.0.2.7")));
    for (type_name, _) in KINDS.iter().skip(14) {
        let sentence = of_agency(&stored(0, type_name, json!({"name": "x", "user": "bob", "version": 2})));
        assert!(sentence.contains("ada") && !sentence.contains(", by "), "{type_name}: {sentence}");
    }
    let more = of_agency(&stored(0, "user.sign_in_failed", json!({"repeated": 70})));
    assert_eq!(more, "A sign-in failed, by ada: 70 times more.");
    assert_eq!(of_agency(&stored(0, "token.minted", json!({}))), "Token minted, by ada.");
}
