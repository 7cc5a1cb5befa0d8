//! What makes runs move: the committer writes, dispatch calls services, timers and rescue watch the clock.
//!
//! Only the committer writes run state. Everything else submits a `Command` and awaits its acknowledgement, which
//! comes after COMMIT; effects start from committed state alone. No thread, transaction or connection waits for a
//! person or for a network call.

pub mod attempt;
pub mod backup;
pub mod callbacks;
pub mod catalog;
pub mod changes;
pub mod committer;
pub mod dispatch;
pub mod events;
pub mod figures;
pub mod input;
pub mod kicks;
pub mod leases;
pub mod listen;
pub mod loops;
pub mod membership;
pub mod reading;
pub mod rescue;
pub mod runs;
pub mod schedules;
pub mod sequencer;
pub mod signals;
pub mod slots;
pub mod subruns;
pub mod timers;

use crate::engine::command::{Actor, Command, Rejection, Rerun};
use crate::engine::ids::RunId;
use crate::engine::redact::{self, Mark};
use crate::engine::state::{Parent, Payload, ProtocolRef, Run};
use crate::store::Pool;
use crate::store::batch::StartKey;
use crate::store::error::StoreError;
use crate::store::runs::Loaded;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// After this long a caller is told to try later, even while the committer still looks what became of a write whose
/// connection broke.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
/// Between two tries of a command that must not get lost.
const INSIST: std::time::Duration = std::time::Duration::from_millis(500);

/// Waits until the app stops.
pub async fn stopped(stop: &mut tokio::sync::watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What a caller learns of a command that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("There is no run {0}.")]
    UnknownRun(RunId),
    /// Its entries are no longer in the log. Says since when, and where they are.
    #[error("{0}")]
    Archived(String),
    /// The idempotency key belongs to a start with another body.
    #[error("This Idempotency-Key was used with another body.")]
    KeyReused,
    /// As many runs as the protocol's limit allows are on their way, and it does not let more wait.
    #[error(
        "The limit of this protocol is reached: at most {limit} of its runs may be on their way at once with the \
         key {key:?}. Try again when one of them is over."
    )]
    Full { key: String, limit: u32 },
    /// A sub-run that began already, or that its step no longer waits for.
    #[error("This sub-run is not wanted any more.")]
    NotWanted,
    /// The database refused what was to be written; a second try would meet the same.
    #[error("The command could not be written: the database refused it.")]
    Unwritable,
    /// A newer version of this program wrote the run: only it knows how the run goes on. Says what was written.
    #[error(transparent)]
    Newer(StoreError),
    /// The database does not answer, or the app is stopping. The command was not acknowledged.
    #[error("The command could not be written just now. Try again.")]
    Unavailable,
}

/// An acknowledgement: what was asked for is committed.
#[derive(Debug, Clone)]
pub struct Done {
    pub run: Arc<Run>,
    /// The start was asked for before under the same key: this is the run that it began.
    pub repeated: bool,
}

pub type Reply = oneshot::Sender<Result<Done, Refused>>;

/// A new run, as a door asks for it.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub protocol_ref: ProtocolRef,
    pub protocol: Arc<crate::engine::protocol::Protocol>,
    pub payload: Payload,
    pub actor: Actor,
    pub key: Option<StartKey>,
    /// A number that was drawn before. None: the committer draws one.
    pub id: Option<RunId>,
    /// Whose name the run bears. None: the actor's.
    pub started_by: Option<String>,
    pub parent: Option<Parent>,
    pub rerun: Option<Rerun>,
    /// The salt of the lineage that a rerun continues. None: a new one.
    pub salt: Option<[u8; 32]>,
    /// What is sealed beside what the protocol marks.
    pub redact: Vec<Mark>,
}

impl NewRun {
    /// A run that nobody asked for before, and that stands alone.
    pub fn of(
        protocol_ref: ProtocolRef,
        protocol: Arc<crate::engine::protocol::Protocol>,
        payload: Payload,
        actor: Actor,
    ) -> NewRun {
        NewRun {
            protocol_ref,
            protocol,
            payload,
            actor,
            key: None,
            id: None,
            started_by: None,
            parent: None,
            rerun: None,
            salt: None,
            redact: Vec::new(),
        }
    }
}

/// What waits for the committer.
#[expect(clippy::large_enum_variant, reason = "moving 250 bytes costs less than allocating for each result")]
pub enum Request {
    Start { new: Box<NewRun>, reply: Reply },
    Act { run: RunId, command: Command, actor: Actor, reply: Reply },
}

/// A request on its way to the committer.
pub struct Asked {
    pub at: std::time::Instant,
    pub request: Request,
}

/// The way to everything here. Cloning shares it.
#[derive(Clone)]
pub struct Scheduler {
    requests: mpsc::Sender<Asked>,
    pub changes: changes::Changes,
    pub catalog: catalog::CatalogCache,
    pub kicks: kicks::Kicks,
    runs: Arc<runs::RunCache>,
    pool: Pool,
}

impl Scheduler {
    /// The way in, and the end of it that the committer reads.
    pub fn new(runs: Arc<runs::RunCache>, pool: Pool) -> (Scheduler, mpsc::Receiver<Asked>) {
        let (requests, receiver) = mpsc::channel(committer::QUEUE);
        let (changes, catalog) = (changes::Changes::default(), catalog::CatalogCache::default());
        let kicks = kicks::Kicks::default();
        (Scheduler { requests, changes, catalog, kicks, runs, pool }, receiver)
    }

    /// Starts a run. The answer comes after its first entry is committed.
    pub async fn start(&self, new: NewRun) -> Result<Done, Refused> {
        let (reply, answer) = oneshot::channel();
        self.submit(Request::Start { new: Box::new(new), reply }, answer).await
    }

    /// Asks something of a run. The answer comes after COMMIT.
    pub async fn act(&self, run: RunId, command: Command, actor: Actor) -> Result<Done, Refused> {
        let (reply, answer) = oneshot::channel();
        self.submit(Request::Act { run, command, actor, reply }, answer).await
    }

    /// The same for what must not get lost while the database is away: tries again until it is taken or refused.
    pub async fn insist(&self, run: RunId, command: Command, actor: Actor) -> Result<Done, Refused> {
        loop {
            match self.act(run, command.clone(), actor.clone()).await {
                Err(Refused::Unavailable) if !self.requests.is_closed() => tokio::time::sleep(INSIST).await,
                answer => return answer,
            }
        }
    }

    async fn submit(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<Done, Refused>>,
    ) -> Result<Done, Refused> {
        let asked = Asked { at: std::time::Instant::now(), request };
        let answered = async {
            self.requests.send(asked).await.map_err(|_| Refused::Unavailable)?;
            answer.await.unwrap_or(Err(Refused::Unavailable))
        };
        tokio::time::timeout(PATIENCE, answered).await.unwrap_or(Err(Refused::Unavailable))
    }

    /// Commands that wait for the committer now.
    pub fn queued(&self) -> usize {
        self.requests.max_capacity() - self.requests.capacity()
    }

    /// A run as it is committed now. Blocks: call it off the event loop.
    pub fn load(
        &self,
        connection: &mut crate::store::Connection,
        id: RunId,
    ) -> Result<Option<Loaded>, StoreError> {
        self.runs.load(connection, id)
    }

    /// A run as it was after an entry of its log. Blocks: call it off the event loop.
    pub fn at(
        &self,
        connection: &mut crate::store::Connection,
        id: RunId,
        seq: u64,
    ) -> Result<Option<Arc<Run>>, StoreError> {
        self.runs.at(connection, id, seq)
    }

    /// The same as it is shown to somebody who may not see what is sealed in it.
    pub fn load_shown(
        &self,
        connection: &mut crate::store::Connection,
        id: RunId,
    ) -> Result<Option<Arc<Run>>, StoreError> {
        Ok(self.load(connection, id)?.map(|loaded| redact::shown(&loaded.run)))
    }

    /// A run as it is committed now, read off the event loop.
    pub async fn look(&self, id: RunId) -> Result<Arc<Run>, Refused> {
        let (runs, pool) = (Arc::clone(&self.runs), self.pool.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut connection = pool.get()?;
            runs.load(&mut connection, id)
        })
        .await;
        match read {
            Ok(Ok(Some(loaded))) => Ok(loaded.run),
            Ok(Ok(None)) => Err(Refused::UnknownRun(id)),
            Ok(Err(error @ StoreError::Archived { .. })) => Err(Refused::Archived(error.to_string())),
            Ok(Err(newer @ StoreError::Newer(_))) => Err(Refused::Newer(newer)),
            Ok(Err(error)) => {
                tracing::error!(error = %error, run.id = id.0, "a run could not be read");
                Err(Refused::Unavailable)
            }
            Err(_) => Err(Refused::Unavailable),
        }
    }

    /// Something of these runs was erased: nothing of them stays in memory.
    pub fn forget(&self, runs: &[i64]) {
        runs.iter().for_each(|run| self.runs.forget(RunId(*run)));
    }

    /// The runs in memory, which the committer and every reader share.
    pub fn run_cache(&self) -> Arc<runs::RunCache> {
        Arc::clone(&self.runs)
    }

    pub fn protocols(&self) -> &crate::store::protocols::ProtocolCache {
        self.runs.protocols()
    }
}
