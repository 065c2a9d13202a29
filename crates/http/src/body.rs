//! The body of a request: JSON whatever its Content-Type says, or a form.

use serde_json::{Map, Value};

use crate::{
    query::{self, Repeated},
    request::Reject,
};

/// What a parsed value takes beside its text.
pub const VALUE_BYTES: usize = 96;

/// What a body may be, checked before it is parsed: parsed, each value takes some hundred bytes however short it was, and
/// who sent it is not known yet.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Objects and lists within each other.
    pub depth: usize,
    /// Values, nested ones counted.
    pub values: usize,
}

/// How a JSON text or a form is built, without a look at what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Deepest nesting.
    pub depth: usize,
    /// At least as many as there are values.
    pub values: usize,
}

/// Measures a body and refuses one that is beyond the limits. The text tells the limit and where it was passed.
pub fn measure(content_type: &str, bytes: &[u8], shape: Shape) -> Result<Measure, Reject> {
    if is_form_body(content_type, bytes) {
        let values = 1 + bytes.iter().filter(|byte| **byte == b'&').count();
        return if values > shape.values { Err(too_many(shape)) } else { Ok(Measure { depth: 1, values }) };
    }
    measure_json(bytes, shape)
}

/// Reads the object in a body; an empty body and `null` are an empty object. A body counts as a form only when its type
/// says so and it does not begin like JSON (curl's `-d` claims a form for whatever it sends).
pub fn parse(content_type: &str, bytes: &[u8]) -> Result<Map<String, Value>, Reject> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    if is_form_body(content_type, bytes) {
        let text = std::str::from_utf8(bytes).map_err(|_| Reject::bad("the form is not UTF-8"))?;
        return query::parse(text.trim(), Repeated::Comma);
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

/// Values: one more than commas, and one for each bracket.
fn measure_json(json: &[u8], shape: Shape) -> Result<Measure, Reject> {
    let mut measure = Measure { depth: 0, values: 1 };
    let (mut depth, mut text, mut escaped) = (0usize, false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = text,
            b'"' => text = !text,
            _ if text => {}
            b',' => measure.values += 1,
            b'[' | b'{' => {
                measure.values += 1;
                depth += 1;
                measure.depth = measure.depth.max(depth);
                if depth > shape.depth {
                    return Err(Reject::bad(format!(
                        "failed to parse JSON input: byte {at}: more than {} objects and lists within each other",
                        shape.depth
                    )));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if measure.values > shape.values { Err(too_many(shape)) } else { Ok(measure) }
}

fn too_many(shape: Shape) -> Reject {
    Reject::bad(format!("the body has more than {} values", shape.values))
}

fn is_form_body(content_type: &str, bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    is_form(content_type) && !matches!(first, Some(b'{' | b'['))
}

/// Paths whose body is too large to be held: it goes to the core as it comes.
pub fn is_streamed(path: &str) -> bool {
    matches!(path, "sys/storage/raft/snapshot" | "sys/storage/raft/snapshot-force")
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

    const SHAPE: Shape = Shape { depth: 4, values: 10 };

    #[test]
    fn a_body_that_would_be_far_larger_in_memory_is_refused_unparsed() {
        let refused = |content_type, body: &str| measure(content_type, body.as_bytes(), SHAPE).unwrap_err().message;
        let many = |one: &str| format!("{{\"a\":[{}0]}}", one.repeat(20));
        for body in [many("0,"), many("[],"), many("{},")] {
            assert!(refused("", &body).contains("more than 10 values"), "{body}");
        }
        assert!(refused(FORM, &"a&".repeat(20)).contains("values"));
        let text = format!(r#"{{"a": "{}\"{}"}}"#, ",[{".repeat(20), ",".repeat(20));
        assert_eq!(measure("", text.as_bytes(), SHAPE).unwrap().values, 2, "what is in a text counts as one");
    }

    /// CVE-2025-6203: nesting and number are bounded before anything is parsed; the text names the place.
    #[test]
    fn cve_2025_6203_limits_hold_at_the_limit_and_not_beyond() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        for (depth, fits) in [(3, true), (4, true), (5, false)] {
            let measured = measure("", nested(depth).as_bytes(), SHAPE);
            assert_eq!(measured.as_ref().is_ok_and(|measured| measured.depth == depth), fits, "{depth}");
        }
        assert!(measure("", nested(5).as_bytes(), SHAPE).unwrap_err().message.contains("byte 20:"));
        for (values, fits) in [(9, true), (10, true), (11, false)] {
            // The object and its list count too.
            let body = format!("{{\"a\":[{}]}}", vec!["0"; values - 2].join(","));
            assert_eq!(measure("", body.as_bytes(), SHAPE).is_ok(), fits, "{values}");
        }
        assert!(measure("", "(".repeat(1 << 20).as_bytes(), SHAPE).is_ok(), "what is no JSON nests nothing");
        assert!(measure("", "[".repeat(1 << 20).as_bytes(), SHAPE).is_err());
    }

    fn json_value() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map("[ -~]{0,4}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn count(value: &Value) -> (usize, usize) {
        let inner: Vec<&Value> = match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => return (0, 1),
        };
        let inner = inner.into_iter().map(count);
        inner.fold((1, 1), |(depth, values), (d, v)| (depth.max(d + 1), values + v))
    }

    proptest::proptest! {
        /// The guard never counts less than there is, and its depth is the depth.
        #[test]
        fn the_guard_sees_every_value(value in json_value(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let measured = measure_json(text.unwrap().as_bytes(), Shape { depth: 100, values: 10_000 }).unwrap();
            let (depth, values) = count(&value);
            proptest::prop_assert_eq!(measured.depth, depth);
            proptest::prop_assert!(measured.values >= values && measured.values <= 2 * values);
        }
    }
}
