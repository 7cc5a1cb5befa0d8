//! Who a request comes from: a bearer token or the dashboard's session, never both.
//!
//! The user is read from the users table at every request, so that a role change or a disabled user counts at once.
//! Never says what somebody may do: that is `auth::policy`.

use super::doors::Doors;
use super::problem::{AppError, Challenge};
use super::request_id;
use crate::auth::policy::{AuthMethod, Principal, Role, Scope};
use crate::auth::session;
use crate::auth::tokens::{self, TokenError, Verified};
use crate::store::users::{self, User};
use actix_session::SessionExt;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::{HttpRequest, web};
use chrono::Utc;
use std::collections::BTreeSet;

/// Who sent this request.
///
/// # Errors
/// 401 when nobody is signed in or the token is refused; 429 above the limit of calls.
pub async fn authenticate(req: &HttpRequest) -> Result<Principal, AppError> {
    signed_in(req).await?.ok_or_else(|| AppError::Unauthorized {
        detail: "Nobody is signed in. Sign in, or send a token: Authorization: Bearer …".to_owned(),
        challenge: Challenge::Missing,
    })
}

/// The same for pages, which send nobody to the sign-in page: None is nobody.
///
/// # Errors
/// 401 when a token was sent and is refused; 429 above the limit of calls.
pub async fn signed_in(req: &HttpRequest) -> Result<Option<Principal>, AppError> {
    let doors = doors(req)?;
    // A header that was meant to authenticate is never passed over for a cookie: the CSRF guard relies on it.
    let found = match bearer(req.headers())? {
        Some(token) => Some(by_token(doors, token).await?),
        None => by_session(doors, req).await?,
    };
    let Some((user, method, scopes)) = found else { return Ok(None) };
    doors.calls.check(&user.name)?;
    let role = Role::parse(&user.role)
        .ok_or_else(|| AppError::internal(anyhow::anyhow!("user {} has role {:?}", user.name, user.role)))?;
    Ok(Some(Principal {
        user: user.name,
        role,
        groups: user.groups,
        method,
        scopes,
        address: req.peer_addr().map(|address| address.ip().to_string()),
        request_id: request_id::current().map(|id| id.to_string()),
    }))
}

/// The doors of this app.
///
/// # Errors
/// Ours, if the app was put together without them.
pub fn doors(req: &HttpRequest) -> Result<&web::Data<Doors>, AppError> {
    req.app_data::<web::Data<Doors>>()
        .ok_or_else(|| AppError::internal(anyhow::anyhow!("the app has no Doors in its data")))
}

type Found = (User, AuthMethod, Option<BTreeSet<Scope>>);

async fn by_token(doors: &Doors, token: &str) -> Result<Found, AppError> {
    let verified = match tokens::verify(token, &doors.fresh_key_ring(false).await?, Utc::now()) {
        // Another instance may have started with a key of its own since the table was read.
        Err(TokenError::UnknownKey) => tokens::verify(token, &doors.fresh_key_ring(true).await?, Utc::now()),
        known => known,
    };
    let Verified { user: name, scopes, .. } = verified.map_err(|error| refused(error.to_string()))?;
    match doors.with_connection(move |conn| users::get(conn, &name)).await? {
        Some(user) if user.disabled_at.is_none() => Ok((user, AuthMethod::Token, Some(scopes))),
        Some(_) => Err(refused("The token's user is disabled.".to_owned())),
        None => Err(refused("The token's user does not exist.".to_owned())),
    }
}

async fn by_session(doors: &Doors, req: &HttpRequest) -> Result<Option<Found>, AppError> {
    let Some(in_session) = session::current_user(&req.get_session()) else { return Ok(None) };
    let name = in_session.name.clone();
    let user = doors.with_connection(move |conn| users::get(conn, &name)).await?;
    Ok(user.filter(|user| in_session.is_current(user)).map(|user| (user, AuthMethod::Session, None)))
}

fn refused(detail: String) -> AppError {
    AppError::Unauthorized { detail, challenge: Challenge::InvalidToken }
}

/// The token of the `Authorization` header, if there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AppError> {
    let mut values = headers.get_all(AUTHORIZATION);
    let Some(value) = values.next() else { return Ok(None) };
    let token = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty());
    match (token, values.next()) {
        (Some(token), None) => Ok(Some(token)),
        (Some(_) | None, _) => Err(AppError::Unauthorized {
            detail: "The Authorization header must be one bearer token: Authorization: Bearer …".to_owned(),
            challenge: Challenge::InvalidRequest,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::bearer;
    use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn one_bearer_token_is_read_however_the_scheme_is_spelled() {
        assert_eq!(bearer(&headers(&[])).expect("nothing sent"), None);
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
            assert_eq!(bearer(&headers(&[value])).expect("a token"), Some("a.b.c"));
        }
    }

    #[test]
    fn anything_else_in_the_header_is_refused_instead_of_ignored() {
        for values in [&["Basic dTpw"][..], &["Bearer"], &["Bearer "], &["a.b.c"], &["Bearer a", "Bearer b"]]
        {
            assert!(bearer(&headers(values)).is_err(), "{values:?}");
        }
    }
}
