//! Parameter rules of a stanza: which names and values a request may, must or must not carry.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Names (lower case) with the values that are meant; an empty list means any value.
pub(crate) type Rules = BTreeMap<String, Vec<Value>>;

/// What is wrong with the parameters of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Missing(String),
    Refused(String),
}

/// Adds the rules of the same pattern in another policy: lists are joined, an empty list (any value) swallows.
pub(crate) fn merge(rules: &mut Rules, more: &Rules) {
    for (name, values) in more {
        match rules.get_mut(name) {
            None => {
                rules.insert(name.clone(), values.clone());
            }
            Some(known) if known.is_empty() || values.is_empty() => known.clear(),
            Some(known) => known.extend(values.iter().cloned()),
        }
    }
}

pub(crate) fn check(
    params: &Map<String, Value>,
    required: &BTreeSet<String>,
    denied: &Rules,
    allowed: &Rules,
) -> Result<(), Wrong> {
    if let Some(missing) = required.iter().find(|name| !params.keys().any(|key| key.to_lowercase() == **name)) {
        return Err(Wrong::Missing(missing.clone()));
    }
    let any_allowed = allowed.is_empty() || (allowed.len() == 1 && allowed.contains_key("*"));
    for (key, value) in params {
        let name = key.to_lowercase();
        let denies = denied.contains_key("*") || denied.get(&name).is_some_and(|values| is_among(value, values));
        let allows = any_allowed
            || match allowed.get(&name) {
                Some(values) => is_among(value, values),
                None => allowed.contains_key("*"),
            };
        if denies || !allows {
            return Err(Wrong::Refused(name));
        }
    }
    Ok(())
}

fn is_among(value: &Value, values: &[Value]) -> bool {
    values.is_empty() || values.iter().any(|wanted| equal(wanted, value))
}

/// Strings may have `*` at either end of the wanted one. Numbers and booleans equal their text, because the fields of
/// a request are read that way afterwards: a denied `"5"` must not pass as `5`.
fn equal(wanted: &Value, given: &Value) -> bool {
    match (scalar(wanted), scalar(given)) {
        (Some(wanted), Some(given)) => globbed(&wanted, &given),
        (None, None) => match (wanted, given) {
            (Value::Array(wanted), Value::Array(given)) => {
                wanted.len() == given.len() && wanted.iter().zip(given).all(|(wanted, given)| exact(wanted, given))
            }
            _ => wanted == given,
        },
        _ => false,
    }
}

fn exact(wanted: &Value, given: &Value) -> bool {
    match (scalar(wanted), scalar(given)) {
        (Some(wanted), Some(given)) => wanted == given,
        _ => wanted == given,
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn globbed(wanted: &str, given: &str) -> bool {
    if wanted.len() < 2 {
        return wanted == given;
    }
    match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
        (Some(_), Some(_)) => given.contains(wanted.trim_start_matches('*').trim_end_matches('*')),
        (Some(end), None) => given.ends_with(end),
        (None, Some(start)) => given.starts_with(start),
        (None, None) => wanted == given,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_by_glob_and_by_text() {
        for (wanted, given, same) in [
            (json!("a*"), json!("abc"), true),
            (json!("*c"), json!("abc"), true),
            (json!("*b*"), json!("abc"), true),
            (json!("a"), json!("abc"), false),
            (json!("*"), json!("abc"), false),
            (json!("5"), json!(5), true),
            (json!(true), json!("true"), true),
            (json!(["a"]), json!(["a"]), true),
            (json!(["a*"]), json!(["ab"]), false),
            (json!(null), json!(null), true),
            (json!("null"), json!(null), false),
        ] {
            assert_eq!(equal(&wanted, &given), same, "{wanted} {given}");
        }
    }
}
