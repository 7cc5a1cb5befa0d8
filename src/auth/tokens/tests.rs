use super::{KeyRing, MintError, TokenError, Verified, mint, sign, verify};
use crate::auth::policy::Scope;
use crate::auth::token_keys::TokenKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn now() -> DateTime<Utc> {
    "2026-11-22T14:00:00Z".parse().expect("a time")
}

fn later(seconds: i64) -> DateTime<Utc> {
    now() + TimeDelta::seconds(seconds)
}

fn key() -> TokenKey {
    TokenKey::generate().expect("randomness")
}

fn ring(key: &TokenKey) -> KeyRing {
    KeyRing::from_iter([(key.kid().to_owned(), key.public_key())])
}

fn claims() -> Value {
    let at = now().timestamp();
    json!({ "iss": "hms-act", "aud": "hms-act", "sub": "staff", "scope": "runs:read",
            "iat": at, "nbf": at, "exp": at + 900, "jti": "j" })
}

/// Verifies a token of these claims, signed with the right key.
fn verify_claims(claims: &Value) -> Result<Verified, TokenError> {
    let key = key();
    verify(&sign(&key, claims).expect("signed"), &ring(&key), now())
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[claim] = value;
    claims
}

fn without(claim: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove(claim);
    claims
}

/// A token with another header, over the same claims.
fn with_header(header: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(&claims()))
}

#[test]
fn minted_token_verifies_until_it_expires() {
    let key = key();
    let scopes = BTreeSet::from([Scope::RunsRead, Scope::ApprovalsDecide]);
    let token = mint(&key, "supervisor", &scopes, 900, now()).expect("minted");
    let verified = verify(&token, &ring(&key), later(899)).expect("valid");
    assert_eq!((verified.user.as_str(), &verified.scopes), ("supervisor", &scopes));
    assert_eq!(verify(&token, &ring(&key), later(905)), Err(TokenError::Expired));
}

#[test]
fn tokens_differ_by_their_id() {
    let key = key();
    let id = || {
        let token = mint(&key, "staff", &BTreeSet::new(), 60, now()).expect("minted");
        verify(&token, &ring(&key), now()).expect("valid").jti
    };
    assert_ne!(id(), id());
}

#[test]
fn life_is_one_second_to_thirty_days() {
    let attempt = |ttl| mint(&key(), "staff", &BTreeSet::new(), ttl, now());
    assert_eq!(attempt(0), Err(MintError::Ttl));
    assert_eq!(attempt(30 * 86_400 + 1), Err(MintError::Ttl));
    assert!(attempt(1).is_ok() && attempt(30 * 86_400).is_ok());
}

#[test]
fn what_is_not_three_parts_of_base64url_json_is_malformed() {
    let unreadable_header = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode("not json"));
    for token in ["", "abc", "a.b", "a.b.c", "a.b.c.d", "....", "é.é.é", unreadable_header.as_str()] {
        assert_eq!(verify(token, &ring(&key()), now()), Err(TokenError::Malformed), "{token}");
    }
    let endless = format!("{}.{}.AA", "A".repeat(9000), "A".repeat(9000));
    assert_eq!(verify(&endless, &ring(&key()), now()), Err(TokenError::Malformed));
}

#[test]
fn unsigned_tokens_are_refused_however_they_spell_it() {
    let key = key();
    for algorithm in ["none", "None", "NONE", "nOnE"] {
        for signature in ["", "AAAA"] {
            let token = with_header(&json!({ "alg": algorithm, "kid": key.kid() }), signature);
            assert_eq!(verify(&token, &ring(&key), now()), Err(TokenError::Unsigned), "{token}");
        }
    }
    let stripped = with_header(&json!({ "alg": "EdDSA", "kid": key.kid() }), "");
    assert_eq!(verify(&stripped, &ring(&key), now()), Err(TokenError::Unsigned));
}

#[test]
fn public_key_used_as_an_hmac_secret_is_refused() {
    let key = key();
    let header = jsonwebtoken::Header { kid: Some(key.kid().to_owned()), ..jsonwebtoken::Header::default() };
    let secret = jsonwebtoken::EncodingKey::from_secret(&key.public_key());
    let token = jsonwebtoken::encode(&header, &claims(), &secret).expect("signed");
    assert_eq!(verify(&token, &ring(&key), now()), Err(TokenError::WrongAlgorithm));
}

#[test]
fn critical_extensions_are_not_ignored() {
    let key = key();
    let header = json!({ "alg": "EdDSA", "kid": key.kid(), "crit": ["b64"], "b64": false });
    assert_eq!(verify(&with_header(&header, "AAAA"), &ring(&key), now()), Err(TokenError::Malformed));
}

#[test]
fn key_must_be_known() {
    let (ours, theirs) = (key(), key());
    let token = mint(&theirs, "staff", &BTreeSet::new(), 60, now()).expect("minted");
    assert_eq!(verify(&token, &ring(&ours), now()), Err(TokenError::UnknownKey));
    let nameless = with_header(&json!({ "alg": "EdDSA" }), "AAAA");
    assert_eq!(verify(&nameless, &ring(&ours), now()), Err(TokenError::UnknownKey));
}

#[test]
fn wrong_key_under_a_known_name_is_a_bad_signature() {
    let (ours, theirs) = (key(), key());
    let token = mint(&theirs, "staff", &BTreeSet::new(), 60, now()).expect("minted");
    let forged = KeyRing::from_iter([(theirs.kid().to_owned(), ours.public_key())]);
    assert_eq!(verify(&token, &forged, now()), Err(TokenError::BadSignature));
}

#[test]
fn changed_claims_break_the_signature() {
    let key = key();
    let token = sign(&key, &claims()).expect("signed");
    let (head, rest) = token.split_once('.').expect("three parts");
    let (_, signature) = rest.split_once('.').expect("three parts");
    let better = URL_SAFE_NO_PAD.encode(with("sub", json!("admin")).to_string());
    let forged = format!("{head}.{better}.{signature}");
    assert_eq!(verify(&forged, &ring(&key), now()), Err(TokenError::BadSignature));
}

#[test]
fn audience_must_be_ours() {
    assert_eq!(verify_claims(&with("aud", json!("hms-api"))), Err(TokenError::WrongAudience));
    assert_eq!(verify_claims(&with("aud", json!([]))), Err(TokenError::WrongAudience));
    assert!(verify_claims(&with("aud", json!(["hms-api", "hms-act"]))).is_ok());
}

#[test]
fn issuer_must_be_ours() {
    assert_eq!(verify_claims(&with("iss", json!("hms-api"))), Err(TokenError::WrongIssuer));
    assert_eq!(verify_claims(&with("iss", json!(["hms-act"]))), Err(TokenError::MissingClaim("iss")));
}

#[test]
fn token_from_the_future_is_refused_beyond_the_leeway() {
    let at = now().timestamp();
    assert_eq!(verify_claims(&with("nbf", json!(at + 6))), Err(TokenError::NotYetValid));
    assert_eq!(verify_claims(&with("iat", json!(at + 6))), Err(TokenError::NotYetValid));
    assert!(verify_claims(&with("nbf", json!(at + 5))).is_ok());
}

#[test]
fn every_claim_is_required() {
    for claim in ["iss", "aud", "sub", "scope", "iat", "nbf", "exp", "jti"] {
        assert_eq!(verify_claims(&without(claim)), Err(TokenError::MissingClaim(claim)));
    }
}

#[test]
fn claims_of_the_wrong_type_count_as_missing() {
    assert_eq!(verify_claims(&with("exp", json!("tomorrow"))), Err(TokenError::MissingClaim("exp")));
    assert_eq!(verify_claims(&with("exp", Value::Null)), Err(TokenError::MissingClaim("exp")));
    assert_eq!(verify_claims(&with("sub", json!(7))), Err(TokenError::MissingClaim("sub")));
    assert_eq!(verify_claims(&with("sub", json!(""))), Err(TokenError::MissingClaim("sub")));
    assert_eq!(verify_claims(&with("scope", json!(["admin"]))), Err(TokenError::MissingClaim("scope")));
}

#[test]
fn unknown_scopes_give_nothing() {
    let verified = verify_claims(&with("scope", json!("runs:read everything ADMIN"))).expect("valid");
    assert_eq!(verified.scopes, BTreeSet::from([Scope::RunsRead]));
}

#[test]
fn jwks_has_the_public_half_only() {
    let key = key();
    let expected = json!({ "keys": [{
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
        "kid": key.kid(), "x": URL_SAFE_NO_PAD.encode(key.public_key()),
    }] });
    assert_eq!(ring(&key).jwks(), expected);
}
