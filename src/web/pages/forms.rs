//! What forms and lists share: fields, choices, problems.

/// What is wrong with what was sent, and where to mend it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The id of the field that the summary links to. Empty: no field.
    pub field: String,
    /// The place inside a document, for example `$.tasks[2].uses`. Empty: none.
    pub place: String,
    pub message: String,
}

impl Problem {
    pub fn at_field(field: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { field: field.into(), place: String::new(), message: message.into() }
    }

    pub fn at_place(
        field: impl Into<String>,
        place: impl Into<String>,
        message: impl Into<String>,
    ) -> Problem {
        Problem { field: field.into(), place: place.into(), message: message.into() }
    }
}

/// One option of a select or a group of radios.
#[derive(Debug, Clone)]
pub struct Choice {
    pub value: String,
    pub text: String,
    pub selected: bool,
}

impl Choice {
    pub fn new(value: impl Into<String>, text: impl Into<String>, selected: bool) -> Choice {
        Choice { value: value.into(), text: text.into(), selected }
    }
}

/// How a field is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    Text,
    Integer,
    Number,
    Checkbox,
    Select,
    Textarea,
}

/// One field of a form that is drawn from a schema.
#[derive(Debug, Clone)]
pub struct Field {
    /// The name that is sent.
    pub name: String,
    /// What its id begins with, where a page has several forms. Empty: `field`.
    pub scope: String,
    pub label: String,
    pub hint: Option<String>,
    pub kind: FieldKind,
    pub required: bool,
    /// What was typed, or the default. A checkbox is ticked when this is `true`.
    pub value: String,
    pub error: Option<String>,
    /// Only for a select.
    pub choices: Vec<Choice>,
}

impl Field {
    /// The id of the field's input.
    pub fn id(&self) -> String {
        let scope = if self.scope.is_empty() { "field" } else { &self.scope };
        format!("{scope}-{}", self.name)
    }

    /// The ids of the hint and the error, for `aria-describedby`. None: there is neither.
    pub fn described_by(&self) -> Option<String> {
        let hint = self.hint.as_ref().map(|_| format!("{}-hint", self.id()));
        let error = self.error.as_ref().map(|_| format!("{}-error", self.id()));
        let ids: Vec<_> = hint.into_iter().chain(error).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }
}
