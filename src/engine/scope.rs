//! What the expressions of a task see: the payload, and the items of the `for_each`es around it by their names.

use super::expression::{Expression, ExpressionError, Template, Variable};
use super::state::Scope;
use serde_json::Value;

fn names<'a>(scope: &'a Scope, items: &'a [String]) -> Vec<(&'a str, Variable<'a>)> {
    let value = |name: &String| scope.iter().rev().find_map(|layer| layer.get(name.as_str()));
    let of_items = items.iter().filter_map(|name| Some((name.as_str(), value(name)?.into())));
    std::iter::once(("payload", scope.into())).chain(of_items).collect()
}

pub fn resolve(template: &Template, scope: &Scope, items: &[String]) -> Result<Value, ExpressionError> {
    template.resolve(&names(scope, items))
}

pub fn holds(condition: &Expression, scope: &Scope, items: &[String]) -> Result<bool, ExpressionError> {
    condition.holds(&names(scope, items))
}

pub fn evaluate(expression: &Expression, scope: &Scope, items: &[String]) -> Result<Value, ExpressionError> {
    expression.evaluate(&names(scope, items))
}
