//! Templated policies: whatever the subject is called, its name stands for its letters; a wildcard in it never expands, and a
//! name that would mean something else fills nothing.
#![no_main]

use std::sync::Arc;

use holdfast_logical::{Operation, Reference, Subject};
use holdfast_policy::{Policy, PolicySet};

struct Named<'n>(&'n str);

impl Subject for Named<'_> {
    fn value(&self, _: &Reference) -> Option<String> {
        Some(self.0.to_owned())
    }
}

/// A character of a pattern, and whether it came from the value.
type Piece = (char, bool);

libfuzzer_sys::fuzz_target!(|input: (&str, &str, &str, u8, &str)| {
    let (before, value, after, reference, path) = input;
    if [before, after]
        .iter()
        .any(|text| text.contains(['"', '\\', '$', '{', '}']) || text.chars().any(char::is_control))
    {
        return;
    }
    let reference = match reference % 6 {
        0 => "identity.entity.id",
        1 => "identity.entity.name",
        2 => "identity.entity.metadata.k",
        3 => "identity.entity.aliases.m_1.name",
        4 => "identity.groups.names.g.id",
        _ => "identity.groups.ids.i.metadata.k",
    };
    let text = format!("path \"{before}{{{{{reference}}}}}{after}\" {{ capabilities = [\"read\"] }}");
    let Ok(policy) = Policy::parse("fuzz", &text) else { return };
    let policy = Arc::new(policy);
    let decide = |subject: Option<&dyn Subject>, path: &str| {
        PolicySet::of("", vec![policy.clone()], subject, None)
            .decide(path, Operation::Read, &Default::default(), None)
            .allowed
    };
    let special = |c: char| c.is_control() || matches!(c, '*' | '+' | '/' | ',' | '{' | '}');
    let plain = !matches!(value, "" | "." | "..") && !value.contains(special);
    let mut pattern: Vec<Piece> = before.chars().map(|c| (c, false)).collect();
    pattern.extend(value.chars().map(|c| (c, true)));
    pattern.extend(after.chars().map(|c| (c, false)));
    if pattern.first() == Some(&('/', false)) {
        pattern.remove(0);
    }
    // A path of the fuzzer's, and some that a wildcard would match.
    let own = format!("{before}{value}{after}");
    for path in
        [path.to_owned(), own.clone(), own.replace(['*', '+'], "x"), format!("{before}x{after}"), format!("{own}x")]
    {
        assert!(!decide(None, &path), "nobody is somebody: {text}");
        let path = path.as_str();
        let expected = plain && matches(&pattern, &path.trim_start_matches('/').chars().collect::<Vec<_>>(), true);
        assert_eq!(decide(Some(&Named(value)), path), expected, "{text} for {value:?} at {path:?}");
    }
});

/// Character by character; what came from the value is text.
fn matches(pattern: &[Piece], path: &[char], at_start: bool) -> bool {
    match pattern {
        [] => path.is_empty(),
        [('*', false)] => true,
        [('+', false), rest @ ..] if at_start && rest.first().is_none_or(|(next, _)| *next == '/') => {
            let end = path.iter().position(|c| *c == '/').unwrap_or(path.len());
            matches(rest, &path[end..], false)
        }
        [(first, _), rest @ ..] => path.first() == Some(first) && matches(rest, &path[1..], *first == '/'),
    }
}
