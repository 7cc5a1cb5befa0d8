//! Who is told that something was committed: live pages, long polls, other parts of the app.

use crate::engine::ids::RunId;
use tokio::sync::broadcast;

/// Changes that a slow listener may lag behind before it is told to look for itself.
const BACKLOG: usize = 4_096;

/// Something was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// This run reached this version.
    Run { id: RunId, version: u64 },
    /// Another instance committed something: look for yourself.
    Elsewhere,
}

#[derive(Debug, Clone)]
pub struct Changes {
    sender: broadcast::Sender<Change>,
}

impl Default for Changes {
    fn default() -> Self {
        Changes { sender: broadcast::channel(BACKLOG).0 }
    }
}

/// A listener's end.
pub struct Listener {
    receiver: broadcast::Receiver<Change>,
}

impl Changes {
    pub fn publish(&self, change: Change) {
        // Nobody listening is not an error.
        let _ = self.sender.send(change);
    }

    /// Listen before you read the state, so that no change falls in between.
    pub fn listen(&self) -> Listener {
        Listener { receiver: self.sender.subscribe() }
    }
}

impl Listener {
    /// Waits until this run may have changed. False: the app is stopping.
    pub async fn run_changed(&mut self, run: RunId) -> bool {
        loop {
            match self.receiver.recv().await {
                Ok(Change::Run { id, .. }) if id != run => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return true,
                Err(broadcast::error::RecvError::Closed) => return false,
            }
        }
    }

    /// Waits until another instance may have committed something. False: the app is stopping.
    pub async fn elsewhere(&mut self) -> bool {
        loop {
            match self.receiver.recv().await {
                Ok(Change::Run { .. }) => {}
                Ok(Change::Elsewhere) | Err(broadcast::error::RecvError::Lagged(_)) => return true,
                Err(broadcast::error::RecvError::Closed) => return false,
            }
        }
    }

    /// Waits until anything may have changed, and takes what else has come by then. False: the app is stopping.
    pub async fn anything_changed(&mut self) -> bool {
        match self.receiver.recv().await {
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                while !matches!(
                    self.receiver.try_recv(),
                    Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed)
                ) {}
                true
            }
            Err(broadcast::error::RecvError::Closed) => false,
        }
    }
}
