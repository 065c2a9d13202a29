//! A namespace: a part of the path space with mounts, policies, tokens and identity of its own.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

/// Where something lives. Never renamed, so it may be kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Namespace {
    /// `root`, or 6 characters of base62 that are never used again.
    pub id: String,
    /// Full path with a slash at the end, `a/b/`; empty for the root namespace.
    pub path: String,
}

/// Id of the root namespace.
const ROOT: &str = "root";

static ROOT_NAMESPACE: LazyLock<Arc<Namespace>> =
    LazyLock::new(|| Arc::new(Namespace { id: ROOT.to_owned(), path: String::new() }));

impl Namespace {
    /// The root namespace.
    pub fn root() -> Arc<Self> {
        ROOT_NAMESPACE.clone()
    }

    /// Id of the root namespace; what a stored record without an id belongs to.
    pub fn root_id() -> String {
        ROOT.to_owned()
    }

    /// Is it the root namespace?
    pub fn is_root(&self) -> bool {
        Self::is_root_id(&self.id)
    }

    /// Is it the id of the root namespace?
    pub fn is_root_id(id: &str) -> bool {
        id == ROOT
    }

    /// Does it hold the other one, at any depth, or is it the same?
    pub fn holds(&self, other: &Self) -> bool {
        other.path.starts_with(&self.path)
    }

    /// What ids that are given out end in: nothing in the root namespace, else `.<id>`.
    pub fn suffix(&self) -> String {
        if self.is_root() { String::new() } else { format!(".{}", self.id) }
    }

    /// The canonical form of a path within it, on which policies decide: the namespace's path in front.
    pub fn full_path(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_holds_its_children_and_nobody_elses() {
        let at = |path: &str| Namespace { id: path.to_owned(), path: path.to_owned() };
        assert!(Namespace::root().holds(&at("a/")));
        assert!(at("a/").holds(&at("a/b/")) && at("a/").holds(&at("a/")));
        assert!(!at("a/").holds(&at("ab/")) && !at("a/b/").holds(&at("a/")) && !at("a/").holds(&Namespace::root()));
    }
}
