//! JSON into the same tree, with repeated members kept.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value as Json, value::RawValue};

use crate::{Attribute, Body, Item, MAX_DEPTH, ParseError, Position, Value};

/// Members of an object as they stand, unlike a map, which would keep only the last of two equal names.
struct Members(Vec<(String, Box<RawValue>)>);

pub(crate) fn parse(text: &str) -> Result<Body, ParseError> {
    let members: Members = serde_json::from_str(text).map_err(|error| refuse(&error))?;
    body(members, 1)
}

fn body(members: Members, depth: usize) -> Result<Body, ParseError> {
    let item = |(key, raw): (String, Box<RawValue>)| {
        let value = value(raw.get(), depth)?;
        Ok(Item::Attribute(Attribute { key, value, position: Position::default() }))
    };
    Ok(Body { items: members.0.into_iter().map(item).collect::<Result<_, _>>()? })
}

fn value(text: &str, depth: usize) -> Result<Value, ParseError> {
    if depth > MAX_DEPTH {
        return Err(ParseError {
            position: Position::default(),
            expected: format!("at most {MAX_DEPTH} levels of nesting"),
            found: "more".to_owned(),
        });
    }
    Ok(match text.bytes().next() {
        Some(b'{') => Value::Object(body(serde_json::from_str(text).map_err(|error| refuse(&error))?, depth + 1)?),
        Some(b'[') => {
            let list: Vec<Box<RawValue>> = serde_json::from_str(text).map_err(|error| refuse(&error))?;
            Value::List(list.iter().map(|raw| value(raw.get(), depth + 1)).collect::<Result<_, _>>()?)
        }
        _ => match serde_json::from_str(text).map_err(|error| refuse(&error))? {
            Json::String(text) => Value::String(text),
            Json::Number(number) => Value::Number(number),
            Json::Bool(truth) => Value::Bool(truth),
            Json::Null | Json::Array(_) | Json::Object(_) => Value::Null,
        },
    })
}

fn refuse(error: &serde_json::Error) -> ParseError {
    ParseError {
        position: Position { line: error.line(), column: error.column() },
        expected: "JSON".to_owned(),
        found: match error.classify() {
            serde_json::error::Category::Eof => "the end of the text".to_owned(),
            _ => "something else".to_owned(),
        },
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push(entry);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn repeats_stay_and_errors_have_a_place() {
        let body = crate::parse(r#" {"path": {"a": {}}, "path": {"b": {"n": 1.50}}}"#).unwrap();
        let found = body.blocks("path", 1).unwrap();
        assert_eq!(found.iter().map(|f| f.labels[0]).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(found[1].body.string("n").as_deref(), Some("1.50"));
        let error = crate::parse("{\n \"a\": }").unwrap_err();
        assert_eq!(error.position.line, 2);
        assert!(crate::parse(&format!("{{\"a\":{}{}}}", "[".repeat(70), "]".repeat(70))).is_err());
    }
}
