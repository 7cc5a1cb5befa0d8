//! The AI agent: an OpenAI-compatible chat-completions endpoint whose model is a deterministic name screening.
//!
//! Owns the reading of the conversation and the wording of the answer. It never answers "low" when it found
//! nobody to screen: that is an error, as it would be a mistake to treat it as a result.
//! Format: https://platform.openai.com/docs/api-reference/chat

use super::screening::{HIGH, MEDIUM, Match, ScreeningList};
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

/// The only model of this endpoint.
pub const MODEL: &str = "name-screening-1";
/// More likenesses than this tell a reader nothing new.
const MOST_MATCHES: usize = 25;

/// Somebody named in an application.
#[derive(Debug, Clone, PartialEq)]
struct Party {
    role: String,
    name: String,
    aliases: Vec<String>,
}

/// `GET /agent/v1/models`.
pub async fn models() -> HttpResponse {
    HttpResponse::Ok().json(
        json!({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "demo-agency"}]}),
    )
}

/// `POST /agent/v1/chat/completions`.
pub async fn chat_completions(list: web::Data<ScreeningList>, request: web::Json<Value>) -> HttpResponse {
    if request["model"] != MODEL {
        return failure(
            &HttpResponse::NotFound,
            "model_not_found",
            &format!("The only model here is {MODEL}."),
        );
    }
    if request["stream"] == true {
        return failure(
            &HttpResponse::BadRequest,
            "unsupported_value",
            "Streaming is not supported: leave stream out.",
        );
    }
    let Some(text) = last_user_message(&request["messages"]) else {
        return failure(&HttpResponse::BadRequest, "missing_message", "There is no user message to work on.");
    };
    let parties = parties_in(&text);
    if parties.is_empty() {
        let message = "The screening found no names: the input needs an application with its parties, as the data \
                       repository gives it.";
        return failure(&HttpResponse::BadRequest, "no_parties", message);
    }
    let prompt_words = text.split_whitespace().count();
    let screened = web::block(move || screen(&list, &parties)).await;
    match screened {
        Ok(answer) => HttpResponse::Ok().json(completion(&answer, prompt_words)),
        Err(_) => {
            failure(&HttpResponse::ServiceUnavailable, "overloaded", "The screening is busy; try again.")
        }
    }
}

fn failure(status: &dyn Fn() -> actix_web::HttpResponseBuilder, code: &str, message: &str) -> HttpResponse {
    status().json(
        json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}}),
    )
}

/// A chat.completion object. The number of tokens is the number of words: close enough for a model without any.
fn completion(answer: &Value, prompt_words: usize) -> Value {
    let content = answer.to_string();
    let words = content.split_whitespace().count();
    json!({
        "id": "chatcmpl-name-screening",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": content, "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": prompt_words,
            "completion_tokens": words,
            "total_tokens": prompt_words + words,
        },
    })
}

/// The text of the last user message; content may be a string or a list of text parts.
fn last_user_message(messages: &Value) -> Option<String> {
    let message = messages.as_array()?.iter().rev().find(|message| message["role"] == "user")?;
    match &message["content"] {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        _ => None,
    }
}

/// Reads the first JSON object in the text; words before and after it, and a code fence, do no harm.
fn parties_in(text: &str) -> Vec<Party> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('{') {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        if let Some(Ok(value)) = values.next() {
            collect(&value, &mut found);
            break;
        }
    }
    found
}

/// Walks the payload. What earlier screenings said about names is not an application.
fn collect(value: &Value, found: &mut Vec<Party>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in
                fields.iter().filter(|(key, _)| !matches!(key.as_str(), "matches" | "ai_analysis"))
            {
                match (key.as_str(), field) {
                    ("parties", Value::Array(parties)) => {
                        parties.iter().for_each(|party| add(party, "Party", found))
                    }
                    ("consignees", Value::Array(all)) => {
                        all.iter().for_each(|one| add(one, "Consignee", found))
                    }
                    // What somebody typed into the start form: names between semicolons.
                    ("also_check", Value::String(names)) => {
                        names.split(';').for_each(|name| add(&Value::from(name), "Also checked", found))
                    }
                    ("applicant", party) => add(party, "Applicant", found),
                    ("end_user", party) => add(party, "End user", found),
                    ("consignee", party) => add(party, "Consignee", found),
                    _ => collect(field, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A party is an object with a name, or just a name. Each name is screened once.
fn add(party: &Value, default_role: &str, found: &mut Vec<Party>) {
    let Some(name) = party.as_str().or_else(|| party["name"].as_str()).map(str::trim) else { return };
    if name.is_empty() || found.iter().any(|known| known.name == name) {
        return;
    }
    let aliases = party["aliases"].as_array().into_iter().flatten().filter_map(Value::as_str);
    found.push(Party {
        role: party["role"].as_str().unwrap_or(default_role).to_owned(),
        name: name.to_owned(),
        aliases: aliases.map(str::to_owned).collect(),
    });
}

/// Screens every party; the answer is what `seed::agents` promises in its schema.
fn screen(list: &ScreeningList, parties: &[Party]) -> Value {
    let mut hits: Vec<(f64, Value)> = Vec::new();
    let mut nearest = 0.0_f64;
    for party in parties {
        let found = screen_party(list, party);
        nearest = found.iter().map(|(found, _)| found.score).fold(nearest, f64::max);
        let likely = found.iter().filter(|(found, _)| found.score >= MEDIUM);
        hits.extend(likely.map(|(found, by)| (found.score, describe(party, found, by.as_deref()))));
    }
    hits.sort_by(|a, b| b.0.total_cmp(&a.0));
    let risk = match nearest {
        score if score >= HIGH => "high",
        score if score >= MEDIUM => "medium",
        _ => "low",
    };
    json!({
        "risk": risk,
        "score": nearest,
        "summary": summary(list, parties.len(), risk, &hits),
        "screened": parties.len(),
        "list_name": list.name,
        "list_entries": list.len(),
        "matches": hits.into_iter().take(MOST_MATCHES).map(|(_, hit)| hit).collect::<Vec<_>>(),
    })
}

/// The likenesses of a party under all its names; with the other name of the party that agreed, if it was one.
fn screen_party<'a>(list: &'a ScreeningList, party: &Party) -> Vec<(Match<'a>, Option<String>)> {
    let mut found: Vec<(Match<'_>, Option<String>)> =
        list.screen(&party.name, 0.0).into_iter().map(|hit| (hit, None)).collect();
    for alias in &party.aliases {
        for hit in list.screen(alias, MEDIUM) {
            match found.iter_mut().find(|(known, _)| known.entry == hit.entry) {
                Some(known) if known.0.score >= hit.score => {}
                Some(known) => *known = (hit, Some(alias.clone())),
                None => found.push((hit, Some(alias.clone()))),
            }
        }
    }
    found
}

fn describe(party: &Party, found: &Match<'_>, by: Option<&str>) -> Value {
    let mut reasons = found.reasons.clone();
    reasons.extend(by.map(|alias| format!("by the party's other name {alias:?}")));
    json!({
        "party": party.name,
        "party_role": party.role,
        "score": found.score,
        "entry": found.entry.name,
        "matched_name": found.matched_name,
        "reasons": reasons,
        "list": found.entry.source,
        "entry_id": found.entry.id,
        "programs": found.entry.programs,
        "address": found.entry.addresses.join("; "),
        "source_url": found.entry.source_url,
    })
}

fn summary(list: &ScreeningList, parties: usize, risk: &str, hits: &[(f64, Value)]) -> String {
    let names = if parties == 1 { "name was".to_owned() } else { "names were".to_owned() };
    let against = format!("{parties} {names} checked against {} entries of the {}", list.len(), list.name);
    let Some((score, best)) = hits.first() else {
        return format!("{against}. None resembles a listed name.");
    };
    let word = |field: &str| best[field].as_str().unwrap_or_default().to_owned();
    let listed = match (word("entry"), word("matched_name")) {
        (entry, matched) if entry == matched => format!("{entry:?}"),
        (entry, matched) => format!("{entry:?}, by its alias {matched:?}"),
    };
    let verdict = if risk == "high" { "is very likely" } else { "may be" };
    let others = match hits.len() {
        1 => String::new(),
        2 => " There is one more likeness.".to_owned(),
        more => format!(" There are {} more likenesses.", more - 1),
    };
    format!(
        "{against}. {:?} ({}) {verdict} {listed} on the {}: {:.0} % alike.{others} A person must decide.",
        word("party"),
        word("party_role").to_lowercase(),
        word("list"),
        score * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parties_in(text).into_iter().map(|party| party.name).collect()
    }

    #[test]
    fn parties_are_found_wherever_the_application_is() {
        assert_eq!(
            names(r#"Screen this: {"fetch_data":{"parties":[{"name":"A"},{"name":"B"}]}}"#),
            ["A", "B"]
        );
        assert_eq!(names(r#"{not json} {"data":[{"applicant":"C","end_user":{"name":"D"}}]}"#), ["C", "D"]);
    }

    #[test]
    fn names_typed_into_the_form_are_screened_too() {
        assert_eq!(names(r#"{"also_check":" A ; B;","parties":["B"]}"#), ["A", "B"]);
    }

    #[test]
    fn what_an_earlier_screening_said_is_not_screened() {
        assert!(
            names(r#"{"ai_analysis":{"matches":[{"applicant":"E"}],"parties":[{"name":"F"}]}}"#).is_empty()
        );
    }

    #[test]
    fn a_message_may_be_a_list_of_parts() {
        let messages = json!([{"role": "user", "content": "old"}, {"role": "assistant", "content": "x"},
            {"role": "user", "content": [{"type": "text", "text": "new"}]}]);
        assert_eq!(last_user_message(&messages).as_deref(), Some("new"));
    }
}
