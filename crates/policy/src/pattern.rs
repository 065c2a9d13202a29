//! Path patterns: literal, with a `*` at the end, with `+` for exactly one segment.

use std::cmp::Ordering;

/// A pattern, without a leading slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    /// Text before a final `*`.
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The whole path.
    Exact,
    /// Text and `*`.
    Prefix,
    /// Has a `+` segment.
    Segments {
        /// Also a final `*`?
        prefix: bool,
    },
}

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('/').unwrap_or(text);
        if text.contains("+*") {
            return Err(format!("path {text:?}: \"+*\" is forbidden, use \"+/*\" or \"*\""));
        }
        let segments = text.starts_with("+/") || text == "+" || text.contains("/+");
        let (text, prefix) = match text.strip_suffix('*') {
            Some(text) => (text, true),
            None => (text, false),
        };
        let kind = match (segments, prefix) {
            (true, prefix) => Kind::Segments { prefix },
            (false, true) => Kind::Prefix,
            (false, false) => Kind::Exact,
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// The same pattern below a prefix, which has no wildcards.
    pub(crate) fn below(&self, prefix: &str) -> Self {
        Self { text: format!("{prefix}{}", self.text), kind: self.kind }
    }

    /// Does it name this folder (which ends in `/` or is empty) letter by letter, before its first wildcard?
    pub(crate) fn names(&self, folder: &str) -> bool {
        self.text.get(..self.first_wildcard()).is_some_and(|literal| literal.starts_with(folder))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn is_prefix(&self) -> bool {
        matches!(self.kind, Kind::Prefix | Kind::Segments { prefix: true })
    }

    /// Does the path match?
    pub fn matches(&self, path: &str) -> bool {
        match self.kind {
            Kind::Exact => self.text == path,
            Kind::Prefix => path.starts_with(&self.text),
            Kind::Segments { prefix } => {
                let mut wanted = self.text.split('/').peekable();
                let mut given = path.split('/');
                while let Some(want) = wanted.next() {
                    let Some(have) = given.next() else { return false };
                    let last = wanted.peek().is_none();
                    if !(want == "+" || want == have || (prefix && last && have.starts_with(want))) {
                        return false;
                    }
                }
                prefix || given.next().is_none()
            }
        }
    }

    /// Could the pattern match a path below `mount` (which ends in `/`)?
    pub(crate) fn reaches(&self, mount: &str) -> bool {
        let mut wanted = self.text.split('/').peekable();
        for have in mount.trim_end_matches('/').split('/') {
            let Some(want) = wanted.next() else { return self.is_prefix() };
            let last = wanted.peek().is_none();
            if last && self.is_prefix() {
                return (want == "+" && matches!(self.kind, Kind::Segments { .. })) || have.starts_with(want);
            }
            let plus = want == "+" && matches!(self.kind, Kind::Segments { .. });
            if !(plus || want == have) {
                return false;
            }
        }
        // The pattern must go on below the mount, if only by the slash.
        wanted.next().is_some()
    }

    /// Which of two patterns that match the same path counts more (greater: counts more): the later its first `+` or
    /// `*`; then without `*`; then fewer `+`; then longer; then the greater text.
    pub(crate) fn rank(&self, other: &Self) -> Ordering {
        self.first_wildcard()
            .cmp(&other.first_wildcard())
            .then(other.is_prefix().cmp(&self.is_prefix()))
            .then(other.plus().cmp(&self.plus()))
            .then(self.text.len().cmp(&other.text.len()))
            .then(self.text.cmp(&other.text))
    }

    fn first_wildcard(&self) -> usize {
        match self.kind {
            Kind::Segments { .. } => self.text.find('+').unwrap_or(self.text.len()),
            Kind::Exact | Kind::Prefix => self.text.len(),
        }
    }

    fn plus(&self) -> usize {
        match self.kind {
            Kind::Segments { .. } => self.text.split('/').filter(|segment| *segment == "+").count(),
            Kind::Exact | Kind::Prefix => 0,
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.text, if self.is_prefix() { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_segment_is_one_segment() {
        let matches = |pattern: &str, path: &str| Pattern::parse(pattern).unwrap().matches(path);
        assert!(matches("secret/+/x", "secret/a/x"));
        assert!(!matches("secret/+/x", "secret/a/b/x"));
        assert!(matches("secret/+/x*", "secret/a/xyz/more"));
        assert!(!matches("secret/+/x", "secret/a/x/"));
        assert!(matches("+/x", "a/x"));
        assert!(matches("a/+", "a/"));
        assert!(!matches("a/+", "a"));
        assert!(matches("a/b+", "a/b+"), "a plus inside a segment is a plus");
        assert!(!matches("a/b+", "a/bc"));
        assert!(matches("*", ""));
        assert!(matches("/secret/*", "secret/a"));
        assert!(!matches("secret/*", "secret"));
        assert!(matches("a*c", "a*c"), "a star elsewhere is a star");
        assert!(Pattern::parse("a/+*").is_err());
    }

    #[test]
    fn mounts_that_a_pattern_reaches() {
        let reaches = |pattern: &str, mount: &str| Pattern::parse(pattern).unwrap().reaches(mount);
        assert!(reaches("secret/data/app", "secret/"));
        assert!(reaches("sec*", "secret/"));
        assert!(reaches("*", "secret/"));
        assert!(reaches("+/data/x", "secret/"));
        assert!(reaches("k8s/+/db/creds/r", "k8s/shop/db/"));
        assert!(!reaches("k8s/+/db/creds/r", "k8s/shop/kv/"));
        assert!(!reaches("secret", "secret/"));
        assert!(!reaches("other/x", "secret/"));
        assert!(!reaches("secrets/x", "secret/"));
    }
}
