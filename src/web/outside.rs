//! Events from outside, for the steps that wait for them.

use super::problem::AppError;
use super::site::Site;
use crate::auth::policy::{Permission, Principal, Resource};
use crate::store::events::{self, MOST_KEPT, NewEvent, Received};
use serde_json::json;

/// The longest name of an event, in characters.
pub const MAX_NAME: usize = 200;

/// An event that was taken in.
pub struct Event {
    pub id: i64,
    /// The runs that have it, or are about to. Empty: it is kept for the first that waits for it.
    pub delivered_to: Vec<i64>,
}

/// Takes in an event, and matches it with whoever waits for it. Committed when this returns; the runs go on by
/// themselves.
///
/// # Errors
/// 403; 422 for a key that belongs to another event; 503 when too many events are kept.
pub async fn receive_event(site: &Site, who: &Principal, new: NewEvent) -> Result<Event, AppError> {
    site.permit(who, Permission::SendEvent, Resource::Any).await?;
    let received = site.change(who, move |connection| {
        let received = events::receive(connection, &new)?;
        let told = match received {
            Received::New(id) => {
                let detail = json!({"event": id, "name": new.name, "key": new.key});
                Some(("event.received", detail))
            }
            Received::Again(_) | Received::KeyReused | Received::TooMany => None,
        };
        Ok((received, told))
    });
    let id = match received.await? {
        Received::New(id) | Received::Again(id) => id,
        Received::KeyReused => {
            let message =
                "This key was already used for another event. Send the same event, or use a new key.";
            return Err(AppError::field("Idempotency-Key", message));
        }
        Received::TooMany => {
            let detail = format!(
                "{MOST_KEPT} events are kept that no run took, and no more are. Look whether the names and keys that \
                 are sent are those that the protocols wait for."
            );
            return Err(AppError::Unavailable { detail, retry_after: 60 });
        }
    };
    let matched = site.read(move |connection| {
        let runs = events::assign(connection, &[id])?;
        Ok((runs, events::delivered_to(connection, id)?))
    });
    let (runs, delivered_to) = matched.await?;
    site.scheduler.kicks.events.about(runs);
    Ok(Event { id, delivered_to })
}
