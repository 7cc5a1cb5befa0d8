//! The activity log as CSV (RFC 4180), safe to open in a spreadsheet.

use crate::audit::chain::Stored;
use chrono::SecondsFormat;
use serde_json::Value;

/// The columns, in their order. New ones are added at the end.
pub const COLUMNS: [&str; 12] = [
    "run_id", "seq", "t", "actor", "type", "step", "attempt", "status", "checksum", "detail", "prev", "hash",
];

/// The header line.
pub fn header() -> Vec<u8> {
    line(COLUMNS.iter().map(|column| (*column).to_owned()))
}

/// One entry as a line.
pub fn row(entry: &Stored) -> Vec<u8> {
    let leaf: Value = serde_json::from_slice(&entry.leaf).unwrap_or(Value::Null);
    let text = |key: &str| leaf.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let plain = |value: &Option<String>| value.clone().unwrap_or_default();
    line([
        entry.run_id.to_string(),
        entry.seq.to_string(),
        entry.at.to_rfc3339_opts(SecondsFormat::Micros, true),
        defuse(&entry.actor),
        defuse(&entry.type_name),
        defuse(&plain(&entry.step)),
        entry.attempt.map(|attempt| attempt.to_string()).unwrap_or_default(),
        defuse(&plain(&entry.status)),
        text("checksum"),
        leaf.get("detail").map(ToString::to_string).unwrap_or_default(),
        text("prev"),
        hex::encode(&entry.leaf_hash),
    ])
}

fn line(fields: impl IntoIterator<Item = String>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(fields).expect("writing to memory does not fail");
    writer.into_inner().expect("writing to memory does not fail")
}

/// A cell that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV injection").
/// Numbers, times, hashes and JSON objects cannot begin with one of these signs.
pub fn defuse(cell: &str) -> String {
    match cell.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n') => format!("'{cell}"),
        // Full-width forms of the same signs, which some spreadsheets take for them.
        Some('\u{FF1D}' | '\u{FF0B}' | '\u{FF0D}' | '\u{FF20}') => format!("'{cell}"),
        Some(_) | None => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_defused_and_quotes_are_doubled() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"] {
            assert!(defuse(cell).starts_with('\''), "{cell:?}");
        }
        assert_eq!(defuse("step.done"), "step.done");
        assert_eq!(line(["a\"b".to_owned(), "c,d".to_owned()]), b"\"a\"\"b\",\"c,d\"\r\n");
    }
}
