//! YAML: read by a library, written as Go's yaml.v2 writes it (what may stand without quotes, the order of keys, long lines
//! folded at 80 columns).

use std::{cmp::Ordering, fmt::Write};

use crate::{
    format,
    value::{Map, Value},
};

/// Columns after which a line is folded at its next space.
const WIDTH: usize = 80;

/// Reads a document.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    // Its errors show the line they are about: only the place may be told.
    let read: Result<serde_json::Value, _> = serde_saphyr::from_str(text);
    read.map(|json| Value::from_json(&json)).map_err(|error| match error.location() {
        Some(at) => format!("not YAML: line {}, column {}", at.line(), at.column()),
        None => "not YAML".to_owned(),
    })
}

/// Writes a document, without the last end of line.
pub(crate) fn print(value: &Value) -> String {
    let mut writer = Writer { out: String::new() };
    writer.node(value, 0, Place::Top);
    writer.out.trim().to_owned()
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Top,
    /// Behind `key:`.
    Value,
    /// Behind `-`.
    Item,
}

struct Writer {
    out: String,
}

impl Writer {
    fn node(&mut self, value: &Value, indent: usize, place: Place) {
        match value {
            Value::Map(map) | Value::Secret(map) => self.map(map, indent, place),
            Value::List(items) => self.list(items, indent, place),
            scalar => {
                if place != Place::Top {
                    self.out.push(' ');
                }
                self.scalar(scalar, indent, false);
                self.out.push('\n');
            }
        }
    }

    fn map(&mut self, map: &Map, indent: usize, place: Place) {
        if map.is_empty() {
            self.out.push_str(if place == Place::Top { "{}\n" } else { " {}\n" });
            return;
        }
        self.begin(place, true);
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_by(|a, b| natural(a, b));
        for (index, key) in keys.into_iter().enumerate() {
            if index > 0 || place != Place::Item {
                self.out.push_str(&" ".repeat(indent));
            }
            self.scalar(&Value::text(key.as_str()), indent, true);
            self.out.push(':');
            let value = &map[key];
            // Lists stand under their key, not to the right of it.
            let below = if matches!(value, Value::List(_)) { indent } else { indent + 2 };
            self.node(value, below, Place::Value);
        }
    }

    fn list(&mut self, items: &[Value], indent: usize, place: Place) {
        if items.is_empty() {
            self.out.push_str(if place == Place::Top { "[]\n" } else { " []\n" });
            return;
        }
        self.begin(place, false);
        for (index, item) in items.iter().enumerate() {
            if index > 0 || place != Place::Item {
                self.out.push_str(&" ".repeat(indent));
            }
            self.out.push('-');
            self.node(item, indent + 2, Place::Item);
        }
    }

    fn begin(&mut self, place: Place, _map: bool) {
        match place {
            Place::Top => {}
            Place::Value => self.out.push('\n'),
            Place::Item => self.out.push(' '),
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize, key: bool) {
        match value {
            Value::Text(text) => self.text(text, indent, key),
            Value::Missing | Value::Nil | Value::Scratch => self.out.push_str("null"),
            other => self.out.push_str(&format::plain(other)),
        }
    }

    fn text(&mut self, text: &str, indent: usize, key: bool) {
        let shape = Shape::of(text);
        let indent = indent.max(2);
        if text.contains('\n') {
            if !key && shape.block {
                return self.literal(text, indent);
            }
            return self.double(text, indent, !key);
        }
        if resolves(text) {
            return self.double(text, indent, !key);
        }
        if shape.plain {
            return self.folded(text, indent, !key);
        }
        if !shape.single {
            return self.double(text, indent, !key);
        }
        self.out.push('\'');
        self.folded(&text.replace('\'', "''"), indent, !key);
        self.out.push('\'');
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.out.push('|');
        if text.starts_with([' ', '\n']) {
            self.out.push('2');
        }
        let trailing = text.len() - text.trim_end_matches('\n').len();
        match trailing {
            0 => self.out.push('-'),
            1 if text.len() > 1 => {}
            _ => self.out.push('+'),
        }
        let body = text.strip_suffix('\n').unwrap_or(text);
        for line in body.split('\n') {
            self.out.push('\n');
            if !line.is_empty() {
                self.out.push_str(&" ".repeat(indent));
                self.out.push_str(line);
            }
        }
    }

    /// Breaks at a single space once the line is longer than it should be.
    fn folded(&mut self, text: &str, indent: usize, fold: bool) {
        let chars: Vec<char> = text.chars().collect();
        let mut column = self.column();
        for (index, c) in chars.iter().enumerate() {
            let alone =
                *c == ' ' && index > 0 && index + 1 < chars.len() && chars[index - 1] != ' ' && chars[index + 1] != ' ';
            if fold && alone && column > WIDTH {
                self.out.push('\n');
                self.out.push_str(&" ".repeat(indent));
                column = indent;
            } else {
                self.out.push(*c);
                column += 1;
            }
        }
    }

    fn double(&mut self, text: &str, indent: usize, fold: bool) {
        self.out.push('"');
        let chars: Vec<char> = text.chars().collect();
        let mut column = self.column();
        let mut spaces = false;
        for (index, c) in chars.iter().enumerate() {
            if fold && *c == ' ' && !spaces && column > WIDTH && index > 0 && index + 1 < chars.len() {
                self.out.push('\n');
                self.out.push_str(&" ".repeat(indent));
                column = indent;
                if chars[index + 1] == ' ' {
                    self.out.push('\\');
                }
                spaces = true;
                continue;
            }
            spaces = *c == ' ';
            let before = self.out.len();
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\t' => self.out.push_str("\\t"),
                '\r' => self.out.push_str("\\r"),
                '\0' => self.out.push_str("\\0"),
                '\u{7}' => self.out.push_str("\\a"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{b}' => self.out.push_str("\\v"),
                '\u{c}' => self.out.push_str("\\f"),
                '\u{1b}' => self.out.push_str("\\e"),
                '\u{85}' => self.out.push_str("\\N"),
                '\u{a0}' => self.out.push_str("\\_"),
                '\u{2028}' => self.out.push_str("\\L"),
                '\u{2029}' => self.out.push_str("\\P"),
                c if printable(*c) => self.out.push(*c),
                c => {
                    let code = u32::from(*c);
                    // Writing to a String cannot fail.
                    let _ = match code {
                        0..=0xff => write!(self.out, "\\x{code:02X}"),
                        0x100..=0xffff => write!(self.out, "\\u{code:04X}"),
                        _ => write!(self.out, "\\U{code:08X}"),
                    };
                }
            }
            column += self.out[before..].chars().count();
        }
        self.out.push('"');
    }

    fn column(&self) -> usize {
        self.out.rsplit('\n').next().unwrap_or_default().chars().count()
    }
}

/// In which ways a text may be written.
struct Shape {
    plain: bool,
    single: bool,
    block: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let (Some(first), Some(last)) = (chars.first(), chars.last()) else {
            return Self { plain: true, single: true, block: false };
        };
        let breaks = |c: char| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let blank = |at: usize| chars.get(at).is_none_or(|c| matches!(c, ' ' | '\t') || breaks(*c));
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut broken, mut break_space, mut space_break) = (false, false, false, false);
        for (at, c) in chars.iter().enumerate() {
            indicators |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                    if at == 0 =>
                {
                    true
                }
                '?' | '-' if at == 0 => blank(at + 1),
                ':' => blank(at + 1),
                '#' => blank(at - 1),
                _ => false,
            };
            special |= !printable(*c) && *c != '\n';
            broken |= breaks(*c);
            break_space |= *c == ' ' && at > 0 && breaks(chars[at - 1]);
            space_break |= breaks(*c) && at > 0 && chars[at - 1] == ' ';
        }
        let edge = |c: char| c == ' ' || breaks(c);
        let edges = edge(*first) || edge(*last);
        Self {
            plain: !indicators && !special && !broken && !edges && !break_space && !space_break,
            single: !special && !break_space && !space_break,
            block: *last != ' ' && !special && !space_break,
        }
    }
}

fn printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
        || u32::from(c) > 0xffff
}

/// Would the text, without quotes, be read as something else than text?
fn resolves(text: &str) -> bool {
    const WORDS: [&str; 43] = [
        "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N", "no", "No", "NO", "false",
        "False", "FALSE", "off", "Off", "OFF", "", "~", "null", "Null", "NULL", ".nan", ".NaN", ".NAN", ".inf", ".Inf",
        ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", "<<", "_", "__", "___",
    ];
    if WORDS.contains(&text) && !text.starts_with('_') {
        return true;
    }
    let Some(first) = text.chars().next() else { return true };
    if first == '.' {
        return number(text);
    }
    if !(first.is_ascii_digit() || matches!(first, '+' | '-')) {
        return false;
    }
    date(text) || number(&text.replace('_', "")) || sixty(text)
}

/// A whole number in any base, or a decimal.
fn number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all = |digits: &str, base: u32| !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
    if let Some((prefix, rest)) = digits.split_at_checked(2) {
        match prefix.to_ascii_lowercase().as_str() {
            "0x" => return all(rest, 16),
            "0o" => return all(rest, 8),
            "0b" => return all(rest, 2),
            _ => {}
        }
    }
    let (mantissa, exponent) = digits.split_once(['e', 'E']).map_or((digits, None), |(m, e)| (m, Some(e)));
    let exponent = exponent.is_none_or(|exponent| all(exponent.strip_prefix(['+', '-']).unwrap_or(exponent), 10));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    exponent && digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty())
}

/// `190:20:30.15`: a float to base 60 of YAML 1.1.
fn sixty(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = digits.split(':');
    let first = parts.next().unwrap_or_default();
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit() || matches!(c, '_' | '.'));
    let rest: Vec<&str> = parts.collect();
    number(first) && !rest.is_empty() && rest.iter().all(|part| number(part))
}

/// A date, or date and time, as YAML 1.1 has them.
fn date(text: &str) -> bool {
    let (day, rest) = text.split_at_checked(text.find(['T', 't', ' ']).unwrap_or(text.len())).unwrap_or((text, ""));
    let parts: Vec<&str> = day.split('-').collect();
    let within = |part: &str, most: u32| {
        (1..=2).contains(&part.len()) && part.parse::<u32>().is_ok_and(|value| (1..=most).contains(&value))
    };
    let [year, month, day] = parts.as_slice() else { return false };
    let plain = year.len() == 4 && year.chars().all(|c| c.is_ascii_digit()) && within(month, 12) && within(day, 31);
    plain && (rest.is_empty() || rest[1..].split(':').count() >= 3)
}

/// The order of yaml.v2: numbers in keys by their value, letters after everything else.
fn natural(a: &str, b: &str) -> Ordering {
    let (left, right): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    for at in 0..left.len().min(right.len()) {
        let (l, r) = (left[at], right[at]);
        if l == r {
            continue;
        }
        match (l.is_alphabetic(), r.is_alphabetic()) {
            (true, true) => return l.cmp(&r),
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => {}
        }
        // A leading zero counts only behind another digit.
        let inside = left[..at].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
        let start = u64::from((l == '0' || r == '0') && inside);
        let run = |chars: &[char]| {
            let digits: Vec<u32> = chars[at..].iter().map_while(|c| c.to_digit(10)).collect();
            (digits.iter().fold(start, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(*digit))), digits.len())
        };
        let ((ln, li), (rn, ri)) = (run(&left), run(&right));
        return ln.cmp(&rn).then(li.cmp(&ri)).then(l.cmp(&r));
    }
    left.len().cmp(&right.len())
}
