//! Reads a screening list in the layout of the U.S. Consolidated Screening List CSV.
//!
//! Layout: the column names in the file's first line, as the International Trade Administration publishes it
//! (https://www.trade.gov/consolidated-screening-list, "CSV (comma-delimited)"); `alt_names`, `addresses` and
//! `programs` hold several values separated by semicolons. Columns are found by name, in any order, and
//! columns that screening does not use may be missing. Pure but for [`load`]; never compares names.

use std::path::Path;

/// One organisation, person or vessel on a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entry {
    /// The list it is on, for example `Entity List (EL) - Bureau of Industry and Security`.
    pub source: String,
    /// `entity_number` when the list has numbers, else `row-N`, counted from 1.
    pub id: String,
    /// `Entity`, `Vessel`, `Individual`, or empty.
    pub kind: String,
    pub name: String,
    pub aliases: Vec<String>,
    pub programs: Vec<String>,
    pub addresses: Vec<String>,
    /// Where the list itself is published.
    pub source_url: String,
    /// Register numbers, as written.
    pub ids: String,
}

/// Why a list could not be read: a phrase that follows the file's name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ListError {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is not a Consolidated Screening List CSV: it has no column {0:?}")]
    MissingColumn(&'static str),
    #[error("is not a Consolidated Screening List CSV: line {line}: {message}")]
    Malformed { line: u64, message: String },
    #[error("holds no names to screen against")]
    Empty,
}

/// Reads a list from a file.
pub fn load(path: &Path) -> Result<Vec<Entry>, ListError> {
    let bytes = std::fs::read(path).map_err(|error| ListError::Unreadable(error.to_string()))?;
    let text =
        String::from_utf8(bytes).map_err(|_| ListError::Unreadable("it is not UTF-8 text".to_owned()))?;
    parse(&text)
}

/// Reads a list from text; a byte order mark is fine.
pub fn parse(text: &str) -> Result<Vec<Entry>, ListError> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let columns = Columns::find(reader.headers().map_err(|error| malformed(&error))?)?;
    let mut entries = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| malformed(&error))?;
        let entry = columns.entry(&record, index + 1);
        if !entry.name.is_empty() {
            entries.push(entry);
        }
    }
    if entries.is_empty() { Err(ListError::Empty) } else { Ok(entries) }
}

fn malformed(error: &csv::Error) -> ListError {
    let line = error.position().map_or(1, csv::Position::line);
    ListError::Malformed { line, message: error.to_string() }
}

/// Where the columns stand in this file.
struct Columns {
    source: usize,
    name: usize,
    alt_names: usize,
    addresses: Option<usize>,
    programs: Option<usize>,
    number: Option<usize>,
    kind: Option<usize>,
    url: Option<usize>,
    ids: Option<usize>,
}

impl Columns {
    fn find(headers: &csv::StringRecord) -> Result<Columns, ListError> {
        let place = |name: &str| headers.iter().position(|header| header.trim().eq_ignore_ascii_case(name));
        let needed = |name: &'static str| place(name).ok_or(ListError::MissingColumn(name));
        Ok(Columns {
            source: needed("source")?,
            name: needed("name")?,
            alt_names: needed("alt_names")?,
            addresses: place("addresses"),
            programs: place("programs"),
            number: place("entity_number"),
            kind: place("type"),
            url: place("source_list_url"),
            ids: place("ids"),
        })
    }

    fn entry(&self, record: &csv::StringRecord, row: usize) -> Entry {
        let text =
            |column: Option<usize>| column.and_then(|at| record.get(at)).unwrap_or("").trim().to_owned();
        let list = |column: Option<usize>| split(&text(column));
        let number = text(self.number);
        Entry {
            source: text(Some(self.source)),
            id: if number.is_empty() { format!("row-{row}") } else { number },
            kind: text(self.kind),
            name: text(Some(self.name)),
            aliases: list(Some(self.alt_names)),
            programs: list(self.programs),
            addresses: list(self.addresses),
            source_url: text(self.url),
            ids: text(self.ids),
        }
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let text = "\u{feff}alt_names,name,source\n\"Grey Lapwing; Teal Two\",MORNING TEAL 3,A list\n";
        let entries = parse(text).expect("a list");
        assert_eq!(entries[0].name, "MORNING TEAL 3");
        assert_eq!(entries[0].aliases, ["Grey Lapwing", "Teal Two"]);
        assert_eq!(entries[0].id, "row-1");
    }

    #[test]
    fn another_layout_is_refused_by_the_missing_column() {
        assert_eq!(parse("id,title\n1,x\n"), Err(ListError::MissingColumn("source")));
        assert_eq!(parse("source,name,alt_names\n"), Err(ListError::Empty));
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = parse("source,name,alt_names\nonly one cell\n").expect_err("too few cells");
        assert!(matches!(error, ListError::Malformed { line: 2, .. }), "{error}");
    }
}
