//! Functions over text.

use base64::{Engine as _, engine::GeneralPurpose};
use regex_lite::Regex;
use zeroize::Zeroizing;

use super::{Function, arguments, row};
use crate::{format, value::Value};

pub(crate) const ROWS: &[Function] = &[
    row("indent", (2, 2), "SPACES TEXT", "each line moved to the right", |args, _| {
        indent(&args[0], arguments::text(args, 1)?)
    }),
    row("regexMatch", (2, 2), "PATTERN TEXT", "does the pattern occur in the text?", |args, _| {
        Ok(Value::Bool(regex(arguments::text(args, 0)?)?.is_match(arguments::text(args, 1)?)))
    }),
    row("regexReplaceAll", (3, 3), "PATTERN NEW TEXT", "each occurrence replaced; $1 is its first group", |args, _| {
        let pattern = regex(arguments::text(args, 0)?)?;
        Ok(Value::text(pattern.replace_all(arguments::text(args, 2)?, arguments::text(args, 1)?)))
    }),
    row("replaceAll", (3, 3), "OLD NEW TEXT", "each occurrence replaced", |args, _| {
        let (old, new) = (arguments::text(args, 0)?, arguments::text(args, 1)?);
        Ok(Value::text(arguments::text(args, 2)?.replace(old, new)))
    }),
    row("toLower", (1, 1), "TEXT", "in small letters", |args, _| {
        Ok(Value::text(arguments::text(args, 0)?.to_lowercase()))
    }),
    row("toTitle", (1, 1), "TEXT", "each word with a capital", |args, _| {
        Ok(Value::text(title(arguments::text(args, 0)?)))
    }),
    row("toUpper", (1, 1), "TEXT", "in capitals", |args, _| Ok(Value::text(arguments::text(args, 0)?.to_uppercase()))),
    row("trim", (2, 2), "CHARACTERS TEXT", "without these characters at both ends", |args, _| {
        let cutset: Vec<char> = arguments::text(args, 0)?.chars().collect();
        Ok(Value::text(arguments::text(args, 1)?.trim_matches(cutset.as_slice())))
    }),
    row("trimPrefix", (2, 2), "PREFIX TEXT", "without the prefix", |args, _| {
        let (prefix, whole) = (arguments::text(args, 0)?, arguments::text(args, 1)?);
        Ok(Value::text(whole.strip_prefix(prefix).unwrap_or(whole)))
    }),
    row("trimSpace", (1, 1), "TEXT", "without space at both ends", |args, _| {
        Ok(Value::text(arguments::text(args, 0)?.trim()))
    }),
    row("trimSuffix", (2, 2), "SUFFIX TEXT", "without the suffix", |args, _| {
        let (suffix, whole) = (arguments::text(args, 0)?, arguments::text(args, 1)?);
        Ok(Value::text(whole.strip_suffix(suffix).unwrap_or(whole)))
    }),
];

/// Longest pattern, in bytes: the time a match may take grows with it.
const MAX_PATTERN: usize = 4096;

/// A pattern of RE2's syntax; as there, `\\w` and its like are ASCII.
pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("the pattern is longer than {MAX_PATTERN} bytes"));
    }
    Regex::new(pattern).map_err(|error| format!("the pattern cannot be read: {error}"))
}

/// Go's template.JSEscapeString.
pub(super) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

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
