//! What somebody may do about a run now: a small form for each act, or the way to a page of its own.
//!
//! Each form sends its fields by name, and `csrf`, to `POST /runs/{id}/{act}`. Which acts are offered is the handler's to
//! say; what is not offered is refused all the same when it is asked for.

use super::forms::{Choice, Field, FieldKind};
use super::steps::Link;

/// What whoever looks may do.
#[derive(Default)]
pub struct Acts {
    pub forms: Vec<ActForm>,
    /// Acts that have a page of their own: the link, and what it does.
    pub pages: Vec<ActPage>,
}

impl Acts {
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty() && self.pages.is_empty()
    }
}

pub struct ActPage {
    pub link: Link,
    pub hint: String,
}

/// One act as a form that unfolds.
pub struct ActForm {
    /// As in the address: `pause`.
    pub act: &'static str,
    /// `Pause this run`.
    pub title: String,
    /// What comes of it.
    pub hint: String,
    pub fields: Vec<Field>,
    /// `Pause run 9001`.
    pub button: String,
    /// It ends something that cannot be begun again.
    pub danger: bool,
    /// It came back: it is unfolded, and what is wrong is said at its fields.
    pub open: bool,
    /// What is wrong and belongs to no field.
    pub error: Option<String>,
}

/// The parts of a form, for those who put it together.
impl ActForm {
    pub fn new(act: &'static str, title: &str, hint: &str, button: String) -> ActForm {
        ActForm {
            act,
            title: title.to_owned(),
            hint: hint.to_owned(),
            fields: Vec::new(),
            button,
            danger: false,
            open: false,
            error: None,
        }
    }

    /// With one more field.
    pub fn with(mut self, field: Field) -> ActForm {
        self.fields.push(Field { scope: self.act.to_owned(), ..field });
        self
    }

    /// With the reason that every act needs. `label` asks for it.
    pub fn with_reason(self, label: &str) -> ActForm {
        self.with(reason(label))
    }

    /// With what was typed and what is wrong with it: `(field, message)`, without a field for the whole form.
    pub fn back(mut self, typed: &dyn Fn(&str) -> String, problems: &[(String, String)]) -> ActForm {
        self.open = true;
        for field in &mut self.fields {
            field.value = typed(&field.name);
            for choice in &mut field.choices {
                choice.selected = choice.value == field.value;
            }
            field.error =
                problems.iter().find(|(name, _)| *name == field.name).map(|(_, message)| message.clone());
        }
        let known = |name: &str| self.fields.iter().any(|field| field.name == name);
        let others = problems.iter().filter(|(name, _)| !known(name)).map(|(_, message)| message.as_str());
        let others: Vec<&str> = others.collect();
        self.error = (!others.is_empty()).then(|| others.join(" "));
        self
    }
}

/// The reason that is kept with the act.
pub fn reason(label: &str) -> Field {
    Field {
        kind: FieldKind::Textarea,
        hint: Some("It is kept with your name in the activity log.".to_owned()),
        ..text("reason", label)
    }
}

/// A line of text that must be filled in.
pub fn text(name: &str, label: &str) -> Field {
    Field {
        name: name.to_owned(),
        scope: String::new(),
        label: label.to_owned(),
        hint: None,
        kind: FieldKind::Text,
        required: true,
        value: String::new(),
        error: None,
        choices: Vec::new(),
    }
}

/// One of several.
pub fn one_of(name: &str, label: &str, choices: Vec<Choice>) -> Field {
    Field { kind: FieldKind::Select, choices, ..text(name, label) }
}
