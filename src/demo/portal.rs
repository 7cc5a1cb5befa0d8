//! The exporter portal: publishes a licence once per `Idempotency-Key`, and can say how often it was asked.
//!
//! Owns the rules of publishing; the file behind it is `ledger`. It publishes what it is sent if that fits
//! together: it does not decide who may have a licence, and keeps names and numbers only, no contact data.
//! Idempotency-Key as in draft-ietf-httpapi-idempotency-key-header: the same key with another body is a 422.

use super::ledger::{Ledger, LedgerError, Recorded, body_hash};
use super::refusal;
use actix_web::error::BlockingError;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const LICENCE: &str = "licence";
const AUDIT: &str = "audit_sync";

/// A licence that can be published: the parts of the payload that the ledger keeps.
#[derive(Debug, PartialEq)]
struct Publication {
    license_id: Value,
    licence_number: String,
    facts: Map<String, Value>,
}

/// `POST /portal/licences`: 201 the first time, 200 with the same receipt for a repeat.
pub async fn publish(
    request: HttpRequest,
    payload: web::Json<Value>,
    ledger: web::Data<Ledger>,
) -> HttpResponse {
    let publication = match check(&payload) {
        Ok(publication) => publication,
        Err(message) => return refusal(&HttpResponse::UnprocessableEntity, "cannot publish", &message),
    };
    let outcome = record(&request, payload.into_inner(), ledger, LICENCE, move |body, key, entries| {
        let earlier =
            |entry: &&Value| entry["kind"] == LICENCE && entry["license_id"] == publication.license_id;
        let renewal = entries.iter().filter(earlier).count() + 1;
        let mut entry = publication.facts;
        entry.insert("licence_number".into(), format!("{}-R{renewal}", publication.licence_number).into());
        entry.insert("receipt".into(), format!("RCPT-{}", &body_hash(&json!([key, body]))[..12]).into());
        entry
    });
    match outcome.await {
        Ok((entry, before)) => status(before).json(json!({
            "licence_number": entry["licence_number"],
            "license_id": entry["license_id"],
            "published": true,
            "already_published": before,
            "published_at": entry["recorded_at"],
            "receipt": entry["receipt"],
        })),
        Err(refused) => refused.answer(),
    }
}

/// `POST /audit/sync`: the step that the seed inserts before `deploy`.
pub async fn sync_audit(
    request: HttpRequest,
    payload: web::Json<Value>,
    ledger: web::Data<Ledger>,
) -> HttpResponse {
    let license_id = payload["license_id"].clone();
    let outcome = record(&request, payload.into_inner(), ledger, AUDIT, |_, _, _| {
        Map::from_iter([("license_id".to_owned(), license_id)])
    });
    match outcome.await {
        Ok((entry, before)) => status(before).json(json!({
            "synced": true,
            "already_synced": before,
            "synced_at": entry["recorded_at"],
        })),
        Err(refused) => refused.answer(),
    }
}

/// `GET /portal/licences`: the ledger, oldest first.
pub async fn list(ledger: web::Data<Ledger>) -> HttpResponse {
    match read(ledger).await {
        Ok((entries, _)) => HttpResponse::Ok().json(json!({"licences": entries})),
        Err(refused) => refused.answer(),
    }
}

/// `GET /portal/licences/count`: `published` counts licences, `calls` the requests to publish since the start.
pub async fn count(ledger: web::Data<Ledger>) -> HttpResponse {
    let (entries, calls) = match read(ledger).await {
        Ok(read) => read,
        Err(refused) => return refused.answer(),
    };
    let mut by_key: Map<String, Value> = Map::new();
    for entry in &entries {
        let key = entry["key"].as_str().unwrap_or_default();
        let calls = calls.get(key).copied().unwrap_or(0);
        let line = json!({"license_id": entry["license_id"], "published": 1, "calls": calls});
        by_key.insert(key.to_owned(), line);
    }
    let calls: u64 = by_key.values().filter_map(|line| line["calls"].as_u64()).sum();
    HttpResponse::Ok().json(json!({"published": entries.len(), "calls": calls, "by_key": by_key}))
}

fn status(before: bool) -> actix_web::HttpResponseBuilder {
    if before { HttpResponse::Ok() } else { HttpResponse::Created() }
}

/// Records once per key: the entry, and whether it was there before.
async fn record(
    request: &HttpRequest,
    body: Value,
    ledger: web::Data<Ledger>,
    kind: &'static str,
    entry: impl FnOnce(&Value, &str, &[Value]) -> Map<String, Value> + Send + 'static,
) -> Result<(Value, bool), Refused> {
    let header = request.headers().get("Idempotency-Key").and_then(|value| value.to_str().ok());
    let Some(key) = header.map(str::trim).filter(|key| (1..=255).contains(&key.len())).map(str::to_owned)
    else {
        return Err(Refused::MissingKey);
    };
    let recorded = web::block(move || {
        ledger.record(kind, &key, &body, |entries| {
            let mut fields = entry(&body, &key, entries);
            let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
            fields.insert("recorded_at".into(), now.into());
            fields
        })
    });
    match finished(recorded.await)? {
        Recorded::New(entry) => Ok((entry, false)),
        Recorded::Before(entry) => Ok((entry, true)),
        Recorded::Conflict => Err(Refused::KeyOfAnotherBody),
    }
}

async fn read(ledger: web::Data<Ledger>) -> Result<(Vec<Value>, BTreeMap<String, u64>), Refused> {
    finished(web::block(move || ledger.read(LICENCE)).await)
}

fn finished<T>(outcome: Result<Result<T, LedgerError>, BlockingError>) -> Result<T, Refused> {
    outcome.map_err(|_| Refused::LedgerUnavailable)?.map_err(|error| {
        tracing::error!(%error, "the demo portal's ledger failed");
        Refused::LedgerUnavailable
    })
}

/// Why nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    MissingKey,
    KeyOfAnotherBody,
    /// The caller may try again with the same key.
    LedgerUnavailable,
}

impl Refused {
    fn answer(self) -> HttpResponse {
        match self {
            Refused::MissingKey => refusal(
                &HttpResponse::BadRequest,
                "missing Idempotency-Key",
                "Send an Idempotency-Key header of 1 to 255 characters, the same for every try.",
            ),
            Refused::KeyOfAnotherBody => refusal(
                &HttpResponse::UnprocessableEntity,
                "key used for another body",
                "This Idempotency-Key was used before with another body. Nothing was done.",
            ),
            Refused::LedgerUnavailable => refusal(
                &HttpResponse::ServiceUnavailable,
                "ledger unavailable",
                "The portal's ledger cannot be written or read right now. Try again with the same key.",
            ),
        }
    }
}

/// The application, the letter and the approval must be about one licence. A protocol may leave out the letter
/// or the approval, but one that is there must fit.
fn check(payload: &Value) -> Result<Publication, String> {
    let application = &payload["fetch_data"];
    let license_id = match (&payload["license_id"], &application["license_id"]) {
        (Value::Null, Value::Null) => return Err("The payload has no license_id.".to_owned()),
        (Value::Null, fetched) => fetched,
        (asked, fetched) if fetched.is_null() || asked == fetched => asked,
        (asked, fetched) => {
            return Err(format!("The payload is about licence {asked}, its application about {fetched}."));
        }
    };
    let letter = &payload["draft_letter"];
    let written_for = &letter["license_id"];
    if !letter.is_null() && !written_for.is_null() && written_for != license_id {
        return Err(format!("The letter is about licence {written_for}, the payload about {license_id}."));
    }
    if !letter.is_null() && letter["letter"].as_str().is_none_or(str::is_empty) {
        return Err("The drafted letter has no text.".to_owned());
    }
    let approval = &payload["human_approval"];
    let decision = approval["decision"].as_str().unwrap_or_default();
    if !approval.is_null() && !matches!(decision, "approve" | "approved") {
        return Err(format!("The licence was not approved: the decision is {decision:?}."));
    }
    let number = application["licence_number"].as_str().map(str::to_owned);
    let facts = json!({
        "license_id": license_id,
        "applicant": application["applicant"]["name"],
        "subject": application["subject"],
        "valid_until": application["renew_until"],
        "letter_sha256": letter["letter"].as_str().map(|text| body_hash(&json!(text))),
        "approval": decision,
        "risk": payload["ai_analysis"]["risk"],
    });
    Ok(Publication {
        license_id: license_id.clone(),
        licence_number: number.unwrap_or_else(|| format!("L-{}", license_id.to_string().trim_matches('"'))),
        facts: facts.as_object().cloned().unwrap_or_default(),
    })
}
