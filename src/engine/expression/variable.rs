//! What an expression is given, and how little of it is read: only the fields that the expression can reach are
//! converted and counted. A `for_each` over ten thousand items would otherwise read the whole payload for each.

use super::{children, excerpt, kind_of};
use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most work an expression may ask for, in units of (evaluations of a macro's body × size of what it may build).
const MAX_WORK: u64 = 64 << 20;

/// A variable of an expression.
#[derive(Debug, Clone, Copy)]
pub enum Variable<'a> {
    Value(&'a Value),
    /// One object, as maps laid over each other: a later one hides the fields of an earlier one.
    Layers(&'a [Arc<Map<String, Value>>]),
}

/// The variables that an expression sees, for example `[("payload", (&payload).into())]`.
pub type Names<'a> = [(&'a str, Variable<'a>)];

impl<'a> From<&'a Value> for Variable<'a> {
    fn from(value: &'a Value) -> Variable<'a> {
        Variable::Value(value)
    }
}

impl<'a> From<&'a [Arc<Map<String, Value>>]> for Variable<'a> {
    fn from(layers: &'a [Arc<Map<String, Value>>]) -> Variable<'a> {
        Variable::Layers(layers)
    }
}

impl<'a> From<&'a Vec<Arc<Map<String, Value>>>> for Variable<'a> {
    fn from(layers: &'a Vec<Arc<Map<String, Value>>>) -> Variable<'a> {
        Variable::Layers(layers)
    }
}

/// Layers as the one object that they stand for. It copies them: where a field is enough, let an expression ask.
pub fn flat(layers: &[Arc<Map<String, Value>>]) -> Map<String, Value> {
    let Some((first, over)) = layers.split_first() else { return Map::new() };
    let mut whole = Map::clone(first);
    for layer in over {
        whole.extend(layer.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    whole
}

/// Follows `payload.a.b` without copying; the name alone of a layered variable is all of it, copied.
pub(super) fn follow<'v>(path: &[String], names: &Names<'v>) -> Result<Cow<'v, Value>, String> {
    let (name, fields) = path.split_first().ok_or("is empty.")?;
    let found = names.iter().find(|(known, _)| known == name);
    let (_, variable) = found.ok_or_else(|| format!("names `{name}`, which does not exist here."))?;
    let (mut value, below, mut so_far) = match (variable, fields.split_first()) {
        (Variable::Value(value), _) => (*value, fields, name.clone()),
        (Variable::Layers(layers), None) => return Ok(Cow::Owned(Value::Object(flat(layers)))),
        (Variable::Layers(layers), Some((field, below))) => {
            let value = in_layers(layers, field).ok_or_else(|| {
                let keys = layers.iter().rev().flat_map(|layer| layer.keys());
                format!("finds no `{field}` in {name}. It has: {}.", some_of(keys))
            })?;
            (value, below, format!("{name}.{field}"))
        }
    };
    for field in below {
        value = match value {
            Value::Object(map) => map
                .get(field)
                .ok_or_else(|| format!("finds no `{field}` in {so_far}. It has: {}.", some_of(map.keys())))?,
            other => return Err(format!("asks for `{field}` of {so_far}, which is {}.", kind_of(other))),
        };
        so_far = format!("{so_far}.{field}");
    }
    Ok(Cow::Borrowed(value))
}

fn in_layers<'v>(layers: &'v [Arc<Map<String, Value>>], field: &str) -> Option<&'v Value> {
    layers.iter().rev().find_map(|layer| layer.get(field))
}

fn some_of<'k>(keys: impl Iterator<Item = &'k String>) -> String {
    let mut some: Vec<&str> = Vec::new();
    for key in keys {
        if !some.contains(&key.as_str()) {
            some.push(key);
        }
        if some.len() == 12 {
            break;
        }
    }
    if some.is_empty() { "nothing".to_owned() } else { excerpt(&some.join(", ")) }
}

/// What an expression can reach, by the name of the variable: some fields of it (`payload.a`, `payload['a']`,
/// `has(payload.a)`), or all of it.
#[derive(Debug, Default)]
pub(super) struct Reach(BTreeMap<String, Fields>);

#[derive(Debug)]
enum Fields {
    All,
    /// Each once.
    These(Vec<String>),
}

impl Reach {
    /// A macro's own variable counts as the one whose name it bears: that reads too much, never too little.
    pub(super) fn of(node: &IdedExpr) -> Reach {
        let mut reach = Reach::default();
        reach.add(node);
        reach
    }

    fn add(&mut self, node: &IdedExpr) {
        if let Expr::Ident(name) = &node.expr {
            self.0.insert(name.clone(), Fields::All);
        } else if let Some((name, field)) = selection(&node.expr) {
            match self.0.entry(name.to_owned()).or_insert(Fields::These(Vec::new())) {
                Fields::These(fields) if !fields.iter().any(|known| known == field) => {
                    fields.push(field.to_owned());
                }
                Fields::These(_) | Fields::All => {}
            }
        } else {
            children(node).into_iter().for_each(|child| self.add(child));
        }
    }

    /// What of these variables the expression can reach. A variable that it does not name is not there.
    pub(super) fn within<'v>(&self, names: &Names<'v>) -> Vec<(&'v str, Reached<'v>)> {
        let reached = names.iter().filter_map(|(name, variable)| {
            let fields = self.0.get(*name)?;
            Some((*name, Reached::new(*variable, fields)))
        });
        reached.collect()
    }
}

/// `a.b`, `a['b']` and `has(a.b)`, of a variable `a`.
fn selection(expression: &Expr) -> Option<(&str, &str)> {
    let (of, field) = match expression {
        Expr::Select(select) => (select.operand.as_ref(), select.field.as_str()),
        Expr::Call(call) if call.func_name == operators::INDEX => {
            match (&call.target, call.args.as_slice()) {
                (None, [of, IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. }]) => {
                    (of, field.inner())
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    match &of.expr {
        Expr::Ident(name) => Some((name, field)),
        _ => None,
    }
}

/// What an expression can reach of a variable.
#[derive(Debug)]
pub(super) enum Reached<'v> {
    Whole(&'v Value),
    Fields(Vec<(&'v str, &'v Value)>),
}

impl<'v> Reached<'v> {
    fn new(variable: Variable<'v>, fields: &Fields) -> Reached<'v> {
        let these = |fields: &[String], of: &dyn Fn(&str) -> Option<(&'v str, &'v Value)>| {
            Reached::Fields(fields.iter().filter_map(|field| of(field)).collect())
        };
        match (variable, fields) {
            (Variable::Value(Value::Object(map)), Fields::These(fields)) => {
                these(fields, &|field| map.get_key_value(field).map(|(key, value)| (key.as_str(), value)))
            }
            (Variable::Value(value), Fields::All | Fields::These(_)) => Reached::Whole(value),
            (Variable::Layers(layers), Fields::These(fields)) => these(fields, &|field| {
                let found = layers.iter().rev().find_map(|layer| layer.get_key_value(field));
                found.map(|(key, value)| (key.as_str(), value))
            }),
            (Variable::Layers(layers), Fields::All) => {
                let mut whole = BTreeMap::new();
                for (key, value) in layers.iter().flat_map(|layer| layer.iter()) {
                    whole.insert(key.as_str(), value);
                }
                Reached::Fields(whole.into_iter().collect())
            }
        }
    }

    fn measure(&self, longest: &mut u64, bytes: &mut u64) {
        match self {
            Reached::Whole(value) => measure(value, longest, bytes),
            Reached::Fields(fields) => {
                *longest = (*longest).max(fields.len() as u64);
                for (key, value) in fields {
                    *bytes += key.len() as u64;
                    measure(value, longest, bytes);
                }
            }
        }
    }
}

/// An upper bound of what an evaluation may cost, from the sizes of what it reaches; refuses before it hangs.
pub(super) fn check_work(
    reached: &[(&str, Reached<'_>)],
    nested_macros: usize,
    builds: bool,
) -> Result<(), String> {
    if nested_macros == 0 {
        return Ok(());
    }
    let (mut longest, mut bytes) = (1_u64, 0_u64);
    reached.iter().for_each(|(_, value)| value.measure(&mut longest, &mut bytes));
    let rounds = longest.saturating_pow(nested_macros as u32);
    // A body that builds texts or lists may copy all that is reached in each round.
    let each = if builds { bytes.max(1) } else { 16 };
    if rounds.saturating_mul(each) > MAX_WORK {
        return Err(format!("would go {rounds} times over the payload. Use shorter lists or fewer macros."));
    }
    Ok(())
}

fn measure(value: &Value, longest: &mut u64, bytes: &mut u64) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => *bytes += 8,
        Value::String(text) => *bytes += text.len() as u64,
        Value::Array(items) => {
            *longest = (*longest).max(items.len() as u64);
            items.iter().for_each(|item| measure(item, longest, bytes));
        }
        Value::Object(map) => {
            *longest = (*longest).max(map.len() as u64);
            map.iter().for_each(|(key, item)| {
                *bytes += key.len() as u64;
                measure(item, longest, bytes);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expression, ExpressionError};
    use super::*;
    use serde_json::json;

    fn layers(maps: &[Value]) -> Vec<Arc<Map<String, Value>>> {
        maps.iter().map(|map| Arc::new(map.as_object().cloned().unwrap())).collect()
    }

    fn ask(
        source: &str,
        payload: &[Arc<Map<String, Value>>],
        item: &Value,
    ) -> Result<Value, ExpressionError> {
        let names = [("payload", payload.into()), ("item", item.into())];
        Expression::compile(source, &["payload", "item"])?.evaluate(&names)
    }

    #[test]
    fn a_later_layer_hides_the_fields_of_an_earlier_one() {
        let payload = layers(&[json!({"a": 1, "b": {"c": 2}}), json!({"b": 3, "d": 4})]);
        for (source, expected) in [
            ("payload.a", json!(1)),
            ("payload.b", json!(3)),
            ("payload.a + payload['b'] + payload.d", json!(8)),
            ("has(payload.b) && !has(payload.c)", json!(true)),
            ("payload", json!({"a": 1, "b": 3, "d": 4})),
            ("payload.map(key, payload[key] == 3).filter(same, same).size()", json!(1)),
        ] {
            assert_eq!(ask(source, &payload, &Value::Null).unwrap(), expected, "{source}");
        }
        let error = ask("payload.b.c", &payload, &Value::Null).unwrap_err();
        assert!(error.message.contains("asks for `c` of payload.b, which is a number"), "{error}");
        let error = ask("payload.x", &payload, &Value::Null).unwrap_err();
        assert!(error.message.contains("finds no `x` in payload. It has: b, d, a."), "{error}");
        let error = ask("payload.x + 1", &payload, &Value::Null).unwrap_err();
        assert!(error.message.contains("could not be evaluated"), "{error}");
        assert!(ask("payload.a", &[], &Value::Null).unwrap_err().message.contains("It has: nothing."));
    }

    #[test]
    fn a_name_alone_is_its_value_as_it_is() {
        let item = json!({"z": 1, "a": [2]});
        assert_eq!(ask("item", &[], &item).unwrap().to_string(), item.to_string(), "key order survives");
        assert_eq!(ask("item.a", &[], &item).unwrap(), json!([2]));
        assert_eq!(ask("true", &[], &item).unwrap(), json!(true));
        let error = ask("thing", &[], &item).unwrap_err();
        assert!(error.message.contains("names `thing`, which does not exist here"), "{error}");
    }

    #[test]
    fn what_an_expression_does_not_reach_costs_it_nothing() {
        let huge: Vec<u32> = (0..200_000).collect();
        let over_all = "payload.all(a, payload.all(b, a != '' && b != ''))";
        for payload in [
            layers(&[json!({"huge": huge, "small": [1, 2, 3]})]),
            layers(&[json!({ "huge": huge }), json!({"small": [1, 2, 3]})]),
        ] {
            for source in [
                "payload.small.map(a, payload.small.map(b, a + b)).size() == 3",
                "payload['small'].all(a, payload.small.all(b, a + b > 0))",
                "has(payload.small) && payload.small.all(a, payload.small.all(b, a + b > 0))",
            ] {
                assert_eq!(ask(source, &payload, &json!(1)).unwrap(), json!(true), "{source}");
            }
            for source in [over_all, "payload.small.all(a, payload[item].all(b, a + b >= 0))"] {
                let error = ask(source, &payload, &json!("huge")).unwrap_err();
                assert!(error.message.contains("would go"), "{source}: {error}");
            }
            let error = ask("payload.huge.all(a, payload.small.all(b, a + b >= 0))", &payload, &Value::Null);
            assert!(error.unwrap_err().message.contains("would go"), "what is named is counted");
        }
        let payload = json!({"huge": huge, "small": [1, 2, 3]});
        let expression = Expression::compile("payload.small.all(a, a > 0)", &["payload"]).unwrap();
        assert_eq!(expression.evaluate(&[("payload", (&payload).into())]).unwrap(), json!(true));
    }

    #[test]
    fn layers_become_one_object_in_the_order_of_their_fields() {
        let payload = layers(&[json!({"z": 1, "a": 2}), json!({"z": 3, "b": 4})]);
        assert_eq!(Value::Object(flat(&payload)).to_string(), r#"{"z":3,"a":2,"b":4}"#);
        assert!(flat(&[]).is_empty());
    }
}
