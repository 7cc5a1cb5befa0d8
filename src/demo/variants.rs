//! The names that stand in one written name: an entry's aliases, what is in brackets, `A d/b/a B`.
//!
//! Pure. Owns which ways of writing are compared at all; how two of them compare is `screening`.

use super::csl::Entry;
use super::names::Name;

/// One way of writing an entry's name.
#[derive(Debug)]
pub struct Variant {
    pub entry: usize,
    /// The alias it comes from; None is the entry's name.
    pub alias: Option<usize>,
    pub name: Name,
    pub acronym: String,
    /// Without what the list adds in brackets or as an address.
    pub shortened: bool,
}

/// Words that stand between two names of one party.
const BETWEEN_NAMES: &[&str] =
    &[" c/o ", " d/b/a ", " dba ", " t/a ", " a/k/a ", " aka ", " f/k/a ", " formerly ", " on behalf of "];

/// A party's name as it stands, and the names that are written into it: `A d/b/a B`, `A (B)`.
pub fn readings(name: &str) -> Vec<String> {
    let mut marked = name.to_ascii_lowercase().replace(['(', ')'], "\n");
    for between in BETWEEN_NAMES {
        marked = marked.replace(between, "\n");
    }
    let parts = marked.lines().map(str::trim).filter(|part| part.chars().count() >= 4).map(str::to_owned);
    let mut all: Vec<String> = std::iter::once(name.to_owned()).chain(parts).collect();
    all.dedup_by_key(|reading| reading.to_lowercase());
    all
}

/// The ways of writing an entry: each name, and each without what stands in brackets or after a comma.
pub fn variants(at: usize, entry: &Entry) -> Vec<Variant> {
    let aliases = entry.aliases.iter().enumerate().map(|(alias, name)| (Some(alias), name));
    let mut found = Vec::new();
    for (alias, written) in std::iter::once((None, &entry.name)).chain(aliases) {
        let shorter =
            without_brackets(written).into_iter().chain(front(written, ',')).chain(front(written, '('));
        let spellings =
            std::iter::once((written.clone(), false)).chain(shorter.map(|spelling| (spelling, true)));
        for (spelling, shortened) in spellings {
            let name = Name::parse(&spelling);
            if !name.words.is_empty() {
                found.push(Variant { entry: at, alias, acronym: name.acronym(), name, shortened });
            }
        }
    }
    found
}

fn without_brackets(name: &str) -> Option<String> {
    let mut depth = 0_u32;
    let mut kept = String::new();
    for c in name.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(c),
            _ => {}
        }
    }
    (kept.len() < name.len()).then_some(kept)
}

/// Some lists write the address or the name of a department into the name. What stands before the first comma
/// or bracket is a long name then.
fn front(name: &str, mark: char) -> Option<String> {
    let (front, rest) = name.split_once(mark)?;
    (Name::parse(front).words.len() >= 4 && rest.split_whitespace().count() >= 2).then(|| front.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_may_be_written_with_two_names() {
        assert_eq!(readings("Redfern d/b/a Quillmere"), ["Redfern d/b/a Quillmere", "redfern", "quillmere"]);
        assert_eq!(readings("Redfern (Quillmere) Ltd"), ["Redfern (Quillmere) Ltd", "redfern", "quillmere"]);
        assert_eq!(readings("Redfern"), ["Redfern"]);
    }

    #[test]
    fn what_a_list_adds_to_a_name_is_left_out_in_a_variant() {
        let name = "Hongtan Optical Crystal Institute, No. 1 Road, Hongtan (HOCI)".to_owned();
        let found = variants(0, &Entry { name, ..Entry::default() });
        assert!(found.iter().any(|variant| variant.shortened && variant.acronym == "hoci"), "{found:?}");
    }
}
