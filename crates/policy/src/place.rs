//! What is decided about: a path, and how much of it is the namespace's.

/// A canonical path: that of the namespace and, after it, the path within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The whole path, without `/v1/`.
    pub path: &'a str,
    /// The path of the namespace, which `path` begins with; empty for the root namespace.
    pub namespace: &'a str,
}

impl<'a> From<&'a str> for Place<'a> {
    /// A path in the root namespace.
    fn from(path: &'a str) -> Self {
        Self { path, namespace: "" }
    }
}

impl<'a> From<&'a String> for Place<'a> {
    /// A path in the root namespace.
    fn from(path: &'a String) -> Self {
        path.as_str().into()
    }
}
