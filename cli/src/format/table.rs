//! Plain columns: four spaces between them, dashes under the head, `n/a` for nothing.

use serde_json::{Map, Value};

use super::plain;

/// Rows below a head. The last column is not padded.
pub fn columns(head: &[&str], rows: &[Vec<String>]) -> String {
    let dashes = head.iter().map(|title| "-".repeat(title.len())).collect();
    let mut all: Vec<Vec<String>> = vec![head.iter().map(|title| (*title).to_owned()).collect(), dashes];
    all.extend(rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()));
    align(&all)
}

/// `Key Value` with its dashes.
pub fn key_value(rows: &[(String, String)]) -> String {
    columns(&["Key", "Value"], &rows.iter().map(|(key, value)| vec![key.clone(), value.clone()]).collect::<Vec<_>>())
}

fn align(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| length(cell)).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let mut text = String::new();
        for (index, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if index + 1 < row.len() {
                let blanks = widths.get(index).copied().unwrap_or_default().saturating_sub(length(cell)) + 4;
                text.push_str(&" ".repeat(blanks));
            }
        }
        text
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn one_line(cell: &str) -> String {
    let cell = cell.trim();
    if cell.is_empty() { "n/a".to_owned() } else { cell.to_owned() }
}

/// A head between equals signs, as wide as the table of this map: `====== Data ======`.
pub fn header_for(title: &str, data: &Map<String, Value>) -> String {
    let longest = data.keys().map(|key| length(key)).max().unwrap_or_default();
    // Four blanks, and the word "Value".
    padded(title, longest + 4 + 5)
}

/// A head between equals signs, `width` wide if it fits.
pub fn padded(title: &str, width: usize) -> String {
    let signs = width.saturating_sub(title.len() + 2);
    let signs = if signs == 0 { 4 } else { signs + signs % 2 };
    let side = "=".repeat(signs / 2);
    format!("{side} {title} {side}")
}

/// Rows of a map, with numbers that look like durations shown as such.
pub fn rows(data: &Map<String, Value>) -> Vec<(String, String)> {
    data.iter().map(|(key, value)| (key.clone(), shown(key, value))).collect()
}

fn shown(key: &str, value: &Value) -> String {
    let ends = ["period", "ttl", "duration"]
        .iter()
        .any(|word| key == *word || key.strip_suffix(word).is_some_and(|before| before.ends_with('_')));
    match value.as_u64() {
        Some(seconds) if ends || matches!(key, "lease_max" | "ttl_max") => super::seconds(seconds),
        _ => plain(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up() {
        let rows =
            vec![vec!["secret/".to_owned(), "kv".to_owned(), String::new()], vec!["a/".into(), "b".into(), "c".into()]];
        assert_eq!(
            columns(&["Path", "Type", "Description"], &rows),
            "Path       Type    Description\n----       ----    -----------\nsecret/    kv      n/a\na/         b       c"
        );
    }

    #[test]
    fn heads_are_as_wide_as_their_table() {
        assert_eq!(header_for("Data", json!({"passcode": 1}).as_object().unwrap()), "====== Data ======");
        assert_eq!(
            header_for("Metadata", json!({"custom_metadata": 1}).as_object().unwrap()),
            "======= Metadata ======="
        );
        assert_eq!(padded("Secret Path", "secret/data/x".len()), "== Secret Path ==");
    }

    #[test]
    fn durations_are_recognised_by_name() {
        assert_eq!(shown("max_ttl", &json!(3600)), "1h");
        assert_eq!(shown("ttl", &json!(90)), "1m30s");
        assert_eq!(shown("battle", &json!(90)), "90");
        assert_eq!(shown("list", &json!(["a", {"b": null}])), "[a map[b:<nil>]]");
    }
}
