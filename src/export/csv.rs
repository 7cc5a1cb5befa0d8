//! The activity log as CSV (RFC 4180), safe to open in a spreadsheet.

use crate::audit::chain::Stored;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The columns, in their order. New ones are added at the end.
pub const COLUMNS: [&str; 13] = [
    "run_id", "seq", "t", "actor", "type", "step", "attempt", "status", "checksum", "detail", "prev", "hash",
    "stream",
];

/// An entry, as a line needs it.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    pub run_id: i64,
    pub stream: i64,
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub actor: &'a str,
    pub type_name: &'a str,
    pub step: Option<&'a str>,
    pub attempt: Option<i32>,
    pub status: Option<&'a str>,
    pub leaf: &'a [u8],
    pub leaf_hash: &'a [u8],
}

impl<'a> Line<'a> {
    pub fn of(entry: &'a Stored) -> Line<'a> {
        Line {
            run_id: entry.run_id,
            stream: entry.stream,
            seq: entry.seq,
            at: entry.at,
            actor: &entry.actor,
            type_name: &entry.type_name,
            step: entry.step.as_deref(),
            attempt: entry.attempt,
            status: entry.status.as_deref(),
            leaf: &entry.leaf,
            leaf_hash: &entry.leaf_hash,
        }
    }
}

/// What only the leaf holds, in its own bytes.
#[derive(Default, Deserialize)]
struct Sealed<'a> {
    checksum: Option<&'a str>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    prev: Option<&'a str>,
}

/// The header line.
pub fn header() -> Vec<u8> {
    let mut line = Vec::new();
    for (at, column) in COLUMNS.into_iter().enumerate() {
        push(&mut line, at, column);
    }
    line.extend(b"\r\n");
    line
}

/// One entry as a line.
pub fn row(entry: &Stored) -> Vec<u8> {
    let mut line = Vec::new();
    append(&mut line, &Line::of(entry));
    line
}

/// The same, behind what is there. A million of them are an ordinary export, so nothing is copied twice.
pub fn append(lines: &mut Vec<u8>, entry: &Line) {
    let sealed: Sealed = serde_json::from_slice(entry.leaf).unwrap_or_default();
    let (run_id, seq, stream) = (entry.run_id.to_string(), entry.seq.to_string(), entry.stream.to_string());
    let at = entry.at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let attempt = entry.attempt.map(|attempt| attempt.to_string()).unwrap_or_default();
    let mut hash = [0; 64];
    // A hash has 32 bytes: the table holds it to that.
    let hash = match hex::encode_to_slice(entry.leaf_hash, &mut hash) {
        Ok(()) => std::str::from_utf8(&hash).unwrap_or_default(),
        Err(_) => "",
    };
    let cells: [&str; COLUMNS.len()] = [
        &run_id,
        &seq,
        &at,
        entry.actor,
        entry.type_name,
        entry.step.unwrap_or_default(),
        &attempt,
        entry.status.unwrap_or_default(),
        sealed.checksum.unwrap_or_default(),
        sealed.detail.map(RawValue::get).unwrap_or_default(),
        sealed.prev.unwrap_or_default(),
        hash,
        &stream,
    ];
    for (at, cell) in cells.into_iter().enumerate() {
        push(lines, at, cell);
    }
    lines.extend(b"\r\n");
}

/// A cell that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV injection").
pub fn is_formula(cell: &str) -> bool {
    // The full-width forms of the same signs too: some spreadsheets take them for these.
    matches!(
        cell.chars().next(),
        Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '\u{FF1D}' | '\u{FF0B}' | '\u{FF0D}' | '\u{FF20}')
    )
}

fn push(line: &mut Vec<u8>, at: usize, cell: &str) {
    if at > 0 {
        line.push(b',');
    }
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\r' | b'\n');
    let must_quote = cell.as_bytes().iter().any(special);
    if must_quote {
        line.push(b'"');
    }
    if is_formula(cell) {
        line.push(b'\'');
    }
    let mut rest = cell.as_bytes();
    while let Some(quote) = rest.iter().position(|byte| *byte == b'"') {
        line.extend_from_slice(&rest[..=quote]);
        line.push(b'"');
        rest = &rest[quote + 1..];
    }
    line.extend_from_slice(rest);
    if must_quote {
        line.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(cells: &[&str]) -> Vec<u8> {
        let mut line = Vec::new();
        cells.iter().enumerate().for_each(|(at, cell)| push(&mut line, at, cell));
        line
    }

    #[test]
    fn formulas_are_defused_and_quotes_are_doubled() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＠a"] {
            let written = String::from_utf8(line(&[cell])).expect("UTF-8");
            assert!(written.trim_start_matches('"').starts_with('\''), "{cell:?}: {written:?}");
        }
        assert_eq!(line(&["step.done"]), b"step.done");
        assert_eq!(line(&["a\"b", "c,d", ""]), b"\"a\"\"b\",\"c,d\",");
    }

    proptest! {
        #[test]
        fn any_reader_of_csv_gets_the_cells_back(cells in proptest::collection::vec(any::<String>(), 2..6)) {
            // Not first: there a reader takes U+FEFF for the mark of its encoding.
            let mut written = b"9001".to_vec();
            cells.iter().for_each(|cell| push(&mut written, 1, cell));
            written.extend(b"\r\n");
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(written.as_slice());
            let record = reader.records().next().expect("a record").expect("it reads");
            let expected = cells.iter().map(|cell| if is_formula(cell) { format!("'{cell}") } else { cell.clone() });
            prop_assert!(record.iter().skip(1).map(str::to_owned).eq(expected));
        }
    }
}
