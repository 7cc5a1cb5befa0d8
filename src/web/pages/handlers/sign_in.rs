//! `/sign-in` and `/sign-out`.

use super::errors::local_path;
use super::sent::{Form, Sent};
use super::visit::{nobody, page_with, see_other};
use crate::auth::session;
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
            let address = address(&req);
            site.record_as(&user.name, "user.signed_in", None, json!({"via": via(&address)})).await?;
            Ok(see_other(local_path(sent.raw("next"))))
        }
        Err(error @ (AppError::Unauthorized { .. } | AppError::TooManyRequests { .. })) => {
            let tried: String = name.to_lowercase().chars().take(NAME).collect();
            let actor = if tried.is_empty() { "nobody" } else { &tried };
            let detail = json!({"via": via(&address(&req))});
            site.record_as(actor, "user.sign_in_failed", Some("refused"), detail).await?;
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
        site.record(&who, "user.signed_out", None, json!({})).await?;
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

fn address(req: &HttpRequest) -> Option<String> {
    req.peer_addr().map(|address| address.ip().to_string())
}

fn via(address: &Option<String>) -> serde_json::Value {
    json!({"auth": "password", "address": address, "request_id": request_id::current().map(|id| id.to_string())})
}
