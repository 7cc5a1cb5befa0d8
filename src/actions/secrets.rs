//! What a call was given in confidence, kept out of what is said about it.
//!
//! A service may quote in its refusal what it was sent, and a fault's message goes into a log that nobody can empty.

use super::Fault;

const HIDDEN: &str = "[hidden]";
/// Shorter values are no secrets; hiding them would take words apart.
const SHORTEST: usize = 4;

/// Values that no message may hold.
#[derive(Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Each value, and what follows its scheme (`Bearer …`).
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Secrets {
        let parts = values.into_iter().flat_map(|value| {
            let credentials = value.split_once(' ').map(|(_, rest)| rest.trim());
            [Some(value.trim()), credentials].into_iter().flatten()
        });
        let mut parts: Vec<String> = parts.filter(|part| part.len() >= SHORTEST).map(str::to_owned).collect();
        // A value goes whole before a part of it is looked for.
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        Secrets(parts)
    }

    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), HIDDEN))
    }

    pub fn hide_in(&self, fault: Fault) -> Fault {
        Fault { message: self.hide(&fault.message), ..fault }
    }
}
