//! The id of the request being answered: in its answer, its log lines and the entries it causes.
//!
//! Always our own: one sent from outside could point an investigation at somebody else's request.

use std::fmt;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// Response header that carries the id.
pub const HEADER: &str = "x-request-id";

/// 96 random bits in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    pub fn generate() -> RequestId {
        RequestId(hex::encode(rand::random::<[u8; 12]>()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Runs `work` as the answering of this request.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The same for work that does not wait.
    pub fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of the request being answered. None outside of one, on other threads, and while a stream's body is sent.
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(Clone::clone).ok()
}
