//! Pairs the words of two names, whatever their order: the heart of name screening.
//!
//! Pure. Similarity of two words is the mean of Jaro-Winkler (Winkler 1990) and the normalised optimal string
//! alignment distance, on the spelling or on the sound, whichever agrees better.

use super::names::{Name, Word};
use super::sounds::{consonants, sound};

/// Words that sound the same but are spelt differently.
const SAME_SOUND: f64 = 0.97;
/// The consonants agree, in a script without vowels.
const SAME_CONSONANTS: f64 = 0.94;
/// `A.` for `Ahmed`.
const INITIALS: f64 = 0.85;

/// Why two words were taken for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Likeness {
    Same,
    Sound,
    Consonants,
    Spelling,
    Divided,
    Initials,
}

/// One agreed stretch: words `asked..` of one name, `listed..` of the other.
#[derive(Debug, Clone, Copy)]
struct Pair {
    asked: (usize, usize),
    listed: (usize, usize),
    alike: f64,
    likeness: Likeness,
    weight: f64,
}

/// How the words of two names agree.
#[derive(Debug)]
pub struct Pairing {
    pairs: Vec<Pair>,
    asked: Side,
    listed: Side,
}

/// One of the two names after the pairing.
#[derive(Debug)]
struct Side {
    weight: f64,
    /// Weight of the words that found a partner.
    paired: f64,
    words: usize,
    /// Words that are neither common nor numbers and found a partner.
    distinctive: usize,
    /// Letters of the longest word that found a partner and is not a common one.
    longest: usize,
    /// Every word found a partner.
    complete: bool,
}

/// Pairs words greedily, the weightiest agreement first; each word is used once.
pub fn pair(asked: &Name, listed: &Name, rarity: impl Fn(&str) -> f64) -> Pairing {
    let weigh =
        |name: &Name| name.words.iter().map(|word| word.weight * rarity(&word.sound)).collect::<Vec<_>>();
    let (mut asked_weights, mut listed_weights) = (weigh(asked), weigh(listed));
    let mut candidates = candidates(asked, listed, &asked_weights, &listed_weights);
    let same = |pair: &Pair| pair.likeness == Likeness::Same;
    candidates
        .sort_by(|a, b| same(b).cmp(&same(a)).then((b.alike * b.weight).total_cmp(&(a.alike * a.weight))));
    let (mut asked_used, mut listed_used) = (vec![false; asked.words.len()], vec![false; listed.words.len()]);
    let mut pairs = Vec::new();
    for pair in candidates {
        let (a, l) =
            (&mut asked_used[pair.asked.0..pair.asked.1], &mut listed_used[pair.listed.0..pair.listed.1]);
        if !a.contains(&true) && !l.contains(&true) {
            a.fill(true);
            l.fill(true);
            pairs.push(level(pair, &mut asked_weights, &mut listed_weights));
        }
    }
    pairs.sort_by_key(|pair| pair.asked.0);
    let asked = Side::new(asked, &asked_weights, &asked_used);
    let listed = Side::new(listed, &listed_weights, &listed_used);
    Pairing { pairs, asked, listed }
}

/// A word and its misspelling weigh the same, whichever of them the tables know.
fn level(mut pair: Pair, asked_weights: &mut [f64], listed_weights: &mut [f64]) -> Pair {
    if pair.asked.1 - pair.asked.0 == 1 && pair.listed.1 - pair.listed.0 == 1 {
        let lighter = asked_weights[pair.asked.0].min(listed_weights[pair.listed.0]);
        asked_weights[pair.asked.0] = lighter;
        listed_weights[pair.listed.0] = lighter;
        pair.weight = 2.0 * lighter;
    }
    pair
}

impl Side {
    fn new(name: &Name, weights: &[f64], used: &[bool]) -> Side {
        let paired = weights.iter().zip(used).filter(|(_, used)| **used).map(|(weight, _)| weight).sum();
        let said =
            name.words.iter().zip(used).filter(|(word, used)| **used && !word.common && !word.has_digit());
        let said: Vec<usize> = said.map(|(word, _)| word.text.len()).collect();
        Side {
            weight: weights.iter().sum(),
            paired,
            words: name.words.len(),
            distinctive: said.len(),
            longest: said.iter().copied().max().unwrap_or(0),
            complete: used.iter().all(|used| *used),
        }
    }
}

impl Pairing {
    /// The weighted Dice coefficient of the two names.
    pub fn dice(&self) -> f64 {
        let all = self.asked.weight + self.listed.weight;
        let agreed: f64 = self.pairs.iter().map(|pair| pair.alike * pair.weight).sum();
        if all > 0.0 { agreed / all } else { 0.0 }
    }

    /// The listed name is distinctive, and all of it stands in the name asked for, without a misspelling.
    pub fn listed_is_inside(&self) -> bool {
        let distinctive = (self.listed.words >= 2 && self.listed.weight >= 1.2 && self.listed.longest >= 4)
            || self.listed.longest >= 9;
        self.close() && self.listed.complete && distinctive && self.asked.paired >= 0.35 * self.asked.weight
    }

    /// The name asked for is distinctive, and all of it stands in the listed name.
    pub fn asked_is_inside(&self) -> bool {
        let distinctive = self.asked.distinctive >= 2 && self.asked.longest >= 5;
        self.close() && self.asked.complete && distinctive && self.listed.paired >= 0.35 * self.listed.weight
    }

    fn close(&self) -> bool {
        !self.pairs.is_empty()
            && self.pairs.iter().all(|pair| !matches!(pair.likeness, Likeness::Spelling | Likeness::Initials))
    }

    /// What a person should know about the agreement, in plain words.
    pub fn reasons(&self) -> Vec<String> {
        let has = |likeness| self.pairs.iter().any(|pair| pair.likeness == likeness);
        let mut reasons = Vec::new();
        let whole = self.asked.complete && self.listed.complete;
        let in_order = self.pairs.windows(2).all(|two| two[0].listed.0 <= two[1].listed.0);
        if whole && in_order && self.pairs.iter().all(|pair| pair.likeness == Likeness::Same) {
            reasons.push("the same words (case, punctuation and legal form ignored)");
        } else if !in_order {
            reasons.push(if whole {
                "the same words in another order"
            } else {
                "shared words in another order"
            });
        } else if !whole {
            reasons.push("shared words");
        }
        let told = [
            (Likeness::Sound, "another transliteration"),
            (Likeness::Consonants, "the same consonants (the script writes no vowels)"),
            (Likeness::Spelling, "small differences in spelling"),
            (Likeness::Divided, "divided into words differently"),
            (Likeness::Initials, "initials in place of names"),
        ];
        reasons.extend(told.into_iter().filter(|(likeness, _)| has(*likeness)).map(|(_, reason)| reason));
        reasons.into_iter().map(str::to_owned).collect()
    }
}

fn candidates(asked: &Name, listed: &Name, asked_weights: &[f64], listed_weights: &[f64]) -> Vec<Pair> {
    let mut found = Vec::new();
    for (a, asked_word) in asked.words.iter().enumerate() {
        for (l, listed_word) in listed.words.iter().enumerate() {
            let mut add = |asked_to: usize, listed_to: usize, (alike, likeness): (f64, Likeness)| {
                let weight =
                    asked_weights[a..asked_to].iter().chain(&listed_weights[l..listed_to]).sum::<f64>();
                found.push(Pair { asked: (a, asked_to), listed: (l, listed_to), alike, likeness, weight });
            };
            if let Some(alike) = words_alike(asked_word, listed_word) {
                add(a + 1, l + 1, alike);
            }
            for many in 2..=3 {
                if let Some(stretch) = asked.words.get(a..a + many)
                    && let Some(alike) = stretch_alike(stretch, listed_word)
                {
                    add(a + many, l + 1, alike);
                }
                if let Some(stretch) = listed.words.get(l..l + many)
                    && let Some(alike) = stretch_alike(stretch, asked_word)
                {
                    add(a + 1, l + many, alike);
                }
            }
        }
    }
    found
}

fn words_alike(a: &Word, b: &Word) -> Option<(f64, Likeness)> {
    if a.text == b.text {
        return Some((1.0, Likeness::Same));
    }
    if a.has_digit() || b.has_digit() {
        return None;
    }
    // The Arabic article, written as one with its word or left out.
    let article = |long: &str, short: &str| short.len() >= 4 && long.strip_prefix("al") == Some(short);
    if article(&a.text, &b.text) || article(&b.text, &a.text) {
        return Some((SAME_SOUND, Likeness::Sound));
    }
    if a.consonants.is_some() || b.consonants.is_some() {
        let bare = |word: &Word| word.consonants.clone().unwrap_or_else(|| consonants(&word.sound));
        let (left, right) = (bare(a), bare(b));
        return (left.len() >= 2 && left == right).then_some((SAME_CONSONANTS, Likeness::Consonants));
    }
    let initial = |one: &Word, word: &Word| {
        one.text.len() == 1 && word.text.len() >= 3 && word.text.starts_with(&one.text)
    };
    if initial(a, b) || initial(b, a) {
        return Some((INITIALS, Likeness::Initials));
    }
    let shorter = a.text.len().min(b.text.len());
    if shorter >= 3 && a.sound == b.sound {
        return Some((SAME_SOUND, Likeness::Sound));
    }
    if shorter < 4 {
        return None;
    }
    let alike = spelling(&a.text, &a.sound, &b.text, &b.sound);
    // Common words are near one another by chance (trading, training): only a slip of one letter counts there.
    let slip = || shorter >= 5 && strsim::osa_distance(&a.text, &b.text) == 1;
    let floor = match shorter {
        _ if a.common && b.common => return None,
        _ if (a.common || b.common) && !slip() => 0.93,
        4 => 0.88,
        _ => 0.82,
    };
    (alike >= floor).then_some((alike, Likeness::Spelling))
}

/// Several words of one name against one word of the other: `Aero Space`, `Ahmed Hassan` for `A.H.`.
fn stretch_alike(stretch: &[Word], one: &Word) -> Option<(f64, Likeness)> {
    if one.initials && stretch.len() == one.text.len() {
        let initials = stretch.iter().zip(one.text.chars()).all(|(word, c)| word.text.starts_with(c));
        return initials.then_some((INITIALS, Likeness::Initials));
    }
    let joined: String = stretch.iter().map(|word| word.text.as_str()).collect();
    let plausible = joined.len() >= 4 && joined.len().abs_diff(one.text.len()) <= 2;
    if !plausible || one.has_digit() || stretch.iter().any(Word::has_digit) {
        return None;
    }
    if joined == one.text {
        return Some((0.99, Likeness::Divided));
    }
    let alike = spelling(&joined, &sound(&joined), &one.text, &one.sound);
    (alike >= 0.9).then_some((alike - 0.05, Likeness::Divided))
}

/// How alike two words look or sound, 0 to 1. A first letter that differs is rarely a slip of the pen.
pub fn spelling(a: &str, a_sound: &str, b: &str, b_sound: &str) -> f64 {
    if a_sound == b_sound {
        return SAME_SOUND;
    }
    let longer = a.len().max(b.len());
    let other_start = a_sound.as_bytes().first() != b_sound.as_bytes().first();
    if a.len().abs_diff(b.len()) * 5 > longer * 2 || (other_start && longer < 7) {
        return 0.0;
    }
    let alike = measure(a, b).max(measure(a_sound, b_sound) - 0.01);
    if other_start { alike - 0.04 } else { alike }
}

fn measure(a: &str, b: &str) -> f64 {
    let longer = a.len().max(b.len()).max(1) as f64;
    let edits = 1.0 - strsim::osa_distance(a, b) as f64 / longer;
    (edits + strsim::jaro_winkler(a, b)) / 2.0
}
