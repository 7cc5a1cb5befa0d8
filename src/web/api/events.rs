//! `/acts/events`: what happened outside, for the steps that wait for it.

use super::super::json::Fields;
use super::super::outside::{MAX_NAME, receive_event};
use super::super::problem::AppError;
use super::super::site::Site;
use super::runs::start_key;
use super::signed_body;
use crate::engine::json::normalise;
use crate::engine::protocol::MAX_KEY;
use crate::store::events::NewEvent;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

/// `POST /acts/events/{name}`
pub async fn receive(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let name = name(path.into_inner())?;
    // Under a key it is the same event only if its name is the same, too.
    let said = Map::from_iter([("name".to_owned(), json!(name)), ("body".to_owned(), json!(body))]);
    let idempotency_key = start_key(&req, &who.user, &said)?;
    let (key, payload) = Fields::read(body, |fields| {
        let key = fields.optional_value("key").map(|key| key_text(fields, key));
        (key, fields.optional_value("payload").unwrap_or_else(|| json!({})))
    })?;
    let new =
        NewEvent { name, key, payload: normalise(payload), received_by: who.user.clone(), idempotency_key };
    let event = receive_event(&site, &who, new).await?;
    Ok(HttpResponse::Accepted().json(json!({"event_id": event.id, "delivered_to": event.delivered_to})))
}

fn name(text: String) -> Result<String, AppError> {
    let length = text.chars().count();
    if text.trim() != text || !(1..=MAX_NAME).contains(&length) || text.chars().any(char::is_control) {
        return Err(AppError::BadRequest(format!(
            "The name of an event has 1 to {MAX_NAME} characters, without spaces around it."
        )));
    }
    Ok(text)
}

/// Keys compare as text: a number as JSON writes it.
fn key_text(fields: &mut Fields, key: Value) -> String {
    let text = match normalise(key) {
        Value::String(text) => text,
        key @ (Value::Number(_) | Value::Bool(_)) => key.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            fields.error("key", "must be text or a number");
            return String::new();
        }
    };
    if text.chars().count() > MAX_KEY {
        fields.error("key", format!("must have at most {MAX_KEY} characters"));
    }
    text
}
