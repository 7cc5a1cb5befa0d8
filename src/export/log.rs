//! The filtered log as one long file: pages are read ahead on one thread and written as lines on another.
//!
//! The pages are short statements along an index, on one connection and not in one `COPY`: a `COPY` is a transaction
//! that stays open for as long as its reader takes, and a reader may take for ever. A reader that is slow therefore
//! holds nothing: its connection and its turn are given back until it goes on. Memory is bounded by [`PAGE`] and
//! [`LONG_BYTES`], whatever the entries hold.

use super::csv::{self, Line};
use crate::store::error::StoreError;
use crate::store::log_search::{
    Exported, LogFilter, LogOrder, LogPosition, Walk, fetch_long_leaves, prepare_for_export,
};
use crate::store::replica::{Mark, Replica};
use crate::store::{Connection, pool};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Entries read at a time.
const PAGE: i64 = 2_048;
/// Long leaves are passed on before there are more bytes of them than this.
const LONG_BYTES: usize = 2 * 1024 * 1024;
/// About how much is sent at a time.
const CHUNK: usize = 128 * 1024;
/// A reader that takes nothing for so long is slow.
const PATIENCE: Duration = Duration::from_secs(1);
/// After so many pages whoever waits for a turn gets one.
const TURN: u32 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Ndjson,
}

/// What is exported, from where on.
#[derive(Debug, Clone)]
pub struct Order {
    pub filter: LogFilter,
    pub format: Format,
    /// Begin with a byte order mark.
    pub with_bom: bool,
    /// None: from the beginning, with a header. Some: what follows is to be put behind what somebody has.
    pub after: Option<LogPosition>,
}

/// Where the pages come from.
pub struct Source {
    pub database_url: String,
    /// A replica that is read as long as it will do, and what it must show.
    pub replica: Option<(Arc<Replica>, Mark)>,
    /// How many may read at once.
    pub turns: Arc<Semaphore>,
    /// True once the app stops.
    pub stopping: watch::Receiver<bool>,
}

/// How an export ended.
#[derive(Debug)]
pub struct Ended {
    /// Entries handed over.
    pub rows: u64,
    pub last: Option<LogPosition>,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    Complete,
    /// The reader went away.
    Left,
    Failed(StoreError),
}

/// What the reading thread says. Silence is not the end: a thread may die.
enum Read {
    Page(Vec<Exported>),
    End,
    Failed(StoreError),
}

/// Reads and sends until the end, or until nobody takes it. Blocks, for as long as the reader takes: call it on a
/// thread of its own, inside the runtime.
pub fn send<E>(source: Source, order: &Order, to: &mpsc::Sender<Result<Vec<u8>, E>>) -> Ended {
    let (pages, mut read) = mpsc::channel::<Read>(1);
    let (runtime, filter, after) = (Handle::current(), order.filter.clone(), order.after);
    let reader = std::thread::Builder::new().name("export".to_owned()).spawn(move || {
        let mut reader = Reader { source, runtime, lease: None, pages };
        let last = reader.read(&filter, after).map_or_else(Read::Failed, |()| Read::End);
        // If nobody listens any more, nobody has to be told.
        let _ = reader.pages.blocking_send(last);
    });
    let failed = |error: String| Outcome::Failed(StoreError::Connection(error));
    let mut ended = Ended { rows: 0, last: order.after, outcome: Outcome::Complete };
    if let Err(error) = reader {
        ended.outcome = failed(format!("no thread for an export: {error}"));
        return ended;
    }
    let mut bytes = beginning(order);
    loop {
        let page = match read.blocking_recv() {
            Some(Read::Page(page)) => page,
            Some(Read::End) => break,
            Some(Read::Failed(error)) => {
                ended.outcome = Outcome::Failed(error);
                return ended;
            }
            None => {
                ended.outcome = failed("reading for an export ended in a panic".to_owned());
                return ended;
            }
        };
        for entry in &page {
            append(&mut bytes, order.format, entry);
            if bytes.len() >= CHUNK && to.blocking_send(Ok(std::mem::take(&mut bytes))).is_err() {
                ended.outcome = Outcome::Left;
                return ended;
            }
            ended.rows += 1;
            ended.last = Some(entry.position());
        }
    }
    if !bytes.is_empty() && to.blocking_send(Ok(bytes)).is_err() {
        ended.outcome = Outcome::Left;
    }
    ended
}

fn beginning(order: &Order) -> Vec<u8> {
    let mut bytes = Vec::new();
    if order.format == Format::Csv && order.after.is_none() {
        if order.with_bom {
            bytes.extend("\u{FEFF}".as_bytes());
        }
        bytes.extend(csv::header());
    }
    bytes
}

fn append(bytes: &mut Vec<u8>, format: Format, entry: &Exported) {
    let leaf = entry.leaf.as_deref().unwrap_or_default();
    match format {
        Format::Csv => csv::append(
            bytes,
            &Line {
                run_id: entry.run_id,
                stream: entry.stream,
                seq: entry.seq,
                at: entry.at,
                actor: &entry.actor,
                type_name: &entry.type_name,
                step: entry.step.as_deref(),
                attempt: entry.attempt,
                status: entry.status.as_deref(),
                leaf,
                leaf_hash: &entry.leaf_hash,
            },
        ),
        Format::Ndjson => {
            bytes.extend(leaf);
            bytes.push(b'\n');
        }
    }
}

/// A connection, and the turn that allows it.
struct Lease {
    connection: Connection,
    _turn: OwnedSemaphorePermit,
}

struct Reader {
    source: Source,
    runtime: Handle,
    lease: Option<Lease>,
    pages: mpsc::Sender<Read>,
}

/// Whether the reader of the file is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Yes,
    Gone,
}

impl Reader {
    fn read(&mut self, filter: &LogFilter, after: Option<LogPosition>) -> Result<(), StoreError> {
        let begin =
            |connection: &mut Connection| Walk::begin(connection, filter, LogOrder::OldestFirst, after);
        let mut walk = self.ask(begin)?;
        let mut pages = 0;
        while !walk.is_over() {
            if *self.source.stopping.borrow() {
                return Err(StoreError::Connection("the app is stopping".to_owned()));
            }
            let page = self.ask(|connection| walk.exported(connection, PAGE))?;
            if self.pass_on(page)? == Taken::Gone || self.pages.is_closed() {
                return Ok(());
            }
            pages += 1;
            if pages % TURN == 0 && self.source.turns.available_permits() == 0 {
                self.lease = None;
            }
        }
        Ok(())
    }

    /// Passes a page on, in parts if its long leaves are many.
    fn pass_on(&mut self, page: Vec<Exported>) -> Result<Taken, StoreError> {
        let (mut part, mut long) = (Vec::with_capacity(page.len()), 0);
        for entry in page {
            if entry.leaf.is_none() {
                long += entry.length.unsigned_abs() as usize;
            }
            part.push(entry);
            if long >= LONG_BYTES {
                long = 0;
                if self.complete_and_hand_over(std::mem::take(&mut part))? == Taken::Gone {
                    return Ok(Taken::Gone);
                }
            }
        }
        if part.is_empty() { Ok(Taken::Yes) } else { self.complete_and_hand_over(part) }
    }

    fn complete_and_hand_over(&mut self, mut part: Vec<Exported>) -> Result<Taken, StoreError> {
        if part.iter().any(|entry| entry.leaf.is_none()) {
            self.ask(|connection| fetch_long_leaves(connection, &mut part))?;
        }
        self.hand_over(part)
    }

    fn hand_over(&mut self, part: Vec<Exported>) -> Result<Taken, StoreError> {
        let soon =
            self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.pages.reserve()).await });
        let place = match soon {
            Ok(place) => place,
            Err(_) => {
                self.lease = None;
                self.runtime.block_on(self.pages.reserve())
            }
        };
        let Ok(place) = place else { return Ok(Taken::Gone) };
        place.send(Read::Page(part));
        Ok(Taken::Yes)
    }

    /// Asks the database. What a replica breaks off or cannot answer any more is asked of the primary: entries never
    /// change, so the file goes on there where it stood.
    fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match question(self.connection()?) {
            Err(error) if let Some((replica, _)) = self.source.replica.take() => {
                replica.failed(&error);
                self.lease = None;
                question(self.connection()?)
            }
            answer => answer,
        }
    }

    /// A new connection: to the replica, as long as it will do.
    fn connect(&mut self) -> Result<Connection, StoreError> {
        if let Some((replica, mark)) = &self.source.replica {
            match replica.connection_of_its_own(mark) {
                Ok(connection) => {
                    replica.served();
                    return Ok(connection);
                }
                Err(error) => replica.failed(&error),
            }
            self.source.replica = None;
        }
        pool::connect(&self.source.database_url)
    }

    /// The connection; when it was given back, another one as soon as there is a turn.
    fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        let lease = match self.lease.take() {
            Some(lease) => lease,
            None => {
                let turn = self.runtime.block_on(Arc::clone(&self.source.turns).acquire_owned());
                let turn = turn.map_err(|_| StoreError::Connection("the app is closing".to_owned()))?;
                let mut connection = self.connect()?;
                prepare_for_export(&mut connection)?;
                Lease { connection, _turn: turn }
            }
        };
        Ok(&mut self.lease.insert(lease).connection)
    }
}
