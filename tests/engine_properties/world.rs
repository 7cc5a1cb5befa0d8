//! What the engine needs from outside: who asks, what is registered, numbers and a clock that nobody else moves.

use super::generate;
use chrono::{DateTime, TimeDelta, Utc};
use hms_act::engine::command::{
    Actor, Catalog, CatalogEntry, Command, Context, DoneBy, Numbers, Rejection, Rerun, StartRun,
};
use hms_act::engine::decide::{Decided, decide, start};
use hms_act::engine::ids::{ApprovalId, InstanceId, RunId};
use hms_act::engine::protocol::Protocol;
use hms_act::engine::state::{ProtocolRef, Run};
use serde_json::{Value, json};
use std::sync::Arc;

/// `call`, `take_back` and `ask` need an executor, `work` a worker, `compute` nobody; `missing` is not registered.
pub struct Registered;

impl Catalog for Registered {
    fn action(&self, name: &str) -> Option<CatalogEntry> {
        let done_by = match name {
            "missing" => return None,
            "compute" => DoneBy::Engine,
            "work" => DoneBy::Worker,
            _ => DoneBy::Instance,
        };
        Some(CatalogEntry { version: 1, done_by })
    }

    fn agent(&self, name: &str) -> Option<CatalogEntry> {
        (name != "missing").then_some(CatalogEntry { version: 1, done_by: DoneBy::Instance })
    }

    fn protocol(&self, name: &str) -> Option<ProtocolRef> {
        (name != "missing").then(|| ProtocolRef { id: 2, version: 1, name: name.to_owned() })
    }
}

/// Who started every run.
pub const STARTER: &str = "starter";
/// Everybody who asks for something, the starter first.
pub const PEOPLE: [&str; 5] = [STARTER, "sam", "sue", "ada", "eve"];

pub fn actor(name: &str) -> Actor {
    let roles: &[&str] = match name {
        STARTER | "sam" | "sue" => &["supervisor", "staff"],
        "ada" => &["admin", "supervisor", "staff"],
        _ => &[],
    };
    let groups: &[&str] = match name {
        "sam" => &["legal"],
        "sue" => &["legal", "security"],
        "ada" | STARTER => &["security"],
        _ => &[],
    };
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Actor { name: name.to_owned(), roles: owned(roles), groups: owned(groups), via: None }
}

pub struct World {
    drawn: Drawn,
    pub now: DateTime<Utc>,
    document: Value,
    /// The versions of the protocol, the first being 1.
    pub versions: Vec<Arc<Protocol>>,
}

/// The last number that was drawn.
struct Drawn(i64);

impl Numbers for Drawn {
    fn approval(&mut self) -> ApprovalId {
        self.0 += 1;
        ApprovalId(self.0)
    }

    fn run(&mut self) -> RunId {
        self.0 += 1;
        RunId(self.0)
    }
}

impl World {
    /// It is 2027-01-15T08:00:00Z.
    pub fn new(document: Value) -> World {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a valid time");
        let versions = vec![generate::parse(&document)];
        World { drawn: Drawn(100), now, document, versions }
    }

    /// The world of a protocol with these tasks, and a run of it.
    pub fn with_tasks(tasks: Value) -> (World, Run) {
        let mut world = World::new(json!({ "tasks": tasks }));
        let run = world.start().run;
        (world, run)
    }

    /// A new version of the protocol: one more task at its end.
    pub fn next_version(&mut self) -> (ProtocolRef, Arc<Protocol>) {
        let version = self.versions.len() as i32 + 1;
        let task = json!({"id": format!("v{version}"), "type": "script", "uses": "call"});
        self.document["tasks"].as_array_mut().expect("a list of tasks").push(task);
        let protocol = generate::parse(&self.document);
        self.versions.push(Arc::clone(&protocol));
        (self.version(version), protocol)
    }

    pub fn start(&mut self) -> Decided {
        self.start_as(RunId(1), None)
    }

    pub fn start_as(&mut self, run_id: RunId, rerun: Option<Rerun>) -> Decided {
        let payload = json!({
            "n": 9_007_199_254_740_993_i64, "list": [1, 2, 3], "none": [], "case": "c-1",
            "until": "2027-01-15T10:00:00Z",
        });
        let command = StartRun {
            run_id,
            protocol_ref: self.version(1),
            protocol: Arc::clone(&self.versions[0]),
            payload: payload.as_object().cloned().unwrap_or_default(),
            salt: [1; 32],
            started_by: None,
            parent: None,
            rerun,
            redact: Vec::new(),
        };
        self.with(&actor(STARTER), &Registered, |context| start(command, context))
            .expect("a generated run can start")
    }

    pub fn version(&self, version: i32) -> ProtocolRef {
        ProtocolRef { id: 1, version, name: "generated".to_owned() }
    }

    pub fn decide(&mut self, run: &Run, command: Command, by: &str) -> Result<Decided, Rejection> {
        self.decide_with(run, command, by, &Registered)
    }

    pub fn decide_with(
        &mut self,
        run: &Run,
        command: Command,
        by: &str,
        catalog: &dyn Catalog,
    ) -> Result<Decided, Rejection> {
        self.with(&actor(by), catalog, |context| decide(run, command, context))
    }

    /// The run after a command that is carried out.
    pub fn then(&mut self, run: &Run, command: Command, by: &str) -> Run {
        let asked = format!("{command:?}");
        self.decide(run, command, by).unwrap_or_else(|refused| panic!("{asked}: {refused}")).run
    }

    pub fn pass(&mut self, time: TimeDelta) {
        self.now += time;
    }

    fn with<T>(
        &mut self,
        actor: &Actor,
        catalog: &dyn Catalog,
        act: impl FnOnce(&mut Context<'_>) -> T,
    ) -> T {
        let mut context =
            Context { now: self.now, actor, catalog, instance: InstanceId(1), numbers: &mut self.drawn };
        act(&mut context)
    }
}
