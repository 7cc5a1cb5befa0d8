//! Name screening: how well a name agrees with the names on a list, and why.
//!
//! Pure: no I/O, no clock, no randomness, the same answer every time. Owns the comparison; how a name is taken
//! apart is `names`, how a list is read is `csl`. It never decides anything: it reports likenesses to a person.
//!
//! A score is a weighted Dice coefficient: twice what the paired words weigh, times how alike they are, over
//! what all words of both names weigh. Rare words weigh more than common ones and places, legal forms nothing.

use super::csl::Entry;
use super::names::{Name, is_identifier};
use super::pairing::{self, Pairing};
use super::sounds::sound;
use super::variants::{Variant, readings, variants};
use std::collections::{BTreeSet, HashMap};

/// From here on a likeness is a high risk: the same name, written differently.
pub const HIGH: f64 = 0.92;
/// From here on a person should look: probably the same name, or a part of it.
pub const MEDIUM: f64 = 0.82;
/// What a name gets that is wholly contained in the other: enough for a look, never for more.
const CONTAINED: f64 = 0.84;
/// The most that a name can get which has only common words.
const ONLY_COMMON_WORDS: f64 = 0.90;
/// A name whose words weigh less than this in sum has only common words.
const COMMON_WEIGHT: f64 = 0.55;
/// What is left of a score when the list's additions (brackets, address) are left out of its name.
const SHORTENED: f64 = 0.97;
/// The most that two whole names get for letters that are only nearly the same.
const NEARLY_JOINED: f64 = 0.90;
/// A long company name may hold a listed acronym by chance; shorter ones do so often.
const ACRONYM_LETTERS: usize = 4;

/// One listed name that resembles the name asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Match<'a> {
    pub entry: &'a Entry,
    /// The name or alias of the entry that agrees best.
    pub matched_name: &'a str,
    /// 0 to 1, two decimals.
    pub score: f64,
    /// Plain words, for the person who decides.
    pub reasons: Vec<String>,
}

/// A list, prepared for screening.
#[derive(Debug)]
pub struct ScreeningList {
    /// For people: where the names come from.
    pub name: String,
    entries: Vec<Entry>,
    variants: Vec<Variant>,
    /// How many entries hold a word, by its sound.
    entries_with: HashMap<String, usize>,
}

impl ScreeningList {
    pub fn new(name: impl Into<String>, entries: Vec<Entry>) -> ScreeningList {
        let variants: Vec<Variant> =
            entries.iter().enumerate().flat_map(|(at, entry)| variants(at, entry)).collect();
        let mut holders: HashMap<String, BTreeSet<usize>> = HashMap::new();
        for variant in &variants {
            for word in &variant.name.words {
                holders.entry(word.sound.clone()).or_default().insert(variant.entry);
            }
        }
        let entries_with = holders.into_iter().map(|(sound, at)| (sound, at.len())).collect();
        ScreeningList { name: name.into(), entries, variants, entries_with }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries that resemble `name` at least as much as `floor`, best first, each once.
    pub fn screen(&self, name: &str, floor: f64) -> Vec<Match<'_>> {
        let readings: Vec<Name> = readings(name).iter().map(|reading| Name::parse(reading)).collect();
        let mut best: HashMap<usize, Match<'_>> = HashMap::new();
        for (asked, variant) in
            readings.iter().flat_map(|asked| self.variants.iter().map(move |v| (asked, v)))
        {
            let (score, reasons) = self.compare(asked, variant);
            let better = best.get(&variant.entry).is_none_or(|known| score > known.score);
            if score >= floor && better {
                let entry = &self.entries[variant.entry];
                let matched_name = variant.alias.map_or(&entry.name, |at| &entry.aliases[at]);
                best.insert(variant.entry, Match { entry, matched_name, score, reasons });
            }
        }
        let mut found: Vec<(usize, Match<'_>)> = best.into_iter().collect();
        found.sort_by(|a, b| b.1.score.total_cmp(&a.1.score).then(a.0.cmp(&b.0)));
        found.into_iter().map(|(_, found)| found).collect()
    }

    fn compare(&self, asked: &Name, variant: &Variant) -> (f64, Vec<String>) {
        let listed = &variant.name;
        let mut reasons = Vec::new();
        if let Some(number) = self.shared_identifier(asked, variant.entry) {
            return (1.0, vec![format!("same register number {number}")]);
        }
        let pairing = pairing::pair(asked, listed, |sound| self.rarity(sound));
        let mut score = pairing.dice();
        if let Some(joined) = joined_alike(asked, listed).filter(|joined| *joined > score) {
            score = joined;
            reasons.push("the same letters, divided into words differently".to_owned());
        } else {
            reasons.extend(pairing.reasons());
        }
        if variant.shortened {
            score *= SHORTENED;
        }
        let floor = contained(&pairing).or_else(|| acronym_alike(asked, variant));
        if let Some((floor, reason)) = floor.filter(|(floor, _)| *floor > score) {
            score = floor;
            reasons.push(reason.to_owned());
        }
        if listed.weight().min(asked.weight()) < COMMON_WEIGHT && asked.plain != listed.plain {
            score = score.min(ONLY_COMMON_WORDS);
        }
        // Adding zero turns the -0.0 of an empty sum into 0.0.
        let score = (score * 100.0).round() / 100.0 + 0.0;
        if score >= MEDIUM {
            reasons.extend(how_written(asked, variant));
        }
        (score, reasons)
    }

    /// 1 for a word that one entry has, less for a word that many have.
    fn rarity(&self, sound: &str) -> f64 {
        let entries = self.entries.len() as f64;
        let holders = self.entries_with.get(sound).copied().unwrap_or(1) as f64;
        ((1.0 + entries / holders).ln() / (1.0 + entries).ln()).max(0.4)
    }

    fn shared_identifier(&self, asked: &Name, entry: usize) -> Option<String> {
        let ids = &self.entries[entry].ids;
        let mut numbers =
            ids.split(|c: char| !c.is_ascii_alphanumeric()).filter(|token| is_identifier(token));
        numbers.find(|number| asked.identifiers.iter().any(|asked| asked == number)).map(str::to_owned)
    }
}

/// `Aero Space` and `Aerospace`: the whole names without spaces, when both are long enough and not only common
/// words. Numbers must agree: they tell sister ships apart.
fn joined_alike(asked: &Name, listed: &Name) -> Option<f64> {
    let (left, right) = (asked.compact(), listed.compact());
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let short = left.len().min(right.len()) < 7;
    let common = asked.weight().min(listed.weight()) < COMMON_WEIGHT;
    if short || common || asked.words.len() == listed.words.len() || digits(&left) != digits(&right) {
        return None;
    }
    let (left_sound, right_sound) = (sound(&left), sound(&right));
    if left_sound == right_sound {
        return Some(0.98);
    }
    let alike = pairing::spelling(&left, &left_sound, &right, &right_sound);
    (alike >= NEARLY_JOINED).then_some(NEARLY_JOINED)
}

/// All that is distinctive in one name stands in the other, which says more.
fn contained(pairing: &Pairing) -> Option<(f64, &'static str)> {
    if pairing.listed_is_inside() {
        return Some((CONTAINED, "the whole listed name is part of this name"));
    }
    pairing.asked_is_inside().then_some((CONTAINED, "this name is part of the listed name"))
}

/// One of the two is the initials of the other.
fn acronym_alike(asked: &Name, variant: &Variant) -> Option<(f64, &'static str)> {
    let listed = &variant.name;
    let single = |name: &Name| match name.words.as_slice() {
        [word] if word.text.len() >= ACRONYM_LETTERS && !word.has_digit() => Some(word.text.clone()),
        _ => None,
    };
    if single(asked).is_some_and(|word| word == variant.acronym) {
        return Some((CONTAINED, "the initials of the listed name"));
    }
    let spelt_out = single(listed).filter(|word| word.len() > ACRONYM_LETTERS);
    (spelt_out.is_some_and(|word| word == asked.acronym()))
        .then_some((CONTAINED, "its initials spell the listed name"))
}

fn how_written(asked: &Name, variant: &Variant) -> Vec<String> {
    let mut reasons = Vec::new();
    if asked.other_script != variant.name.other_script {
        reasons.push("written in another script".to_owned());
    }
    if variant.shortened {
        reasons.push("leaving out what the list adds to the name".to_owned());
    }
    if variant.alias.is_some() {
        reasons.push("an alias on the list".to_owned());
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::csl;

    fn sample() -> ScreeningList {
        ScreeningList::new("sample", csl::parse(include_str!("sample_screening_list.csv")).expect("a list"))
    }

    fn best(name: &str) -> (String, f64, Vec<String>) {
        let list = sample();
        let found = list.screen(name, 0.0);
        found
            .first()
            .map_or_else(Default::default, |hit| (hit.entry.name.clone(), hit.score, hit.reasons.clone()))
    }

    #[test]
    fn the_same_name_written_differently_is_a_high_risk() {
        let written = [
            ("ООО «Зарянка Точные Приборы»", "ZARYANKA TOCHNYE PRIBORY, OOO"),
            ("Zarianka Precision Instruments Ltd.", "ZARYANKA TOCHNYE PRIBORY, OOO"),
            ("Logistics, Quillmere Harbor", "Quillmere Harbour Logistics FZE"),
            ("Vantrossa Aero Space", "Vantrossa Aerospace Sdn. Bhd."),
            ("Ostrelk, B. V.", "B.V. Ostrelk"),
            ("Nahrawil Electronics LLC", "Al-Nahrawil Electronics Trading"),
            ("Fourteenth Inst. of Applied Turbulence", "Fourteenth Institute of Applied Turbulence"),
            ("Pale Kitiwake 8", "PALE KITTIWAKE 8"),
            ("Muchtabar Propulsion Grp", "MUKHTABAR PROPULSION GROUP"),
            ("Технoвихрь АО", "AKTSIONERNOE OBSHCHESTVO TEKHNOVIKHR"),
            ("Esteban Ortúñez Fialgo & Hijos", "ESTEBAN ORTUNEZ FIALGO E HIJOS LTDA."),
            ("Bureau of Signals Research, 88th", "88th Signals Research Bureau"),
        ];
        for (name, entry) in written {
            let (found, score, reasons) = best(name);
            assert!(found == entry && score >= HIGH, "{name}: {found} {score} {reasons:?}");
        }
    }

    #[test]
    fn a_script_without_vowels_is_enough_for_a_look() {
        let (found, score, reasons) = best("النهراويل ترادينغ");
        assert!(found.contains("Nahrawil") && score >= MEDIUM, "{found} {score} {reasons:?}");
    }

    #[test]
    fn every_listed_name_and_alias_finds_its_entry() {
        let list = sample();
        for entry in &list.entries {
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                let reversed = name.split_whitespace().rev().collect::<Vec<_>>().join(" ").to_lowercase();
                for written in [name.clone(), reversed] {
                    let found = list.screen(&written, MEDIUM);
                    assert!(found.iter().any(|hit| hit.entry == entry), "{written}");
                }
            }
        }
    }

    #[test]
    fn common_words_are_no_likeness() {
        let ordinary = [
            "International Trading Company",
            "Marine Acoustics Ltd",
            "Precision Instruments Inc.",
            "Optical Crystal Works",
            "General Corporation",
            "Harbour Logistics",
            "Aerospace Components Sdn Bhd",
            "Modular Solutions Engineering",
            "Electronics Trading LLC",
            "Research Bureau",
            "Banco del Sur",
            "Chemical Works",
            "Propulsion Group",
            "Institute of Applied Mathematics",
            "Morning Glory 4",
            "Seven Oaks Bakery",
            "Gas Turbines International",
            "Holding Limited Liability Company",
        ];
        for name in ordinary {
            let (found, score, reasons) = best(name);
            assert!(score < MEDIUM, "{name}: {found} {score} {reasons:?}");
        }
    }

    #[test]
    fn numbers_tell_sister_ships_apart() {
        assert!(best("MORNING TEAL 4").1 < MEDIUM);
        assert_eq!(best("Morning Teal-3").1, 1.0);
    }

    #[test]
    fn a_register_number_finds_the_ship_under_any_name() {
        let (found, score, reasons) = best("M/V Something Else (IMO 0000017)");
        assert_eq!((found.as_str(), score), ("MORNING TEAL 3", 1.0));
        assert_eq!(reasons, ["same register number 0000017"]);
    }

    #[test]
    fn a_part_of_a_listed_name_is_for_a_person_to_look_at() {
        let (found, score, reasons) = best("Drelkovsk Cryogenics");
        assert!(
            found.starts_with("Drelkovsk") && (MEDIUM..HIGH).contains(&score),
            "{found} {score} {reasons:?}"
        );
    }

    #[test]
    fn empty_and_odd_names_match_nothing() {
        for name in ["", "  ", "—", "&", "Ltd.", "的"] {
            assert!(sample().screen(name, MEDIUM).is_empty(), "{name:?}");
        }
    }
}
