//! The body of a request: JSON whatever its Content-Type says, or a form.

use serde_json::{Map, Value};

use crate::{
    query::{self, Repeated},
    request::Reject,
};

/// Most values in a body, nested ones counted. Parsed, each takes some hundred bytes however short it was, and who sent
/// them is not known yet.
const MOST_VALUES: usize = 100_000;

/// Reads the object in a body; an empty body and `null` are an empty object. A body counts as a form only when its type
/// says so and it does not begin like JSON (curl's `-d` claims a form for whatever it sends).
pub fn parse(content_type: &str, bytes: &[u8]) -> Result<Map<String, Value>, Reject> {
    let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) else { return Ok(Map::new()) };
    if is_form(content_type) && !matches!(first, b'{' | b'[') {
        let text = std::str::from_utf8(bytes).map_err(|_| Reject::bad("the form is not UTF-8"))?;
        if bytes.iter().filter(|byte| **byte == b'&').count() >= MOST_VALUES {
            return Err(too_many());
        }
        return query::parse(text.trim(), Repeated::Comma);
    }
    if values(bytes) > MOST_VALUES {
        return Err(too_many());
    }
    match serde_json::from_slice::<Option<Map<String, Value>>>(bytes) {
        Ok(object) => Ok(object.unwrap_or_default()),
        // serde_json's own text may quote what it found, which may be a secret: only the place is told.
        Err(error) => Err(Reject::bad(format!(
            "failed to parse JSON input: line {}, column {}: {}",
            error.line(),
            error.column(),
            match error.classify() {
                serde_json::error::Category::Eof => "it ends too early",
                serde_json::error::Category::Data => "a JSON object is needed",
                _ => "this is not JSON",
            }
        ))),
    }
}

/// At least as many as there are values in the text: one more than commas, and one for each bracket.
fn values(json: &[u8]) -> usize {
    let (mut count, mut text, mut escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = text,
            b'"' => text = !text,
            b',' | b'[' | b'{' if !text => count += 1,
            _ => {}
        }
    }
    count
}

fn too_many() -> Reject {
    Reject::bad(format!("the body has more than {MOST_VALUES} values"))
}

/// Media types whose bytes go to the engine as they are.
pub fn is_raw(path: &str, content_type: &str) -> bool {
    let media = media_type(content_type);
    media == "application/ocsp-request"
        || matches!(path, "sys/storage/raft/snapshot" | "sys/storage/raft/snapshot-force")
}

/// The type without its parameters, in lower case.
pub fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_form(content_type: &str) -> bool {
    media_type(content_type) == "application/x-www-form-urlencoded"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    #[test]
    fn json_is_read_whatever_the_type_says() {
        for content_type in ["", "application/json", "text/plain", FORM] {
            let body = parse(content_type, br#" {"data": {"n": 1.0, "big": 12345678901234567890123}}"#).unwrap();
            let text = Value::Object(body).to_string();
            assert_eq!(text, r#"{"data":{"big":12345678901234567890123,"n":1.0}}"#, "{content_type}");
        }
    }

    #[test]
    fn a_form_is_a_form_only_when_it_looks_like_one() {
        let body = parse("application/x-www-form-urlencoded; charset=utf-8", b"a=1&b=x%20y&a=2").unwrap();
        assert_eq!(Value::Object(body), json!({"a": "1,2", "b": "x y"}));
        assert!(parse("application/json", b"a=1").is_err());
    }

    #[test]
    fn empty_and_null_are_no_fields() {
        for bytes in [&b""[..], b"  \n", b"null"] {
            assert!(parse("", bytes).unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_no_object_is_refused_without_repeating_it() {
        for bytes in [&br#""hvs.canary""#[..], b"[\"canary\"]", b"{\"a\": canary}", b"{\"a\":", b"12"] {
            let reject = parse("", bytes).unwrap_err();
            assert_eq!(reject.status, 400);
            assert!(!reject.message.contains("canary"), "{}", reject.message);
        }
    }

    #[test]
    fn a_body_that_would_be_far_larger_in_memory_is_refused_unparsed() {
        let many = |one: &str| format!("{{\"a\":[{}0]}}", one.repeat(200_000));
        for body in [many("0,"), many("[],"), many("{},"), format!("{{\"a\":{}", "[".repeat(200_000))] {
            assert!(parse("", body.as_bytes()).unwrap_err().message.contains("values"));
        }
        assert!(parse(FORM, "a&".repeat(200_000).as_bytes()).unwrap_err().message.contains("values"));
        let text = format!(r#"{{"a": "{}\"{}"}}"#, ",[{".repeat(200_000), ",".repeat(200_000));
        assert_eq!(parse("", text.as_bytes()).unwrap().len(), 1, "what is in a text counts as one");
        assert!(parse("", many("").as_bytes()).is_ok());
    }
}
