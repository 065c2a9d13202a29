//! The stored table of namespaces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Error;

/// The table: one key, changed by compare.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// Sorted by path.
    pub namespaces: Vec<Record>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// 6 characters of base62, in the ids of all that belongs to it.
    pub id: String,
    /// For people.
    pub uuid: String,
    /// Full path with a slash at the end.
    pub path: String,
    /// Shown as given.
    pub custom_metadata: BTreeMap<String, String>,
    /// Hash of the key that unlocks it; none: it is not locked.
    pub lock: Option<String>,
    /// Is it being deleted? Then it serves nothing any more.
    pub leaving: bool,
}

/// Names that stand for something else below every namespace.
const RESERVED: &[&str] = &["root", "sys", "audit", "auth", "cubbyhole", "identity"];

/// Longest name, in bytes.
const LONGEST: usize = 128;

/// Deepest nesting.
pub(super) const DEEPEST: usize = 8;

impl Record {
    /// 1 for a child of the root namespace.
    pub fn depth(&self) -> usize {
        self.path.matches('/').count()
    }

    /// As `sys/namespaces` shows it.
    pub fn show(&self) -> Map<String, Value> {
        let shown = json!({
            "id": self.id,
            "uuid": self.uuid,
            "path": self.path,
            "custom_metadata": self.custom_metadata,
            "locked": self.lock.is_some(),
            "tainted": self.leaving,
        });
        match shown {
            Value::Object(shown) => shown,
            _ => Map::new(),
        }
    }
}

/// The name of a child, without slashes at its ends. Refuses what cannot be a name.
pub fn check_name(name: &str) -> Result<&str, Error> {
    let name = name.trim_matches('/');
    if name.contains('/') {
        return Err(Error::invalid("name must not contain /"));
    }
    if name.is_empty() || name.len() > LONGEST {
        return Err(Error::invalid(format!("the name of a namespace has 1 to {LONGEST} bytes")));
    }
    if RESERVED.contains(&name) {
        return Err(Error::invalid(format!("{name:?} is a reserved path and cannot be used as a namespace name")));
    }
    let unfit =
        |character: char| character.is_control() || character.is_whitespace() || "*+{}%?#\\".contains(character);
    if name == "." || name == ".." || name.contains(unfit) {
        return Err(Error::invalid(format!(
            "{name:?} cannot be the name of a namespace: printable characters without white space and * + {{ }} % ? # \\"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_mean_something_else_are_refused() {
        for name in
            ["root", "sys", "audit", "auth", "cubbyhole", "identity", "", "/", "a/b", "..", "a*", "+", "a b", "a\n"]
        {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for (name, plain) in [("team", "team"), ("team/", "team"), ("/t.e-a_m/", "t.e-a_m"), ("größe", "größe")] {
            assert_eq!(check_name(name).unwrap(), plain);
        }
    }
}
