//! Fields of a request, coerced weakly as Vault's field schema does.

use std::{collections::BTreeMap, time::Duration};

use holdfast_base::duration;
use serde_json::{Map, Value};

use crate::{Error, Field, Kind};

/// Coerced fields by name, and what was sent beyond the table.
#[derive(Default)]
pub struct Fields {
    known: Map<String, Value>,
    unknown: Map<String, Value>,
    replaced: Vec<String>,
}

impl Fields {
    /// Coerces `body` by the table; captures win over the body. A field that cannot be coerced is a 400 that names it.
    /// JSON null counts as absent for every kind but `Any`.
    pub fn coerce(
        table: &'static [Field],
        captures: &BTreeMap<&'static str, &str>,
        body: Map<String, Value>,
    ) -> Result<Self, Error> {
        let mut fields = Self::default();
        for (name, value) in body {
            match table.iter().find(|field| field.name == name) {
                Some(field) if value.is_null() && field.kind != Kind::Any => {}
                Some(field) => {
                    let value = coerce(field, value)?;
                    fields.known.insert(name, value);
                }
                None => {
                    fields.unknown.insert(name, value);
                }
            }
        }
        for (name, value) in captures {
            let value = Value::String((*value).to_owned());
            if fields.known.insert((*name).to_owned(), value).is_some() || fields.unknown.contains_key(*name) {
                fields.replaced.push((*name).to_owned());
            }
        }
        Ok(fields)
    }

    /// Was the field sent?
    pub fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// The coerced value, if sent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.known.get(name)
    }

    /// Text, if sent.
    pub fn string(&self, name: &str) -> Option<&str> {
        self.known.get(name)?.as_str()
    }

    /// Text, or a 400 `missing <name>`.
    pub fn required(&self, name: &str) -> Result<&str, Error> {
        match self.string(name) {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(Error::Invalid(format!("missing {name}"))),
        }
    }

    /// Truth, if sent.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.known.get(name)?.as_bool()
    }

    /// Whole number, if sent.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.known.get(name)?.as_i64()
    }

    /// Duration, if sent.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        Some(Duration::from_nanos(self.known.get(name)?.as_u64()?))
    }

    /// Was a duration below zero sent?
    pub fn is_negative(&self, name: &str) -> bool {
        self.known.get(name).and_then(Value::as_i64).is_some_and(|nanos| nanos < 0)
    }

    /// List of text, if sent.
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        let values = self.known.get(name)?.as_array()?;
        Some(values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect())
    }

    /// Map of text, if sent.
    pub fn string_map(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let map = self.known.get(name)?.as_object()?;
        Some(map.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect())
    }

    /// Takes a value out.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.known.remove(name)
    }

    /// What was sent beyond the table (kv v1 stores it; elsewhere it is ignored).
    pub fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    /// What was sent although the path says it.
    pub fn replaced(&self) -> &[String] {
        &self.replaced
    }

    /// Takes what was sent beyond the table.
    pub fn take_unknown(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.unknown)
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

fn coerce(field: &Field, value: Value) -> Result<Value, Error> {
    let wanted = match field.kind {
        Kind::Any => return Ok(value),
        Kind::String => string(&value).map(Value::String),
        Kind::Bool => boolean(&value).map(Value::Bool),
        Kind::Int => integer(&value).map(Value::from),
        Kind::Duration => nanos(&value).map(Value::from),
        Kind::SignedDuration => signed_nanos(&value),
        Kind::StringList => list(value.clone()).map(Value::Array),
        Kind::StringMap => string_map(&value).map(Value::Object),
        Kind::Object => object(&value).map(Value::Object),
    };
    wanted.ok_or_else(|| Error::Invalid(format!("field {:?}: cannot read it as {}", field.name, field.kind.describe())))
}

impl Kind {
    fn describe(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Bool => "a boolean (true or false)",
            Self::Int => "a whole number",
            Self::Duration | Self::SignedDuration => "a duration (seconds, or a text such as 1h30m)",
            Self::StringList => "a list of strings (or one comma separated string)",
            Self::StringMap => "a map of strings (or key=value)",
            Self::Object => "a JSON object",
            Self::Any => "JSON",
        }
    }
}

fn string(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => Some(number.as_f64()? != 0.0),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" | "" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) if text.is_empty() => Some(0),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(truth) => Some(i64::from(*truth)),
        _ => None,
    }
}

fn nanos(value: &Value) -> Option<u64> {
    let duration = match value {
        Value::Number(number) => match number.as_u64() {
            Some(seconds) => Duration::from_secs(seconds),
            None => Duration::try_from_secs_f64(number.as_f64()?).ok()?,
        },
        Value::String(text) => duration::parse(text).ok()?,
        _ => return None,
    };
    u64::try_from(duration.as_nanos()).ok()
}

fn signed_nanos(value: &Value) -> Option<Value> {
    let below = match value {
        Value::String(text) => text.trim().strip_prefix('-').map(Value::from),
        Value::Number(number) => number.to_string().strip_prefix('-').map(Value::from),
        _ => None,
    };
    match below {
        Some(above) => i64::try_from(nanos(&above)?).ok().map(|nanos| Value::from(-nanos)),
        None => nanos(value).map(Value::from),
    }
}

fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => items.iter().map(|item| string(item).map(Value::String)).collect(),
        Value::String(text) if text.is_empty() => Some(Vec::new()),
        Value::String(text) => Some(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect()),
        other => Some(vec![Value::String(string(&other)?)]),
    }
}

fn string_map(value: &Value) -> Option<Map<String, Value>> {
    let entries = match value {
        Value::Object(map) => map.clone(),
        Value::String(text) if text.trim_start().starts_with('{') => serde_json::from_str(text).ok()?,
        Value::String(text) => text.split(',').filter(|pair| !pair.is_empty()).map(pair).collect::<Option<_>>()?,
        Value::Array(items) => items.iter().map(|item| pair(item.as_str()?)).collect::<Option<_>>()?,
        _ => return None,
    };
    entries.into_iter().map(|(key, value)| Some((key, Value::String(string(&value)?)))).collect()
}

fn pair(text: &str) -> Option<(String, Value)> {
    let (key, value) = text.split_once('=')?;
    Some((key.trim().to_owned(), Value::String(value.to_owned())))
}

fn object(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &[Field] = &[
        Field::new("name", Kind::String, ""),
        Field::new("on", Kind::Bool, ""),
        Field::new("n", Kind::Int, ""),
        Field::new("ttl", Kind::Duration, ""),
        Field::new("signed", Kind::SignedDuration, ""),
        Field::new("list", Kind::StringList, ""),
        Field::new("map", Kind::StringMap, ""),
    ];

    fn coerced(body: Value) -> Result<Fields, Error> {
        Fields::coerce(TABLE, &BTreeMap::new(), body.as_object().unwrap().clone())
    }

    #[test]
    fn coerces_weakly() {
        let fields =
            coerced(json!({"name": 5, "on": "true", "n": "7", "ttl": "1h30m", "list": "a, b", "map": "k=v", "x": 1}))
                .unwrap();
        assert_eq!(fields.string("name"), Some("5"));
        assert_eq!(fields.bool("on"), Some(true));
        assert_eq!(fields.int("n"), Some(7));
        assert_eq!(fields.duration("ttl"), Some(Duration::from_secs(5400)));
        assert_eq!(fields.list("list").unwrap(), ["a", "b"]);
        assert_eq!(fields.string_map("map").unwrap()["k"], "v");
        assert_eq!(fields.unknown()["x"], 1);
    }

    #[test]
    fn a_field_that_cannot_be_read_is_named() {
        let error = coerced(json!({"ttl": "soon"})).unwrap_err();
        assert!(error.to_string().contains("\"ttl\""), "{error}");
    }

    #[test]
    fn only_some_durations_may_be_negative() {
        assert!(coerced(json!({"ttl": "-1s"})).is_err());
        for below in [json!("-1s"), json!(-1), json!("-1h30m")] {
            let fields = coerced(json!({ "signed": below })).unwrap();
            assert!(fields.is_negative("signed") && fields.duration("signed").is_none(), "{below}");
        }
        for (above, seconds) in [(json!("1m"), 60), (json!(5), 5), (json!("0s"), 0), (json!("-0"), 0)] {
            let fields = coerced(json!({ "signed": above })).unwrap();
            assert_eq!(
                (fields.is_negative("signed"), fields.duration("signed")),
                (false, Some(Duration::from_secs(seconds)))
            );
        }
        for wrong in [json!("--1"), json!("-x"), json!([1])] {
            assert!(coerced(json!({ "signed": wrong })).is_err(), "{wrong}");
        }
    }

    #[test]
    fn captures_win_over_the_body() {
        let fields = Fields::coerce(
            TABLE,
            &BTreeMap::from([("name", "path")]),
            json!({"name": "body"}).as_object().unwrap().clone(),
        );
        let fields = fields.unwrap();
        assert_eq!((fields.string("name"), fields.replaced()), (Some("path"), &["name".to_owned()][..]));
    }
}
