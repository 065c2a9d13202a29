//! Tests that documents name are there.

use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 2] = ["docs/security.md", "docs/reliability.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The text of all Rust files of the workspace.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules" | "corpus") {
            sources(&path, text);
        } else if name.ends_with(".rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// What stands between backticks and reads like tests: `a_name_of_words`, `begin_of_names_*`, `module::*`.
fn named(document: &str) -> Vec<&str> {
    let quoted = document.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let like_a_test = |text: &&str| {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':' | '*' | '…');
        text.chars().all(letters) && (text.contains("::") || text.matches('_').count() > 2)
    };
    quoted.filter(like_a_test).collect()
}

/// The declaration that there must be.
fn declaration(name: &str) -> String {
    match name.strip_suffix("::*").or_else(|| name.strip_suffix("::")) {
        Some(module) => format!("mod {}", module.rsplit("::").next().unwrap_or(module)),
        None => {
            let (begin, cut) = match name.strip_suffix('*').or_else(|| name.strip_suffix('…')) {
                Some(begin) => (begin, ""),
                None => (name, "("),
            };
            let last = begin.rsplit("::").next().unwrap_or(begin);
            if last == "tests" { "mod tests".to_owned() } else { format!("fn {last}{cut}") }
        }
    }
}

#[test]
fn tests_that_are_named_are_there() {
    let mut text = String::new();
    sources(&root(), &mut text);
    for document in DOCUMENTS {
        let content = std::fs::read_to_string(root().join(document)).unwrap();
        let names = named(&content);
        assert!(names.len() > 40, "{document}: {}", names.len());
        let missing: Vec<_> = names.into_iter().filter(|name| !text.contains(&declaration(name))).collect();
        assert!(missing.is_empty(), "{document}: {missing:#?}");
    }
}
