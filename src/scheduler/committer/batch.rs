//! A batch in the making: commands grouped by run, decided one after the other, their entries sealed.

mod orders;
mod sealing;

use super::super::runs::RunCache;
use super::super::{Done, NewRun, Refused, Reply, Request};
use super::Parts;
use crate::audit::Hash;
use crate::engine::command::{Actor, Command, Context, Numbers, StartRun};
use crate::engine::decide::{Decided, decide, start};
use crate::engine::ids::{ApprovalId, InstanceId, RunId};
use crate::store::Connection;
use crate::store::batch::{Member, Written};
use crate::store::error::StoreError;
use crate::store::registry::Snapshot;
use crate::store::runs::{self, Loaded};
use chrono::Utc;
use indexmap::IndexMap;
use rand::Rng;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

impl Request {
    pub fn refuse(self, refused: Refused) {
        let (Request::Start { reply, .. } | Request::Act { reply, .. }) = self;
        // A caller that went away no longer wants the answer.
        let _ = reply.send(Err(refused));
    }
}

/// The commands of one run in this batch, and what they come to.
pub struct Group {
    pub member: Member,
    head: Hash,
    erasures: i32,
    callers: Vec<Caller>,
}

/// Enough to answer a caller, or to decide again.
struct Caller {
    request: Request,
    /// Refused on what others in this batch did: told once that is committed.
    refused: Option<Refused>,
}

pub struct Batch<'a> {
    parts: &'a Parts,
    instance: InstanceId,
    catalog: Arc<Snapshot>,
    run_ids: &'a mut VecDeque<i64>,
    approval_ids: &'a mut VecDeque<i64>,
    groups: IndexMap<RunId, Group>,
    /// Starts in this batch under a key: a second one under the same key waits for the first.
    keys: HashMap<(String, String), RunId>,
    /// A run could not be read: the connection may be broken.
    read_failed: bool,
}

impl<'a> Batch<'a> {
    pub fn new(
        parts: &'a Parts,
        instance: InstanceId,
        run_ids: &'a mut VecDeque<i64>,
        approval_ids: &'a mut VecDeque<i64>,
    ) -> Batch<'a> {
        let catalog = parts.catalog.current();
        Batch {
            parts,
            instance,
            catalog,
            run_ids,
            approval_ids,
            groups: IndexMap::new(),
            keys: HashMap::new(),
            read_failed: false,
        }
    }

    /// Decides a request. Refusals are answered at once; the others wait for the transaction.
    pub fn add(&mut self, connection: &mut Connection, request: Request) {
        match request {
            Request::Start { new, reply } => self.add_start(connection, new, reply),
            Request::Act { run, command, actor, reply } => {
                self.add_act(connection, run, command, actor, reply)
            }
        }
    }

    /// What there is to write, and whether a run could not be read.
    pub fn finish(self) -> (Vec<Group>, bool) {
        let groups = self.groups.into_values().filter(|group| !group.member.events.is_empty());
        (groups.collect(), self.read_failed)
    }

    fn add_start(&mut self, connection: &mut Connection, new: Box<NewRun>, reply: Reply) {
        if let Some(key) = &new.key {
            let place = (key.actor.clone(), key.key.clone());
            if let Some(first) = self.keys.get(&place).copied() {
                return self.join_start(first, new, reply);
            }
        }
        let id = match new.id.map_or_else(|| self.draw_run_id(connection), |id| Ok(id.0)) {
            Ok(id) => id,
            Err(error) => return self.could_not_read(RunId(0), error, reply),
        };
        if let Some(key) = &new.key {
            self.keys.insert((key.actor.clone(), key.key.clone()), RunId(id));
        }
        let command = StartRun {
            run_id: RunId(id),
            protocol_ref: new.protocol_ref.clone(),
            protocol: Arc::clone(&new.protocol),
            payload: new.payload.clone(),
            salt: new.salt.unwrap_or_else(new_salt),
            started_by: new.started_by.clone(),
            parent: new.parent.clone(),
            rerun: new.rerun.clone(),
            redact: new.redact.clone(),
        };
        let actor = new.actor.clone();
        let decided = self.with_context(connection, &actor, |context| start(command.clone(), context));
        let decided = match decided {
            Ok(Ok(decided)) => decided,
            Ok(Err(rejection)) => {
                let _ = reply.send(Err(Refused::Rejected(rejection)));
                return;
            }
            Err(error) => return self.could_not_read(RunId(id), error, reply),
        };
        let member = Member {
            start_key: new.key.clone(),
            before: None,
            run: Arc::new(decided.run),
            events: Vec::new(),
            sealed: Vec::new(),
            veiled: None,
        };
        let mut group = Group { member, head: [0; 32], erasures: 0, callers: Vec::new() };
        sealing::seal_events(&mut group, &self.parts.origin, None, decided.events);
        group.callers.push(Caller { request: Request::Start { new, reply }, refused: None });
        self.groups.insert(RunId(id), group);
    }

    /// The same key twice in one batch: the second caller gets the first one's run, if the bodies agree.
    fn join_start(&mut self, first: RunId, new: Box<NewRun>, reply: Reply) {
        let Some(group) = self.groups.get_mut(&first) else {
            let _ = reply.send(Err(Refused::Unavailable));
            return;
        };
        let same = group.member.start_key.as_ref().map(|key| &key.body_hash)
            == new.key.as_ref().map(|key| &key.body_hash);
        let refused = (!same).then_some(Refused::KeyReused);
        group.callers.push(Caller { request: Request::Start { new, reply }, refused });
    }

    fn add_act(
        &mut self,
        connection: &mut Connection,
        id: RunId,
        command: Command,
        actor: Actor,
        reply: Reply,
    ) {
        if !self.groups.contains_key(&id) {
            match self.known(connection, id) {
                Ok(Some(loaded)) => {
                    self.groups.insert(id, Group::of(loaded));
                }
                Ok(None) => {
                    let _ = reply.send(Err(Refused::UnknownRun(id)));
                    return;
                }
                Err(error) => return self.could_not_read(id, error, reply),
            }
        }
        let Some(run) = self.groups.get(&id).map(|group| Arc::clone(&group.member.run)) else { return };
        let decided = self.with_context(connection, &actor, |context| decide(&run, command.clone(), context));
        let mut decided = match decided {
            Ok(decided) => decided,
            Err(error) => return self.could_not_read(id, error, reply),
        };
        let unsure = self.groups.get(&id).is_some_and(|group| group.member.events.is_empty());
        if decided.is_err() && unsure {
            // Refused on what may be an old state: only the stored one counts.
            match self.parts.runs.load(connection, id) {
                Ok(Some(loaded)) if loaded.run.version != run.version => {
                    let again = |context: &mut Context<'_>| decide(&loaded.run, command.clone(), context);
                    decided = match self.with_context(connection, &actor, again) {
                        Ok(decided) => decided,
                        Err(error) => return self.could_not_read(id, error, reply),
                    };
                    self.groups.insert(id, Group::of(loaded));
                }
                Ok(_) => {}
                Err(error) => return self.could_not_read(id, error, reply),
            }
        }
        let Some(group) = self.groups.get_mut(&id) else { return };
        match decided {
            Ok(Decided { run, events }) => {
                let before = (group.head, std::mem::replace(&mut group.member.run, Arc::new(run)));
                sealing::seal_events(group, &self.parts.origin, Some(before), events);
                let request = Request::Act { run: id, command, actor, reply };
                group.callers.push(Caller { request, refused: None });
            }
            Err(rejection) if unsure => {
                let _ = reply.send(Err(Refused::Rejected(rejection)));
            }
            Err(rejection) => {
                let request = Request::Act { run: id, command, actor, reply };
                group.callers.push(Caller { request, refused: Some(Refused::Rejected(rejection)) });
            }
        }
    }

    /// The connection may be broken: the caller is told to try again, and the committer to look.
    fn could_not_read(&mut self, id: RunId, error: StoreError, reply: Reply) {
        let refused = match error {
            StoreError::Archived { .. } => Refused::Archived(error.to_string()),
            StoreError::Newer(_) => Refused::Newer(error),
            error => {
                self.read_failed = true;
                tracing::error!(error = %error, run.id = id.0, "a run could not be read");
                Refused::Unavailable
            }
        };
        let _ = reply.send(Err(refused));
    }

    fn known(&self, connection: &mut Connection, id: RunId) -> Result<Option<Loaded>, StoreError> {
        match self.parts.runs.get(id) {
            Some(loaded) => Ok(Some(loaded)),
            None => self.parts.runs.reload(connection, id),
        }
    }

    /// One was drawn for each start, but a sub-run that another command of this batch begins may have taken it.
    fn draw_run_id(&mut self, connection: &mut Connection) -> Result<i64, StoreError> {
        if self.run_ids.is_empty() {
            self.run_ids.extend(runs::draw_run_ids(connection, 1)?);
        }
        self.run_ids.pop_front().ok_or_else(|| StoreError::Corrupt("a sequence gave no number".to_owned()))
    }

    /// Decides with numbers enough: a command may open more approvals than were drawn for it, and then it is decided
    /// once more, which changes nothing, for the engine is pure.
    fn with_context<T>(
        &mut self,
        connection: &mut Connection,
        actor: &Actor,
        act: impl Fn(&mut Context<'_>) -> T,
    ) -> Result<T, StoreError> {
        let now = Utc::now();
        loop {
            let mut drawn = Drawn { approvals: 0, runs: 0, batch: self };
            let (catalog, instance) = (Arc::clone(&drawn.batch.catalog), drawn.batch.instance);
            let mut context =
                Context { now, actor, catalog: catalog.as_ref(), instance, numbers: &mut drawn };
            let decided = act(&mut context);
            let (approvals, runs) = (drawn.approvals, drawn.runs);
            if approvals <= self.approval_ids.len() && runs <= self.run_ids.len() {
                self.approval_ids.drain(..approvals);
                self.run_ids.drain(..runs);
                return Ok(decided);
            }
            if approvals > self.approval_ids.len() {
                let more = (approvals - self.approval_ids.len()) as i64;
                self.approval_ids.extend(runs::draw_approval_ids(connection, more)?);
            }
            if runs > self.run_ids.len() {
                let more = (runs - self.run_ids.len()) as i64;
                self.run_ids.extend(runs::draw_run_ids(connection, more)?);
            }
        }
    }
}

/// Numbers as one decision draws them. Those beyond what is at hand are 0, and the decision is taken again.
struct Drawn<'a, 'b> {
    approvals: usize,
    runs: usize,
    batch: &'a mut Batch<'b>,
}

impl Numbers for Drawn<'_, '_> {
    fn approval(&mut self) -> ApprovalId {
        self.approvals += 1;
        ApprovalId(self.batch.approval_ids.get(self.approvals - 1).copied().unwrap_or(0))
    }

    fn run(&mut self) -> RunId {
        self.runs += 1;
        RunId(self.batch.run_ids.get(self.runs - 1).copied().unwrap_or(0))
    }
}

impl Group {
    fn of(loaded: Loaded) -> Group {
        let before = Some(loaded.run.version);
        let Loaded { run, head, erasures } = loaded;
        let (events, sealed) = (Vec::new(), Vec::new());
        let member = Member { start_key: None, before, run, events, sealed, veiled: None };
        Group { member, head, erasures, callers: Vec::new() }
    }

    /// A new run whose number nobody knows yet: if it is not written, another may have it.
    pub fn drew_its_number(&self) -> bool {
        let drawn =
            |caller: &Caller| matches!(&caller.request, Request::Start { new, .. } if new.id.is_none());
        self.member.before.is_none() && self.callers.iter().any(drawn)
    }

    /// Commands that are in it.
    pub fn commands(&self) -> usize {
        self.callers.len()
    }

    pub fn loaded(&self) -> Loaded {
        Loaded { run: Arc::clone(&self.member.run), head: self.head, erasures: self.erasures }
    }

    pub fn acknowledge(self) {
        let mut first = true;
        for Caller { request, refused } in self.callers {
            let started = matches!(request, Request::Start { .. });
            let answer = match refused {
                Some(refused) => Err(refused),
                None => {
                    let repeated = started && !std::mem::take(&mut first);
                    Ok(Done { run: Arc::clone(&self.member.run), repeated })
                }
            };
            let (Request::Start { reply, .. } | Request::Act { reply, .. }) = request;
            let _ = reply.send(answer);
        }
    }

    pub fn into_requests(self) -> Vec<Request> {
        self.callers.into_iter().map(|caller| caller.request).collect()
    }

    /// Its start was refused by what else is there.
    pub fn refuse_start(self, outcome: &Written) {
        let slot = self.member.run.slot.clone();
        let refused = || match (outcome, &slot) {
            (Written::Full, Some(slot)) => Refused::Full { key: slot.key.clone(), limit: slot.limit },
            _ => Refused::NotWanted,
        };
        self.into_requests().into_iter().for_each(|request| request.refuse(refused()));
    }

    /// The key was used before: the same body gets the same run, another body is refused. `stored`: what is stored of
    /// the first body, and the salt of its run.
    pub fn answer_with_earlier(
        self,
        connection: &mut Connection,
        runs: &RunCache,
        run_id: i64,
        stored: (&[u8], Option<&[u8]>),
    ) {
        for request in self.into_requests() {
            let Request::Start { new, reply } = request else { continue };
            let same = new.key.as_ref().is_some_and(|key| key.is_of(stored.0, stored.1));
            let answer = match (same, runs.load(connection, RunId(run_id))) {
                (false, _) => Err(Refused::KeyReused),
                (true, Err(newer @ StoreError::Newer(_))) => Err(Refused::Newer(newer)),
                (true, Ok(Some(loaded))) => Ok(Done { run: loaded.run, repeated: true }),
                (true, Ok(None) | Err(_)) => Err(Refused::Unavailable),
            };
            let _ = reply.send(answer);
        }
    }
}

fn new_salt() -> [u8; 32] {
    let mut salt = [0; 32];
    rand::rng().fill_bytes(&mut salt);
    salt
}
