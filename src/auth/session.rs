//! The dashboard's sessions: what is in them, and where actix-session keeps them (Postgres).
//!
//! Owns the cookie, the session's contents, sign-in and sign-out. Never trusts a session for more than a name: the
//! role is read from the users table at every request, and a session made before the user's last change is void.

use crate::store::users::User;
use crate::store::{Connection, Pool, sessions};
use actix_session::config::{BrowserSession, CookieContentSecurity};
use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_session::{Session, SessionInsertError, SessionMiddleware};
use actix_web::HttpRequest;
use actix_web::cookie::time::Duration;
use actix_web::cookie::{CookieJar, Key, SameSite};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use rand::rngs::SysRng;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};
use std::collections::HashMap;

/// The session cookie's name.
pub const COOKIE_NAME: &str = "hms_act_session";

const USER: &str = "user";
const STAMP: &str = "stamp";
const CSRF: &str = "csrf";

/// Who a session says is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionUser {
    pub name: String,
    stamp: i64,
}

impl SessionUser {
    /// Whether the session was made after the user's last change (role, password, disabling). A session that was
    /// being made while the user changed is caught here.
    pub fn is_current(&self, user: &User) -> bool {
        user.name == self.name && user.disabled_at.is_none() && stamp(user) == self.stamp
    }
}

fn stamp(user: &User) -> i64 {
    user.updated_at.timestamp_micros()
}

/// The middleware that loads and saves sessions. `secure`: the public URL is https.
pub fn middleware(pool: Pool, secure: bool) -> SessionMiddleware<PgSessions> {
    SessionMiddleware::builder(PgSessions { pool }, cookie_key())
        .cookie_name(COOKIE_NAME.to_owned())
        .cookie_secure(secure)
        .cookie_http_only(true)
        .cookie_same_site(SameSite::Lax)
        .cookie_path("/".to_owned())
        .cookie_content_security(CookieContentSecurity::Signed)
        // No Max-Age: the cookie goes with the browser, the row by the rules of `store::sessions`.
        .session_lifecycle(BrowserSession::default())
        .build()
}

/// The cookie's value is 256 random bits and the database knows only its hash, so a signature adds nothing; the
/// library insists on one. A fixed key lets every instance read every instance's cookies.
fn cookie_key() -> Key {
    Key::from(&Sha512::digest(b"hms-act session cookie"))
}

/// The hash under which the request's session is stored, for what outlives the request. None: it has no session.
pub fn key_hash_of(req: &HttpRequest) -> Option<[u8; 32]> {
    let mut jar = CookieJar::new();
    jar.add_original(req.cookie(COOKIE_NAME)?);
    jar.signed(&cookie_key()).get(COOKIE_NAME).map(|cookie| key_hash(cookie.value()))
}

/// Signs a user in: a new key, and nothing of the session before.
///
/// # Errors
/// Only if the session's contents cannot be written as JSON.
pub fn sign_in(session: &Session, user: &User) -> Result<(), SessionInsertError> {
    session.clear();
    session.renew();
    session.insert(USER, &user.name)?;
    session.insert(STAMP, stamp(user))?;
    session.insert(CSRF, random_text())
}

/// Signs out: the row and the cookie go.
pub fn sign_out(session: &Session) {
    session.purge();
}

/// Who the session says is signed in. Check it with [`SessionUser::is_current`] before believing it.
pub fn current_user(session: &Session) -> Option<SessionUser> {
    let name = session.get::<String>(USER).ok().flatten()?;
    let stamp = session.get::<i64>(STAMP).ok().flatten()?;
    Some(SessionUser { name, stamp })
}

/// The session's CSRF token, for a form's field `csrf` or the header `X-CSRF-Token`; makes one if there is none.
///
/// # Errors
/// Only if the session's contents cannot be written as JSON.
pub fn csrf_token(session: &Session) -> Result<String, SessionInsertError> {
    if let Some(token) = stored_csrf_token(session) {
        return Ok(token);
    }
    let token = random_text();
    session.insert(CSRF, &token)?;
    Ok(token)
}

/// The session's CSRF token, if it has one.
pub fn stored_csrf_token(session: &Session) -> Option<String> {
    session.get::<String>(CSRF).ok().flatten()
}

fn random_text() -> String {
    let mut bytes = [0_u8; 32];
    SysRng.try_fill_bytes(&mut bytes).expect("the system has randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Sessions in the `sessions` table.
pub struct PgSessions {
    pool: Pool,
}

impl PgSessions {
    /// Off the async threads: connections block.
    async fn run<T, E>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> anyhow::Result<T>
    where
        T: Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let pool = self.pool.clone();
        actix_web::web::block(move || Ok(work(&mut *pool.get()?)?)).await?
    }
}

impl SessionStore for PgSessions {
    async fn load(&self, key: &SessionKey) -> Result<Option<HashMap<String, String>>, LoadError> {
        let hash = key_hash(key.as_ref());
        let state = self.run(move |conn| sessions::load(conn, &hash)).await.map_err(LoadError::Other)?;
        state
            .map(serde_json::from_value)
            .transpose()
            .map_err(|error| LoadError::Deserialization(error.into()))
    }

    async fn save(&self, state: HashMap<String, String>, _: &Duration) -> Result<SessionKey, SaveError> {
        let key = random_text();
        let hash = key_hash(&key);
        let user = user_of(&state);
        let state = to_json(state);
        self.run(move |conn| sessions::insert(conn, &hash, user.as_deref(), &state))
            .await
            .map_err(SaveError::Other)?;
        key.try_into().map_err(|error| SaveError::Other(anyhow::Error::new(error)))
    }

    async fn update(
        &self,
        key: SessionKey,
        state: HashMap<String, String>,
        _: &Duration,
    ) -> Result<SessionKey, UpdateError> {
        let hash = key_hash(key.as_ref());
        let state = to_json(state);
        self.run(move |conn| sessions::update(conn, &hash, &state)).await.map_err(UpdateError::Other)?;
        Ok(key)
    }

    async fn update_ttl(&self, _: &SessionKey, _: &Duration) -> anyhow::Result<()> {
        // Loading keeps a session alive.
        Ok(())
    }

    async fn delete(&self, key: &SessionKey) -> anyhow::Result<()> {
        let hash = key_hash(key.as_ref());
        self.run(move |conn| sessions::delete(conn, &hash)).await
    }
}

fn key_hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// actix-session keeps every value as its JSON text.
fn user_of(state: &HashMap<String, String>) -> Option<String> {
    state.get(USER).and_then(|json| serde_json::from_str(json).ok())
}

fn to_json(state: HashMap<String, String>) -> Value {
    state.into_iter().map(|(key, value)| (key, Value::String(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::{current_user, key_hash, sign_in, sign_out, stored_csrf_token, user_of};
    use crate::store::users::User;
    use actix_session::{SessionExt, SessionStatus};
    use actix_web::test::TestRequest;
    use chrono::{TimeDelta, Utc};
    use std::collections::HashMap;

    fn staff() -> User {
        let now = Utc::now();
        User {
            groups: Vec::new(),
            name: "staff".to_owned(),
            role: "staff".to_owned(),
            password_hash: None,
            disabled_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    #[test]
    fn signing_in_keeps_nothing_of_the_session_before() {
        let session = TestRequest::default().to_srv_request().get_session();
        session.insert("planted", "by somebody").expect("json");
        sign_in(&session, &staff()).expect("json");
        assert_eq!(session.status(), SessionStatus::Renewed);
        assert!(!session.contains_key("planted"));
        assert_eq!(current_user(&session).map(|user| user.name), Some("staff".to_owned()));
        assert!(stored_csrf_token(&session).is_some());
    }

    #[test]
    fn signing_out_purges() {
        let session = TestRequest::default().to_srv_request().get_session();
        sign_in(&session, &staff()).expect("json");
        sign_out(&session);
        assert_eq!(session.status(), SessionStatus::Purged);
        assert_eq!(current_user(&session), None);
    }

    #[test]
    fn any_change_of_the_user_voids_the_session() {
        let session = TestRequest::default().to_srv_request().get_session();
        let user = staff();
        sign_in(&session, &user).expect("json");
        let signed_in = current_user(&session).expect("signed in");
        assert!(signed_in.is_current(&user));
        let changed = User { updated_at: user.updated_at + TimeDelta::microseconds(1), ..user.clone() };
        assert!(!signed_in.is_current(&changed));
        assert!(!signed_in.is_current(&User { disabled_at: Some(Utc::now()), ..user }));
    }

    #[test]
    fn row_is_filed_under_its_user_and_never_under_its_key() {
        let state = HashMap::from([("user".to_owned(), "\"staff\"".to_owned())]);
        assert_eq!(user_of(&state).as_deref(), Some("staff"));
        assert_eq!(user_of(&HashMap::new()), None);
        assert_eq!(key_hash("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
