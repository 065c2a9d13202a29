//! Formats of text: all fields of a secret in one file.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use crate::attributes::Encoding;

/// Bytes from the text of a field; the error names what it is not.
pub fn decode(text: Vec<u8>, encoding: Encoding) -> Result<Vec<u8>, &'static str> {
    match encoding {
        Encoding::Text => Ok(text),
        Encoding::Base64 => BASE64_STANDARD.decode(text.trim_ascii()).map_err(|_| "base64"),
        Encoding::Hex => hex::decode(text.trim_ascii()).map_err(|_| "hexadecimal"),
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
