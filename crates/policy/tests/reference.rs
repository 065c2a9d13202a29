//! The compiled set against a slow reading of the rules, on generated policies and paths; and that adding a deny never
//! grants anything.

use std::{cmp::Reverse, sync::Arc};

use holdfast_logical::Operation;
use holdfast_policy::{Policy, PolicySet};
use proptest::prelude::*;
use serde_json::Map;

const OPERATIONS: [Operation; 4] = [Operation::Read, Operation::Update, Operation::List, Operation::Delete];

type Stanza = (String, Vec<&'static str>);

fn text(stanzas: &[Stanza]) -> String {
    stanzas.iter().map(|(path, caps)| format!("path \"{path}\" {{ capabilities = {caps:?} }}\n")).collect()
}

fn compile(policies: &[Vec<Stanza>]) -> PolicySet {
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

fn naive(policies: &[Vec<Stanza>], path: &str, operation: Operation) -> bool {
    let exact = |path: &str| {
        let patterns = policies.iter().flatten().map(|(pattern, _)| pattern);
        let mut patterns = patterns.filter(|pattern| !segmented(pattern) && !pattern.ends_with('*'));
        patterns.find(|pattern| *pattern == path).map(String::as_str)
    };
    let bare = path.strip_suffix('/').filter(|_| operation == Operation::List);
    let ways: Vec<&str> = bare.into_iter().chain([path]).collect();
    let chosen = exact(path).or_else(|| bare.and_then(exact)).or_else(|| best(policies, &ways));
    let Some(chosen) = chosen else { return false };
    let capabilities = capabilities_of(policies, chosen);
    !capabilities.contains(&"deny") && capabilities.contains(&operation.as_str())
}

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "+", ""]);
    let end = prop::sample::select(vec!["", "*", "/*", "/"]);
    (prop::collection::vec(segment, 1..4), end)
        .prop_map(|(segments, end)| format!("{}{end}", segments.join("/")))
        .prop_filter("not a pattern", |pattern| !pattern.contains("+*") && !pattern.starts_with('/'))
}

fn policies() -> impl Strategy<Value = Vec<Vec<Stanza>>> {
    let capability = prop::sample::select(vec!["read", "update", "list", "delete", "read", "list", "deny"]);
    let stanza = (pattern(), prop::collection::vec(capability, 0..3));
    prop::collection::vec(prop::collection::vec(stanza, 0..5), 1..3)
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "abc"]);
    (prop::collection::vec(segment, 1..4), prop::bool::ANY)
        .prop_map(|(segments, slash)| segments.join("/") + if slash { "/" } else { "" })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_compiled_set_decides_as_the_rules_say(policies in policies(), path in path()) {
        let set = compile(&policies);
        for operation in OPERATIONS {
            let decided = set.decide(&path, operation, &Map::new(), None).allowed;
            prop_assert_eq!(decided, naive(&policies, &path, operation), "{:?} {}", operation, path);
        }
    }

    #[test]
    fn one_more_deny_grants_nothing(policies in policies(), denied in pattern(), path in path()) {
        let before = compile(&policies);
        let mut more = policies.clone();
        more.push(vec![(denied, vec!["deny"])]);
        let after = compile(&more);
        for operation in OPERATIONS {
            let allowed = after.decide(&path, operation, &Map::new(), None).allowed;
            prop_assert!(!allowed || before.decide(&path, operation, &Map::new(), None).allowed);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,120}") {
        let _ = Policy::parse("x", &text);
    }
}
