//! Query strings and forms as the parameters of a request.

use serde_json::{Map, Value, map::Entry};

use crate::{path::percent_decode, request::Reject};

/// How often a name may stand in one text with its values kept: as a list in a query, joined with commas in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// `a=1&a=2` is `["1", "2"]`.
    List,
    /// `a=1&a=2` is `"1,2"`.
    Comma,
}

/// Reads `name=value&…`. Single values become strings.
pub fn parse(text: &str, repeated: Repeated) -> Result<Map<String, Value>, Reject> {
    let mut parameters = Map::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        match parameters.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(Value::String(value));
            }
            Entry::Occupied(mut entry) => add(entry.get_mut(), value, repeated),
        }
    }
    Ok(parameters)
}

fn add(existing: &mut Value, value: String, repeated: Repeated) {
    match existing {
        Value::Array(list) => list.push(Value::String(value)),
        Value::String(first) if repeated == Repeated::Comma => {
            first.push(',');
            first.push_str(&value);
        }
        first => {
            let first_value = first.take();
            *first = Value::Array(vec![first_value, Value::String(value)]);
        }
    }
}

fn decode(text: &str) -> Result<String, Reject> {
    let bytes = percent_decode(text.as_bytes(), true)
        .ok_or_else(|| Reject::bad("the query has a percent sign without two hexadecimal digits after it"))?;
    String::from_utf8(bytes).map_err(|_| Reject::bad("the query is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn single_values_are_text_and_repeated_ones_lists() {
        let parsed = parse("version=3&a=1&a=2&a=%C3%BC&flag&sp=x+y", Repeated::List).unwrap();
        assert_eq!(Value::Object(parsed), json!({"version": "3", "a": ["1", "2", "ü"], "flag": "", "sp": "x y"}));
    }

    #[test]
    fn a_form_joins_repeated_values_with_commas() {
        let parsed = parse("policies=a&policies=b&policies=c", Repeated::Comma).unwrap();
        assert_eq!(Value::Object(parsed), json!({"policies": "a,b,c"}));
    }

    #[test]
    fn broken_escapes_are_refused() {
        assert_eq!(parse("a=%zz", Repeated::List).unwrap_err().status, 400);
    }
}
