//! `/sign-in` and `/sign-out`.

use super::errors::local_path;
use super::sent::{Form, Sent};
use super::visit::{nobody, page_with, see_other};
use crate::auth::limits::network;
use crate::auth::session;
use crate::store::agency::{AgencyEntry, NOBODY};
use crate::web::pages::chrome::Chrome;
use crate::web::pages::sign_in::{DemoUser, SignIn};
use crate::web::principal;
use crate::web::problem::AppError;
use crate::web::site::Site;
use crate::web::{request_id, sign_in};
use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde_json::json;

/// The longest part of a name that was tried which the log keeps: no user has a longer one.
const NAME: usize = 64;

/// `GET /sign-in`. Whoever is signed in already goes on.
///
/// # Errors
/// 400 for parameters that are not known.
pub async fn show(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    let query = Sent::query(req.query_string(), &["next"])?;
    if principal::signed_in(&req).await?.is_some() {
        return Ok(see_other(local_path(query.raw("next"))));
    }
    form(&req, &site, &query, None, StatusCode::OK)
}

/// `POST /sign-in`.
///
/// # Errors
/// 403 when another site sent the form; a wrong password is the form again, with 401.
pub async fn create(
    req: HttpRequest,
    site: web::Data<Site>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let name = sent.text("user");
    match sign_in::sign_in(&req, &name, sent.raw("password")).await {
        Ok(user) => {
            let signed_in = entry(&req, user.name, "user.signed_in");
            if let Err(error) = site.record_entry(signed_in).await {
                // The session is saved whatever the answer's status: nobody is signed in unrecorded.
                session::sign_out(&req.get_session());
                return Err(error);
            }
            Ok(see_other(local_path(sent.raw("next"))))
        }
        Err(error @ AppError::Unauthorized { .. }) => {
            let tried: String = name.to_lowercase().chars().take(NAME).collect();
            let actor = if tried.is_empty() { NOBODY.to_owned() } else { tried };
            record_failure(&req, &site, actor).await?;
            refused(&req, &site, &sent, &error)
        }
        // No password was looked at, so the name says nothing: anybody can make up names without end.
        Err(error @ AppError::TooManyRequests { .. }) => {
            record_failure(&req, &site, NOBODY.to_owned()).await?;
            refused(&req, &site, &sent, &error)
        }
        Err(error) => Err(error),
    }
}

/// `POST /sign-out`.
///
/// # Errors
/// 500 when it cannot be recorded.
pub async fn destroy(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    if let Some(who) = principal::signed_in(&req).await? {
        site.record(&who, "user.signed_out", json!({})).await?;
    }
    session::sign_out(&req.get_session());
    Ok(see_other("/sign-in"))
}

fn refused(req: &HttpRequest, site: &Site, sent: &Sent, error: &AppError) -> Result<HttpResponse, AppError> {
    let mut response = form(req, site, sent, Some(error.to_string()), error.status_code())?;
    if let AppError::TooManyRequests { retry_after, .. } = error {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*retry_after));
    }
    Ok(response)
}

fn form(
    req: &HttpRequest,
    site: &Site,
    sent: &Sent,
    error: Option<String>,
    status: StatusCode,
) -> Result<HttpResponse, AppError> {
    let csrf = session::csrf_token(&req.get_session()).map_err(AppError::internal)?;
    let view = SignIn {
        chrome: Chrome { csrf, ..nobody(site, "Sign in") },
        user_name: sent.text("user"),
        error,
        next: local_path(sent.raw("next")).to_owned(),
        demo_users: if site.demo { demo_users() } else { Vec::new() },
    };
    page_with(status, &view)
}

fn demo_users() -> Vec<DemoUser> {
    let user = |(name, can): (&str, &str)| DemoUser { name: name.to_owned(), can: can.to_owned() };
    [
        ("staff", "starts runs and watches them"),
        ("supervisor", "does that too, and approves or rejects"),
        ("auditor", "sees everything, exports the log, changes nothing"),
        ("admin", "also writes protocols and manages users"),
    ]
    .map(user)
    .into()
}

/// The log cannot be emptied, so a flood is counted by where it comes from, whatever names it tries.
async fn record_failure(req: &HttpRequest, site: &Site, actor: String) -> Result<(), AppError> {
    let from = req.peer_addr().map_or_else(|| "unknown".to_owned(), |address| network(address.ip()));
    let failed = entry(req, actor, "user.sign_in_failed");
    site.record_entry(AgencyEntry { status: Some("refused"), flood: Some(from), ..failed }).await
}

fn entry(req: &HttpRequest, actor: String, type_name: &'static str) -> AgencyEntry {
    let address = req.peer_addr().map(|address| address.ip().to_string());
    let request_id = request_id::current().map(|id| id.to_string());
    let detail = json!({"via": {"auth": "password", "address": address, "request_id": request_id}});
    AgencyEntry { actor, type_name, status: None, detail, flood: None }
}
