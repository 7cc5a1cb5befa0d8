//! `/acts/events`.

use super::call::{Call, post, short_text};
use crate::auth::policy::Permission;
use serde_json::json;
use utoipa::ToSchema;

pub const TAG: &str = "Events";

/// What happened outside.
#[derive(ToSchema)]
struct NewEvent {
    /// Which of the steps that wait for this name have it: those with the same key, compared as text, and those that
    /// wait without a key. Text or a number.
    #[schema(value_type = Value, required = false)]
    key: Option<()>,
    /// Any JSON. It is the result of the steps that have it.
    #[schema(value_type = Value, required = false)]
    payload: Option<()>,
}

#[derive(ToSchema)]
struct EventReceived {
    #[schema(example = 17)]
    event_id: i64,
    /// The runs that waited for it. Empty: it is kept for the first that does.
    delivered_to: Vec<i64>,
}

pub fn calls() -> Vec<Call> {
    vec![receive()]
}

fn receive() -> Call {
    let key = "Makes it safe to send again: the same key, name and body are the same event, the same key with another \
               one is a 422.";
    post("/acts/events/{name}", "receiveEvent", "Tell the runs of an event")
        .about("Every step that waits for it has it. An event that comes before anybody waits for it is kept for 30 \
                days.")
        .needs(Permission::SendEvent)
        .path_text("name", "What happened: the name that `wait` steps give in `event`.")
        .problem(400)
        .request_header("Idempotency-Key", key, short_text(255))
        .body::<NewEvent>(json!({"key": "case-123", "payload": {"amount": 250}}))
        .answer::<EventReceived>(202, "The event is committed, and with it who has it.", &[])
        .tag(TAG)
}
