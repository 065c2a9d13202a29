//! Functions over values of any kind: comparing, indexing, calculating.

use crate::value::Value;

pub(super) fn equals_any(first: &Value, others: &[Value]) -> Result<bool, String> {
    for other in others {
        let equal = match (first, other) {
            (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => true,
            (Value::Missing | Value::Nil, _) | (_, Value::Missing | Value::Nil) => false,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a, _), Value::Float(b, _)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::List(_) | Value::Map(_), _) => return Err(format!("non-comparable type {}", first.kind())),
            _ => return Err("incompatible types for comparison".to_owned()),
        };
        if equal {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn order(args: &[Value]) -> Result<std::cmp::Ordering, String> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Float(a, _), Value::Float(b, _)) => {
            a.partial_cmp(b).ok_or_else(|| "invalid type for comparison".to_owned())
        }
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".to_owned()),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

pub(super) fn length(value: &Value) -> Result<i64, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        Value::Missing | Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.kind())),
    };
    i64::try_from(length).map_err(|_| "too long".to_owned())
}

pub(super) fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut found = value.clone();
    for key in keys {
        found = match &found {
            Value::Map(map) | Value::Secret(map) => match key {
                Value::Text(key) => map.get(key.as_str()).cloned().unwrap_or(Value::Nil),
                other => return Err(format!("value has type {}; should be string", other.kind())),
            },
            Value::List(items) => items[position(key, items.len())?].clone(),
            Value::Text(text) => Value::Int(i64::from(text.as_bytes()[position(key, text.len())?])),
            Value::Missing | Value::Nil => return Err("index of untyped nil".to_owned()),
            other => return Err(format!("can't index item of type {}", other.kind())),
        };
    }
    Ok(found)
}

pub(super) fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = usize::try_from(length(value)?).unwrap_or(0);
    let from = bounds.first().map_or(Ok(0), |bound| position(bound, length + 1))?;
    let to = bounds.get(1).map_or(Ok(length), |bound| position(bound, length + 1))?;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match value {
        Value::List(items) => Ok(Value::list(items[from..to].iter().cloned())),
        Value::Text(text) => text.get(from..to).map(Value::text).ok_or_else(|| "cuts a character apart".to_owned()),
        other => Err(format!("can't slice item of type {}", other.kind())),
    }
}

/// Go's reflect.DeepEqual.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|((k, a), (l, b))| k == l && same(a, b))
        }
        (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a, _), Value::Float(b, _)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        _ => false,
    }
}

/// Go's `in`: an equal element of the same kind, or a part of a text.
pub(super) fn is_in(all: &Value, needle: &Value) -> bool {
    match (all, needle) {
        (Value::Text(all), Value::Text(needle)) => all.contains(needle.as_str()),
        (Value::List(items), needle) => items.iter().any(|item| match (item, needle) {
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a, _), Value::Float(b, _)) => a == b,
            _ => false,
        }),
        _ => false,
    }
}

pub(super) fn arithmetic(name: &str, args: &[Value]) -> Result<Value, String> {
    if let (Value::Int(b), Value::Int(a)) = (&args[0], &args[1]) {
        // consul-template takes the second operand from the pipeline's side: `divide 2 10` is 5.
        let (a, b) = (*a, *b);
        let result = match name {
            "add" => a.checked_add(b),
            "subtract" => a.checked_sub(b),
            "multiply" => a.checked_mul(b),
            "divide" => a.checked_div(b),
            "modulo" => a.checked_rem(b),
            "minimum" => Some(a.min(b)),
            _ => Some(a.max(b)),
        };
        return result.map(Value::Int).ok_or_else(|| "out of range, or division by zero".to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "as in Go")]
    let number = |value: &Value| match value {
        Value::Int(value) => Ok(*value as f64),
        Value::Float(value, _) => Ok(*value),
        other => Err(format!("cannot calculate with a {}", other.kind())),
    };
    let (b, a) = (number(&args[0])?, number(&args[1])?);
    let result = match name {
        "add" => a + b,
        "subtract" => a - b,
        "multiply" => a * b,
        "divide" => a / b,
        "minimum" => a.min(b),
        "maximum" => a.max(b),
        _ => return Err("wants whole numbers".to_owned()),
    };
    Ok(Value::Float(result, None))
}

fn position(value: &Value, length: usize) -> Result<usize, String> {
    match value {
        Value::Int(at) => match usize::try_from(*at) {
            Ok(found) if found < length => Ok(found),
            _ => Err(format!("index out of range: {at}")),
        },
        Value::Missing | Value::Nil => Err("cannot index slice/array with nil".to_owned()),
        other => Err(format!("cannot index slice/array with type {}", other.kind())),
    }
}
