//! Bearer tokens: JWTs signed with EdDSA (RFC 7519, RFC 8037).
//!
//! Owns what a token says and every reason to refuse one. Never decides what a token may do: that is
//! [`policy`](super::policy), on the token's scopes and its user's role as the users table has it now.

use super::policy::Scope;
use super::token_keys::TokenKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ed25519_dalek::pkcs8::EncodePrivateKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// `iss` of every token.
pub const ISSUER: &str = "hms-act";
/// `aud` of every token.
pub const AUDIENCE: &str = "hms-act";
/// The longest life of a token: 30 days, in seconds.
pub const MAX_TTL_SECONDS: u32 = 30 * 86_400;

/// How far clocks may differ, in seconds.
const LEEWAY_SECONDS: f64 = 5.0;
const MAX_LENGTH: usize = 8 * 1024;

/// The public keys whose tokens are accepted, by `kid`: this instance's own and those in the `token_keys` table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    keys: BTreeMap<String, [u8; 32]>,
}

impl KeyRing {
    pub fn insert(&mut self, kid: impl Into<String>, public_key: [u8; 32]) {
        self.keys.insert(kid.into(), public_key);
    }

    pub fn contains(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// What `/.well-known/jwks.json` answers (RFC 7517, RFC 8037).
    pub fn jwks(&self) -> Value {
        let keys: Vec<Value> = self
            .keys
            .iter()
            .map(|(kid, key)| {
                json!({
                    "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                    "kid": kid, "x": URL_SAFE_NO_PAD.encode(key),
                })
            })
            .collect();
        json!({ "keys": keys })
    }
}

impl FromIterator<(String, [u8; 32])> for KeyRing {
    fn from_iter<I: IntoIterator<Item = (String, [u8; 32])>>(keys: I) -> KeyRing {
        KeyRing { keys: keys.into_iter().collect() }
    }
}

/// What a valid token proves: who, and limited to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub user: String,
    pub scopes: BTreeSet<Scope>,
    /// The token's own id, for the log.
    pub jti: String,
}

/// Why no token was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    #[error("A token lives from 1 to {MAX_TTL_SECONDS} seconds (30 days).")]
    Ttl,
    #[error("A token is for a user: name one.")]
    NoUser,
    #[error("The token could not be signed: {0}")]
    Signing(String),
}

/// Why a token is refused. Each is a sentence for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("The token is not a JWT of three base64url parts.")]
    Malformed,
    #[error("The token is not signed.")]
    Unsigned,
    #[error("The token is signed with an algorithm other than EdDSA.")]
    WrongAlgorithm,
    #[error("The token names no key that is known here (kid).")]
    UnknownKey,
    #[error("The token's signature does not match.")]
    BadSignature,
    #[error("The token has expired. Get a new one.")]
    Expired,
    #[error("The token is not valid yet.")]
    NotYetValid,
    #[error("The token is for another audience than {AUDIENCE}.")]
    WrongAudience,
    #[error("The token comes from another issuer than {ISSUER}.")]
    WrongIssuer,
    #[error("The token lacks the claim {0}, or it is not what a JWT has there.")]
    MissingClaim(&'static str),
}

/// Makes a token for a user, limited to scopes, that ends after `ttl_seconds`.
///
/// # Errors
/// A life outside 1 second to 30 days, or no user.
pub fn mint(
    key: &TokenKey,
    user: &str,
    scopes: &BTreeSet<Scope>,
    ttl_seconds: u32,
    now: DateTime<Utc>,
) -> Result<String, MintError> {
    if !(1..=MAX_TTL_SECONDS).contains(&ttl_seconds) {
        return Err(MintError::Ttl);
    }
    if user.is_empty() {
        return Err(MintError::NoUser);
    }
    let issued = now.timestamp();
    let scope: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": user, "scope": scope.join(" "),
        "iat": issued, "nbf": issued, "exp": issued + i64::from(ttl_seconds),
        "jti": hex::encode(rand::random::<[u8; 16]>()),
    });
    sign(key, &claims)
}

fn sign(key: &TokenKey, claims: &Value) -> Result<String, MintError> {
    let der = key.to_pkcs8().to_pkcs8_der().expect("an Ed25519 key always encodes");
    let header = Header { kid: Some(key.kid().to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(der.as_bytes()))
        .map_err(|error| MintError::Signing(error.to_string()))
}

/// Checks a token against the known keys, at a time.
///
/// # Errors
/// The first reason to refuse it.
pub fn verify(token: &str, keys: &KeyRing, now: DateTime<Utc>) -> Result<Verified, TokenError> {
    let key = signing_key(token, keys)?;
    let claims = signed_claims(token, &key)?;
    check_issuer_and_audience(&claims)?;
    check_times(&claims, now)?;
    let text = |claim: &'static str| {
        claims.get(claim).and_then(Value::as_str).ok_or(TokenError::MissingClaim(claim))
    };
    let user = text("sub")?.to_owned();
    if user.is_empty() {
        return Err(TokenError::MissingClaim("sub"));
    }
    // A scope of a later version is no permission here, and no reason to refuse the others.
    let scopes = text("scope")?.split(' ').filter_map(Scope::parse).collect();
    Ok(Verified { user, scopes, jti: text("jti")?.to_owned() })
}

/// Reads the header by hand before the library does, because it must be clear why a token is refused, and because
/// only EdDSA under a key that we know may reach the signature check.
fn signing_key(token: &str, keys: &KeyRing) -> Result<DecodingKey, TokenError> {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Malformed);
    };
    if token.len() > MAX_LENGTH {
        return Err(TokenError::Malformed);
    }
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
    let header: Map<String, Value> = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(TokenError::Malformed)?;
    if algorithm.eq_ignore_ascii_case("none") || signature.is_empty() {
        return Err(TokenError::Unsigned);
    }
    if algorithm != "EdDSA" {
        return Err(TokenError::WrongAlgorithm);
    }
    // RFC 7515, 4.1.11: an extension that we do not understand must not be ignored.
    if header.contains_key("crit") {
        return Err(TokenError::Malformed);
    }
    let kid = header.get("kid").and_then(Value::as_str).ok_or(TokenError::UnknownKey)?;
    let public = keys.keys.get(kid).ok_or(TokenError::UnknownKey)?;
    Ok(DecodingKey::from_ed_der(public))
}

fn signed_claims(token: &str, key: &DecodingKey) -> Result<Map<String, Value>, TokenError> {
    use jsonwebtoken::errors::ErrorKind;
    // The library checks the signature; times, audience and issuer are checked here, with a sentence for each.
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    match jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation) {
        Ok(data) => Ok(data.claims),
        Err(error) if *error.kind() == ErrorKind::InvalidSignature => Err(TokenError::BadSignature),
        Err(_) => Err(TokenError::Malformed),
    }
}

fn check_issuer_and_audience(claims: &Map<String, Value>) -> Result<(), TokenError> {
    let issuer = claims.get("iss").and_then(Value::as_str).ok_or(TokenError::MissingClaim("iss"))?;
    if issuer != ISSUER {
        return Err(TokenError::WrongIssuer);
    }
    // RFC 7519, 4.1.3: one string, or an array of strings.
    let ours = match claims.get("aud") {
        Some(Value::String(audience)) => audience == AUDIENCE,
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience == AUDIENCE),
        Some(_) | None => return Err(TokenError::MissingClaim("aud")),
    };
    if ours { Ok(()) } else { Err(TokenError::WrongAudience) }
}

fn check_times(claims: &Map<String, Value>, now: DateTime<Utc>) -> Result<(), TokenError> {
    let time = |claim: &'static str| {
        claims.get(claim).and_then(Value::as_f64).ok_or(TokenError::MissingClaim(claim))
    };
    let now = now.timestamp_millis() as f64 / 1000.0;
    if now >= time("exp")? + LEEWAY_SECONDS {
        return Err(TokenError::Expired);
    }
    if now < time("nbf")? - LEEWAY_SECONDS || now < time("iat")? - LEEWAY_SECONDS {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
