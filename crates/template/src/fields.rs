//! All fields of a secret in one text: what the functions of that name print, and what volumes write. Errors name keys,
//! never values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Names under which a private key is kept: by PKI engines, Kubernetes' TLS Secrets, and people.
const KEYS: [&str; 4] = ["private_key", "tls.key", "key", "key.pem"];
const CERTIFICATES: [&str; 5] = ["certificate", "tls.crt", "cert", "crt", "cert.pem"];
const CHAINS: [&str; 5] = ["ca_chain", "ca.crt", "ca", "chain", "issuing_ca"];

/// `NAME='value'` lines, sorted by key, that a POSIX shell sources without running or expanding anything; values may have
/// several lines. Other readers of `.env` files agree about values without line breaks, quotes, `$` and backslashes.
///
/// # Errors
/// Two keys that are the same variable, and a zero byte, which no variable can hold.
pub fn dotenv(fields: &Map<String, Value>) -> Result<String, String> {
    let mut lines = BTreeMap::new();
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for (key, value) in fields {
        let (name, value) = (variable(key), text_of(value));
        if value.contains('\0') {
            return Err(format!("key {key:?} has a zero byte, which no variable can hold"));
        }
        lines.insert(key, format!("{name}={}\n", quoted(&value)));
        if let Some(other) = names.insert(name.clone(), key) {
            return Err(format!("keys {other:?} and {key:?} are both the variable {name}"));
        }
    }
    Ok(lines.into_values().collect())
}

/// The key as the name of a variable: in capitals, with `_` for what no name can have.
fn variable(key: &str) -> String {
    let name = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = key.chars().map(name).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() { format!("_{name}") } else { name }
}

/// In single quotes, where all is itself. A text with single quotes is put into double quotes if nothing in it means
/// something there: that is read by more readers than quotes put together, which only shells know.
fn quoted(text: &str) -> String {
    if !text.contains('\'') {
        return format!("'{text}'");
    }
    if !text.contains(['$', '`', '\\', '"']) {
        return format!("\"{text}\"");
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A properties file as `java.util.Properties.load` reads it, in ASCII, sorted by key.
pub fn properties(fields: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (key, value) in fields.iter().collect::<BTreeMap<_, _>>() {
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

/// Private key, certificate and chain as PEM texts, under whatever names they are kept; the chain may be empty.
///
/// # Errors
/// No key, or no certificate.
pub fn pem(fields: &Map<String, Value>) -> Result<[String; 3], String> {
    let first =
        |names: &[&str]| names.iter().find_map(|name| fields.get(*name).map(lines).filter(|text| !text.is_empty()));
    let need = |names: &[&str], what: &str| {
        first(names).ok_or_else(|| format!("no {what}: none of the keys {} is there", names.join(", ")))
    };
    Ok([need(&KEYS, "private key")?, need(&CERTIFICATES, "certificate")?, first(&CHAINS).unwrap_or_default()])
}

/// The certificate among the fields, if there is one.
pub fn certificate(fields: &Map<String, Value>) -> Option<&str> {
    CERTIFICATES.iter().find_map(|name| fields.get(*name)?.as_str())
}

/// PEM text of a field: a string, or a list of them; ends with a line break.
fn lines(value: &Value) -> String {
    match value {
        Value::String(text) if text.trim().is_empty() => String::new(),
        Value::String(text) => format!("{}\n", text.trim()),
        Value::Array(list) => list.iter().map(lines).collect(),
        _ => String::new(),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests say what they expect")]
mod tests {
    use std::process::Command;

    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_a_shell_sources_is_what_was_written() {
        let hostile = [
            "two\nlines\n",
            "a$HOME ${HOME} $(touch made) `touch made`",
            "it's",
            "it's \"$HOME\" \\ `x`",
            "'; touch made; '",
            "\\' \\\\ \\n",
            "# no comment ",
            " é😀\t!$!\r",
            "",
            "~/*",
            "a'\nb$'",
        ];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret.env");
        for value in hostile {
            let given = fields(&json!({ "the key-1": value, "1st": 7, "none": null, "list": ["a'b"] }));
            std::fs::write(&file, dotenv(&given).unwrap()).unwrap();
            let line = "set -eu; . ./secret.env; printf '%s|%s|%s|%s' \"$THE_KEY_1\" \"$_1ST\" \"$NONE\" \"$LIST\"";
            let shell = Command::new("/bin/sh").args(["-c", line]).current_dir(&folder).output().unwrap();
            assert!(shell.stderr.is_empty(), "{value:?}: {}", String::from_utf8_lossy(&shell.stderr));
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), format!("{value}|7||[\"a'b\"]"));
            let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["secret.env"], "{value:?} ran something");
        }
    }

    #[test]
    fn quotes_are_those_that_most_readers_know() {
        let given = fields(&json!({ "a": "x y", "b": "it's", "c": "'$", "b-1": "\\$\"" }));
        assert_eq!(dotenv(&given).unwrap(), "A='x y'\nB=\"it's\"\nB_1='\\$\"'\nC=''\\''$'\n");
    }

    #[test]
    fn what_cannot_be_a_variable_is_named_by_its_key() {
        let error = dotenv(&fields(&json!({ "a-b": "s3cret", "a.b": "x" }))).unwrap_err();
        assert_eq!(error, "keys \"a-b\" and \"a.b\" are both the variable A_B");
        let error = dotenv(&fields(&json!({ "a": "s3cret\0" }))).unwrap_err();
        assert_eq!(error, "key \"a\" has a zero byte, which no variable can hold");
    }

    #[test]
    fn properties_hold_what_java_reads() {
        let given = fields(&json!({"a b": "x=1\n y", "k:": " é😀\\", "n": 7, "p": "p$\"1`"}));
        assert_eq!(properties(&given), "a\\ b=x=1\\n y\nk\\:=\\ \\u00E9\\uD83D\\uDE00\\\\\nn=7\np=p$\"1`\n");
    }

    #[test]
    fn pem_texts_are_found_under_many_names() {
        let [key, certificate, chain] =
            pem(&fields(&json!({"tls.key": " K", "cert": "C\n", "ca": ["A", "B"]}))).unwrap();
        assert_eq!((key.as_str(), certificate.as_str(), chain.as_str()), ("K\n", "C\n", "A\nB\n"));
        let error = pem(&fields(&json!({"tls.crt": "C"}))).unwrap_err();
        assert_eq!(error, "no private key: none of the keys private_key, tls.key, key, key.pem is there");
    }
}
