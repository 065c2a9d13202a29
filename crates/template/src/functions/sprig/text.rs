//! Sprig over text, and about types.

use base64::{Engine as _, engine::general_purpose};
use regex_lite::NoExpand;

use super::super::{
    Function, MANY,
    arguments::{shown, text, whole},
    builtin, encoding, row,
    text::{decode, html_safe, indent, regex},
    values::same,
};
use crate::{format, moment, value::Value};

pub(crate) const ROWS: &[Function] = &[
    row("sprig_b64dec", (1, 1), "TEXT", "what is behind base64", |a, _| {
        decode(&general_purpose::STANDARD, text(a, 0)?)
    }),
    row("sprig_b64enc", (1, 1), "TEXT", "as base64", |a, _| {
        Ok(Value::text(general_purpose::STANDARD.encode(text(a, 0)?)))
    }),
    row("sprig_base", (1, 1), "PATH", "the last part of a path", |a, _| Ok(Value::text(base(text(a, 0)?)))),
    row("sprig_camelcase", (1, 1), "TEXT", "http_server as HttpServer", |a, _| Ok(Value::text(camel(text(a, 0)?)))),
    row("sprig_cat", (0, MANY), "VALUE…", "printed with spaces between", |a, _| {
        let parts: Vec<_> =
            a.iter().filter(|value| !matches!(value, Value::Nil | Value::Missing)).map(format::plain).collect();
        Ok(Value::text(parts.iter().map(|part| part.as_str()).collect::<Vec<_>>().join(" ").trim()))
    }),
    row("sprig_contains", (2, 2), "PART TEXT", "is it in the text?", |a, _| {
        Ok(Value::Bool(text(a, 1)?.contains(text(a, 0)?)))
    }),
    row("sprig_date", (2, 2), "LAYOUT TIME", "a time in a layout of Go's", |a, _| {
        let time = match &a[1] {
            Value::Int(seconds) => holdfast_base::Timestamp::from_second(*seconds).ok(),
            other => shown(other).parse().ok(),
        };
        Ok(Value::text(moment::format(time.ok_or("wants what sprig_now gives, or seconds since 1970")?, text(a, 0)?)))
    }),
    row("sprig_dir", (1, 1), "PATH", "a path without its last part", |a, _| {
        let path = text(a, 0)?;
        Ok(Value::text(match path.rsplit_once('/') {
            None => ".",
            Some(("", _)) => "/",
            Some((dir, _)) => dir,
        }))
    }),
    row("sprig_ext", (1, 1), "PATH", "the suffix of a file's name, with its dot", |a, _| {
        let name = base(text(a, 0)?).to_owned();
        Ok(Value::text(name.rfind('.').map_or("", |at| &name[at..])))
    }),
    row("sprig_fail", (1, 1), "TEXT", "ends the rendering with this text", |a, _| Err(text(a, 0)?.to_owned())),
    row("sprig_fromJson", (1, 1), "TEXT", "the value that JSON says", |a, _| encoding::parse_json(text(a, 0)?)),
    row("sprig_hasPrefix", (2, 2), "PREFIX TEXT", "does it begin like this?", |a, _| {
        Ok(Value::Bool(text(a, 1)?.starts_with(text(a, 0)?)))
    }),
    row("sprig_hasSuffix", (2, 2), "SUFFIX TEXT", "does it end like this?", |a, _| {
        Ok(Value::Bool(text(a, 1)?.ends_with(text(a, 0)?)))
    }),
    row("sprig_indent", (2, 2), "SPACES TEXT", "each line moved to the right, empty ones too", |a, _| {
        Ok(Value::text(margin(a)?))
    }),
    row("sprig_kebabcase", (1, 1), "TEXT", "FirstName as first-name", |a, _| Ok(Value::text(joined(text(a, 0)?, '-')))),
    row("sprig_kindIs", (2, 2), "KIND VALUE", "is it of this kind?", |a, _| {
        Ok(Value::Bool(text(a, 0)? == kind(&a[1])))
    }),
    row("sprig_kindOf", (1, 1), "VALUE", "string, int64, float64, bool, map, slice", |a, _| {
        Ok(Value::text(kind(&a[0])))
    }),
    row("sprig_lower", (1, 1), "TEXT", "in small letters", |a, _| Ok(Value::text(text(a, 0)?.to_lowercase()))),
    row("sprig_nindent", (2, 2), "SPACES TEXT", "the same after an end of line", |a, _| {
        Ok(Value::text(format!("\n{}", margin(a)?)))
    }),
    row("sprig_nospace", (1, 1), "TEXT", "without any space", |a, _| {
        Ok(Value::text(text(a, 0)?.replace(char::is_whitespace, "")))
    }),
    row("sprig_now", (0, 0), "", "the time, for sprig_date", |_, pass| {
        Ok(Value::text(pass.source.now().ok_or("there is no clock here")?.to_string()))
    }),
    row("sprig_plural", (3, 3), "ONE MANY COUNT", "the word for so many", |a, _| {
        Ok(a[usize::from(whole(a, 2)? != 1)].clone())
    }),
    row("sprig_quote", (0, MANY), "VALUE…", "each in double quotes", |a, _| Ok(quoted(a, format::quote))),
    row("sprig_regexFind", (2, 2), "PATTERN TEXT", "the first occurrence", |a, _| {
        let pattern = regex(text(a, 0)?)?;
        Ok(Value::text(pattern.find(text(a, 1)?).map_or("", |found| found.as_str())))
    }),
    row("sprig_regexFindAll", (3, 3), "PATTERN TEXT COUNT", "up to so many occurrences; -1: all", |a, _| {
        let most = usize::try_from(whole(a, 2)?).unwrap_or(usize::MAX);
        Ok(Value::list(regex(text(a, 0)?)?.find_iter(text(a, 1)?).take(most).map(|found| Value::text(found.as_str()))))
    }),
    row("sprig_regexMatch", (2, 2), "PATTERN TEXT", "does the pattern occur in the text?", |a, _| {
        Ok(Value::Bool(regex(text(a, 0)?)?.is_match(text(a, 1)?)))
    }),
    row(
        "sprig_regexReplaceAll",
        (3, 3),
        "PATTERN TEXT NEW",
        "each occurrence replaced; $1 is its first group",
        |a, _| Ok(Value::text(regex(text(a, 0)?)?.replace_all(text(a, 1)?, text(a, 2)?))),
    ),
    row("sprig_regexReplaceAllLiteral", (3, 3), "PATTERN TEXT NEW", "the same without groups", |a, _| {
        Ok(Value::text(regex(text(a, 0)?)?.replace_all(text(a, 1)?, NoExpand(text(a, 2)?))))
    }),
    row("sprig_regexSplit", (3, 3), "PATTERN TEXT COUNT", "the parts between occurrences; -1: all", |a, _| {
        let (pattern, most) = (regex(text(a, 0)?)?, whole(a, 2)?);
        let parts: Vec<Value> = match usize::try_from(most) {
            Ok(most) => pattern.splitn(text(a, 1)?, most).map(Value::text).collect(),
            Err(_) => pattern.split(text(a, 1)?).map(Value::text).collect(),
        };
        Ok(Value::list(parts))
    }),
    row("sprig_repeat", (2, 2), "COUNT TEXT", "so many times", |a, _| {
        Ok(Value::text(text(a, 1)?.repeat(usize::try_from(whole(a, 0)?).unwrap_or(0))))
    }),
    row("sprig_replace", (3, 3), "OLD NEW TEXT", "each occurrence replaced", |a, _| {
        Ok(Value::text(text(a, 2)?.replace(text(a, 0)?, text(a, 1)?)))
    }),
    row("sprig_sha256sum", (1, 1), "TEXT", "SHA-256 in hexadecimal", |a, _| encoding::sha256(text(a, 0)?)),
    row("sprig_snakecase", (1, 1), "TEXT", "FirstName as first_name", |a, _| Ok(Value::text(joined(text(a, 0)?, '_')))),
    row("sprig_squote", (0, MANY), "VALUE…", "each in single quotes", |a, _| {
        Ok(quoted(a, |text| format!("'{text}'")))
    }),
    row("sprig_substr", (3, 3), "FROM TO TEXT", "a part of the text", |a, _| {
        let (all, from, to) = (text(a, 2)?, whole(a, 0)?, whole(a, 1)?);
        let from = usize::try_from(from).unwrap_or(0).min(all.len());
        let to = usize::try_from(to).ok().filter(|to| *to >= from).unwrap_or(all.len()).min(all.len());
        all.get(from..to).map(Value::text).ok_or_else(|| "cuts a character apart".to_owned())
    }),
    row("sprig_title", (1, 1), "TEXT", "each word with a capital", |a, _| {
        Ok(Value::text(super::super::text::title(text(a, 0)?)))
    }),
    row("sprig_toJson", (1, 1), "VALUE", "as JSON; <, > and & escaped", |a, _| {
        Ok(Value::text(html_safe(&a[0].to_json().to_string())))
    }),
    row("sprig_toPrettyJson", (1, 1), "VALUE", "the same over several lines", |a, _| {
        Ok(Value::text(html_safe(&encoding::pretty(&a[0]))))
    }),
    row("sprig_toRawJson", (1, 1), "VALUE", "as JSON", |a, _| Ok(Value::text(a[0].to_json().to_string()))),
    row("sprig_toString", (1, 1), "VALUE", "printed", |a, _| Ok(Value::text(format::plain(&a[0]).as_str()))),
    row("sprig_trim", (1, 1), "TEXT", "without space at both ends", |a, _| Ok(Value::text(text(a, 0)?.trim()))),
    row("sprig_trimAll", (2, 2), "CHARACTERS TEXT", "without these characters at both ends", |a, _| {
        let cutset: Vec<char> = text(a, 0)?.chars().collect();
        Ok(Value::text(text(a, 1)?.trim_matches(cutset.as_slice())))
    }),
    row("sprig_trimPrefix", (2, 2), "PREFIX TEXT", "without the prefix", |a, _| {
        Ok(Value::text(text(a, 1)?.strip_prefix(text(a, 0)?).unwrap_or(text(a, 1)?)))
    }),
    row("sprig_trimSuffix", (2, 2), "SUFFIX TEXT", "without the suffix", |a, _| {
        Ok(Value::text(text(a, 1)?.strip_suffix(text(a, 0)?).unwrap_or(text(a, 1)?)))
    }),
    row("sprig_trunc", (2, 2), "LENGTH TEXT", "the first so many bytes; with a minus, the last", |a, _| {
        let (length, all) = (whole(a, 0)?, text(a, 1)?);
        let count = usize::try_from(length.unsigned_abs()).unwrap_or(usize::MAX);
        let part = match (count >= all.len(), length < 0) {
            (true, _) => Some(all),
            (false, true) => all.get(all.len() - count..),
            (false, false) => all.get(..count),
        };
        part.map(Value::text).ok_or_else(|| "cuts a character apart".to_owned())
    }),
    row("sprig_typeOf", (1, 1), "VALUE", "its type in Go", |a, _| Ok(Value::text(a[0].kind()))),
    row("sprig_untitle", (1, 1), "TEXT", "each word with a small letter", |a, _| {
        let words = text(a, 0)?.split(' ').map(|word| {
            let mut chars = word.chars();
            chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
        });
        Ok(Value::text(words.collect::<Vec<_>>().join(" ")))
    }),
    row("sprig_upper", (1, 1), "TEXT", "in capitals", |a, _| Ok(Value::text(text(a, 0)?.to_uppercase()))),
    row("sprig_urlquery", (1, MANY), "VALUE…", "printed, escaped for the query of a URL", |a, pass| {
        let own = builtin::ROWS.iter().find(|function| function.name == "urlquery");
        own.map_or_else(|| Err("not defined".to_owned()), |function| (function.run)(a, pass))
    }),
    row("sprig_deepEqual", (2, 2), "A B", "are they the same, with all that is in them?", |a, _| {
        Ok(Value::Bool(same(&a[0], &a[1])))
    }),
];

fn base(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit('/').next() {
        Some("") | None if path.starts_with('/') => "/",
        Some("") | None => ".",
        Some(name) => name,
    }
}

fn margin(args: &[Value]) -> Result<String, String> {
    // As `indent`, with empty lines too.
    indent(&args[0], "")?;
    let pad = " ".repeat(usize::try_from(whole(args, 0)?).unwrap_or(0));
    Ok(format!("{pad}{}", text(args, 1)?.replace('\n', &format!("\n{pad}"))))
}

fn quoted(args: &[Value], quote: fn(&str) -> String) -> Value {
    let there = args.iter().filter(|value| !matches!(value, Value::Nil | Value::Missing));
    Value::text(there.map(|value| quote(&format::plain(value))).collect::<Vec<_>>().join(" "))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Missing | Value::Nil => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(..) => "float64",
        Value::Text(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
        Value::Secret(_) | Value::Scratch => "ptr",
    }
}

fn camel(text: &str) -> String {
    let mut upper = true;
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '_' | '-' | ' ') {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

fn joined(text: &str, with: char) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    for (at, c) in chars.iter().enumerate() {
        if matches!(c, '_' | '-' | ' ') {
            out.push(with);
            continue;
        }
        let after_small = at > 0 && (chars[at - 1].is_lowercase() || chars[at - 1].is_ascii_digit());
        let before_small =
            at > 0 && chars[at - 1].is_uppercase() && chars.get(at + 1).is_some_and(|c| c.is_lowercase());
        if c.is_uppercase() && (after_small || before_small) {
            out.push(with);
        }
        out.extend(c.to_lowercase());
    }
    out
}
