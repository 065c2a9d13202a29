//! Go's built-in functions and those of consul-template. Errors never carry an argument's content.

use base64::{
    Engine as _,
    engine::{GeneralPurpose, general_purpose},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{Call, Lookup, exec::Pass, format, value::Value};

/// Name, fewest and most arguments.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("add", 2, 2),
    ("and", 1, MANY),
    ("base64Decode", 1, 1),
    ("base64Encode", 1, 1),
    ("base64URLDecode", 1, 1),
    ("base64URLEncode", 1, 1),
    ("contains", 2, 2),
    ("divide", 2, 2),
    ("env", 1, 1),
    ("envOrDefault", 2, 2),
    ("eq", 2, MANY),
    ("ge", 2, 2),
    ("gt", 2, 2),
    ("html", 1, MANY),
    ("indent", 2, 2),
    ("index", 1, MANY),
    ("join", 2, 2),
    ("le", 2, 2),
    ("len", 1, 1),
    ("lt", 2, 2),
    ("maximum", 2, 2),
    ("minimum", 2, 2),
    ("modulo", 2, 2),
    ("multiply", 2, 2),
    ("ne", 2, 2),
    ("not", 1, 1),
    ("or", 1, MANY),
    ("parseBool", 1, 1),
    ("parseFloat", 1, 1),
    ("parseInt", 1, 1),
    ("parseJSON", 1, 1),
    ("parseUint", 1, 1),
    ("print", 0, MANY),
    ("printf", 1, MANY),
    ("println", 0, MANY),
    ("replaceAll", 3, 3),
    ("secret", 1, MANY),
    ("sha256Hex", 1, 1),
    ("slice", 1, 3),
    ("split", 2, 2),
    ("subtract", 2, 2),
    ("timestamp", 0, 1),
    ("toJSON", 1, 1),
    ("toJSONPretty", 1, 1),
    ("toLower", 1, 1),
    ("toTitle", 1, 1),
    ("toUnescapedJSON", 1, 1),
    ("toUnescapedJSONPretty", 1, 1),
    ("toUpper", 1, 1),
    ("trim", 2, 2),
    ("trimPrefix", 2, 2),
    ("trimSpace", 1, 1),
    ("trimSuffix", 2, 2),
    ("urlquery", 1, MANY),
];
const MANY: usize = usize::MAX;

pub(crate) fn exists(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Calls a function; the error is the reason alone.
pub(crate) fn call(name: &str, args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    if let Some((_, least, most)) = FUNCTIONS.iter().find(|(known, ..)| *known == name)
        && !(*least..=*most).contains(&args.len())
    {
        let want = if least == most { least.to_string() } else { format!("at least {least}") };
        return Err(format!("wrong number of args: want {want} got {}", args.len()));
    }
    Ok(match name {
        "secret" => secret(args, pass)?,
        "env" | "envOrDefault" => env(args, pass)?,
        "timestamp" => timestamp(args, pass)?,
        "not" => Value::Bool(!args[0].is_true()),
        "eq" => Value::Bool(equals_any(&args[0], &args[1..])?),
        "ne" => Value::Bool(!equals_any(&args[0], &args[1..])?),
        "lt" => Value::Bool(order(args)?.is_lt()),
        "le" => Value::Bool(order(args)?.is_le()),
        "gt" => Value::Bool(order(args)?.is_gt()),
        "ge" => Value::Bool(order(args)?.is_ge()),
        "len" => Value::Int(length(&args[0])?),
        "index" => index(&args[0], &args[1..])?,
        "slice" => slice(&args[0], &args[1..])?,
        "print" => secretly(format::print(args, false)),
        "println" => Value::text(format!("{}\n", *format::print(args, true))),
        "printf" => secretly(format::printf(text(args, 0)?, &args[1..])),
        "html" => Value::text(html(&format::print(args, false))),
        "urlquery" => Value::text(url_query(&format::print(args, false))),
        "toJSON" => Value::text(html_safe(&args[0].to_json().to_string())),
        "toUnescapedJSON" => Value::text(args[0].to_json().to_string()),
        "toJSONPretty" => Value::text(html_safe(&format!("{:#}", args[0].to_json()))),
        "toUnescapedJSONPretty" => Value::text(format!("{:#}", args[0].to_json())),
        "parseJSON" => parse_json(text(args, 0)?)?,
        "parseBool" => match text(args, 0)? {
            "" => Value::Bool(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Value::Bool(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Value::Bool(false),
            _ => return Err("not a boolean".to_owned()),
        },
        "parseInt" | "parseUint" => match text(args, 0)? {
            "" => Value::Int(0),
            digits => Value::Int(
                digits
                    .parse()
                    .ok()
                    .filter(|value: &i64| name == "parseInt" || *value >= 0)
                    .ok_or("not a whole number")?,
            ),
        },
        "parseFloat" => match text(args, 0)? {
            "" => Value::Float(0.0, None),
            digits => Value::Float(digits.parse().map_err(|_| "not a number")?, None),
        },
        "base64Encode" => Value::text(general_purpose::STANDARD.encode(text(args, 0)?)),
        "base64URLEncode" => Value::text(general_purpose::URL_SAFE.encode(text(args, 0)?)),
        "base64Decode" => decode(&general_purpose::STANDARD, text(args, 0)?)?,
        "base64URLDecode" => decode(&general_purpose::URL_SAFE, text(args, 0)?)?,
        "sha256Hex" => Value::text(hex::encode(Sha256::digest(text(args, 0)?))),
        "trimSpace" => Value::text(text(args, 0)?.trim()),
        "trim" => {
            let cutset: Vec<char> = text(args, 0)?.chars().collect();
            Value::text(text(args, 1)?.trim_matches(cutset.as_slice()))
        }
        "trimPrefix" => {
            let (prefix, whole) = (text(args, 0)?, text(args, 1)?);
            Value::text(whole.strip_prefix(prefix).unwrap_or(whole))
        }
        "trimSuffix" => {
            let (suffix, whole) = (text(args, 0)?, text(args, 1)?);
            Value::text(whole.strip_suffix(suffix).unwrap_or(whole))
        }
        "toUpper" => Value::text(text(args, 0)?.to_uppercase()),
        "toLower" => Value::text(text(args, 0)?.to_lowercase()),
        "toTitle" => Value::text(title(text(args, 0)?)),
        "replaceAll" => Value::text(text(args, 2)?.replace(text(args, 0)?, text(args, 1)?)),
        "split" => split(text(args, 0)?, text(args, 1)?),
        "join" => join(text(args, 0)?, &args[1])?,
        "indent" => indent(&args[0], text(args, 1)?)?,
        "contains" => Value::Bool(contains(&args[0], &args[1])?),
        "add" | "subtract" | "multiply" | "divide" | "modulo" | "minimum" | "maximum" => arithmetic(name, args)?,
        other => return Err(format!("function {other:?} not defined")),
    })
}

fn secretly(text: Zeroizing<String>) -> Value {
    Value::Text(std::rc::Rc::new(text))
}

fn text(args: &[Value], at: usize) -> Result<&str, String> {
    match &args[at] {
        Value::Text(text) => Ok(text),
        Value::Missing | Value::Nil => Err("invalid value; expected string".to_owned()),
        other => Err(format!("wrong type for value; expected string; got {}", other.kind())),
    }
}

fn secret(args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    let path = text(args, 0)?.trim_matches('/').to_owned();
    let mut pairs = Vec::with_capacity(args.len() - 1);
    for at in 1..args.len() {
        let pair = text(args, at)?;
        let (key, value) = pair.split_once('=').ok_or("arguments after the path are \"key=value\"")?;
        pairs.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    match pass.source.secret(&path, &pairs) {
        Lookup::Ready(envelope) => Ok(Value::secret(&envelope)),
        Lookup::Missing => {
            let call = Call { path, args: pairs };
            let mut missing = pass.missing.borrow_mut();
            if !missing.contains(&call) {
                missing.push(call);
            }
            Ok(Value::Nil)
        }
    }
}

fn env(args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    let found = pass.source.env(text(args, 0)?).ok_or("templates must not read the environment here")?;
    let fallback = if args.len() == 2 { text(args, 1)? } else { "" };
    Ok(Value::text(found.unwrap_or_else(|| fallback.to_owned())))
}

fn timestamp(args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    let now = pass.source.now().ok_or("there is no clock here")?;
    match args.first() {
        None => Ok(Value::text(
            now.to_string()
                .split('.')
                .next()
                .map_or_else(String::new, |seconds| format!("{}Z", seconds.trim_end_matches('Z'))),
        )),
        Some(Value::Text(layout)) if layout.as_str() == "unix" => Ok(Value::text(now.as_second().to_string())),
        Some(_) => Err("only the layout \"unix\" is known".to_owned()),
    }
}

fn equals_any(first: &Value, others: &[Value]) -> Result<bool, String> {
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

fn order(args: &[Value]) -> Result<std::cmp::Ordering, String> {
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

fn length(value: &Value) -> Result<i64, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        Value::Missing | Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.kind())),
    };
    i64::try_from(length).map_err(|_| "too long".to_owned())
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

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
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

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
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

/// Go's JSON escapes what HTML could trip over.
fn html_safe(json: &str) -> String {
    json.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('\'', "&#39;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}

fn url_query(text: &str) -> String {
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

fn parse_json(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Map(std::rc::Rc::default()));
    }
    // The error of serde_json names position and kind, not content.
    serde_json::from_str(text).map(|json| Value::from_json(&json)).map_err(|error| format!("not JSON: {error}"))
}

fn decode(engine: &GeneralPurpose, text: &str) -> Result<Value, String> {
    let bytes = engine.decode(text).map_err(|_| "not base64")?;
    String::from_utf8(bytes).map(Value::text).map_err(|_| "decodes to bytes that are no UTF-8 text".to_owned())
}

fn title(text: &str) -> String {
    let mut start = true;
    let letters = text.chars().flat_map(|c| {
        let upper = std::mem::replace(&mut start, !(c.is_alphanumeric() || c == '_' || c == '\''));
        if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
    });
    letters.collect()
}

fn split(separator: &str, whole: &str) -> Value {
    let whole = whole.trim();
    if whole.is_empty() {
        return Value::list([]);
    }
    if separator.is_empty() {
        return Value::list(whole.chars().map(|c| Value::text(c.to_string())));
    }
    Value::list(whole.split(separator).map(Value::text))
}

fn join(separator: &str, list: &Value) -> Result<Value, String> {
    let Value::List(items) = list else {
        return Err(format!("wrong type for value; expected list; got {}", list.kind()));
    };
    let items: Vec<Zeroizing<String>> = items.iter().map(format::plain).collect();
    Ok(Value::text(items.iter().map(|item| item.as_str()).collect::<Vec<_>>().join(separator)))
}

fn indent(spaces: &Value, whole: &str) -> Result<Value, String> {
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

fn contains(needle: &Value, all: &Value) -> Result<bool, String> {
    match (all, needle) {
        (Value::Text(all), Value::Text(needle)) => Ok(all.contains(needle.as_str())),
        (Value::List(items), needle) => Ok(items.iter().any(|item| *format::plain(item) == *format::plain(needle))),
        (Value::Map(map), Value::Text(needle)) => Ok(map.contains_key(needle.as_str())),
        (other, _) => Err(format!("cannot look into a {}", other.kind())),
    }
}

fn arithmetic(name: &str, args: &[Value]) -> Result<Value, String> {
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
