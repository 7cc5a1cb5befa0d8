//! Signing in with a name and a password, for the page that asks for them.
//!
//! Never says whether the name or the password was wrong, nor takes longer over one than the other.

use super::doors::Doors;
use super::principal::doors;
use super::problem::{AppError, Challenge};
use super::security;
use crate::auth::{password, session};
use crate::store::users::{self, User};
use actix_session::SessionExt;
use actix_web::{HttpRequest, web};

/// Checks a password and signs the session in.
///
/// # Errors
/// 401 with a sentence for the form when name or password is wrong; 429 after too many failures; 403 when another
/// site sent the form.
pub async fn sign_in(req: &HttpRequest, name: &str, password: &str) -> Result<User, AppError> {
    let doors = doors(req)?;
    // There is no session to protect yet; but nobody shall be signed in to somebody else's account unawares.
    if security::same_origin(req.headers(), &doors.public_url) == Some(false) {
        return Err(security::cross_site());
    }
    let address = req.peer_addr().map(|address| address.ip());
    let attempt = doors.sign_ins.begin(name, address, std::time::Instant::now())?;
    let user = check(doors, name, password).await?;
    doors.sign_ins.succeeded(&attempt);
    session::sign_in(&req.get_session(), &user).map_err(AppError::internal)?;
    Ok(user)
}

async fn check(doors: &Doors, name: &str, password: &str) -> Result<User, AppError> {
    let name = name.trim().to_lowercase();
    let user = doors.with_connection(move |conn| users::get(conn, &name)).await?;
    let user = user.filter(|user| user.disabled_at.is_none());
    let stored = user.as_ref().and_then(|user| user.password_hash.clone());
    let password = password.to_owned();
    let permit = doors.hashing.acquire().await.map_err(AppError::internal)?;
    let matches = web::block(move || password::verify(&password, stored.as_deref())).await;
    drop(permit);
    match user {
        Some(user) if matches.map_err(AppError::internal)? => Ok(user),
        Some(_) | None => Err(AppError::Unauthorized {
            detail: "The name or the password is wrong.".to_owned(),
            challenge: Challenge::Missing,
        }),
    }
}
