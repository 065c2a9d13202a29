//! Metadata of a secret id, as clients send it: a JSON text, that in base64, `key=value` pairs, or an object.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_logical::Error;
use serde_json::Value;

/// Reads it; nothing is an empty map.
pub(crate) fn parse(value: Option<&Value>) -> Result<BTreeMap<String, String>, Error> {
    let wrong = || Error::invalid("failed to parse metadata: give a JSON object of strings as text, or key=value");
    match value {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(_)) => value.and_then(object).ok_or_else(wrong),
        Some(Value::String(text)) => self::text(text.trim()).ok_or_else(wrong),
        Some(_) => Err(wrong()),
    }
}

fn text(text: &str) -> Option<BTreeMap<String, String>> {
    if text.is_empty() {
        return Some(BTreeMap::new());
    }
    if let Some(map) = json(text.as_bytes()) {
        return Some(map);
    }
    if let Some(map) = BASE64_STANDARD.decode(text).ok().and_then(|bytes| json(&bytes)) {
        return Some(map);
    }
    text.split(',')
        .map(|pair| pair.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())))
        .map(|pair| pair.filter(|(key, _)| !key.is_empty() && !key.starts_with('{')))
        .collect()
}

fn json(bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    object(&serde_json::from_slice::<Value>(bytes).ok()?)
}

fn object(value: &Value) -> Option<BTreeMap<String, String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    value.as_object()?.iter().map(|(key, value)| Some((key.clone(), text(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_what_clients_send() {
        let encoded = BASE64_STANDARD.encode(r#"{"a":"1","b":"2"}"#);
        for value in [json!(r#"{"a":"1","b":"2"}"#), json!("a=1, b=2"), json!({"a": "1", "b": 2}), json!(encoded)] {
            let map = parse(Some(&value)).unwrap();
            assert_eq!((map["a"].as_str(), map["b"].as_str(), map.len()), ("1", "2", 2), "{value}");
        }
        for value in [json!("{}"), json!(""), Value::Null] {
            assert!(parse(Some(&value)).unwrap().is_empty());
        }
        assert!(parse(None).unwrap().is_empty());
    }

    #[test]
    fn refuses_what_is_no_map_of_texts() {
        for value in [json!("plain"), json!(r#"{"a":["b"]}"#), json!(r#"{"a":"b=c""#), json!([1]), json!(7)] {
            assert!(parse(Some(&value)).is_err(), "{value}");
        }
    }
}
