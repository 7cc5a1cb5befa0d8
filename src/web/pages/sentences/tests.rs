use super::agency::of_agency;
use super::events::{of_event, status_of};
use super::*;
use crate::audit::entry::{Draft, seal};
use crate::engine::event::{Event, EventKind, Recorded};
use crate::engine::ids::{ApprovalId, InstanceId, OverrideId, RunId};
use crate::engine::protocol::{Approvers, Join, WhenFull};
use crate::engine::state::{
    Choice, OverrideAction, OverrideChoice, Parent, Payload, ProtocolRef, RunStatus, Slot,
};
use chrono::{DateTime, TimeZone, Utc};
use serde_json::json;

fn protocol() -> Protocol {
    Protocol::parse(&json!({"tasks": [
        {"id": "ai_analysis", "type": "agent", "title": "Screen the parties"},
        {"id": "payment", "type": "wait", "event": "payment_received"},
        {"id": "checks", "type": "parallel", "for_each": "payload.parties", "tasks": [{"id": "fees", "type": "script"}]}]}))
    .expect("valid")
}

fn at() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 10, 32, 0).single().expect("the time exists")
}

fn said(step: Option<&str>, attempt: u32, kind: EventKind, actor: &str) -> (String, Option<String>) {
    let event = Event { step: step.map(StepPath::from_log), attempt: Some(attempt), kind };
    let recorded = Recorded { at: Utc::now(), actor: actor.to_owned(), event };
    let status = status_of(&recorded.event.kind).map(|status| status.word);
    (of_event(&recorded, 9001, Some(&protocol())), status)
}

#[track_caller]
fn check_at(step: Option<&str>, kind: EventKind, sentence: &str, status: Option<&str>) {
    let known = KINDS.iter().any(|(name, _)| *name == kind.type_name());
    assert!(known, "{} cannot be filtered for", kind.type_name());
    assert_eq!(said(step, 1, kind, "ada"), (sentence.to_owned(), status.map(str::to_owned)));
}

#[track_caller]
fn check(kind: EventKind, sentence: &str, status: Option<&str>) {
    check_at(Some("ai_analysis"), kind, sentence, status);
}

#[track_caller]
fn check_run(kind: EventKind, sentence: &str, status: Option<&str>) {
    check_at(None, kind, sentence, status);
}

fn started(worker: bool) -> EventKind {
    EventKind::StepStarted {
        kind: "agent".to_owned(),
        uses: "ai_analysis".to_owned(),
        action_version: 1,
        checksum: String::new(),
        idempotency_key: String::new(),
        instance: Some(InstanceId(1)),
        worker,
    }
}

fn why() -> String {
    "look at it".to_owned()
}

#[test]
fn events_of_steps_are_sentences() {
    check(started(false), "Screen the parties began.", Some("Running"));
    let again = said(Some("ai_analysis"), 2, started(false), "HMS-ACT").0;
    assert_eq!(again, "Screen the parties began again: attempt 2.");
    check(started(true), "Screen the parties waits for a worker to take it.", Some("Waiting for a worker"));
    let claimed = EventKind::StepClaimed { worker: "w1".to_owned() };
    check(claimed, "The worker w1 took Screen the parties.", Some("Running"));
    let accepted = "The service accepted Screen the parties and will call back.";
    check(EventKind::StepAccepted {}, accepted, Some("Waiting for an answer"));
    let done = EventKind::StepDone { result: json!({"risk": "high"}) };
    check(done, "Screen the parties is done: high risk.", Some("Done"));
    check(EventKind::StepDone { result: json!(7) }, "Screen the parties is done.", Some("Done"));
    let carried = EventKind::StepCarried {
        run: RunId(9000),
        from_step: StepPath::top("ai_analysis", 1),
        action_version: 1,
        checksum: String::new(),
        result: json!(1),
    };
    check(carried, "Screen the parties was taken over from run 9000: it was not done again.", Some("Done"));
    let cancelled = EventKind::StepCancelled { reason: why() };
    check(cancelled, "Screen the parties was cancelled: look at it.", Some("Cancelled"));
    let rescued = EventKind::StepRescued { instance: None, reason: "the instance is gone".to_owned() };
    check(rescued, "Screen the parties was taken over: the instance is gone.", None);
    let stalled = EventKind::StepStalled { deadline: Utc::now() };
    check(stalled, "Screen the parties takes longer than its time limit.", Some("Taking too long"));
}

#[test]
fn failures_say_what_comes_next() {
    let error = || "It answered 503".to_owned();
    let retrying = EventKind::StepRetrying { error: error(), retry_at: at() };
    let sentence =
        "Screen the parties failed and is tried again at 22 Nov 2026, 10:32:00 UTC: It answered 503.";
    check(retrying, sentence, Some("Waiting to try again"));
    let failed = EventKind::StepFailed { error: error(), retryable: true };
    check(failed, "Screen the parties failed: It answered 503.", Some("Failed"));
    let retried = EventKind::StepRetried { reason: why(), via: None };
    check(retried, "ada had Screen the parties tried again: look at it.", None);
    let skipped = || EventKind::StepSkipped { reason: why(), as_role: None, via: None };
    check(skipped(), "ada skipped Screen the parties: look at it.", Some("Skipped"));
    let by_itself = said(Some("ai_analysis"), 1, skipped(), "HMS-ACT").0;
    assert_eq!(by_itself, "Screen the parties was skipped: look at it.");
}

#[test]
fn groups_items_and_rounds_are_named() {
    let began = |branches, join, items| EventKind::GroupStarted { branches, join, items };
    let check = |kind, sentence: &str, status| check_at(Some("checks"), kind, sentence, Some(status));
    check(began(3, Join::All, None), "Checks began: 3 branches, and every one must succeed.", "Running");
    let items = Some(vec![json!(1), json!(2)]);
    check(began(2, Join::Any, items), "Checks began: 2 items, of which one must succeed.", "Running");
    check(began(5, Join::Number(2), None), "Checks began: 5 branches, of which 2 must succeed.", "Running");
    check(began(0, Join::All, Some(Vec::new())), "Checks began: there is nothing to do.", "Running");
    check(
        EventKind::GroupDone { succeeded: 2, failed: 0, fruitless: 0 },
        "Checks is done: 2 succeeded.",
        "Done",
    );
    check(
        EventKind::GroupDone { succeeded: 2, failed: 1, fruitless: 1 },
        "Checks is done: 2 succeeded, 1 failed, 1 did nothing.",
        "Done",
    );
    let done = || EventKind::StepDone { result: json!(1) };
    check_at(Some("checks#2[3]/fees"), done(), "Fees (item 4, round 2) is done.", Some("Done"));
    check_at(
        Some("checks[0]/more[1]/fees#3"),
        done(),
        "Fees (item 1, item 2, round 3) is done.",
        Some("Done"),
    );
}

#[test]
fn waits_and_sub_runs_say_for_what() {
    let wait = |until, event: Option<&str>, key: Option<&str>| EventKind::WaitStarted {
        until,
        event: event.map(str::to_owned),
        key: key.map(str::to_owned),
    };
    let check = |kind, sentence: &str, status| check_at(Some("payment"), kind, sentence, Some(status));
    check(
        wait(Some(at()), None, None),
        "Payment waits until 22 Nov 2026, 10:32:00 UTC.",
        "Waiting for a time",
    );
    check(
        wait(None, Some("payment_received"), Some("123")),
        "Payment waits for the event payment_received with the key 123.",
        "Waiting for an event",
    );
    let received = EventKind::EventReceived { event: 5, payload: json!({}) };
    check(received, "The event payment_received came: Payment is done.", "Done");
    let subrun = EventKind::SubrunStarted {
        run: RunId(9002),
        protocol: ProtocolRef { id: 8, version: 3, name: "Fees".to_owned() },
        input: Payload::new(),
        checksum: String::new(),
    };
    check(subrun, "Payment started run 9002 with Fees, version 3.", "Running");
}

#[test]
fn what_is_taken_back_says_so() {
    let check = |kind, sentence: &str, status| check_at(Some("ai_analysis~undo"), kind, sentence, status);
    check(started(false), "Screen the parties is being taken back.", Some("Running"));
    check(EventKind::StepDone { result: json!(1) }, "Screen the parties was taken back.", Some("Done"));
    let failed = EventKind::StepFailed { error: "It answered 503".to_owned(), retryable: true };
    check(failed, "Screen the parties could not be taken back: It answered 503.", Some("Failed"));
    let retrying = EventKind::StepRetrying { error: "no".to_owned(), retry_at: at() };
    let sentence =
        "Screen the parties could not be taken back and is tried again at 22 Nov 2026, 10:32:00 UTC: no.";
    check(retrying, sentence, Some("Waiting to try again"));
    let skipped = EventKind::StepSkipped { reason: why(), as_role: None, via: None };
    check(skipped, "ada decided that Screen the parties is not taken back: look at it.", Some("Skipped"));
    let retried = EventKind::StepRetried { reason: why(), via: None };
    check(retried, "ada had it tried again to take back Screen the parties: look at it.", None);
    assert_eq!(
        label(Some(&protocol()), &StepPath::from_log("checks[1]/fees~undo")),
        "Taking back: Fees (item 2)"
    );
}

#[test]
fn decisions_name_who_took_them_and_why() {
    let supervisors = || Approvers { roles: vec!["supervisor".to_owned()], ..Approvers::default() };
    let opened = |quorum, again| EventKind::ApprovalOpened {
        approval: ApprovalId(5),
        title: "Approve".to_owned(),
        approvers: supervisors(),
        quorum,
        four_eyes: true,
        due_at: None,
        again,
    };
    let waits = Some("Waiting for a supervisor");
    check(opened(1, false), "Screen the parties waits for a supervisor.", waits);
    check(opened(2, false), "Screen the parties waits for 2 approvals, each by a supervisor.", waits);
    let again = "Screen the parties waits again, because a value was changed for a supervisor.";
    check(opened(1, true), &again.replace("changed for", "changed, for"), waits);
    let reminded = EventKind::ApprovalReminded { approval: ApprovalId(5), next_at: at() };
    check(reminded, "Whoever may decide Screen the parties was reminded.", None);
    let escalated = EventKind::ApprovalEscalated { approval: ApprovalId(5), approvers: supervisors() };
    check(escalated, "Screen the parties was not decided in time: a supervisor may decide it now.", waits);
    let voted = EventKind::ApprovalVoted {
        approval: ApprovalId(5),
        reason: Some(why()),
        form: None,
        as_role: "supervisor".to_owned(),
        fits: Vec::new(),
        filled: Vec::new(),
        via: None,
    };
    check(voted, "ada approved Screen the parties, and more approvals are needed: look at it.", None);
    let decided = |decision, reason: Option<&str>| EventKind::ApprovalDecided {
        approval: ApprovalId(5),
        decision,
        reason: reason.map(str::to_owned),
        form: None,
        as_role: "supervisor".to_owned(),
        filled: Vec::new(),
        via: None,
    };
    let approve = decided(Choice::Approve, Some("All is well."));
    check(approve, "ada approved Screen the parties: All is well.", Some("Approved"));
    check(decided(Choice::Reject, None), "ada rejected Screen the parties.", Some("Rejected"));
    let sent_back = decided(Choice::Return, Some("The address is wrong"));
    check(
        sent_back,
        "ada sent the work back at Screen the parties: The address is wrong.",
        Some("Sent back"),
    );
}

fn queued() -> EventKind {
    EventKind::RunQueued {
        protocol: ProtocolRef { id: 7, version: 2, name: "Renewal".to_owned() },
        payload: serde_json::Map::new(),
        lineage: RunId(9001),
        started_by: None,
        parent: None,
        rerun_of: None,
        reason: None,
        redact: Vec::new(),
        slot: None,
        via: None,
    }
}

#[test]
fn starts_say_what_stands_behind_them() {
    let starts = "Run 9001 was started with Renewal, version 2.";
    check_run(queued(), starts, Some("About to start"));
    let said_of = |change: fn(&mut EventKind)| {
        let mut kind = queued();
        change(&mut kind);
        said(None, 1, kind, "ada")
    };
    let rerun = said_of(|kind| {
        let EventKind::RunQueued { rerun_of, reason, .. } = kind else { return };
        (*rerun_of, *reason) = (Some(RunId(8999)), Some("once more".to_owned()));
    });
    assert_eq!(rerun.0, format!("{starts} It is a rerun of run 8999: once more."));
    let child = said_of(|kind| {
        let EventKind::RunQueued { parent, .. } = kind else { return };
        *parent = Some(Parent { run: RunId(8000), step: StepPath::top("fees", 1), depth: 1 });
    });
    assert_eq!(child.0, format!("{starts} Run 8000 started it."));
    let held = said_of(|kind| {
        let EventKind::RunQueued { slot, .. } = kind else { return };
        *slot = Some(Slot { key: "exporter 5".to_owned(), limit: 2, when_full: WhenFull::Wait });
    });
    assert_eq!(held.0, format!("{starts} At most 2 runs of exporter 5 are under way at once."));
    assert_eq!(held.1.as_deref(), Some("Waiting for its turn"));
    check_run(EventKind::RunAdmitted {}, "There is room for the run now: it begins.", Some("About to start"));
}

#[test]
fn events_of_runs_are_sentences() {
    let paused = || EventKind::RunPaused { reason: why(), step: None, via: None };
    check_run(paused(), "ada paused the run: look at it.", Some("Paused"));
    assert_eq!(said(None, 1, paused(), "HMS-ACT").0, "The run was paused: look at it.");
    let resumed = EventKind::RunResumed { reason: why(), via: None };
    check_run(resumed, "ada let the run go on: look at it.", Some("Running"));
    let cancelled = EventKind::CancelRequested { reason: why(), via: None };
    check_run(cancelled, "ada cancelled the run: look at it.", None);
    let ending = EventKind::RunEnding { outcome: RunStatus::Cancelled, reason: None, grace_until: at() };
    let being = "The run is being cancelled. What it did is taken back first.";
    check_run(ending, being, Some("Being cancelled"));
    let path = vec!["applicant".to_owned(), "name".to_owned()];
    let set = EventKind::ValueSet { path, value: json!("Acme"), reason: why(), via: None };
    check_run(set, "ada set applicant.name to “Acme”: look at it.", None);
    let to = ProtocolRef { id: 7, version: 3, name: "Renewal".to_owned() };
    let migrated = EventKind::RunMigrated { to, reason: why(), via: None };
    check_run(migrated, "ada moved the run to version 3 of Renewal: look at it.", None);
    for outcome in RunStatus::ALL.into_iter().filter(|status| status.is_final()) {
        let (sentence, status) =
            said(None, 1, EventKind::RunClosed { outcome, reason: None, count: 9 }, "ada");
        assert!(sentence.starts_with("The run ") && status.is_some(), "{sentence}");
    }
}

#[test]
fn overrides_say_what_is_asked_and_what_came_of_it() {
    let filed = |action| EventKind::OverrideFiled {
        id: OverrideId(3),
        action,
        reason: why(),
        new_value: None,
        review_until: at(),
        via: None,
    };
    check_run(
        filed(OverrideAction::Cancel),
        "ada filed an override, so that the run is cancelled: look at it. It is paused until that is decided.",
        Some("Paused"),
    );
    let decided = |choice, reason: Option<&str>| EventKind::OverrideDecided {
        id: OverrideId(3),
        choice,
        reason: reason.map(str::to_owned),
        new_value: None,
        via: None,
    };
    let approved = decided(OverrideChoice::Approve, Some("Right"));
    check_run(approved, "ada approved the override, so the run is cancelled: Right.", None);
    let modified = decided(OverrideChoice::Modify, None);
    check_run(modified, "ada let the run go on with changed values.", None);
    let rejected = decided(OverrideChoice::Reject, None);
    check_run(rejected, "ada rejected the override, so the run goes on as it was.", None);
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
        disclosures: None,
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
    for (type_name, _) in KINDS.iter().skip(34) {
        let sentence = of_agency(&stored(0, type_name, json!({"name": "x", "user": "bob", "version": 2})));
        assert!(sentence.contains("ada") && !sentence.contains(", by "), "{type_name}: {sentence}");
    }
    let event = of_agency(&stored(0, "event.received", json!({"name": "payment_received", "key": "1"})));
    assert_eq!(event, "ada reported the event payment_received.");
    let more = of_agency(&stored(0, "user.sign_in_failed", json!({"repeated": 70})));
    assert_eq!(more, "A sign-in failed, by ada: 70 times more.");
    assert_eq!(of_agency(&stored(0, "token.minted", json!({}))), "Token minted, by ada.");
}
