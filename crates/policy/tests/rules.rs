//! The rules of policies, read slowly and straight from their description, and policies and paths to try them on.

use std::{cmp::Reverse, sync::Arc};

use holdfast_logical::Operation;
use holdfast_policy::{Policy, PolicySet};
use proptest::prelude::*;

pub const OPERATIONS: [Operation; 7] = [
    Operation::Create,
    Operation::Read,
    Operation::Update,
    Operation::Patch,
    Operation::Delete,
    Operation::List,
    Operation::Scan,
];

pub type Stanza = (String, Vec<&'static str>);

pub fn text(stanzas: &[Stanza]) -> String {
    stanzas.iter().map(|(path, caps)| format!("path \"{path}\" {{ capabilities = {caps:?} }}\n")).collect()
}

pub fn compile(policies: &[Vec<Stanza>]) -> PolicySet {
    PolicySet::new(policies.iter().map(|stanzas| Arc::new(Policy::parse("p", &text(stanzas)).unwrap())).collect())
}

fn segmented(pattern: &str) -> bool {
    pattern.split('/').any(|segment| segment == "+")
}

/// Character by character, trying every way.
fn matches(pattern: &str, path: &str) -> bool {
    fn walk(pattern: &[u8], path: &[u8], at_start: bool) -> bool {
        match pattern {
            [] => path.is_empty(),
            b"*" => true,
            [b'+', rest @ ..] if at_start && (rest.is_empty() || rest[0] == b'/') => {
                let end = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
                walk(rest, &path[end..], false)
            }
            [first, rest @ ..] => path.first() == Some(first) && walk(rest, &path[1..], *first == b'/'),
        }
    }
    walk(pattern.as_bytes(), path.as_bytes(), true)
}

fn capabilities_of(policies: &[Vec<Stanza>], pattern: &str) -> Vec<&'static str> {
    policies.iter().flatten().filter(|(path, _)| path == pattern).flat_map(|(_, caps)| caps.clone()).collect()
}

fn best<'a>(policies: &'a [Vec<Stanza>], paths: &[&str]) -> Option<&'a str> {
    let mut found: Vec<&str> = policies
        .iter()
        .flatten()
        .map(|(pattern, _)| pattern.as_str())
        .filter(|pattern| segmented(pattern) || pattern.ends_with('*'))
        .filter(|pattern| paths.iter().any(|path| matches(pattern, path)))
        .collect();
    found.sort_by_key(|pattern| {
        let wildcard = if segmented(pattern) {
            format!("/{pattern}/").find("/+/").or_else(|| format!("/{pattern}").find("/+")).unwrap()
        } else {
            pattern.len() - 1
        };
        let text = pattern.trim_end_matches('*');
        let plus = pattern.split('/').filter(|segment| *segment == "+").count();
        (wildcard, !pattern.ends_with('*'), Reverse(plus), text.len(), text.to_owned())
    });
    found.last().copied()
}

/// The pattern that counts.
fn chosen<'a>(policies: &'a [Vec<Stanza>], path: &str, operation: Operation) -> Option<&'a str> {
    let exact = |path: &str| {
        let patterns = policies.iter().flatten().map(|(pattern, _)| pattern);
        let mut patterns = patterns.filter(|pattern| !segmented(pattern) && !pattern.ends_with('*'));
        patterns.find(|pattern| *pattern == path).map(String::as_str)
    };
    let bare = path.strip_suffix('/').filter(|_| matches!(operation, Operation::List | Operation::Scan));
    let ways: Vec<&str> = bare.into_iter().chain([path]).collect();
    exact(path).or_else(|| bare.and_then(exact)).or_else(|| best(policies, &ways))
}

/// What is granted there; nothing where it is denied.
pub fn granted(policies: &[Vec<Stanza>], path: &str, operation: Operation) -> Vec<&'static str> {
    let chosen = chosen(policies, path, operation);
    let capabilities = chosen.map(|pattern| capabilities_of(policies, pattern)).unwrap_or_default();
    if capabilities.contains(&"deny") { Vec::new() } else { capabilities }
}

pub fn naive(policies: &[Vec<Stanza>], path: &str, operation: Operation) -> bool {
    granted(policies, path, operation).contains(&operation.as_str())
}

pub fn pattern() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "+", ""]);
    let end = prop::sample::select(vec!["", "*", "/*", "/"]);
    (prop::collection::vec(segment, 1..4), end)
        .prop_map(|(segments, end)| format!("{}{end}", segments.join("/")))
        .prop_filter("not a pattern", |pattern| !pattern.contains("+*") && !pattern.starts_with('/'))
}

pub fn policies() -> impl Strategy<Value = Vec<Vec<Stanza>>> {
    let capability = prop::sample::select(vec![
        "read", "update", "list", "delete", "create", "patch", "scan", "sudo", "read", "list", "deny",
    ]);
    let stanza = (pattern(), prop::collection::vec(capability, 0..5));
    prop::collection::vec(prop::collection::vec(stanza, 0..5), 1..3)
}

pub fn path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "abc"]);
    (prop::collection::vec(segment, 1..4), prop::bool::ANY)
        .prop_map(|(segments, slash)| segments.join("/") + if slash { "/" } else { "" })
}
