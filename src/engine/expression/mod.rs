//! CEL in protocols: `${ … }` inside the strings of `with`, bare expressions in `when`.
//!
//! Owns reading, bounding and evaluating expressions (Common Expression Language, cel.dev). Never sees anything
//! but the variables it is given: no clock, no files, no network.

mod cel_value;
mod template;
mod variable;

pub use template::{Piece, Template};
pub use variable::{Names, Variable, flat};

use cel::Program;
use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use variable::{Reach, check_work, follow};

/// The longest expression, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 2_000;
/// The most that an expression, or all expressions of one `with` together, may give, in bytes.
pub const MAX_RESULT_BYTES: usize = 16 << 20;
/// Macros (`map`, `filter`, `all`, `exists`) inside macros: a third level would be cubic in the payload.
pub const MAX_NESTED_MACROS: usize = 2;
/// Brackets inside brackets.
const MAX_BRACKETS: usize = 16;
/// Operator characters and dots; a `?` counts four, because it nests.
const MAX_OPERATORS: usize = 80;

/// Why an expression could not be read or evaluated. `message` is a sentence for the author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the expression `{expression}` {message}")]
pub struct ExpressionError {
    pub expression: String,
    pub message: String,
}

impl ExpressionError {
    fn new(expression: &str, message: impl Into<String>) -> Self {
        ExpressionError { expression: excerpt(expression), message: message.into() }
    }
}

/// A compiled expression. Cloning shares the program.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// `payload.a.b`, `item`: read directly, without converting the payload; key order survives.
    Path(Arc<[String]>),
    Program {
        program: Arc<Program>,
        reach: Arc<Reach>,
        nested_macros: usize,
        builds: bool,
    },
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({})", self.source)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Expression {
    /// Reads an expression whose variables are among `names`.
    pub fn compile(source: &str, names: &[&str]) -> Result<Expression, ExpressionError> {
        let source = source.trim();
        if source.is_empty() {
            return Err(ExpressionError::new(
                source,
                "is empty. Write a CEL expression, such as payload.amount > 100.",
            ));
        }
        if source.len() > MAX_EXPRESSION_BYTES {
            let message =
                format!("is longer than {MAX_EXPRESSION_BYTES} bytes. Split it over several tasks.");
            return Err(ExpressionError::new(source, message));
        }
        if let Some(path) = plain_path(source) {
            known_name(source, &path[0], names)?;
            return Ok(Expression { source: source.into(), kind: Kind::Path(path.into()) });
        }
        check_shape(source).map_err(|message| ExpressionError::new(source, message))?;
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.first();
            let place = first.map_or(0, |error| error.pos.1.max(0));
            let what = first.map_or("it cannot be read", |error| error.msg.as_str());
            ExpressionError::new(source, format!("is not valid CEL at character {place}: {}", excerpt(what)))
        })?;
        check_names(source, program.expression(), &mut names.to_vec())?;
        let nested_macros = nesting(program.expression());
        if nested_macros > MAX_NESTED_MACROS {
            let message = format!("nests more than {MAX_NESTED_MACROS} macros. Split it over several tasks.");
            return Err(ExpressionError::new(source, message));
        }
        let builds =
            source.contains('+') || source.contains('[') || source.contains('{') || source.contains("map(");
        let reach = Arc::new(Reach::of(program.expression()));
        let kind = Kind::Program { program: Arc::new(program), reach, nested_macros, builds };
        Ok(Expression { source: source.into(), kind })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// The value of the expression. Integers stay exact; key order of maps that CEL built is by name.
    pub fn evaluate(&self, names: &Names<'_>) -> Result<Value, ExpressionError> {
        self.evaluate_within(names, &mut { MAX_RESULT_BYTES })
    }

    /// The same, where several results share the room that is left.
    fn evaluate_within(&self, names: &Names<'_>, room: &mut usize) -> Result<Value, ExpressionError> {
        let failed = |message: String| ExpressionError::new(&self.source, message);
        match &self.kind {
            Kind::Path(path) => {
                let found = follow(path, names).map_err(failed)?;
                let (bytes, _) = super::json::measure(&found);
                *room = room
                    .checked_sub(bytes)
                    .ok_or_else(|| failed("gave too much: results are limited to 16 MiB.".to_owned()))?;
                Ok(found.into_owned())
            }
            Kind::Program { program, reach, nested_macros, builds } => {
                let reached = reach.within(names);
                check_work(&reached, *nested_macros, *builds).map_err(failed)?;
                let mut context = cel::Context::default();
                for (name, value) in &reached {
                    context.add_variable_from_value(*name, cel_value::from_reached(value));
                }
                let value = program.execute(&context).map_err(|error| {
                    failed(format!("could not be evaluated: {}.", excerpt(&error.to_string())))
                })?;
                cel_value::to_json(&value, room).map_err(failed)
            }
        }
    }

    /// The value of a condition: anything but true or false is an error.
    pub fn holds(&self, names: &Names<'_>) -> Result<bool, ExpressionError> {
        match self.evaluate(names)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(ExpressionError::new(
                &self.source,
                format!("gave {}, where true or false is needed.", kind_of(&other)),
            )),
        }
    }
}

/// Resolves every `${ CEL }` in the strings of `template`; a string that is one expression keeps its type.
pub fn resolve(template: &Value, names: &Names<'_>) -> Result<Value, ExpressionError> {
    let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    Template::compile(template, &known).map_err(|(_, error)| error)?.resolve(names)
}

/// What a JSON value is, in words.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn known_name(source: &str, name: &str, names: &[&str]) -> Result<(), ExpressionError> {
    // Names that CEL's macros make up begin with `@`; the macro's own variable is not listed among references.
    if names.contains(&name) || name.starts_with('@') {
        return Ok(());
    }
    let message = format!("names `{name}`, which does not exist here. Use {}.", names.join(" or "));
    Err(ExpressionError::new(source, message))
}

/// Every free variable must be known; a macro brings its own.
fn check_names<'e>(
    source: &str,
    node: &'e IdedExpr,
    names: &mut Vec<&'e str>,
) -> Result<(), ExpressionError> {
    match &node.expr {
        Expr::Ident(name) => known_name(source, name, names),
        Expr::Comprehension(inner) => {
            check_names(source, &inner.iter_range, names)?;
            let known = names.len();
            names.extend([inner.iter_var.as_str(), inner.accu_var.as_str()]);
            names.extend(inner.iter_var2.as_deref());
            for part in [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result] {
                check_names(source, part, names)?;
            }
            names.truncate(known);
            Ok(())
        }
        Expr::Call(_) | Expr::List(_) | Expr::Select(_) | Expr::Map(_) | Expr::Struct(_) => {
            children(node).into_iter().try_for_each(|child| check_names(source, child, names))
        }
        Expr::Unspecified | Expr::Literal(_) => Ok(()),
    }
}

/// What would overflow a reader that recurses: brackets in brackets, and long chains of operators.
fn check_shape(source: &str) -> Result<(), String> {
    let (mut depth, mut operators) = (0_usize, 0_usize);
    for letter in source.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '?' => operators += 4,
            '+' | '-' | '*' | '/' | '%' | '!' | '<' | '>' | '=' | '&' | '|' | '.' => operators += 1,
            _ => {}
        }
        if depth > MAX_BRACKETS || operators > MAX_OPERATORS {
            return Err("is too complicated. Split it over several tasks.".to_owned());
        }
    }
    Ok(())
}

/// `a` or `a.b.c`, with words only, and not a keyword or a literal of CEL.
fn plain_path(source: &str) -> Option<Vec<String>> {
    let words: Vec<String> = source.split('.').map(str::to_owned).collect();
    let word = |text: &String| {
        let mut letters = text.chars();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && !matches!(text.as_str(), "true" | "false" | "null" | "in")
    };
    words.iter().all(word).then_some(words)
}

/// How deep macros stand inside macros.
fn nesting(node: &IdedExpr) -> usize {
    let deepest = |parts: Vec<&IdedExpr>| parts.into_iter().map(nesting).max().unwrap_or(0);
    match &node.expr {
        Expr::Comprehension(inner) => {
            let body = deepest(vec![&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result]);
            (1 + body).max(nesting(&inner.iter_range))
        }
        _ => deepest(children(node)),
    }
}

fn children(node: &IdedExpr) -> Vec<&IdedExpr> {
    match &node.expr {
        Expr::Comprehension(inner) => {
            vec![&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result]
        }
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Struct(object) => object.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// At most 200 characters, for messages.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn evaluate(source: &str, payload: Value) -> Result<Value, ExpressionError> {
        Expression::compile(source, &["payload"])?.evaluate(&[("payload", (&payload).into())])
    }

    #[test]
    fn integers_beyond_doubles_stay_exact() {
        let payload = json!({"n": 9_007_199_254_740_993_i64, "big": u64::MAX});
        assert_eq!(evaluate("payload.n + 1", payload.clone()).unwrap(), json!(9_007_199_254_740_994_i64));
        assert_eq!(evaluate("payload.n", payload.clone()).unwrap(), json!(9_007_199_254_740_993_i64));
        assert_eq!(evaluate("payload['big']", payload).unwrap(), json!(u64::MAX));
    }

    #[test]
    fn a_missing_field_is_named_with_what_there_is() {
        let error = evaluate("payload.b.c", json!({"a": 1})).unwrap_err();
        assert!(error.message.contains("finds no `b` in payload. It has: a."), "{error}");
    }

    #[test]
    fn an_unknown_name_is_refused_when_the_protocol_is_read() {
        let error = Expression::compile("secrets.key == 'x'", &["payload"]).unwrap_err();
        assert!(error.message.contains("names `secrets`"), "{error}");
    }

    #[test]
    fn a_third_nested_macro_is_refused() {
        let source = "payload.l.all(a, payload.l.all(b, payload.l.all(c, a + b + c > 0)))";
        assert!(Expression::compile(source, &["payload"]).unwrap_err().message.contains("nests more"));
        let source = "payload.l.all(a, payload.l.all(b, a + b > 0))";
        assert_eq!(evaluate(source, json!({"l": [1, 2]})).unwrap(), json!(true));
    }

    #[test]
    fn an_expression_that_would_go_over_a_long_list_for_ever_is_refused() {
        let list: Vec<u32> = (0..10_000).collect();
        let error = evaluate("payload.l.all(a, payload.l.all(b, a >= 0))", json!({ "l": list })).unwrap_err();
        assert!(error.message.contains("would go"), "{error}");
    }

    #[test]
    fn a_condition_must_be_true_or_false() {
        let expression = Expression::compile("payload.a + 1", &["payload"]).unwrap();
        let error = expression.holds(&[("payload", (&json!({"a": 1})).into())]).unwrap_err();
        assert!(error.message.contains("true or false is needed"), "{error}");
    }

    #[test]
    fn deeply_nested_source_is_an_error_and_not_a_crash() {
        for hostile in [
            format!("{}1{}", "(".repeat(900), ")".repeat(900)),
            format!("{}true", "!".repeat(1_900)),
            format!("1{}", "+1".repeat(900)),
            format!("{}1", "true?1:".repeat(280)),
            format!("{}1{}", "[".repeat(900), "]".repeat(900)),
            format!("payload['a']{}", ".a".repeat(900)),
        ] {
            assert!(Expression::compile(&hostile, &["payload"]).is_err(), "{hostile}");
        }
        for allowed in [
            format!("{}1{}", "(".repeat(MAX_BRACKETS), ")".repeat(MAX_BRACKETS)),
            format!("1{}", "+1".repeat(MAX_OPERATORS)),
            format!("{}1", "true?1:".repeat(MAX_OPERATORS / 4)),
        ] {
            Expression::compile(&allowed, &["payload"]).unwrap().evaluate(&[]).unwrap();
        }
    }
}
