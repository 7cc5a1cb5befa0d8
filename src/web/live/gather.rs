//! Readings that many ask for at the same moment, done once: a change of one run wakes every page that shows it.
//!
//! Whoever asks gets what was read after they asked, never before. Owns no data: nothing is kept.

use crate::store::error::StoreError;
use crate::store::{Connection, Pool};
use crate::web::problem::AppError;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Rounds of reading at once, each with a connection. What is asked meanwhile comes in the next.
const ROUNDS: usize = 3;
/// Questions of one round.
const MOST: usize = 1_000;

/// Reads a `V` for each `K`. Cloning shares it.
pub struct Gather<K, V> {
    asked: mpsc::UnboundedSender<Ask<K, V>>,
}

/// Gives what there is for each key.
type Read<K, V> = dyn Fn(&mut Connection, &[K]) -> Result<HashMap<K, V>, StoreError> + Send + Sync;

/// None: the reading failed, and the log says why.
type Reply<V> = oneshot::Sender<Option<Option<V>>>;

struct Ask<K, V> {
    key: K,
    reply: Reply<V>,
}

impl<K, V> Gather<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Within a runtime. `read` is given each key once, and gives what there is; it blocks.
    pub fn start<R>(pool: Pool, read: R) -> Gather<K, V>
    where
        R: Fn(&mut Connection, &[K]) -> Result<HashMap<K, V>, StoreError> + Send + Sync + 'static,
    {
        let (asked, mut asks) = mpsc::unbounded_channel();
        let (read, turns): (Arc<Read<K, V>>, _) = (Arc::new(read), Arc::new(Semaphore::new(ROUNDS)));
        tokio::spawn(async move {
            while let Ok(turn) = Arc::clone(&turns).acquire_owned().await {
                let mut round = Vec::new();
                if asks.recv_many(&mut round, MOST).await == 0 {
                    return;
                }
                let (pool, read) = (pool.clone(), Arc::clone(&read));
                tokio::task::spawn_blocking(move || {
                    answer(&pool, &*read, round);
                    drop(turn);
                });
            }
        });
        Gather { asked }
    }

    /// What there is. None: nothing is.
    ///
    /// # Errors
    /// 503 when it cannot be read.
    pub async fn get(&self, key: K) -> Result<Option<V>, AppError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.asked.send(Ask { key, reply });
        let unavailable =
            || AppError::Unavailable { detail: "The database does not answer.".to_owned(), retry_after: 1 };
        asked.map_err(|_| unavailable())?;
        answer.await.ok().flatten().ok_or_else(unavailable)
    }
}

fn answer<K: Eq + Hash + Clone, V: Clone>(pool: &Pool, read: &Read<K, V>, round: Vec<Ask<K, V>>) {
    let mut waiting: HashMap<K, Vec<Reply<V>>> = HashMap::new();
    for Ask { key, reply } in round {
        waiting.entry(key).or_default().push(reply);
    }
    let keys: Vec<K> = waiting.keys().cloned().collect();
    let found = pool.get().map_err(StoreError::from).and_then(|mut connection| read(&mut connection, &keys));
    if let Err(error) = &found {
        tracing::warn!(error = %error, "what open pages show could not be read");
    }
    for (key, replies) in waiting {
        let value = found.as_ref().ok().map(|found| found.get(&key).cloned());
        for reply in replies {
            // Whoever asked may have gone.
            let _ = reply.send(value.clone());
        }
    }
}
