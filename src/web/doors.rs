//! What every door needs to tell who is there: connections, token keys, limits.
//!
//! One per process, in the app's data. Never knows what a request wants.

use super::problem::AppError;
use crate::auth::limits::{CallLimit, SignInLimit};
use crate::auth::tokens::KeyRing;
use crate::store::error::StoreError;
use crate::store::{Connection, Pool, token_keys};
use actix_web::web;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Passwords hashed at once: each takes 19 MiB and a core.
const HASHES_AT_ONCE: usize = 4;
/// A key that another instance retired is refused here after at most this long.
const KEYS_STALE: Duration = Duration::from_secs(30);
/// Tokens under unknown keys look into the database at most this often.
const KEYS_MISSING: Duration = Duration::from_secs(1);

/// Shared by all handlers: `App::app_data(web::Data::new(Doors::new(…)))`.
pub struct Doors {
    pub pool: Pool,
    /// The public keys of the `token_keys` table, as last read.
    pub keys: Arc<RwLock<KeyRing>>,
    /// Where browsers reach this instance, without a trailing slash.
    pub public_url: String,
    pub max_body_bytes: usize,
    pub sign_ins: SignInLimit,
    pub calls: CallLimit,
    pub(super) hashing: Semaphore,
    keys_read: Mutex<Option<Instant>>,
}

impl Doors {
    pub fn new(pool: Pool, keys: KeyRing, public_url: String, max_body_bytes: usize) -> Doors {
        Doors {
            pool,
            keys: Arc::new(RwLock::new(keys)),
            public_url,
            max_body_bytes,
            sign_ins: SignInLimit::default(),
            calls: CallLimit::default(),
            hashing: Semaphore::new(HASHES_AT_ONCE),
            keys_read: Mutex::new(None),
        }
    }

    /// Whether browsers come over https: cookies are `Secure`, and browsers are told to stay with it.
    pub fn is_secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// Does something with a connection, off the async threads.
    ///
    /// # Errors
    /// 503 when the database cannot be reached; otherwise whatever `work` says.
    pub async fn with_connection<T, E>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, AppError>
    where
        T: Send + 'static,
        E: Into<StoreError>,
    {
        let pool = self.pool.clone();
        let done = web::block(move || {
            let mut conn = pool.get()?;
            work(&mut conn).map_err(Into::into)
        });
        done.await.map_err(AppError::internal)?.map_err(AppError::from)
    }

    /// The known keys as they are now.
    pub fn key_ring(&self) -> KeyRing {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The known keys, read again if they are stale or `kid_is_missing`; which does not happen at every bad token.
    pub(super) async fn fresh_key_ring(&self, kid_is_missing: bool) -> Result<KeyRing, AppError> {
        let after = if kid_is_missing { KEYS_MISSING } else { KEYS_STALE };
        if self.begin_reading_keys(after) {
            self.read_keys().await?;
        }
        Ok(self.key_ring())
    }

    /// Reads the `token_keys` table. Call it at the start, after this instance's own key is published.
    ///
    /// # Errors
    /// As [`Doors::with_connection`].
    pub async fn read_keys(&self) -> Result<(), AppError> {
        let keys = self.with_connection(token_keys::active).await?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into_iter().collect();
        Ok(())
    }

    fn begin_reading_keys(&self, after: Duration) -> bool {
        let mut read = self.keys_read.lock().unwrap_or_else(PoisonError::into_inner);
        let due = read.is_none_or(|at| at.elapsed() >= after);
        if due {
            *read = Some(Instant::now());
        }
        due
    }
}
