//! TOML as Go's BurntSushi encoder writes it: plain values first, then tables, indented by their depth; keys in order.

use crate::{
    format,
    value::{Map, Value},
};

/// Deepest tables in tables.
const MAX_DEPTH: usize = 64;

/// The text without the last end of line. Only a map is a document.
pub(crate) fn print(value: &Value) -> Result<String, String> {
    let Value::Map(map) = value else { return Err(format!("only a map is TOML, not a {}", value.kind())) };
    let mut out = String::new();
    table(&mut out, map, &mut Vec::new())?;
    Ok(out.trim().to_owned())
}

fn table(out: &mut String, map: &Map, path: &mut Vec<String>) -> Result<(), String> {
    if path.len() > MAX_DEPTH {
        return Err("tables are nested too deeply".to_owned());
    }
    let margin = "  ".repeat(path.len());
    let is_table = |value: &Value| matches!(value, Value::Map(_)) || tables(value).is_some();
    for (name, value) in map.iter().filter(|(_, value)| !is_table(value)) {
        if matches!(value, Value::Nil | Value::Missing) {
            continue;
        }
        out.push_str(&format!("{margin}{} = ", key(name)));
        inline(out, value, 0)?;
        out.push('\n');
    }
    for (name, value) in map.iter().filter(|(_, value)| is_table(value)) {
        path.push(key(name));
        let margin = "  ".repeat(path.len() - 1);
        let header = path.join(".");
        if let Value::Map(inner) = value {
            if path.len() == 1 && !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&format!("{margin}[{header}]\n"));
            table(out, inner, path)?;
        } else {
            for inner in tables(value).unwrap_or_default() {
                if !out.is_empty() {
                    out.push('\n');
                }
                out.push_str(&format!("{margin}[[{header}]]\n"));
                table(out, inner, path)?;
            }
        }
        path.pop();
    }
    Ok(())
}

/// The maps of a list that holds maps only.
fn tables(value: &Value) -> Option<Vec<&Map>> {
    let Value::List(items) = value else { return None };
    let maps: Vec<&Map> = items
        .iter()
        .filter_map(|item| match item {
            Value::Map(map) => Some(&**map),
            _ => None,
        })
        .collect();
    (!maps.is_empty() && maps.len() == items.len()).then_some(maps)
}

fn inline(out: &mut String, value: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("lists are nested too deeply".to_owned());
    }
    match value {
        Value::Text(text) => quoted(out, text),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                inline(out, item, depth + 1)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (index, (name, item)) in map.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(&format!("{} = ", key(name)));
                inline(out, item, depth + 1)?;
            }
            out.push('}');
        }
        Value::Bool(_) | Value::Int(_) | Value::Float(..) => out.push_str(&format::plain(value)),
        other => return Err(format!("a {} cannot stand in a list of TOML", other.kind())),
    }
    Ok(())
}

fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) {
        return name.to_owned();
    }
    let mut out = String::new();
    quoted(&mut out, name);
    out
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
