//! What the handlers work with: the scheduler, the log of the agency, the facts about this deployment.

use super::problem::AppError;
use crate::actions::guard::Guard;
use crate::auth::policy::{Permission, Principal, Resource, allow};
use crate::engine::command::Actor;
use crate::engine::event::Via;
use crate::scheduler::Scheduler;
use crate::store::Pool;
use crate::store::agency::{AgencyEntry, AgencyLog};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

/// One per process: `App::app_data(web::Data::new(site))`.
#[derive(Clone)]
pub struct Site {
    pub scheduler: Scheduler,
    pub pool: Pool,
    pub agency: Arc<AgencyLog>,
    pub guard: Guard,
    /// Users, a protocol and an agency that are made up.
    pub demo: bool,
    /// True once the app stops: streams end, long polls answer.
    pub stopping: watch::Receiver<bool>,
}

impl Site {
    /// The one question before anything is done or shown. A refusal is an entry in the log.
    ///
    /// # Errors
    /// 403 naming what is missing.
    pub async fn permit(
        &self,
        who: &Principal,
        permission: Permission,
        resource: Resource<'_>,
    ) -> Result<(), AppError> {
        let Err(refusal) = allow(who, permission, resource) else { return Ok(()) };
        let detail = json!({"asked_for": format!("{permission:?}"), "missing": refusal.missing.as_str()});
        self.record(who, "access.refused", Some("refused"), detail).await?;
        Err(refusal.into())
    }

    /// Writes an entry into the agency's own stream, committed when this returns.
    ///
    /// # Errors
    /// 500 when it cannot be written: what is not recorded does not happen.
    pub async fn record(
        &self,
        who: &Principal,
        type_name: &'static str,
        status: Option<&'static str>,
        detail: Value,
    ) -> Result<(), AppError> {
        let mut detail = detail;
        if let (Value::Object(map), Ok(via)) = (&mut detail, serde_json::to_value(via(who))) {
            map.insert("via".to_owned(), via);
        }
        self.record_as(&who.user, type_name, status, detail).await
    }

    /// The same for somebody who is not signed in: `actor` is the name that was tried, or `nobody`.
    ///
    /// # Errors
    /// As [`Site::record`].
    pub async fn record_as(
        &self,
        actor: &str,
        type_name: &'static str,
        status: Option<&'static str>,
        detail: Value,
    ) -> Result<(), AppError> {
        let agency = Arc::clone(&self.agency);
        let entry = AgencyEntry { actor: actor.to_owned(), type_name, status, detail };
        let written = actix_web::web::block(move || agency.record(&entry)).await;
        written.map_err(AppError::internal)?.map_err(AppError::internal)
    }

    /// Does something with a connection, off the async threads.
    ///
    /// # Errors
    /// 500, or what `work` says.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut crate::store::Connection) -> Result<T, crate::store::error::StoreError>
        + Send
        + 'static,
    ) -> Result<T, AppError> {
        let pool = self.pool.clone();
        let done = actix_web::web::block(move || {
            let mut connection = pool.get()?;
            work(&mut connection)
        });
        done.await.map_err(AppError::internal)?.map_err(AppError::from)
    }
}

/// Who asks, as the engine wants to know it.
pub fn actor(who: &Principal) -> Actor {
    Actor {
        name: who.user.clone(),
        roles: who.role.holds().iter().map(|role| role.as_str().to_owned()).collect(),
        via: Some(via(who)),
    }
}

fn via(who: &Principal) -> Via {
    Via {
        auth: Some(who.method.as_str().to_owned()),
        address: who.address.clone(),
        request_id: who.request_id.clone(),
    }
}
