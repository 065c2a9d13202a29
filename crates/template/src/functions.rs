//! Go's built-in functions and those of consul-template. Errors never carry an argument's content.

mod text;
mod values;

use base64::{Engine as _, engine::general_purpose};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use self::{
    text::{decode, html, html_safe, indent, join, split, title, url_query},
    values::{arithmetic, contains, equals_any, index, length, order, slice},
};
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

/// Bytes that the result of a function may have beyond what a few times its arguments are.
pub(crate) fn swell(name: &str, args: &[Value]) -> usize {
    let text = |at: usize| match args.get(at) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    match name {
        "replaceAll" => {
            let most = if text(0).is_empty() { text(2).len() + 1 } else { text(2).len() / text(0).len() };
            most.saturating_mul(text(1).len())
        }
        "join" => match args.get(1) {
            Some(Value::List(items)) => items.len().saturating_mul(text(0).len()),
            _ => 0,
        },
        "indent" => match args.first() {
            Some(Value::Int(spaces)) => {
                let spaces = usize::try_from(*spaces).unwrap_or(0);
                text(1).split('\n').count().saturating_mul(spaces)
            }
            _ => 0,
        },
        "printf" => text(0).matches('%').count().saturating_mul(format::MAX_WIDTH),
        _ => 0,
    }
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

fn parse_json(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Map(std::rc::Rc::default()));
    }
    // The error of serde_json names position and kind, not content.
    serde_json::from_str(text).map(|json| Value::from_json(&json)).map_err(|error| format!("not JSON: {error}"))
}
