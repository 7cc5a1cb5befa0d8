//! What people look for in a step's result: an AI agent's assessment, a drafted letter.
//!
//! Owns the reading of results whose shape an outside service chose: whatever does not fit is left as plain facts.

use super::assessment::{Assessment, Match, RiskLevel};
use super::facts::{self, Fact};
use serde_json::{Map, Value};

/// A result, taken apart.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub assessment: Option<Assessment>,
    pub letter: Option<String>,
    /// The rest of it, as rows.
    pub rest: Vec<Fact>,
}

/// Reads a result. `agent` gave it; None: no agent, and what it says of risks only repeats one.
pub fn read(result: &Value, agent: Option<&str>) -> Reading {
    let Value::Object(map) = result else {
        return Reading { rest: facts::short(result), ..Reading::default() };
    };
    let mut rest = map.clone();
    let assessment = agent.and_then(|agent| assessment(&mut rest, agent));
    let letter = take_text(&mut rest, &["letter"]);
    Reading { assessment, letter, rest: facts::short(&Value::Object(rest)) }
}

/// The risk that a result states. None: it states none.
pub fn risk(result: &Value) -> Option<RiskLevel> {
    result.get("risk").and_then(Value::as_str).map(RiskLevel::parse)
}

fn assessment(map: &mut Map<String, Value>, agent: &str) -> Option<Assessment> {
    let risk = RiskLevel::parse(map.get("risk")?.as_str()?);
    map.shift_remove("risk");
    let headline = take_text(map, &["summary", "headline", "explanation"]);
    let reasons = match map.get("reasons") {
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => texts(items),
        _ => Vec::new(),
    };
    if !reasons.is_empty() {
        map.shift_remove("reasons");
    }
    let matches: Option<Vec<Match>> = match map.get("matches") {
        Some(Value::Array(items)) => items.iter().map(likeness).collect(),
        _ => None,
    };
    if matches.is_some() {
        map.shift_remove("matches");
    }
    Some(Assessment {
        risk,
        headline: headline.unwrap_or_else(|| risk.word().to_owned()),
        reasons,
        matches: matches.unwrap_or_default(),
        source: format!("Said by the agent “{agent}”."),
    })
}

/// None: it is not a likeness of two names, and stays with the plain facts.
fn likeness(value: &Value) -> Option<Match> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (name, entry) = (text("party")?, text("entry")?);
    let entry = match text("matched_name") {
        Some(alias) if alias != entry => format!("{entry} (by its name {alias})"),
        _ => entry.to_owned(),
    };
    let list = text("list").unwrap_or("not named");
    let why = match value.get("reasons") {
        Some(Value::Array(reasons)) => texts(reasons).join("; "),
        _ => text("why").unwrap_or_default().to_owned(),
    };
    Some(Match {
        party: text("party_role").map_or_else(|| name.to_owned(), |role| format!("{role}: {name}")),
        entry,
        list: text("entry_id").map_or_else(|| list.to_owned(), |id| format!("{list}, entry {id}")),
        score: value.get("score").and_then(Value::as_f64).map_or(0, percent),
        why: capital(&why),
    })
}

/// Agents write a likeness as 0 to 1, some as 0 to 100.
fn percent(score: f64) -> u8 {
    let percent = if score <= 1.0 { score * 100.0 } else { score };
    percent.clamp(0.0, 100.0).round() as u8
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    let sentence: String =
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect());
    if sentence.is_empty() || sentence.ends_with('.') { sentence } else { format!("{sentence}.") }
}

fn texts(items: &[Value]) -> Vec<String> {
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn take_text(map: &mut Map<String, Value>, keys: &[&str]) -> Option<String> {
    let key = keys.iter().find(|key| map.get(**key).is_some_and(Value::is_string))?;
    match map.shift_remove(*key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn screening_becomes_an_assessment_and_loses_nothing() {
        let reading = read(
            &json!({"risk": "high", "score": 0.97, "summary": "One name is listed.", "matches": [{
                "party": "Vostok", "party_role": "Consignee", "score": 0.966, "entry": "VOSTOK LLC",
                "matched_name": "VOSTOCK", "reasons": ["the same sound"], "list": "Entity List", "entry_id": "9"}]}),
            Some("screening"),
        );
        let assessment = reading.assessment.expect("an assessment");
        assert!(assessment.is_high());
        assert_eq!(assessment.headline, "One name is listed.");
        let found = &assessment.matches[0];
        assert_eq!(found.party, "Consignee: Vostok");
        assert_eq!(found.entry, "VOSTOK LLC (by its name VOSTOCK)");
        assert_eq!((found.list.as_str(), found.score), ("Entity List, entry 9", 97));
        assert_eq!(found.why, "The same sound.");
        assert_eq!(reading.rest.len(), 1, "the score stays with the facts");
    }

    #[test]
    fn unknown_shapes_stay_facts() {
        let reading = read(&json!({"risk": "odd", "matches": [{"a": 1}], "reasons": "one"}), Some("x"));
        let assessment = reading.assessment.expect("a risk is stated");
        assert_eq!(assessment.risk, RiskLevel::Unknown);
        assert!(assessment.matches.is_empty() && !reading.rest.is_empty());
        assert!(read(&json!({"risk": 3}), Some("x")).assessment.is_none());
        assert_eq!(read(&json!([1, 2]), Some("x")).rest.len(), 2);
    }

    #[test]
    fn letter_is_taken_as_text() {
        let reading = read(&json!({"letter": "Dear …", "risk": "high"}), None);
        assert_eq!(reading.letter.as_deref(), Some("Dear …"));
        assert!(reading.assessment.is_none());
        assert_eq!(reading.rest.len(), 1, "what a service repeats of a risk is a fact like any other");
    }
}
