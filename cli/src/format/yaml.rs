//! JSON values as YAML, in block style. Text is quoted whenever a reader might take it for something else.

use serde_json::Value;

/// A document, without line feed at its end.
pub fn write(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text.trim_matches('\n').to_owned()
}

fn block(value: &Value, indent: usize, text: &mut String) {
    let blanks = "  ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                text.push_str(&format!("\n{blanks}{}:", scalar(&Value::String(key.clone()))));
                below(value, indent, text);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                text.push_str(&format!("\n{blanks}-"));
                below(value, indent, text);
            }
        }
        other => {
            text.push_str(&scalar(other));
        }
    }
}

fn below(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => block(value, indent + 1, text),
        Value::Array(list) if !list.is_empty() => block(value, indent + 1, text),
        other => {
            text.push(' ');
            text.push_str(&scalar(other));
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        // A JSON string is a YAML string.
        other => other.to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@' | '+'))
        && !words.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_and_quotes() {
        let value = json!({"a": {"b": [1, "two", {"c": null}], "e": {}}, "no": "no", "s": "x: y\n", "t": "1"});
        let expected =
            "a:\n  b:\n    - 1\n    - two\n    -\n      c: null\n  e: {}\n\"no\": \"no\"\ns: \"x: y\\n\"\nt: \"1\"";
        assert_eq!(write(&value), expected);
        assert_eq!(write(&json!("x")), "x");
    }
}
