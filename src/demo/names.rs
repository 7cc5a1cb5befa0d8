//! A name as screening sees it: words without case, script, punctuation, filler and legal form.
//!
//! Pure. Owns how a name is taken apart; it never compares two names (`screening` does).

use super::sounds::{consonants, sound};
use super::words;
use deunicode::deunicode;
use std::collections::HashSet;
use std::sync::LazyLock;

/// One word of a name that says something about who it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// Lower case ASCII.
    pub text: String,
    /// The word's sound, rough: spellings that differ by transliteration agree (`tekhno`, `techno`, `tehno`).
    pub sound: String,
    /// The consonants alone, for a word from a script that writes no vowels (Arabic, Hebrew).
    pub consonants: Option<String>,
    /// Made by joining single letters: `A.H.` is `ah`.
    pub initials: bool,
    pub common: bool,
    /// How much agreeing on this word says, before its rarity in the list: 0 to 1.
    pub weight: f64,
}

impl Word {
    /// Numbers tell sister ships and numbered institutes apart, so they only ever match exactly.
    pub fn has_digit(&self) -> bool {
        self.text.bytes().any(|b| b.is_ascii_digit())
    }
}

/// A parsed name.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    pub words: Vec<Word>,
    /// Written in another script than Latin, at least in part.
    pub other_script: bool,
    /// All words with case and punctuation gone, legal form included.
    pub plain: String,
    /// Numbers of six digits and more: ship and register numbers.
    pub identifiers: Vec<String>,
}

impl Name {
    pub fn parse(name: &str) -> Name {
        let mut tokens = tokenise(name);
        tokens.retain(|token| !token.text.is_empty());
        let tokens = join_initials(drop_letter_conjunctions(tokens));
        let plain = tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ");
        let identifiers = tokens.iter().filter(|t| is_identifier(&t.text)).map(|t| t.text.clone()).collect();
        let tokens = translate(same_words(tokens));
        let words = without_filler(without_legal_phrases(tokens));
        Name {
            words: words.into_iter().map(Token::into_word).collect(),
            other_script: name.chars().any(|c| c.is_alphabetic() && c > '\u{24f}'),
            plain,
            identifiers,
        }
    }

    /// First letters of the words that count, for acronyms.
    pub fn acronym(&self) -> String {
        self.words.iter().filter_map(|word| word.text.chars().next()).collect()
    }

    /// The words that count, written together.
    pub fn compact(&self) -> String {
        self.words.iter().map(|word| word.text.as_str()).collect()
    }

    /// The sum of the words' own weights.
    pub fn weight(&self) -> f64 {
        self.words.iter().map(|word| word.weight).sum()
    }
}

/// Ship and register numbers are long; street numbers and years are not.
pub fn is_identifier(token: &str) -> bool {
    token.len() >= 6 && token.bytes().all(|b| b.is_ascii_digit())
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    without_vowels: bool,
    initials: bool,
}

impl Token {
    fn new(text: &str) -> Token {
        Token { text: text.to_owned(), without_vowels: false, initials: false }
    }

    fn into_word(self) -> Word {
        let sound = sound(&self.text);
        let common = COMMON.contains(self.text.as_str());
        Word {
            consonants: self.without_vowels.then(|| consonants(&sound)),
            weight: own_weight(&self.text, common),
            initials: self.initials,
            sound,
            common,
            text: self.text,
        }
    }
}

static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| words::COMMON.iter().copied().collect());
static PLACES: LazyLock<HashSet<&str>> = LazyLock::new(|| words::PLACES.iter().copied().collect());

fn own_weight(text: &str, common: bool) -> f64 {
    let number = text.bytes().all(|b| b.is_ascii_digit());
    match text.len() {
        _ if left_of_a_legal_form(text) => 0.05,
        _ if common => 0.25,
        _ if PLACES.contains(text) => 0.5,
        1 if !number => 0.3,
        0..=2 => 0.6,
        3 if !number => 0.8,
        _ => 1.0,
    }
}

fn left_of_a_legal_form(text: &str) -> bool {
    let near = |word: &&str| *word == text || (word.len() >= 6 && strsim::osa_distance(word, text) == 1);
    words::LEGAL_WORDS.iter().any(near)
}

fn tokenise(name: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for raw in name.split_whitespace() {
        // Arabic, Hebrew, Syriac and their presentation forms.
        let without_vowels =
            raw.chars().any(|c| matches!(c, '\u{590}'..='\u{7ff}' | '\u{fb1d}'..='\u{fefc}'));
        // The Arabic article is written as one with its word.
        let raw = raw.strip_prefix("ال").filter(|bare| bare.chars().count() >= 3).unwrap_or(raw);
        let latin = transliterate(raw).to_ascii_lowercase().replace('&', " and ");
        let latin: String = latin.chars().filter(|c| !matches!(c, '\'' | '`' | '"')).collect();
        for part in latin.split(|c: char| !c.is_ascii_alphanumeric()) {
            tokens.push(Token { text: plain_number(part), without_vowels, initials: false });
        }
    }
    tokens
}

fn transliterate(raw: &str) -> String {
    let mut known = String::with_capacity(raw.len());
    for c in raw.chars() {
        match words::READINGS.iter().find(|(character, _)| *character == c) {
            Some((_, reading)) => known.push_str(reading),
            None => known.push(c),
        }
    }
    deunicode(&known)
}

/// `54th` is 54.
fn plain_number(token: &str) -> String {
    let digits = token.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let ordinal = matches!(&token[digits.len()..], "st" | "nd" | "rd" | "th");
    let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if ordinal && number { digits.to_owned() } else { token.to_owned() }
}

/// `H y J`: the middle letter is a conjunction, as `and` would be.
fn drop_letter_conjunctions(tokens: Vec<Token>) -> Vec<Token> {
    let last = tokens.len().saturating_sub(1);
    let keep = |(at, token): (usize, Token)| {
        let conjunction = words::LETTER_CONJUNCTIONS.contains(&token.text.as_str()) || token.text == "and";
        (!conjunction || at == 0 || at == last).then_some(token)
    };
    tokens.into_iter().enumerate().filter_map(keep).collect()
}

fn join_initials(tokens: Vec<Token>) -> Vec<Token> {
    let mut joined: Vec<Token> = Vec::new();
    let mut letters_running = false;
    for token in tokens {
        let letter = token.text.len() == 1 && token.text.as_bytes()[0].is_ascii_alphabetic();
        match joined.last_mut() {
            Some(previous) if letter && letters_running => {
                previous.text.push_str(&token.text);
                previous.initials = true;
            }
            _ => joined.push(token),
        }
        letters_running = letter;
    }
    joined
}

fn same_words(mut tokens: Vec<Token>) -> Vec<Token> {
    // A ship's number may be Roman; at the end of a name a lone i is one.
    if let [_, .., last] = tokens.as_mut_slice()
        && last.text == "i"
    {
        last.text = "1".to_owned();
    }
    for token in &mut tokens {
        let slip = |written: &str| written.len() >= 9 && strsim::osa_distance(written, &token.text) == 1;
        let same = |(written, _): &&(&str, &str)| *written == token.text || slip(written);
        if let Some((_, standard)) = words::SAME_WORD.iter().find(same) {
            token.text = (*standard).to_owned();
        }
    }
    tokens
}

fn translate(mut tokens: Vec<Token>) -> Vec<Token> {
    for (phrase, english) in words::TRANSLATED_PHRASES {
        while let Some(at) = find_phrase(&tokens, phrase) {
            tokens.splice(at..at + phrase.len(), english.iter().map(|word| Token::new(word)));
        }
    }
    tokens
}

fn without_legal_phrases(mut tokens: Vec<Token>) -> Vec<Token> {
    for phrase in words::LEGAL_PHRASES {
        while let Some(at) = find_phrase(&tokens, phrase).filter(|_| tokens.len() > phrase.len()) {
            tokens.drain(at..at + phrase.len());
        }
    }
    tokens
}

/// Where the phrase stands, by sound: legal forms are transliterated in as many ways as names are.
fn find_phrase(tokens: &[Token], phrase: &[&str]) -> Option<usize> {
    let fits =
        |window: &[Token]| window.iter().zip(phrase).all(|(t, p)| t.text == *p || sound(&t.text) == sound(p));
    tokens.windows(phrase.len()).position(fits)
}

/// Drops legal forms, filler and `M/V`, unless nothing would be left.
fn without_filler(tokens: Vec<Token>) -> Vec<Token> {
    let filler = |token: &Token| {
        let text = token.text.as_str();
        words::LEGAL_FORMS.contains(&text)
            || words::FILLER.contains(&text)
            || words::VESSEL_PREFIXES.contains(&text)
    };
    let kept: Vec<Token> = tokens.iter().filter(|token| !filler(token)).cloned().collect();
    if kept.is_empty() { tokens } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str) -> Vec<String> {
        Name::parse(name).words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn case_punctuation_filler_and_legal_form_are_dropped() {
        assert_eq!(words("The ZARYANKA-Pribor Company, L.L.C."), ["zaryanka", "pribor"]);
        assert_eq!(words("Общество с ограниченной ответственностью «Зарянка»"), ["zarianka"]);
        assert_eq!(words("M/V Grey Lapwing"), ["grey", "lapwing"]);
    }

    #[test]
    fn a_name_that_is_only_a_legal_form_keeps_its_words() {
        assert_eq!(words("The Company"), ["the", "company"]);
    }

    #[test]
    fn initials_are_joined_and_ordinals_are_numbers() {
        assert_eq!(words("Q. R. Tolvane"), ["qr", "tolvane"]);
        assert_eq!(words("H & H Werkzeug GmbH"), ["hh", "werkzeug"]);
        assert_eq!(words("17th Institute"), ["17", "institute"]);
        assert_eq!(words("Seventh Institut"), ["7", "institute"]);
        assert_eq!(words("M/V Grey Lapwing I"), ["grey", "lapwing", "1"]);
    }

    #[test]
    fn chinese_words_for_kinds_of_organisation_are_translated() {
        assert_eq!(words("虹滩大学"), ["hong", "tan", "university"]);
    }

    #[test]
    fn long_numbers_are_identifiers() {
        assert_eq!(Name::parse("GREY LAPWING (IMO 0000017)").identifiers, ["0000017"]);
        assert!(Name::parse("Suite 1200, 2026").identifiers.is_empty());
    }
}
