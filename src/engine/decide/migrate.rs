//! Moving a parked run to another version of its protocol.

use super::Decision;
use crate::engine::command::{Context, Rejection};
use crate::engine::protocol::Protocol;
use crate::engine::state::ProtocolRef;
use std::sync::Arc;

impl Decision {
    pub(super) fn migrate(
        &mut self,
        to: ProtocolRef,
        protocol: Arc<Protocol>,
        reason: String,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let _ = (to, protocol, reason, context);
        Err(Rejection::NotNow("Runs cannot be moved to another version yet.".to_owned()))
    }
}
