//! Step one: the raw request, made sane.

use std::sync::Arc;

use holdfast_logical::{Namespace, Operation};
use holdfast_policy::Place;

use crate::{
    BodyStream, Error, Raw, Verb,
    namespaces::{self, Namespaces},
    raw::is_plain,
};

/// A request whose path and operation are in their one form. One that cannot be served carries its fault along, so
/// that it is audited like any other.
pub struct Parsed {
    /// As it came; empty headers are none.
    pub raw: Box<Raw>,
    /// `Update` stands for every write until the engine has said whether something is there.
    pub operation: Operation,
    /// Where it belongs; found by [`Parsed::settle`].
    pub namespace: Arc<Namespace>,
    /// How much of the path came from the header: so much must be a namespace.
    header: usize,
    /// Why nothing is served there, whoever asks.
    pub refusal: Option<Error>,
    /// With the path of the namespace in front; lists end in `/`.
    pub path: String,
    /// The body as it comes, for the one handler that wants it.
    pub stream: parking_lot::Mutex<Option<BodyStream>>,
}

impl Parsed {
    /// Finds the namespace of the path, or why nothing is served there.
    pub fn settle(&mut self, namespaces: &Namespaces) {
        let Some(known) = namespaces.locate(&self.path) else {
            self.refusal = (self.header > 0).then(namespaces::not_found);
            return;
        };
        self.namespace = known.namespace.clone();
        self.refusal = match self.namespace.path.len() < self.header {
            true => Some(namespaces::not_found()),
            false => namespaces.refusal(known, self.local()),
        };
        if self.refusal.is_none() && namespaces::is_root_only(self.local()) {
            self.refusal = Some(Error::invalid("operation unavailable in namespaces"));
        }
    }

    /// The path within the namespace.
    pub fn local(&self) -> &str {
        self.path.get(self.namespace.path.len()..).unwrap_or_default()
    }

    /// A full path in the same namespace, for the policies to decide about.
    pub fn place_of<'p>(&'p self, path: &'p str) -> Place<'p> {
        Place { path, namespace: &self.namespace.path }
    }
}

/// Checks the path and gives it its one form.
pub fn parse(raw: impl Into<Box<Raw>>) -> Parsed {
    let mut raw = raw.into();
    let (header, mut path) = full_path(&mut raw);
    raw.fault = raw.fault.take().or_else(|| fault(&path, raw.verb).err());
    if matches!(raw.verb, Verb::List | Verb::Scan) && !path.ends_with('/') {
        path.push('/');
    }
    raw.token.take_if(|token| token.is_empty());
    raw.wrap_ttl.take_if(|ttl| ttl.is_zero());
    for header in [&mut raw.item, &mut raw.owner, &mut raw.replace] {
        header.take_if(|text| text.is_empty());
    }
    Parsed {
        operation: raw.verb.operation(),
        namespace: Namespace::root(),
        header,
        refusal: None,
        path,
        stream: parking_lot::Mutex::new(raw.stream.take()),
        raw,
    }
}

/// The path with the namespace of the header in front, and how much of it that is. Most paths are that already.
fn full_path(raw: &mut Raw) -> (usize, String) {
    match raw.namespace.as_deref().unwrap_or_default().trim_matches('/') {
        "" | "root" if !raw.path.starts_with('/') => (0, std::mem::take(&mut raw.path)),
        "" | "root" => (0, raw.path.trim_start_matches('/').to_owned()),
        namespace => (namespace.len() + 1, raw.full_path()),
    }
}

/// Does a path have its one form?
#[cfg(feature = "fuzzing")]
pub fn is_canonical(path: &str) -> bool {
    fault(path, Verb::Read).is_ok()
}

fn fault(path: &str, verb: Verb) -> Result<(), Error> {
    if !is_plain(path) {
        odd_fault(path)?;
    }
    if matches!(verb, Verb::Write | Verb::Patch) && path.ends_with('/') {
        return Err(Error::invalid("cannot write to a path ending in '/'"));
    }
    Ok(())
}

fn odd_fault(path: &str) -> Result<(), Error> {
    if path.chars().any(char::is_control) {
        return Err(Error::invalid("path cannot contain non-printable characters"));
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(Error::invalid("path cannot contain '..' or '.' as a segment"));
    }
    if path.contains("//") {
        return Err(Error::invalid("path cannot contain '//'"));
    }
    if path.split('/').any(|segment| segment.trim() != segment) {
        return Err(Error::invalid("no segment of a path can begin or end with white space"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_end_in_a_slash_and_writes_must_not() {
        assert_eq!(parse(Raw::new("1", Verb::List, "secret/metadata")).path, "secret/metadata/");
        assert!(parse(Raw::new("1", Verb::Write, "secret/a/")).raw.fault.is_some());
        assert!(parse(Raw::new("1", Verb::Read, "secret/../sys/raw")).raw.fault.is_some());
        assert!(parse(Raw::new("1", Verb::Read, "secret/a..b")).raw.fault.is_none());
    }

    #[test]
    fn cve_2026_3605_a_path_has_one_form_or_is_refused() {
        for path in [
            "secret/./a",
            "secret/.",
            "secret//a",
            "secret/a/..",
            "secret/a\0",
            "secret/a ",
            "secret/ a/b",
            "a\u{a0}/b",
        ] {
            for verb in [Verb::Read, Verb::List, Verb::Write, Verb::Patch, Verb::Delete, Verb::Scan] {
                assert!(parse(Raw::new("1", verb, path)).raw.fault.is_some(), "{path:?}");
            }
        }
        // Escapes were undone before, once: what looks like one is text.
        for path in ["secret/%2e%2e/a", "secret/a%2fb", "secret/a b", "secret/.a", "secret/..."] {
            let parsed = parse(Raw::new("1", Verb::Read, path));
            assert_eq!((parsed.path.as_str(), parsed.raw.fault.is_none()), (path, true));
        }
    }

    #[test]
    fn a_plain_path_has_no_fault() {
        let parts = ["", "a", "-_9", ".", "..", "a.", " ", "\u{a0}", "\t", "%2e", "\u{e9}"];
        for first in parts {
            for second in parts {
                for path in [first.to_owned(), format!("{first}/{second}"), format!("a{second}/{first}/{second}")] {
                    assert!(!is_plain(&path) || odd_fault(&path).is_ok(), "{path:?}");
                }
            }
        }
        assert!(is_plain("secret/data/a-b_9/") && !is_plain("a//b") && !is_plain("/a") && !is_plain("a.b"));
    }

    #[test]
    fn a_namespace_stands_in_front() {
        let mut raw = Raw::new("1", Verb::Read, "secret/a");
        raw.namespace = Some("/team/".to_owned());
        assert_eq!(parse(raw).path, "team/secret/a");
    }
}
