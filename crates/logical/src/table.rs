//! Path tables: from the same rows come routing, validation, redaction, help, OpenAPI and the reference docs.

use std::collections::BTreeMap;

use crate::{Error, Fields, Operation};

/// All paths of a backend, first match wins; rows with more literal segments should come first.
pub type PathTable = [Row];

/// One path.
#[derive(Debug)]
pub struct Row {
    /// What `Request::route` will be.
    pub id: &'static str,
    /// Segments separated by `/`: literal, `:name` (exactly one segment) or `*name` (the rest, may be empty; last only).
    pub pattern: &'static str,
    /// Operations that are served; `Create` stands beside `Update` only where existence is told.
    pub operations: &'static [Operation],
    /// Fields of path, query and body.
    pub fields: &'static [Field],
    /// Who may call.
    pub auth: Auth,
    /// One line of help; also the summary in the reference.
    pub help: &'static str,
}

/// Who may call a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// A token whose policies allow it.
    #[default]
    Token,
    /// Anyone: logins, public keys.
    None,
    /// A token whose policies allow it *and* grant `sudo` on it.
    Sudo,
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in path, query or body.
    pub name: &'static str,
    /// How it is coerced.
    pub kind: Kind,
    /// Is it left out of anything that is shown: audit clear text, help defaults?
    pub sensitive: bool,
    /// Is it a name whose case does not matter ([`crate::fold`])? In a path, what is asked must be allowed for the
    /// spelling that is acted on too.
    pub folds: bool,
    /// One line.
    pub help: &'static str,
}

/// Types of fields, coerced weakly as Vault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text; numbers and booleans become text.
    String,
    /// `true`, `"true"`, `1`.
    Bool,
    /// `5`, `"5"`.
    Int,
    /// Seconds or a duration text; becomes whole seconds as a number, kept exact in nanoseconds by [`Fields::duration`].
    Duration,
    /// The same, or below zero ([`Fields::is_negative`]), which some fields take for "never".
    SignedDuration,
    /// List of text; a comma string becomes a list.
    StringList,
    /// Map of text; a JSON string or `a=b` pairs become a map.
    StringMap,
    /// Any object.
    Object,
    /// Any JSON.
    Any,
}

impl Field {
    /// An ordinary field.
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, sensitive: false, folds: false, help }
    }

    /// A field whose content is secret.
    pub const fn sensitive(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, sensitive: true, folds: false, help }
    }

    /// A name whose case does not matter.
    pub const fn name(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::String, sensitive: false, folds: true, help }
    }
}

/// A row that needs a token and has a name of its own.
pub const fn named(
    id: &'static str,
    pattern: &'static str,
    operations: &'static [Operation],
    fields: &'static [Field],
    help: &'static str,
) -> Row {
    Row { id, pattern, operations, fields, auth: Auth::Token, help }
}

/// A row whose pattern is its id.
pub const fn row(
    id: &'static str,
    operations: &'static [Operation],
    fields: &'static [Field],
    auth: Auth,
    help: &'static str,
) -> Row {
    Row { id, pattern: id, operations, fields, auth, help }
}

impl Row {
    /// Does the path match? If so, the captured segments by name.
    pub fn matches<'p>(&self, path: &'p str) -> Option<BTreeMap<&'static str, &'p str>> {
        let mut captures = BTreeMap::new();
        let mut rest = Some(path);
        for segment in self.pattern.split('/') {
            if let Some(name) = segment.strip_prefix('*') {
                captures.insert(name, rest.unwrap_or_default());
                return Some(captures);
            }
            let (head, tail) = match rest?.split_once('/') {
                Some((head, tail)) => (head, Some(tail)),
                None => (rest?, None),
            };
            match segment.strip_prefix(':') {
                Some(name) if !head.is_empty() => {
                    captures.insert(name, head);
                }
                None if segment == head => {}
                _ => return None,
            }
            rest = tail;
        }
        match rest {
            None | Some("") => Some(captures),
            Some(_) => None,
        }
    }

    /// The path as its handler reads it: captured names whose case does not matter are folded. None: the path is that.
    pub fn folded(&self, path: &str) -> Option<String> {
        if !self.fields.iter().any(|field| field.folds) {
            return None;
        }
        let folds = |name: &str| self.fields.iter().any(|field| field.name == name && field.folds);
        let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        for (at, pattern) in self.pattern.split('/').enumerate() {
            if let Some(name) = pattern.strip_prefix('*') {
                segments.iter_mut().skip(at).filter(|_| folds(name)).for_each(|rest| *rest = crate::fold(rest));
                break;
            }
            let Some(segment) = segments.get_mut(at) else { break };
            if pattern.strip_prefix(':').is_some_and(folds) {
                *segment = crate::fold(segment);
            }
        }
        Some(segments.join("/")).filter(|folded| folded != path)
    }

    /// Is the operation served? `Create` is, where `Update` is.
    pub fn serves(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
            || (operation == Operation::Create && self.operations.contains(&Operation::Update))
            || (operation == Operation::Update && self.operations.contains(&Operation::Create))
    }

    /// Coerces the body and query by the field table and adds the captures, which win.
    pub fn fields(
        &self,
        captures: &BTreeMap<&'static str, &str>,
        body: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Fields, Error> {
        Fields::coerce(self.fields, captures, body)
    }
}

/// Finds the first row that matches, whatever its operations.
pub fn find<'t, 'p>(table: &'t PathTable, path: &'p str) -> Option<(&'t Row, BTreeMap<&'static str, &'p str>)> {
    table.iter().find_map(|row| row.matches(path).map(|captures| (row, captures)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pattern: &'static str) -> Row {
        Row { id: "x", pattern, operations: &[Operation::Read], fields: &[], auth: Auth::Token, help: "" }
    }

    #[test]
    fn literal_and_named_segments_match_exactly() {
        assert!(row("config").matches("config").is_some());
        assert!(row("config").matches("config/x").is_none());
        assert_eq!(row("roles/:name").matches("roles/a").unwrap()["name"], "a");
        assert!(row("roles/:name").matches("roles/").is_none());
        assert!(row("roles/:name").matches("roles/a/b").is_none());
    }

    #[test]
    fn names_in_a_path_are_folded_and_nothing_else_is() {
        static FIELDS: [Field; 1] = [Field::name("name", "")];
        let row = Row { fields: &FIELDS, ..row("Role/:name/:id") };
        assert_eq!(row.folded("Role/GUARD/X").as_deref(), Some("Role/guard/X"));
        assert_eq!(row.folded("Role/guard/X"), None);
        let row = Row { fields: &FIELDS, ..super::tests::row("Acl/*name") };
        assert_eq!(row.folded("Acl/TEAM/Guard/").as_deref(), Some("Acl/team/guard/"));
        assert_eq!(Row { fields: &FIELDS, ..super::tests::row("data/*path") }.folded("data/A/B"), None);
    }

    #[test]
    fn a_trailing_slash_of_a_list_is_ignored() {
        assert!(row("roles").matches("roles/").is_some());
    }

    #[test]
    fn the_rest_may_be_empty_and_keeps_slashes() {
        assert_eq!(row("data/*path").matches("data/a/b/").unwrap()["path"], "a/b/");
        assert_eq!(row("data/*path").matches("data").unwrap()["path"], "");
        assert_eq!(row("*path").matches("a/b").unwrap()["path"], "a/b");
    }
}
