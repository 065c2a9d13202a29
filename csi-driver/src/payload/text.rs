//! Formats of text: all fields of a secret in one file.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use super::bytes_of;
use crate::attributes::Encoding;

/// Bytes from the text of a field; the error names what it is not.
pub fn decode(text: Vec<u8>, encoding: Encoding) -> Result<Vec<u8>, &'static str> {
    match encoding {
        Encoding::Text => Ok(text),
        Encoding::Base64 => BASE64_STANDARD.decode(text.trim_ascii()).map_err(|_| "base64"),
        Encoding::Hex => hex::decode(text.trim_ascii()).map_err(|_| "hexadecimal"),
    }
}

fn text_of(value: &Value) -> String {
    String::from_utf8_lossy(&bytes_of(value)).into_owned()
}

/// `KEY="value"` lines that a shell can source: what a shell would take for its own is escaped.
pub fn env(fields: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (key, value) in fields {
        let name: String =
            key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        let value = text_of(value)
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('$', "\\$")
            .replace('`', "\\`")
            .replace('\n', "\\n");
        text.push_str(&format!("{name}=\"{value}\"\n"));
    }
    text
}

/// A properties file as `java.util.Properties.load` reads it, in ASCII.
pub fn properties(fields: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (key, value) in fields {
        escape_property(&mut text, key, true);
        text.push('=');
        escape_property(&mut text, &text_of(value), false);
        text.push('\n');
    }
    text
}

fn escape_property(to: &mut String, text: &str, key: bool) {
    let mut leading = true;
    for c in text.chars() {
        match c {
            ' ' if key || leading => to.push_str("\\ "),
            ':' | '=' | '#' | '!' if key => {
                to.push('\\');
                to.push(c);
            }
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            ' '..='~' => to.push(c),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    to.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
        leading = leading && c == ' ';
    }
}

/// A YAML map, a line for each field. Values are written as JSON, which YAML 1.2 contains, so that no word is taken for
/// something else (`no`, `1e3`).
pub fn yaml(fields: &Map<String, Value>) -> String {
    if fields.is_empty() {
        return "{}\n".to_owned();
    }
    let mut text = String::new();
    for (key, value) in fields {
        text.push_str(&format!("{}: {value}\n", Value::from(key.as_str())));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn text_formats_hold_what_their_readers_read() {
        let given = fields(json!({"a b": "x=1\n y", "k:": " é😀\\", "n": 7, "p": "p$\"1`"}));
        assert_eq!(properties(&given), "a\\ b=x=1\\n y\nk\\:=\\ \\u00E9\\uD83D\\uDE00\\\\\nn=7\np=p$\"1`\n");
        assert_eq!(env(&given), "A_B=\"x=1\\n y\"\nK_=\" é😀\\\\\"\nN=\"7\"\nP=\"p\\$\\\"1\\`\"\n");
        let read: Value = serde_saphyr::from_str(&yaml(&given)).unwrap();
        assert_eq!(read["a b"], "x=1\n y");
        assert_eq!((read["k:"].as_str(), read["n"].to_string().as_str()), (Some(" é😀\\"), "7"));
        assert_eq!(yaml(&Map::new()), "{}\n");
    }

    #[test]
    fn what_is_not_encoded_as_said_is_refused() {
        assert_eq!(decode(b"AAH/\n".to_vec(), Encoding::Base64).unwrap(), [0, 1, 255]);
        assert_eq!(decode(b"00ff".to_vec(), Encoding::Hex).unwrap(), [0, 255]);
        assert_eq!(decode(b"zz".to_vec(), Encoding::Hex), Err("hexadecimal"));
        assert_eq!(decode(b"=".to_vec(), Encoding::Base64), Err("base64"));
    }
}
