//! Data of a write: `key=value`, `key=@file`, `key=-`, `@file.json`, `-`.

use serde_json::{Map, Value};

use crate::{failure::Failure, prompt};

/// Reads the arguments. `-` and `key=-` take all of standard input, once. A repeated key becomes a list. Values are
/// text; `\@` and `\-` at their start stand for themselves.
pub fn data(arguments: &[String]) -> Result<Map<String, Value>, Failure> {
    data_from(arguments, &mut prompt::standard_input)
}

fn data_from(
    arguments: &[String],
    input: &mut dyn FnMut() -> Result<String, Failure>,
) -> Result<Map<String, Value>, Failure> {
    let mut data = Map::new();
    for argument in arguments {
        if argument == "-" {
            merge(&mut data, object(&input()?, "standard input")?);
            continue;
        }
        if let Some(path) = argument.strip_prefix('@') {
            merge(&mut data, object(&file(path)?, path)?);
            continue;
        }
        let (key, value) = argument.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
            Failure::local(format!(
                "Failed to parse K=V data: invalid key/value pair {argument:?}: format must be key=value"
            ))
        })?;
        let value = match value {
            "-" => input()?,
            _ => match (value.strip_prefix('@'), value.strip_prefix('\\')) {
                (Some(path), _) => file(path)?,
                (None, Some(rest)) if rest.starts_with(['@', '-']) => rest.to_owned(),
                _ => value.to_owned(),
            },
        };
        merge(&mut data, Map::from_iter([(key.to_owned(), Value::String(value))]));
    }
    Ok(data)
}

/// The same where values are all text, as a query string or metadata want them.
pub fn texts(arguments: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let data = data(arguments)?;
    let mut texts = Vec::new();
    for (key, value) in data {
        match value {
            Value::Array(list) => {
                texts.extend(list.into_iter().map(|value| (key.clone(), crate::format::plain(&value))))
            }
            value => texts.push((key, crate::format::plain(&value))),
        }
    }
    Ok(texts)
}

/// A query string.
pub fn query(pairs: &[(String, String)]) -> String {
    let escape = |text: &str| -> String {
        let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let show = |byte: u8| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        text.bytes().map(show).collect()
    };
    pairs.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect::<Vec<_>>().join("&")
}

/// The content of `@file`, `-` or the text itself.
pub fn text(argument: &str) -> Result<String, Failure> {
    match (argument, argument.strip_prefix('@')) {
        ("-", _) => prompt::standard_input(),
        (_, Some(path)) => file(path),
        (text, None) => Ok(text.to_owned()),
    }
}

fn merge(data: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        match data.remove(&key) {
            None => data.insert(key, value),
            Some(Value::Array(mut list)) => {
                list.push(value);
                data.insert(key, Value::Array(list))
            }
            Some(first) => data.insert(key, Value::Array(vec![first, value])),
        };
    }
}

/// Reads a text file and names it when it cannot.
pub fn file(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::local(format!("Error reading file {path:?}: {error}")))
}

fn object(text: &str, name: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::local(format!("Failed to parse JSON object from {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(arguments: &[&str], input: &str) -> Result<Value, String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        data_from(&arguments, &mut || Ok(input.to_owned())).map(Value::Object).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn every_way_to_give_data() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.json");
        std::fs::write(&path, "{\"n\": 1}\n").unwrap();
        let path = path.display();
        assert_eq!(read(&["a=1", "b=x=y", "c="], ""), Ok(json!({"a": "1", "b": "x=y", "c": ""})));
        assert_eq!(read(&["a=1", "a=2", "a=3"], ""), Ok(json!({"a": ["1", "2", "3"]})));
        assert_eq!(read(&[&format!("a=@{path}")], ""), Ok(json!({"a": "{\"n\": 1}\n"})));
        assert_eq!(read(&[&format!("@{path}"), "b=2"], ""), Ok(json!({"n": 1, "b": "2"})));
        assert_eq!(read(&["a=-"], "typed"), Ok(json!({"a": "typed"})));
        assert_eq!(read(&["-"], "{\"a\": true}"), Ok(json!({"a": true})));
        assert_eq!(read(&["a=\\@x", "b=\\-", "c=\\n"], ""), Ok(json!({"a": "@x", "b": "-", "c": "\\n"})));
        assert!(read(&["nothing"], "").unwrap_err().contains("key=value"));
        assert!(read(&["@/nowhere"], "").unwrap_err().contains("/nowhere"));
        assert!(read(&["-"], "[1]").unwrap_err().contains("JSON"));
    }

    #[test]
    fn query_strings() {
        let pairs = [("a b".to_owned(), "ü/&".to_owned()), ("c".to_owned(), "1".to_owned())];
        assert_eq!(query(&pairs), "a%20b=%C3%BC%2F%26&c=1");
    }
}
