//! The letter service: drafts the licence letter from what the run has gathered.
//!
//! Pure but for the HTTP around it: no clock, so the same run always gets the same letter. It drafts; it never
//! decides. A fact that is missing is an error that names the field, not a gap in the letter.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

/// What a draft cannot be written without, as a path in the body.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the letter needs {0}, which the input does not have")]
pub struct MissingField(String);

/// `POST /letters`: the body is the run's payload, with the application under `fetch_data` and the screening
/// under `ai_analysis`.
pub async fn draft(payload: web::Json<Value>) -> HttpResponse {
    match compose(&payload) {
        Ok(letter) => HttpResponse::Ok().json(letter),
        Err(missing) => HttpResponse::UnprocessableEntity()
            .json(json!({"error": "missing field", "field": missing.0, "message": missing.to_string()})),
    }
}

/// Reads a field, or says which one is missing.
fn text(payload: &Value, path: &str) -> Result<String, MissingField> {
    let pointer = format!("/{}", path.replace('.', "/"));
    match payload.pointer(&pointer) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(MissingField(path.to_owned())),
    }
}

fn compose(payload: &Value) -> Result<Value, MissingField> {
    let field = |path: &str| text(payload, path);
    let application = |path: &str| field(&format!("fetch_data.{path}"));
    let risk = field("ai_analysis.risk")?;
    let number = application("licence_number")?;
    let applicant = application("applicant.name")?;
    let subject = application("subject")?;
    let received = long_date(&application("received_on")?);
    let until = long_date(&application("renew_until")?);
    let end_user = application("end_user.name")?;
    let mut lines = vec![
        applicant.clone(),
        format!("{}, {}", application("applicant.address")?, application("applicant.country")?),
        format!("For the attention of {}", application("applicant.contact.name")?),
        String::new(),
        format!("Subject: {subject}"),
        format!("Our reference: {number}, application received {received}"),
        String::new(),
        format!("Dear {},", application("applicant.contact.name")?),
        String::new(),
        format!(
            "You asked us to renew licence {number}, issued on {} and valid until {}. We have renewed it. It is now \
             valid until {until}.",
            long_date(&application("issued_on")?),
            long_date(&application("expires_on")?),
        ),
        String::new(),
        format!("The licence covers {}.", item(payload)?),
        format!(
            "It is for {end_user}, {}, {}.",
            application("end_user.address")?,
            application("end_user.country")?
        ),
        format!("It may be used only for this purpose: {}.", application("end_use")?),
        String::new(),
        "Conditions".to_owned(),
    ];
    let conditions = conditions(payload, &end_user);
    lines.extend(conditions.iter().enumerate().map(|(at, condition)| format!("{}. {condition}", at + 1)));
    lines.extend([
        String::new(),
        "If any of this is not as you asked, or if anything changes, write to us before you ship.".to_owned(),
        String::new(),
        "Yours sincerely,".to_owned(),
        "Export Licensing Office (demonstration; this letter has no legal effect)".to_owned(),
    ]);
    Ok(json!({
        "subject": subject,
        "drafted_for": applicant,
        "license_id": payload["fetch_data"]["license_id"],
        "licence_number": number,
        "date": application("received_on")?,
        "valid_until": application("renew_until")?,
        "risk": risk,
        "conditions": conditions,
        "letter": lines.join("\n"),
    }))
}

/// What may be exported, in one phrase.
fn item(payload: &Value) -> Result<String, MissingField> {
    let field = |path: &str| text(payload, &format!("fetch_data.item.{path}"));
    Ok(format!(
        "{} {} of: {} (ECCN {}), worth {} US dollars",
        field("quantity")?,
        field("unit")?,
        field("description")?,
        field("eccn")?,
        thousands(&field("value_usd")?),
    ))
}

/// The standing conditions, and one for every party that resembles a listed name.
fn conditions(payload: &Value, end_user: &str) -> Vec<String> {
    let consignees = payload["fetch_data"]["consignees"].as_array().into_iter().flatten();
    let through: Vec<&str> = consignees.filter_map(|consignee| consignee["name"].as_str()).collect();
    let mut conditions = vec![
        format!(
            "The items stay with {end_user}. They may not be sold, lent or sent on without our written consent."
        ),
        "You keep the shipping papers for five years and show them to us when we ask.".to_owned(),
        "You report every shipment to us within 30 days.".to_owned(),
    ];
    if !through.is_empty() {
        conditions.insert(1, format!("The items may travel only by way of {}.", through.join(" and ")));
    }
    let mut named: Vec<&str> = Vec::new();
    for found in payload["ai_analysis"]["matches"].as_array().into_iter().flatten() {
        if let (Some(party), Some(list)) = (found["party"].as_str(), found["list"].as_str())
            && !named.contains(&party)
        {
            named.push(party);
            conditions.push(format!(
                "The name {party} resembles a name on this list: {list}. Nothing may be handed to {party} until we \
                 have confirmed in writing who they are."
            ));
        }
    }
    conditions
}

/// `2026-04-30` is 30 April 2026; anything else stays as it is written.
fn long_date(date: &str) -> String {
    let parsed = chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d");
    parsed.map_or_else(|_| date.to_owned(), |date| date.format("%-d %B %Y").to_string())
}

fn thousands(number: &str) -> String {
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return number.to_owned();
    }
    let mut grouped = String::new();
    for (at, digit) in number.chars().enumerate() {
        if at > 0 && (number.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::repository::{application, applications};

    fn payload(license_id: i64) -> Value {
        json!({"license_id": license_id, "fetch_data": application(license_id), "ai_analysis": {"risk": "low", "matches": []}})
    }

    #[test]
    fn every_application_gets_a_letter_with_its_facts() {
        for known in applications() {
            let id = known["license_id"].as_i64().expect("a number");
            let letter = compose(&payload(id)).expect("all fields");
            let text = letter["letter"].as_str().expect("text");
            assert!(text.contains(known["end_user"]["name"].as_str().expect("a name")), "{id}");
            assert!(text.contains(&format!("#{id}")), "{id}");
            assert_eq!(letter["drafted_for"], known["applicant"]["name"]);
        }
        let text = compose(&payload(123)).expect("all fields")["letter"].to_string();
        assert!(text.contains("valid until 30 April 2028") && text.contains("186,400 US dollars"), "{text}");
    }

    #[test]
    fn a_missing_field_is_named() {
        let mut broken = payload(123);
        broken["fetch_data"]["item"]["eccn"] = Value::Null;
        assert_eq!(compose(&broken), Err(MissingField("fetch_data.item.eccn".to_owned())));
        assert_eq!(compose(&json!({})), Err(MissingField("ai_analysis.risk".to_owned())));
    }

    #[test]
    fn a_party_that_resembles_a_listed_name_becomes_a_condition() {
        let mut risky = payload(124);
        risky["ai_analysis"]["matches"] = json!([{"party": "Somebody", "list": "A list"}]);
        let letter = compose(&risky).expect("all fields");
        assert!(letter["conditions"].to_string().contains("Nothing may be handed to Somebody"));
    }
}
