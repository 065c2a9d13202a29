//! SQL texts: splitting, filling in, quoting.

use holdfast_logical::Error;
use serde_json::Value;

/// A text that cannot be split.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SplitError {
    #[error("a {0} is not closed")]
    Open(&'static str),
}

/// Statements as clients send them: a text, a list of texts, or a text that is a JSON list.
pub(crate) fn list(name: &str, value: &Value) -> Result<Vec<String>, Error> {
    let refuse = || Error::Invalid(format!("field {name:?}: it must be a text or a list of texts"));
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
        Value::String(text) if text.trim_start().starts_with('[') => serde_json::from_str(text).map_err(|_| refuse()),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(refuse)).collect(),
        _ => Err(refuse()),
    }
}

/// All statements of several texts.
pub(crate) fn split_all(texts: &[String]) -> Result<Vec<String>, SplitError> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(split(text)?);
    }
    Ok(all)
}

/// The statements of a text: split at `;` outside of quotes, dollar quotes and comments; empty ones are left out.
pub(crate) fn split(text: &str) -> Result<Vec<String>, SplitError> {
    let (mut statements, mut start, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(';') {
            push(&mut statements, &text[start..at]);
            at += 1;
            start = at;
        } else {
            at += token(text, at)?;
        }
    }
    push(&mut statements, &text[start..]);
    Ok(statements)
}

fn push(statements: &mut Vec<String>, text: &str) {
    let text = text.trim();
    if !text.is_empty() {
        statements.push(text.to_owned());
    }
}

/// Length of what stands at `at`: a quoted piece, a comment, or one character.
fn token(text: &str, at: usize) -> Result<usize, SplitError> {
    let rest = &text[at..];
    if rest.starts_with("--") {
        return Ok(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    match rest.as_bytes()[0] {
        b'"' => quoted(rest, '"', false).ok_or(SplitError::Open("double quote")),
        b'\'' => {
            let before = &text[..at];
            let escapes = before.ends_with(['e', 'E']) && !before[..before.len() - 1].ends_with(is_word);
            quoted(rest, '\'', escapes).ok_or(SplitError::Open("single quote"))
        }
        b'$' if !text[..at].ends_with(is_word) => match dollar_tag(rest) {
            Some(tag) => {
                rest[tag.len()..].find(tag).map(|end| end + 2 * tag.len()).ok_or(SplitError::Open("dollar quote"))
            }
            None => Ok(1),
        },
        _ => Ok(rest.chars().next().map_or(1, char::len_utf8)),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// `$$` or `$tag$` at the beginning of the text.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[1..end - 1];
    let fine = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    fine.then(|| &text[..end])
}

fn quoted(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return Some(at + 1),
            }
        }
    }
    None
}

/// Block comments nest in PostgreSQL.
fn block_comment(text: &str) -> Result<usize, SplitError> {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Ok(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Err(SplitError::Open("comment"))
}

/// Puts values in for `{{name}}`, with or without spaces inside the braces.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let (mut filled, mut rest) = (String::with_capacity(text.len() + 64), text);
    while let Some(open) = rest.find("{{") {
        let Some(close) = rest[open..].find("}}") else { break };
        let name = rest[open + 2..open + close].trim();
        filled.push_str(&rest[..open]);
        match values.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => filled.push_str(value),
            None => filled.push_str(&rest[open..open + close + 2]),
        }
        rest = &rest[open + close + 2..];
    }
    filled.push_str(rest);
    filled
}

/// A name as SQL takes it: `"na""me"`.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// A text as SQL takes it, whatever `standard_conforming_strings` says: `'te''xt'`, `E'back\\slash'`.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\0', "").replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_split_only_outside_of_quotes_and_comments() {
        for (text, statements) in [
            ("a; b ;; c;", vec!["a", "b", "c"]),
            ("SELECT ';'; b", vec!["SELECT ';'", "b"]),
            ("SELECT 'it''s;'; b", vec!["SELECT 'it''s;'", "b"]),
            (r"SELECT E'\';'; b", vec![r"SELECT E'\';'", "b"]),
            (r"SELECT '\'; b", vec![r"SELECT '\'", "b"]),
            ("CREATE ROLE \"a;b\"; c", vec!["CREATE ROLE \"a;b\"", "c"]),
            ("DO $$ BEGIN x; END $$; b", vec!["DO $$ BEGIN x; END $$", "b"]),
            ("DO $f$ $$;$$ $f$; b", vec!["DO $f$ $$;$$ $f$", "b"]),
            ("a -- no; split\n; b", vec!["a -- no; split", "b"]),
            ("a /* x; /* y; */ */; b", vec!["a /* x; /* y; */ */", "b"]),
            ("SELECT $1; a$b; ü;", vec!["SELECT $1", "a$b", "ü"]),
        ] {
            assert_eq!(split(text).unwrap(), statements, "{text}");
        }
    }

    #[test]
    fn what_is_left_open_is_refused() {
        for text in ["SELECT 'a", "SELECT \"a", "DO $$ x", "/* a"] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_filled_in_once() {
        let filled =
            fill("CREATE ROLE \"{{name}}\" '{{ password }}' {{other}}", &[("name", "{{password}}"), ("password", "p")]);
        assert_eq!(filled, "CREATE ROLE \"{{password}}\" 'p' {{other}}");
    }

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        assert_eq!(identifier("a\"; DROP ROLE b; --"), "\"a\"\"; DROP ROLE b; --\"");
        assert_eq!(literal("a'; --"), "'a''; --'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
    }
}
