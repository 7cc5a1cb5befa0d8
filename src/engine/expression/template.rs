//! `with`: JSON whose strings may hold `${ CEL }`.

use super::{Expression, ExpressionError, Names, kind_of};
use serde_json::{Map, Value};

/// A compiled `with`.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// No expression inside: the value itself.
    Constant(Value),
    /// A string that is one expression: its result keeps its type.
    Whole(Expression),
    /// Text around expressions: their results become text.
    Text(Vec<Piece>),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Text(String),
    Expression(Expression),
}

impl Template {
    /// Reads a template whose expressions see `names`. An error comes with the JSON path below the template
    /// (`.a[0]`).
    pub fn compile(value: &Value, names: &[&str]) -> Result<Template, (String, ExpressionError)> {
        let compiled = match value {
            Value::String(text) => {
                return Template::compile_text(text, names).map_err(|error| (String::new(), error));
            }
            Value::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let inner = Template::compile(item, names);
                    list.push(inner.map_err(|(path, error)| (format!("[{index}]{path}"), error))?);
                }
                Template::List(list)
            }
            Value::Object(map) => {
                let mut object = Vec::with_capacity(map.len());
                for (key, item) in map {
                    let inner = Template::compile(item, names);
                    object.push((
                        key.clone(),
                        inner.map_err(|(path, error)| (format!(".{key}{path}"), error))?,
                    ));
                }
                Template::Object(object)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => return Ok(Template::Constant(value.clone())),
        };
        Ok(if compiled.is_constant() { Template::Constant(value.clone()) } else { compiled })
    }

    fn is_constant(&self) -> bool {
        match self {
            Template::Constant(_) => true,
            Template::Whole(_) | Template::Text(_) => false,
            Template::List(items) => items.iter().all(Template::is_constant),
            Template::Object(entries) => entries.iter().all(|(_, item)| item.is_constant()),
        }
    }

    fn compile_text(text: &str, names: &[&str]) -> Result<Template, ExpressionError> {
        let pieces = split(text, names)?;
        Ok(match pieces.as_slice() {
            [] => Template::Constant(Value::String(String::new())),
            [Piece::Text(plain)] => Template::Constant(Value::String(plain.clone())),
            [Piece::Expression(expression)] => Template::Whole(expression.clone()),
            _ => Template::Text(pieces),
        })
    }

    pub fn resolve(&self, names: &Names<'_>) -> Result<Value, ExpressionError> {
        self.resolve_within(names, &mut { super::MAX_RESULT_BYTES })
    }

    fn resolve_within(&self, names: &Names<'_>, room: &mut usize) -> Result<Value, ExpressionError> {
        Ok(match self {
            Template::Constant(value) => value.clone(),
            Template::Whole(expression) => expression.evaluate_within(names, room)?,
            Template::Text(pieces) => Value::String(join(pieces, names, room)?),
            Template::List(items) => Value::Array(
                items.iter().map(|item| item.resolve_within(names, room)).collect::<Result<_, _>>()?,
            ),
            Template::Object(entries) => {
                let pairs =
                    entries.iter().map(|(key, item)| Ok((key.clone(), item.resolve_within(names, room)?)));
                Value::Object(pairs.collect::<Result<Map<_, _>, ExpressionError>>()?)
            }
        })
    }
}

fn join(pieces: &[Piece], names: &Names<'_>, room: &mut usize) -> Result<String, ExpressionError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Expression(expression) => match expression.evaluate_within(names, room)? {
                Value::String(value) => text.push_str(&value),
                Value::Null => {}
                value @ (Value::Bool(_) | Value::Number(_)) => text.push_str(&value.to_string()),
                value @ (Value::Array(_) | Value::Object(_)) => {
                    let message = format!(
                        "gave {} inside a longer text. Let it be the whole string, or pick a field of it.",
                        kind_of(&value)
                    );
                    return Err(ExpressionError::new(expression.source(), message));
                }
            },
        }
    }
    Ok(text)
}

/// Cuts a string into text and expressions. `$${` stands for a plain `${`.
fn split(text: &str, names: &[&str]) -> Result<Vec<Piece>, ExpressionError> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            plain.push_str(&rest[..start]);
            plain.push('{');
            rest = &rest[start + 2..];
            continue;
        }
        plain.push_str(&rest[..start]);
        let inside = &rest[start + 2..];
        let end = closing_brace(inside)
            .ok_or_else(|| ExpressionError::new(text, "opens `${` and never closes it. Add the `}`."))?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Expression(Expression::compile(&inside[..end], names)?));
        rest = &inside[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

/// The `}` that ends an expression, past strings and braces inside it.
fn closing_brace(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (index, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(index),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::resolve;
    use serde_json::json;

    #[test]
    fn a_whole_string_keeps_its_type_and_text_is_joined() {
        let payload = json!({"id": 123, "name": "Ada", "list": [1, 2]});
        let names = [("payload", (&payload).into())];
        let template = json!({"id": "${payload.id}", "text": "Licence ${payload.id} of ${payload.name}", "l": ["${payload.list}"]});
        let resolved = resolve(&template, &names).unwrap();
        assert_eq!(resolved, json!({"id": 123, "text": "Licence 123 of Ada", "l": [[1, 2]]}));
    }

    #[test]
    fn braces_and_quotes_inside_an_expression_do_not_end_it() {
        let payload = json!({});
        let resolved = resolve(&json!("${ {'a}': '}'}['a}'] }"), &[("payload", (&payload).into())]).unwrap();
        assert_eq!(resolved, json!("}"));
    }

    #[test]
    fn a_doubled_dollar_is_plain_text() {
        assert_eq!(resolve(&json!("$${payload.id}"), &[]).unwrap(), json!("${payload.id}"));
    }

    #[test]
    fn an_unclosed_expression_is_named() {
        let error = resolve(&json!("a ${payload.id"), &[]).unwrap_err();
        assert!(error.message.contains("never closes"), "{error}");
    }

    #[test]
    fn a_list_inside_a_text_is_an_error() {
        let payload = json!({"l": [1]});
        assert!(resolve(&json!("x ${payload.l}"), &[("payload", (&payload).into())]).is_err());
    }
}
