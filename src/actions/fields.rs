//! Reading a configuration object field by field, with everything that is wrong with it.
//!
//! Owns [`ConfigProblem`] and the wording of what any field may get wrong. Knows no action and no agent.

use serde_json::{Map, Value};

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// For example `$.config.url`.
    pub path: String,
    /// A sentence that says what to write.
    pub message: String,
}

/// A configuration being read. Problems collect; reading goes on.
pub(super) struct Fields<'a> {
    object: Option<&'a Map<String, Value>>,
    pub problems: Vec<ConfigProblem>,
}

impl<'a> Fields<'a> {
    /// Fields outside `known` are problems.
    pub fn open(config: &'a Value, known: &[&str]) -> Fields<'a> {
        let object = config.as_object();
        let mut fields = Fields { object, problems: Vec::new() };
        match object {
            None => fields.problems.push(ConfigProblem {
                path: "$.config".to_owned(),
                message: "The configuration must be an object.".to_owned(),
            }),
            Some(object) => {
                for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
                    let message = match known {
                        [] => "No field is known here; remove it.".to_owned(),
                        _ => format!("Unknown field. Known are: {}.", known.join(", ")),
                    };
                    fields.problem(name, message);
                }
            }
        }
        fields
    }

    pub fn problem(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(ConfigProblem { path: format!("$.config.{name}"), message: message.into() });
    }

    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.object.and_then(|object| object.get(name))
    }

    pub fn text(&mut self, name: &str) -> Option<&'a str> {
        match self.value(name)? {
            Value::String(text) if !text.trim().is_empty() => Some(text),
            Value::String(_) => self.wrong(name, "Must not be empty."),
            _ => self.wrong(name, "Must be a text."),
        }
    }

    pub fn required_text(&mut self, name: &str) -> Option<&'a str> {
        if self.object.is_some() && self.value(name).is_none() {
            self.problem(name, "Is needed.");
        }
        self.text(name)
    }

    /// A number above `above` and up to `most`.
    pub fn number(&mut self, name: &str, above: f64, most: f64) -> Option<f64> {
        match self.value(name)?.as_f64() {
            Some(number) if number > above && number <= most => Some(number),
            _ => self.wrong(name, format!("Must be a number above {above} and at most {most}.")),
        }
    }

    fn wrong<T>(&mut self, name: &str, message: impl Into<String>) -> Option<T> {
        self.problem(name, message);
        None
    }
}
