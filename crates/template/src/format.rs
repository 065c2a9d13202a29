//! Printing as Go's fmt does: default forms and `printf`.

use std::fmt::Write;

use zeroize::Zeroizing;

use crate::value::Value;

/// What an action prints: nothing there is `<no value>`.
pub(crate) fn printed(value: &Value) -> Zeroizing<String> {
    match value {
        Value::Missing | Value::Nil => Zeroizing::new("<no value>".to_owned()),
        other => plain(other),
    }
}

/// `%v`.
pub(crate) fn plain(value: &Value) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    append(&mut out, value);
    out
}

fn append(out: &mut String, value: &Value) {
    match value {
        Value::Missing | Value::Nil | Value::Scratch => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(_, Some(spelling)) => out.push_str(spelling),
        Value::Float(value, None) => out.push_str(&general(*value)),
        Value::Text(text) => out.push_str(text),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                append(out, item);
            }
            out.push(']');
        }
        Value::Map(map) | Value::Secret(map) => {
            out.push_str("map[");
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                append(out, value);
            }
            out.push(']');
        }
    }
}

/// `print` (`spaces` false: only between operands that are no text) and `println`.
pub(crate) fn print(args: &[Value], spaces: bool) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    for (index, arg) in args.iter().enumerate() {
        let both = index > 0 && !matches!(arg, Value::Text(_)) && !matches!(args[index - 1], Value::Text(_));
        if index > 0 && (spaces || both) {
            out.push(' ');
        }
        append(&mut out, arg);
    }
    out
}

/// `%g` with the fewest digits that say it all.
fn general(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        return go_exponent(digits, exponent);
    }
    format!("{value}")
}

fn go_exponent(digits: &str, exponent: i32) -> String {
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// Largest width and precision that `printf` takes.
pub(crate) const MAX_WIDTH: usize = 1 << 12;

#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    zero: bool,
    sharp: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

/// Go's `Sprintf`, without explicit argument indexes.
pub(crate) fn printf(pattern: &str, args: &[Value]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    let mut args = args.iter();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '0' => flags.zero = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                _ => break,
            }
            chars.next();
        }
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if chars.next_if_eq(&'*').is_some() {
                return match args.next() {
                    Some(Value::Int(value)) => usize::try_from(*value).ok().map(|value| value.min(MAX_WIDTH)),
                    _ => None,
                };
            }
            let mut value = None;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                let digit = usize::try_from(digit.to_digit(10).unwrap_or(0)).unwrap_or(0);
                value = Some((value.unwrap_or(0) * 10 + digit).min(MAX_WIDTH));
            }
            value
        };
        flags.width = number(&mut chars).unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            flags.precision = Some(number(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(arg) => out.push_str(&one(verb, &flags, arg)),
            },
        }
    }
    let extra: Vec<String> = args.map(|arg| typed(arg).to_string()).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn typed(value: &Value) -> Zeroizing<String> {
    match value {
        Value::Missing | Value::Nil => plain(value),
        other => Zeroizing::new(format!("{}={}", other.kind(), *plain(other))),
    }
}

fn one(verb: char, flags: &Flags, value: &Value) -> Zeroizing<String> {
    let bad = || match value {
        Value::Missing | Value::Nil => format!("%!{verb}(<nil>)"),
        other => format!("%!{verb}({})", *typed(other)),
    };
    let text = match (verb, value) {
        ('T', Value::Missing | Value::Nil) => "<nil>".to_owned(),
        ('T', value) => value.kind().to_owned(),
        ('v', Value::Missing | Value::Nil) => "<nil>".to_owned(),
        ('v' | 's', Value::Text(text)) => cut(text, flags.precision).to_owned(),
        ('v', Value::Int(value)) | ('d', Value::Int(value)) => return Zeroizing::new(whole(*value, 10, false, flags)),
        ('v', Value::Float(value, None)) if flags.precision.is_none() => {
            return Zeroizing::new(signed(general(*value), flags));
        }
        ('v', value) => plain(value).to_string(),
        ('t', Value::Bool(value)) => value.to_string(),
        ('q', Value::Text(text)) if flags.sharp && !text.contains('`') => format!("`{}`", text.as_str()),
        ('q', Value::Text(text)) => quote(cut(text, flags.precision)),
        ('q', Value::Int(value)) => {
            let c = u32::try_from(*value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            let body = quote(&c.to_string());
            let body = if c == '\'' { "\\'".to_owned() } else { body[1..body.len() - 1].replace("\\\"", "\"") };
            format!("'{body}'")
        }
        ('x', Value::Text(text)) => hex::encode(text.as_bytes()),
        ('X', Value::Text(text)) => hex::encode_upper(text.as_bytes()),
        ('x', Value::Int(value)) => return Zeroizing::new(whole(*value, 16, false, flags)),
        ('X', Value::Int(value)) => return Zeroizing::new(whole(*value, 16, true, flags)),
        ('o', Value::Int(value)) => return Zeroizing::new(whole(*value, 8, false, flags)),
        ('b', Value::Int(value)) => return Zeroizing::new(whole(*value, 2, false, flags)),
        ('c', Value::Int(value)) => {
            u32::try_from(*value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('U', Value::Int(value)) => format!("U+{value:04X}"),
        ('f' | 'F', Value::Float(value, _)) => {
            return Zeroizing::new(signed(format!("{value:.*}", flags.precision.unwrap_or(6)), flags));
        }
        ('e', Value::Float(value, _)) => {
            let text = format!("{value:.*e}", flags.precision.unwrap_or(6));
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            return Zeroizing::new(signed(go_exponent(digits, exponent.parse().unwrap_or(0)), flags));
        }
        ('g', Value::Float(value, _)) => return Zeroizing::new(signed(general(*value), flags)),
        ('s' | 'd' | 'q' | 'x' | 'X', Value::List(items)) => {
            let inner = Flags { sharp: flags.sharp, ..Flags::default() };
            let items: Vec<String> = items.iter().map(|item| one(verb, &inner, item).to_string()).collect();
            format!("[{}]", items.join(" "))
        }
        ('s' | 'd' | 'q' | 'x' | 'X', Value::Map(map)) => {
            let inner = Flags { sharp: flags.sharp, ..Flags::default() };
            let items = map.iter().map(|(key, value)| {
                format!("{}:{}", *one(verb, &inner, &Value::text(key.as_str())), *one(verb, &inner, value))
            });
            format!("map[{}]", items.collect::<Vec<_>>().join(" "))
        }
        _ => bad(),
    };
    Zeroizing::new(pad(text, flags, flags.zero && matches!(verb, 's' | 'v' | 'x' | 'X' | 'q')))
}

fn cut(text: &str, precision: Option<usize>) -> &str {
    let end = precision.and_then(|count| text.char_indices().nth(count)).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

fn pad(text: String, flags: &Flags, zero: bool) -> String {
    let missing = flags.width.saturating_sub(text.chars().count());
    if flags.minus {
        return text + &" ".repeat(missing);
    }
    if zero { "0".repeat(missing) + &text } else { " ".repeat(missing) + &text }
}

fn signed(text: String, flags: &Flags) -> String {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits.to_owned()),
        None if flags.plus => ("+", text.trim_start_matches('+').to_owned()),
        None if flags.space => (" ", text),
        None => ("", text),
    };
    if flags.zero && !flags.minus {
        let missing = flags.width.saturating_sub(sign.len() + digits.chars().count());
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    pad(format!("{sign}{digits}"), flags, false)
}

fn whole(value: i64, base: u32, upper: bool, flags: &Flags) -> String {
    let size = value.unsigned_abs();
    let mut digits = match (base, upper) {
        (16, false) => format!("{size:x}"),
        (16, true) => format!("{size:X}"),
        (8, _) => format!("{size:o}"),
        (2, _) => format!("{size:b}"),
        _ => size.to_string(),
    };
    if let Some(precision) = flags.precision {
        digits = "0".repeat(precision.saturating_sub(digits.len())) + &digits;
    }
    if flags.sharp {
        digits = match base {
            16 => format!("{}{digits}", if upper { "0X" } else { "0x" }),
            8 => format!("0{digits}"),
            2 => format!("0b{digits}"),
            _ => digits,
        };
    }
    let text = if value < 0 { format!("-{digits}") } else { digits };
    let zero = flags.zero && flags.precision.is_none();
    signed(
        text,
        &Flags {
            zero,
            minus: flags.minus,
            plus: flags.plus,
            space: flags.space,
            width: flags.width,
            ..Flags::default()
        },
    )
}

/// Go's `strconv.Quote`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
