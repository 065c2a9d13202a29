//! docs/reference/api.md: every path that is served, from the rows that route and validate it, and what of Vault's API is
//! not served or differs ([`vault`]).

pub mod vault;

use std::fmt::Write;

use holdfast_core::{Class, reference::Section};
use holdfast_logical::{Auth, Field, Kind, Operation, Row};

/// The whole page.
pub fn markdown(sections: &[Section]) -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in sections {
        let _ = write!(page, "\n## {}\n", title(section));
        let mut rows: Vec<&Row> = section.rows.clone();
        rows.sort_by_key(|row| row.pattern);
        for row in rows {
            endpoint(&mut page, section, row);
        }
    }
    not_served(&mut page);
    page
}

const INTRODUCTION: &str = "\
# The HTTP API

Everything is below `/v1/`. This page is made from the tables that route and validate requests; `sys/internal/specs/openapi` has \
the same for programs, `GET <path>?help=1` for one path. What Vault serves and Holdfast does not is [at the end](#not-served).

Who may call: *token* needs a token whose policies allow it, *sudo* the `sudo` capability too, *anyone* needs no token. \
`*` after a field: its content is secret. POST and PUT are the same. State: *served* as Vault does unless a line says how it differs.
";

fn title(section: &Section) -> String {
    let kind = match section.options.get("version") {
        Some(version) => format!("{} version {version}", section.kind),
        None => section.kind.clone(),
    };
    match (section.class, section.kind.as_str()) {
        (_, "system") => "sys/".to_owned(),
        (_, "token") => "auth/token/".to_owned(),
        (_, "cubbyhole" | "identity") => format!("{kind}/"),
        (Class::Secret, _) => format!("Secret engine {kind}"),
        (Class::Auth, _) => format!("Auth method {kind}"),
    }
}

fn endpoint(page: &mut String, section: &Section, row: &Row) {
    let prefix = match section.kind.as_str() {
        "system" | "token" | "cubbyhole" | "identity" => section.path.as_str(),
        _ => "",
    };
    let path = format!("{prefix}{}", row.pattern);
    let who = match row.auth {
        Auth::Token => "token",
        Auth::Sudo => "sudo",
        Auth::None => "anyone",
    };
    // Writing into a String does not fail.
    let _ = write!(page, "\n### `{path}`\n{} · {who} · {}", methods(row), row.help);
    match vault::difference(&section.kind, row.pattern) {
        Some(how) => {
            let _ = writeln!(page, " · **differs:** {how}");
        }
        None => page.push_str(" · served\n"),
    }
    let fields: Vec<&Field> = row.fields.iter().collect();
    if !fields.is_empty() {
        page.push_str("\n| field | type | |\n|---|---|---|\n");
    }
    for field in fields {
        let secret = if field.sensitive { "*" } else { "" };
        let _ =
            writeln!(page, "| `{}`{secret} | {} | {} |", field.name, kind(field.kind), field.help.replace('|', "\\|"));
    }
}

fn methods(row: &Row) -> String {
    let mut names: Vec<&str> = Vec::new();
    for operation in row.operations {
        let name = match operation {
            Operation::Read => "GET",
            Operation::List => "LIST",
            Operation::Scan => "SCAN",
            Operation::Create | Operation::Update => "POST",
            Operation::Patch => "PATCH",
            Operation::Delete => "DELETE",
            Operation::Help => continue,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "text",
        Kind::Bool => "boolean",
        Kind::Int => "number",
        Kind::Duration | Kind::SignedDuration => "duration",
        Kind::StringList => "list of text",
        Kind::StringMap => "map of text",
        Kind::Object => "object",
        Kind::Any => "any",
    }
}

fn not_served(page: &mut String) {
    page.push_str("\n## Not served\n\n| path | why |\n|---|---|\n");
    for (paths, why) in vault::NOT_SERVED {
        let _ = writeln!(
            page,
            "| {} | {why} |",
            paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
        );
    }
    page.push_str("\nOn the wire, for all paths:\n\n");
    for line in vault::WIRE {
        let _ = writeln!(page, "- {line}");
    }
}
