//! How a word sounds, roughly, so that two transliterations of one word agree.
//!
//! Pure. Owns the key; it never decides whether two words are the same.

/// Spellings of one sound in the usual transliterations (BGN/PCGN, ISO 9, French and German press), in the
/// order in which they are applied.
#[rustfmt::skip]
const SOUNDS: &[(&str, &str)] = &[
    ("shch", "sh"), ("sch", "sh"), ("kh", "h"), ("ch", "h"), ("ph", "f"), ("ck", "k"), ("zh", "z"),
    ("qu", "k"), ("q", "k"), ("x", "ks"), ("w", "v"), ("ts", "s"), ("tz", "s"), ("gh", "g"), ("th", "t"),
    ("ou", "u"), ("oo", "u"), ("ee", "i"), ("ey", "e"), ("ei", "e"), ("ay", "e"), ("ai", "e"), ("ce", "se"),
    ("ci", "si"), ("cy", "si"), ("c", "k"), ("y", "i"), ("j", "i"), ("ii", "i"), ("ie", "e"), ("iu", "u"),
    ("ae", "a"), ("oe", "o"), ("ue", "u"),
];

/// How a word sounds, roughly: a key for comparing, not a pronunciation.
pub fn sound(text: &str) -> String {
    let mut key = text.to_owned();
    for (spelling, sound) in SOUNDS {
        if key.contains(spelling) {
            key = key.replace(spelling, sound);
        }
    }
    let mut previous = None;
    key.retain(|c| previous.replace(c) != Some(c) || c.is_ascii_digit());
    if key.len() > 3 && key.ends_with('h') {
        key.pop();
    }
    if key.len() > 4 && key.ends_with('s') {
        key.pop();
    }
    key
}

/// A sound key without vowels, and without the letters that Arabic writes for long vowels.
pub fn consonants(sound: &str) -> String {
    sound.chars().filter(|c| !matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'v')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transliterations_of_one_word_sound_alike() {
        for (left, right) in [
            ("tekhnika", "technika"),
            ("tsentralny", "centralniy"),
            ("schwarz", "shvarz"),
            ("guenther", "gunther"),
        ] {
            assert_eq!(sound(left), sound(right), "{left} {right}");
        }
        assert_ne!(sound("gulf"), sound("golf"));
    }

    #[test]
    fn a_key_without_vowels_fits_a_script_without_them() {
        assert_eq!(consonants(&sound("nahrawil")), consonants(&sound("nhrawyl")));
    }
}
