//! `policy`

mod explain;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::{
    failure::{During, Failure},
    format, input,
    session::Session,
};

/// Policies.
#[derive(Subcommand)]
pub enum Policy {
    /// Show the names.
    List,
    /// Show the text of a policy.
    Read {
        /// Name.
        name: String,
    },
    /// Write a policy.
    Write {
        /// Name.
        name: String,
        /// File with its text, HCL or JSON; - for standard input.
        file: String,
    },
    /// Delete a policy.
    Delete {
        /// Name.
        name: String,
    },
    /// Tell why a request would be allowed or denied, and which policy decides.
    Explain(Box<explain::Explain>),
    /// Indent a policy file in place. Refuses what is no HCL.
    Fmt {
        /// File.
        file: String,
    },
}

impl Policy {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        match self {
            Self::List => {
                let envelope = api.list("sys/policies/acl").await.during("listing policies")?;
                let keys = envelope.and_then(|envelope| envelope.data?.remove("keys")).unwrap_or(json!([]));
                let names: Vec<String> = keys.as_array().into_iter().flatten().map(format::plain).collect();
                session.value(&keys, || names.join("\n"))
            }
            Self::Read { name } => {
                let name = name.trim().to_lowercase();
                let envelope = api.secret(Method::GET, &format!("sys/policies/acl/{name}"), "", None).await;
                let envelope = match envelope {
                    Err(error) if error.status() == Some(404) => None,
                    other => other.during(format_args!("reading policy named {name}"))?,
                };
                let text = envelope.and_then(|envelope| envelope.data?.remove("policy"));
                let text = text.ok_or_else(|| Failure::Nothing(format!("No policy named: {name}")))?;
                session.value(&json!({ "policy": text }), || format::plain(&text).trim().to_owned())
            }
            Self::Write { name, file } => {
                let name = name.trim().to_lowercase();
                let text = if file == "-" { input::text("-")? } else { input::file(&file)? };
                let written = api.write(&format!("sys/policies/acl/{name}"), json!({ "policy": text })).await;
                let envelope = written.during("uploading policy")?;
                if let Some(envelope) = &envelope {
                    session.warnings(envelope);
                }
                session.say(&format!("Success! Uploaded policy: {name}"));
                Ok(())
            }
            Self::Delete { name } => {
                let name = name.trim().to_lowercase();
                api.delete(&format!("sys/policies/acl/{name}")).await.during(format_args!("deleting {name}"))?;
                session.say(&format!("Success! Deleted policy: {name}"));
                Ok(())
            }
            Self::Explain(explain) => explain.run(session).await,
            Self::Fmt { file } => {
                let text = input::file(&file)?;
                holdfast_hcl::parse(&text)
                    .map_err(|error| Failure::local(format!("failed to parse policy: {error}")))?;
                std::fs::write(&file, indented(&text))
                    .map_err(|error| Failure::local(format!("Error writing {file}: {error}")))?;
                session.value(&Value::from(file.clone()), || format!("Success! Formatted policy: {file}"))
            }
        }
    }
}

/// Two blanks per open bracket at the start of each line; text in heredocs, strings and comments stays.
fn indented(text: &str) -> String {
    let mut out = String::new();
    let mut depth = 0usize;
    let mut here: Option<String> = None;
    let mut comment = false;
    for line in text.lines() {
        if let Some(mark) = &here {
            out.push_str(line);
            out.push('\n');
            if line.trim() == mark {
                here = None;
            }
            continue;
        }
        let (opens, closes, first_closes, ends_in_comment, mark) = brackets(line.trim(), comment);
        let inside = depth.saturating_sub(first_closes);
        if !line.trim().is_empty() && !comment {
            out.push_str(&"  ".repeat(inside));
        }
        out.push_str(if comment { line.trim_end() } else { line.trim() });
        out.push('\n');
        depth = (depth + opens).saturating_sub(closes);
        comment = ends_in_comment;
        here = mark;
    }
    out
}

/// Brackets outside strings and comments: opened, closed, closed before anything else; is a comment still open at the
/// end of the line; the mark of a heredoc that begins here.
fn brackets(line: &str, mut comment: bool) -> (usize, usize, usize, bool, Option<String>) {
    let (mut opens, mut closes, mut first, mut leading, mut string) = (0, 0, 0, true, false);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        let skip = match c {
            _ if comment && rest.starts_with("*/") => {
                comment = false;
                1
            }
            _ if comment => 0,
            '\\' if string => tail.chars().next().map_or(0, char::len_utf8),
            '"' => {
                string = !string;
                0
            }
            _ if string => 0,
            '#' => break,
            '/' if tail.starts_with('/') => break,
            '/' if tail.starts_with('*') => {
                comment = true;
                1
            }
            '<' if tail.starts_with('<') => {
                let mark = tail[1..].trim_start_matches('-').trim().to_owned();
                return (opens, closes, first, comment, Some(mark));
            }
            '{' | '[' => {
                opens += 1;
                0
            }
            '}' | ']' => {
                closes += 1;
                first += usize::from(leading);
                0
            }
            _ => 0,
        };
        leading &= matches!(c, '}' | ']' | ' ' | ',');
        rest = &tail[skip..];
    }
    (opens, closes, first, comment, None)
}

#[cfg(test)]
mod tests {
    use super::indented;

    #[test]
    fn lines_are_indented_and_nothing_else() {
        let text = "# c {\npath \"a/{x\" {\ncapabilities = [\n\"read\", # ]\n\"list\"\n]\n      }\n/* {\n  kept\n*/\nx = <<E\n   {\nE\ny = 1\n";
        let expected = "# c {\npath \"a/{x\" {\n  capabilities = [\n    \"read\", # ]\n    \"list\"\n  ]\n}\n/* {\n  kept\n*/\nx = <<E\n   {\nE\ny = 1\n";
        assert_eq!(indented(text), expected);
        assert_eq!(indented(expected), expected);
    }
}
