//! One request by somebody who is signed in: who they are, the frame of their page, the notice for the next one.
//!
//! Never decides what somebody may do: the navigation asks the same policy as every handler.

use crate::auth::policy::{AuthMethod, Permission, Principal, Resource, Role, allow, sees_all_runs};
use crate::auth::session;
use crate::store::approvals::{self, ApprovalFilter};
use crate::store::overrides::{self, OverrideFilter, OverrideStatus};
use crate::web::pages::chrome::{Chrome, NavItem, Notice};
use crate::web::principal;
use crate::web::problem::AppError;
use crate::web::site::{Site, actor};
use actix_session::{Session, SessionExt};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use askama::Template;
use std::future::Future;
use std::pin::Pin;

/// What the last act did, until the next page has said it.
const NOTICE: &str = "notice";

/// The pages that the navigation leads to, with what one must hold to be shown the way.
const PLACES: [(&str, &str, Permission); 11] = [
    ("/", "Home", Permission::ReadRun),
    ("/runs", "Runs", Permission::ReadRun),
    ("/approvals", "Approvals", Permission::ReadApprovals),
    ("/overrides", "Overrides", Permission::ReadOverrides),
    ("/log", "Activity log", Permission::ReadLog),
    ("/redactions", "Erasures", Permission::ReadRedactions),
    ("/protocols", "Protocols", Permission::ReadProtocols),
    ("/schedules", "Schedules", Permission::ReadProtocols),
    ("/actions", "Actions", Permission::ReadActions),
    ("/agents", "Agents", Permission::ReadActions),
    ("/users", "Users", Permission::ManageUsers),
];

/// A request by somebody who is signed in. As an argument of a handler it sends everybody else to sign in.
pub struct Visit {
    pub who: Principal,
    pub site: web::Data<Site>,
    session: Session,
}

impl FromRequest for Visit {
    type Error = AppError;
    type Future = Pin<Box<dyn Future<Output = Result<Visit, AppError>>>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let req = req.clone();
        Box::pin(async move {
            let site = site(&req)?;
            let who = principal::authenticate(&req).await?;
            Ok(Visit { who, site, session: req.get_session() })
        })
    }
}

impl Visit {
    /// Asks the policy; a refusal is an entry in the log.
    ///
    /// # Errors
    /// 403.
    pub async fn permit(&self, permission: Permission) -> Result<(), AppError> {
        self.site.permit(&self.who, permission, Resource::Any).await
    }

    /// Whether something should be offered. What is not offered is refused all the same when it is asked for.
    pub fn may(&self, permission: Permission) -> bool {
        allow(&self.who, permission, Resource::Any).is_ok()
    }

    /// The starter that the lists are narrowed to. None: the viewer sees every run.
    pub fn only_runs_of(&self) -> Option<String> {
        (!sees_all_runs(&self.who)).then(|| self.who.user.clone())
    }

    /// What the viewer may decide now.
    pub fn decidable(&self) -> ApprovalFilter {
        ApprovalFilter {
            statuses: vec!["pending".to_owned()],
            decidable_by: Some(actor(&self.who)),
            ..ApprovalFilter::default()
        }
    }

    /// The session's token for forms. Empty for a bearer token, which needs none.
    ///
    /// # Errors
    /// 500 if the session cannot be written.
    pub fn csrf(&self) -> Result<String, AppError> {
        match self.who.method {
            AuthMethod::Session => session::csrf_token(&self.session).map_err(AppError::internal),
            AuthMethod::Token | AuthMethod::CommandLine => Ok(String::new()),
        }
    }

    /// Says something at the top of the next page, once.
    pub fn notice(&self, success: bool, text: impl Into<String>) {
        // A notice that cannot be kept is not worth failing an act that is done.
        let _ = self.session.insert(NOTICE, (success, text.into()));
    }

    /// The frame of a page; `place` is the navigation's entry that it belongs to.
    ///
    /// # Errors
    /// 503 when the database cannot be reached.
    pub async fn chrome(&self, title: &str, place: &str) -> Result<Chrome, AppError> {
        let (approvals, overrides) = self.waiting().await?;
        let nav = PLACES.iter().filter(|(href, _, permission)| self.leads_to(href, *permission));
        let nav = nav.map(|&(href, text, _)| NavItem {
            href: href.to_owned(),
            text: text.to_owned(),
            current: href == place,
            count: match href {
                "/approvals" => approvals,
                "/overrides" => overrides,
                _ => None,
            },
        });
        Ok(Chrome {
            title: title.to_owned(),
            user: Some(self.who.user.clone()),
            role_word: role_word(self.who.role).to_owned(),
            nav: nav.collect(),
            csrf: self.csrf()?,
            notice: self.take_notice(),
            ..nobody(&self.site, title)
        })
    }

    /// Staff decide nothing: what is to be decided about their runs is linked from the runs.
    fn leads_to(&self, href: &str, permission: Permission) -> bool {
        let decides = ["/approvals", "/overrides"].contains(&href);
        self.may(permission) && (!decides || sees_all_runs(&self.who))
    }

    /// The overrides that somebody must decide.
    pub fn under_review(&self) -> OverrideFilter {
        OverrideFilter {
            statuses: vec![OverrideStatus::Pending],
            run_starter: self.only_runs_of(),
            ..OverrideFilter::default()
        }
    }

    /// How many approvals and overrides wait for the viewer. None: none, or they are not the viewer's to decide.
    async fn waiting(&self) -> Result<(Option<u64>, Option<u64>), AppError> {
        let approvals = self.may(Permission::Decide).then(|| self.decidable());
        let overrides = self.may(Permission::Override).then(|| self.under_review());
        if approvals.is_none() && overrides.is_none() {
            return Ok((None, None));
        }
        let counted = self.site.read(move |connection| {
            let approvals = approvals.map(|filter| approvals::count(connection, &filter)).transpose()?;
            let overrides = overrides.map(|filter| overrides::count(connection, &filter)).transpose()?;
            Ok((approvals, overrides))
        });
        let some =
            |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).filter(|count| *count > 0);
        let (approvals, overrides) = counted.await?;
        Ok((some(approvals), some(overrides)))
    }

    fn take_notice(&self) -> Option<Notice> {
        let (success, text) = self.session.remove_as::<(bool, String)>(NOTICE)?.ok()?;
        Some(Notice { success, text })
    }
}

/// The facts about this deployment.
///
/// # Errors
/// Ours, if the app was put together without them.
pub fn site(req: &HttpRequest) -> Result<web::Data<Site>, AppError> {
    let site = req.app_data::<web::Data<Site>>().cloned();
    site.ok_or_else(|| AppError::internal(anyhow::anyhow!("the app has no Site in its data")))
}

/// The frame of a page for nobody in particular.
pub fn nobody(site: &Site, title: &str) -> Chrome {
    Chrome {
        title: title.to_owned(),
        demo: site.demo,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Chrome::default()
    }
}

pub fn role_word(role: Role) -> &'static str {
    match role {
        Role::Staff => "Staff",
        Role::Supervisor => "Supervisor",
        Role::Auditor => "Auditor",
        Role::Admin => "Admin",
    }
}

/// A finished page.
///
/// # Errors
/// 500 if the template cannot be drawn.
pub fn page(view: &impl Template) -> Result<HttpResponse, AppError> {
    page_with(StatusCode::OK, view)
}

/// The same with another status: a form that came back with problems.
///
/// # Errors
/// As [`page`].
pub fn page_with(status: StatusCode, view: &impl Template) -> Result<HttpResponse, AppError> {
    let html = view.render().map_err(AppError::internal)?;
    Ok(HttpResponse::build(status).content_type("text/html; charset=utf-8").body(html))
}

/// To another page, by GET.
pub fn see_other(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

/// The number in an address.
///
/// # Errors
/// 404: there is nothing under an id that is no positive number.
pub fn id(text: &str) -> Result<i64, AppError> {
    let plain = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
    let number = text.parse().ok().filter(|number: &i64| plain && *number > 0);
    number.ok_or_else(|| AppError::NotFound(format!("There is nothing numbered {text:?}.")))
}

#[cfg(test)]
mod tests {
    use super::id;

    #[test]
    fn only_plain_positive_numbers_name_something() {
        assert_eq!(id("9001").expect("a number"), 9001);
        for text in ["", "0", "-1", "+1", "1.0", "x", " 1", "9223372036854775808", "１"] {
            assert!(id(text).is_err(), "{text:?}");
        }
    }
}
