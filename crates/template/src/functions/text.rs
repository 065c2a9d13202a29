//! Functions over text.

use base64::{Engine as _, engine::GeneralPurpose};
use zeroize::Zeroizing;

use crate::{format, value::Value};

/// Go's JSON escapes what HTML could trip over.
pub(super) fn html_safe(json: &str) -> String {
    json.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

pub(super) fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('\'', "&#39;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}

pub(super) fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

pub(super) fn decode(engine: &GeneralPurpose, text: &str) -> Result<Value, String> {
    let bytes = engine.decode(text).map_err(|_| "not base64")?;
    String::from_utf8(bytes).map(Value::text).map_err(|_| "decodes to bytes that are no UTF-8 text".to_owned())
}

pub(super) fn title(text: &str) -> String {
    let mut start = true;
    let letters = text.chars().flat_map(|c| {
        let upper = std::mem::replace(&mut start, !(c.is_alphanumeric() || c == '_' || c == '\''));
        if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
    });
    letters.collect()
}

pub(super) fn split(separator: &str, whole: &str) -> Value {
    let whole = whole.trim();
    if whole.is_empty() {
        return Value::list([]);
    }
    if separator.is_empty() {
        return Value::list(whole.chars().map(|c| Value::text(c.to_string())));
    }
    Value::list(whole.split(separator).map(Value::text))
}

pub(super) fn join(separator: &str, list: &Value) -> Result<Value, String> {
    let Value::List(items) = list else {
        return Err(format!("wrong type for value; expected list; got {}", list.kind()));
    };
    let items: Vec<Zeroizing<String>> = items.iter().map(format::plain).collect();
    Ok(Value::text(items.iter().map(|item| item.as_str()).collect::<Vec<_>>().join(separator)))
}

pub(super) fn indent(spaces: &Value, whole: &str) -> Result<Value, String> {
    let Value::Int(spaces) = spaces else { return Err("the first argument is a number of spaces".to_owned()) };
    let spaces = usize::try_from(*spaces).ok().filter(|spaces| *spaces <= 1000);
    let prefix = " ".repeat(spaces.ok_or("the number of spaces is from 0 to 1000")?);
    let mut out = String::new();
    let mut start = true;
    for c in whole.chars() {
        if start && c != '\n' {
            out.push_str(&prefix);
        }
        out.push(c);
        start = c == '\n';
    }
    Ok(Value::text(out))
}
