//! What holds for every protocol and every sequence of commands, tried with generated ones.

use chrono::{DateTime, TimeDelta, Utc};
use hms_act::audit::entry::{Draft, open, seal};
use hms_act::engine::apply::{apply, begin};
use hms_act::engine::command::{Actor, Catalog, CatalogEntry, Command, Context, Rejection, StartRun};
use hms_act::engine::decide::{Decided, decide, start};
use hms_act::engine::event::{EventKind, Recorded};
use hms_act::engine::ids::{ApprovalId, InstanceId, RunId, StepPath};
use hms_act::engine::protocol::Protocol;
use hms_act::engine::state::{Choice, ProtocolRef, Run, RunStatus, StepStatus};
use hms_act::engine::{effects, json as engine_json};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

/// `call` and `ask` need an executor, `compute` does not, `missing` is not registered.
struct Registered;

impl Catalog for Registered {
    fn action(&self, name: &str) -> Option<CatalogEntry> {
        (name != "missing").then_some(CatalogEntry { version: 1, computes: name == "compute" })
    }

    fn agent(&self, name: &str) -> Option<CatalogEntry> {
        (name != "missing").then_some(CatalogEntry { version: 1, computes: false })
    }
}

fn task() -> impl Strategy<Value = Value> {
    let work = prop_oneof![
        4 => Just(json!({"type": "script", "uses": "call"})),
        3 => Just(json!({"type": "script", "uses": "compute", "with": {"n": "${payload.n}"}})),
        1 => Just(json!({"type": "script", "uses": "compute", "with": "${payload.not_there}"})),
        2 => Just(json!({"type": "agent", "uses": "ask"})),
        1 => Just(json!({"type": "agent", "uses": "missing"})),
        3 => Just(json!({"type": "hitl"})),
        1 => Just(json!({"type": "hitl", "on_reject": "continue", "four_eyes": false, "approvers": ["ada", "admin"]})),
    ];
    let when =
        prop_oneof![4 => Just(None), 1 => Just(Some("payload.n > 0")), 1 => Just(Some("payload.n < 0"))];
    (work, when, proptest::option::of(1..60_u32)).prop_map(|(mut task, when, minutes)| {
        if let Some(when) = when {
            task["when"] = when.into();
        }
        if let Some(minutes) = minutes {
            task["max_minutes"] = minutes.into();
        }
        task
    })
}

fn protocol() -> impl Strategy<Value = Arc<Protocol>> {
    vec(task(), 1..7).prop_map(|mut tasks| {
        for (index, task) in tasks.iter_mut().enumerate() {
            task["id"] = format!("task_{index}").into();
        }
        Arc::new(Protocol::parse(&json!({ "tasks": tasks })).expect("generated protocols are valid"))
    })
}

/// A command with its parts as small numbers, to be read against the run as it then is.
#[derive(Debug, Clone)]
struct Move {
    kind: u8,
    step: usize,
    /// Added to the step's attempt: 0 is the one that runs.
    attempt: i8,
    actor: u8,
    /// Seconds on the clock; it may jump back.
    clock: i32,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let attempt = prop_oneof![6 => Just(0), 1 => Just(-1), 1 => Just(1)];
    let one = (0..12_u8, 0..8_usize, attempt, 0..4_u8, -100..2_000_i32);
    vec(one.prop_map(|(kind, step, attempt, actor, clock)| Move { kind, step, attempt, actor, clock }), 0..40)
}

fn actor(number: u8) -> Actor {
    let (name, roles): (&str, &[&str]) = match number {
        0 => ("starter", &["supervisor", "staff"]),
        1 => ("sam", &["supervisor", "staff"]),
        2 => ("ada", &["auditor"]),
        _ => ("eve", &[]),
    };
    Actor { name: name.to_owned(), roles: roles.iter().map(|role| (*role).to_owned()).collect(), via: None }
}

/// Most moves aim at what is open, so that runs get somewhere.
fn command(run: &Run, wanted: &Move) -> Command {
    let open: Vec<(&StepPath, u32)> = run.open_steps().map(|(path, step)| (path, step.attempt)).collect();
    let begun: Vec<(&StepPath, u32)> = run.steps.iter().map(|(path, step)| (path, step.attempt)).collect();
    let among = if open.is_empty() || wanted.step == 7 { &begun } else { &open };
    let chosen = among.get(wanted.step % among.len().max(1));
    let (step, attempt) =
        chosen.map_or((StepPath::top("nowhere", 1), 1), |(path, attempt)| ((*path).clone(), *attempt));
    let attempt = attempt.saturating_add_signed(i32::from(wanted.attempt));
    let approval = run
        .steps
        .get(&step)
        .and_then(|step| step.approval.as_ref())
        .map_or(ApprovalId(i64::MAX), |approval| approval.id);
    let reason = "because".to_owned();
    match wanted.kind {
        0..=3 => Command::CompleteStep { step, attempt, result: json!({"of": attempt, "big": i64::MAX}) },
        4 => Command::FailStep { step, attempt, error: "no".to_owned(), retryable: false },
        5 => Command::RescueStep { step, attempt },
        6 => Command::FlagStalled { step, attempt },
        7 | 8 => Command::Decide { approval, choice: Choice::Approve, reason: Some(reason), form: None },
        9 => Command::Decide {
            approval,
            choice: Choice::Reject,
            reason: Some(reason),
            form: Some(json!({"a": 1})),
        },
        10 => Command::ResumeRun { reason },
        _ => Command::CancelRun { reason },
    }
}

struct World {
    approvals: i64,
    now: DateTime<Utc>,
}

impl World {
    fn new() -> World {
        World { approvals: 0, now: DateTime::from_timestamp(1_800_000_000, 0).expect("a valid time") }
    }

    fn start(&mut self, protocol: Arc<Protocol>) -> Decided {
        let payload = json!({"n": 9_007_199_254_740_993_i64}).as_object().cloned().unwrap_or_default();
        let protocol_ref = ProtocolRef { id: 1, version: 1, name: "generated".to_owned() };
        let command = StartRun { run_id: RunId(1), protocol_ref, protocol, payload, salt: [1; 32] };
        self.with(&actor(0), |context| start(command, context))
    }

    fn decide(&mut self, run: &Run, command: Command, by: u8) -> Result<Decided, Rejection> {
        self.with(&actor(by), |context| decide(run, command, context))
    }

    fn with<T>(&mut self, actor: &Actor, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let mut draw = || {
            self.approvals += 1;
            ApprovalId(self.approvals)
        };
        let mut context = Context {
            now: self.now,
            actor,
            catalog: &Registered,
            instance: InstanceId(1),
            draw_approval: &mut draw,
        };
        act(&mut context)
    }
}

/// The run, folded from what a log would hold of these events: sealed, opened, read.
fn fold(protocol: &Arc<Protocol>, events: &[Recorded]) -> Run {
    let through_the_log = |(index, recorded): (usize, &Recorded)| {
        let kind = &recorded.event.kind;
        let sealed = seal(&Draft {
            origin: "test",
            run_id: 1,
            stream: 0,
            seq: index as u64 + 1,
            prev: None,
            at: recorded.at,
            actor: &recorded.actor,
            type_name: kind.type_name(),
            step: recorded.event.step.as_ref().map(StepPath::as_str),
            attempt: recorded.event.attempt,
            status: kind.status(),
            checksum: kind.checksum(),
            detail: kind.detail(),
        });
        let opened = open(&sealed.leaf, sealed.beside.as_ref()).expect("a sealed entry opens");
        let kind = EventKind::from_entry(&opened.type_name, opened.checksum.as_deref(), opened.detail);
        let mut back = recorded.clone();
        back.at = opened.at;
        back.event.kind = kind.expect("an entry is an event");
        back
    };
    let mut read = events.iter().enumerate().map(through_the_log);
    let first = read.next().expect("a run has a first event");
    let mut run = begin(RunId(1), &first, Arc::clone(protocol), Some([1; 32])).expect("it begins the run");
    read.for_each(|recorded| apply(&mut run, &recorded));
    run
}

fn check_decision(before: Option<&Run>, decided: &Decided) {
    let run = &decided.run;
    assert!(!decided.events.is_empty(), "a command that is carried out is an event");
    let paused = before.is_some_and(|run| run.status == RunStatus::Paused);
    let resumed =
        decided.events.iter().any(|recorded| matches!(recorded.event.kind, EventKind::RunResumed { .. }));
    for recorded in &decided.events {
        if let EventKind::StepStarted { .. } = recorded.event.kind {
            assert!(!paused || resumed, "a paused run starts nothing");
        }
        if let EventKind::RunClosed { count, .. } = recorded.event.kind {
            assert_eq!(count, run.version, "the closing entry counts itself and is the last");
            assert!(run.open_steps().next().is_none(), "a run that is over has no open step");
        }
    }
    if let Some(before) = before {
        assert!(run.version == before.version + decided.events.len() as u64);
        for (path, step) in &before.steps {
            assert!(run.steps[path].attempt >= step.attempt, "attempt numbers rise");
        }
    }
    for (path, step) in run.open_steps() {
        let attempt = effects::attempt(run, path, step);
        assert_eq!(
            attempt.is_some(),
            step.status == StepStatus::Running,
            "what runs can be started again: {path}"
        );
    }
    if run.status.is_final() {
        assert!(effects::attempts(run).is_empty() && effects::deadlines(run).is_empty());
        assert!(run.current_steps().is_empty());
    }
}

/// Plays the moves and gives back every event and the run.
fn play(protocol: &Arc<Protocol>, moves: &[Move]) -> (Run, Vec<Recorded>, World) {
    let mut world = World::new();
    let first = world.start(Arc::clone(protocol));
    check_decision(None, &first);
    let (mut run, mut events) = (first.run, first.events);
    for wanted in moves {
        world.now += TimeDelta::seconds(i64::from(wanted.clock));
        let command = command(&run, wanted);
        let was_final = run.status.is_final();
        let cancels = matches!(command, Command::CancelRun { .. });
        match world.decide(&run, command.clone(), wanted.actor) {
            Ok(decided) => {
                assert!(!was_final, "final states absorb");
                check_decision(Some(&run), &decided);
                run = decided.run;
                events.extend(decided.events);
            }
            Err(_) => assert!(was_final || !cancels, "a run that is not over can be cancelled"),
        }
    }
    (run, events, world)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn folding_the_log_gives_the_run(protocol in protocol(), moves in moves()) {
        let (run, events, _) = play(&protocol, &moves);
        prop_assert_eq!(run.version, events.len() as u64);
        prop_assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at), "time never goes back within a run");
        prop_assert_eq!(fold(&protocol, &events), run);
    }

    #[test]
    fn any_run_can_be_cancelled_and_then_nothing_changes_it(protocol in protocol(), moves in moves(), after in moves()) {
        let (mut run, _, mut world) = play(&protocol, &moves);
        if !run.status.is_final() {
            run = world.decide(&run, Command::CancelRun { reason: "stop".to_owned() }, 1).expect("it can be cancelled").run;
            prop_assert_eq!(run.status, RunStatus::Cancelled);
        }
        for wanted in &after {
            prop_assert!(world.decide(&run, command(&run, wanted), wanted.actor).is_err());
        }
    }

    #[test]
    fn a_stale_attempt_changes_nothing(protocol in protocol(), moves in moves(), step in 0..8_usize, off in 1..5_u32) {
        let (run, _, mut world) = play(&protocol, &moves);
        let all: Vec<_> = run.steps.iter().map(|(path, step)| (path.clone(), step.attempt)).collect();
        if let Some((step, attempt)) = all.get(step % all.len().max(1)) {
            for attempt in [attempt.wrapping_sub(off), attempt + off] {
                let late = Command::CompleteStep { step: step.clone(), attempt, result: json!(1) };
                prop_assert!(world.decide(&run, late, 3).is_err());
            }
        }
    }

    #[test]
    fn whoever_started_the_run_never_decides_where_four_eyes_are_asked_for(protocol in protocol(), moves in moves()) {
        let (run, _, mut world) = play(&protocol, &moves);
        let waiting: Vec<_> = run.open_steps().filter_map(|(_, step)| step.approval.clone()).collect();
        for approval in waiting.iter().filter(|approval| approval.four_eyes) {
            let command = Command::Decide { approval: approval.id, choice: Choice::Approve, reason: None, form: None };
            prop_assert_eq!(world.decide(&run, command, 0).unwrap_err(), Rejection::FourEyes);
        }
    }

    #[test]
    fn runs_end_when_everything_succeeds(protocol in protocol()) {
        let mut world = World::new();
        let mut run = world.start(protocol).run;
        for _ in 0..20 {
            if run.status.is_final() {
                break;
            }
            let open = run.open_steps().next().map(|(path, step)| (path.clone(), step.attempt, step.approval.clone()));
            let (step, attempt, approval) = open.expect("a run that is not over has an open step");
            let command = match approval {
                Some(approval) => Command::Decide { approval: approval.id, choice: Choice::Approve, reason: None, form: None },
                None => Command::CompleteStep { step, attempt, result: json!({}) },
            };
            // `ada` and admins may decide one kind, supervisors the other.
            let by = if world.decide(&run, command.clone(), 1).is_ok() { 1 } else { 2 };
            run = world.decide(&run, command, by).expect("it is allowed").run;
        }
        prop_assert!(matches!(run.status, RunStatus::Completed | RunStatus::Failed));
    }
}

#[test]
fn the_third_rescue_in_a_row_pauses_the_run_and_a_person_lets_it_go_on() {
    let protocol =
        Protocol::parse(&json!({"tasks": [{"id": "a", "type": "script", "uses": "call"}]})).unwrap();
    let mut world = World::new();
    let mut run = world.start(Arc::new(protocol)).run;
    let key = run.step("a").unwrap().idempotency_key.clone();
    let path = StepPath::top("a", 1);
    for attempt in 1..=3 {
        assert_eq!(run.status, RunStatus::Running);
        run = world.decide(&run, Command::RescueStep { step: path.clone(), attempt }, 3).unwrap().run;
    }
    assert_eq!(run.status, RunStatus::Paused);
    run = world.decide(&run, Command::ResumeRun { reason: "looked".to_owned() }, 1).unwrap().run;
    let step = run.step("a").unwrap();
    assert_eq!((run.status, step.attempt), (RunStatus::Running, 4));
    assert_eq!(step.idempotency_key, key, "attempts of one step send one key");
}

#[test]
fn a_step_past_its_time_is_flagged_once() {
    let document = json!({"tasks": [{"id": "a", "type": "script", "uses": "call", "max_minutes": 0.5}]});
    let mut world = World::new();
    let run = world.start(Arc::new(Protocol::parse(&document).unwrap())).run;
    let flag = Command::FlagStalled { step: StepPath::top("a", 1), attempt: 1 };
    assert!(world.decide(&run, flag.clone(), 3).is_err(), "it is not past its time yet");
    world.now += TimeDelta::seconds(31);
    let flagged = world.decide(&run, flag.clone(), 3).unwrap().run;
    assert!(flagged.is_stalled());
    assert!(world.decide(&flagged, flag, 3).is_err(), "once is enough");
}

#[test]
fn numbers_come_back_from_the_log_as_they_went_in() {
    let value = engine_json::normalise(json!([1.0, 9_007_199_254_740_993_i64, u64::MAX, 0.1, -1e300]));
    let document = json!({"tasks": [{"id": "a", "type": "script", "uses": "call"}]});
    let protocol = Arc::new(Protocol::parse(&document).unwrap());
    let mut world = World::new();
    let first = world.start(Arc::clone(&protocol));
    let done = Command::CompleteStep { step: StepPath::top("a", 1), attempt: 1, result: value.clone() };
    let second = world.decide(&first.run, done, 3).unwrap();
    let events: Vec<Recorded> = first.events.into_iter().chain(second.events).collect();
    assert_eq!(fold(&protocol, &events).payload["a"], value);
}

fn forty_computes(with: Value) -> Arc<Protocol> {
    let mut tasks = Vec::new();
    for number in 0..40 {
        let mut task = json!({"id": format!("a{number}"), "type": "script", "uses": "compute"});
        if !with.is_null() {
            task["with"] = with.clone();
        }
        tasks.push(task);
    }
    Arc::new(Protocol::parse(&json!({ "tasks": tasks })).unwrap())
}

/// Completes what did not fit into one decision, as the executors would.
fn finish_computing(world: &mut World, mut run: Run) -> Run {
    while !run.status.is_final() {
        let attempt = effects::attempts(&run).remove(0);
        let done =
            Command::CompleteStep { step: attempt.step, attempt: attempt.number, result: attempt.input };
        run = world.decide(&run, done, 3).unwrap().run;
    }
    run
}

#[test]
fn a_payload_that_doubles_with_every_step_ends_the_run_and_not_the_process() {
    let mut world = World::new();
    let run = world.start(forty_computes(Value::Null)).run;
    let run = finish_computing(&mut world, run);
    assert_eq!(run.status, RunStatus::Failed);
    assert!(run.note.as_deref().unwrap().contains("larger than 16 MiB"), "{:?}", run.note);
}

#[test]
fn a_result_that_nests_too_deep_to_be_read_again_is_refused() {
    let mut tasks = vec![json!({"id": "a0", "type": "script", "uses": "compute", "with": "x"})];
    for number in 1..6 {
        let before = (0..30).fold(json!(format!("${{payload.a{}}}", number - 1)), |inner, _| json!([inner]));
        tasks.push(json!({"id": format!("a{number}"), "type": "script", "uses": "compute", "with": before}));
    }
    let protocol = Arc::new(Protocol::parse(&json!({ "tasks": tasks })).unwrap());
    let mut world = World::new();
    let first = world.start(Arc::clone(&protocol));
    assert_eq!(first.run.status, RunStatus::Failed);
    assert!(first.run.note.as_deref().unwrap().contains("levels deep"), "{:?}", first.run.note);
    assert_eq!(fold(&protocol, &first.events), first.run);
}

#[test]
fn one_decision_computes_only_so_much_and_then_gives_others_their_turn() {
    let mut world = World::new();
    let large = json!({"n": "${payload.n}", "text": "x".repeat(900_000)});
    let first = world.start(forty_computes(large)).run;
    assert_eq!(first.status, RunStatus::Running);
    assert!(first.steps.len() < 40 && !effects::attempts(&first).is_empty());
}

#[test]
fn a_step_that_is_computed_by_the_time_it_is_rescued_moves_the_run_on() {
    struct NowComputes;
    impl Catalog for NowComputes {
        fn action(&self, _: &str) -> Option<CatalogEntry> {
            Some(CatalogEntry { version: 2, computes: true })
        }
        fn agent(&self, _: &str) -> Option<CatalogEntry> {
            None
        }
    }
    let protocol =
        Protocol::parse(&json!({"tasks": [{"id": "a", "type": "script", "uses": "call"}]})).unwrap();
    let mut world = World::new();
    let run = world.start(Arc::new(protocol)).run;
    let mut draw = || ApprovalId(1);
    let by = Actor::system();
    let mut context = Context {
        now: world.now,
        actor: &by,
        catalog: &NowComputes,
        instance: InstanceId(2),
        draw_approval: &mut draw,
    };
    let rescue = Command::RescueStep { step: StepPath::top("a", 1), attempt: 1 };
    assert_eq!(decide(&run, rescue, &mut context).unwrap().run.status, RunStatus::Completed);
}
