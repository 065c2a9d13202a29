//! Names that are compared without regard to case, in the one form in which they are compared and stored.

use serde::{Deserialize, Deserializer, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::Error;

/// Name of the policy that may do everything.
const ROOT: &str = "root";

/// A name in its one form: no white space around it, lower case, Unicode NFC (UAX #15). Folding twice changes nothing.
pub fn fold(text: &str) -> String {
    let mut folded = once(text);
    // Lower case of composed characters may be composed anew, and so on; it ends after two rounds for all of Unicode 16.
    for _ in 0..4 {
        let next = once(&folded);
        if next == folded {
            break;
        }
        folded = next;
    }
    folded
}

fn once(text: &str) -> String {
    let text = text.trim();
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfc().collect::<String>().to_lowercase().nfc().collect()
}

/// Name of a policy, folded when it is made: whatever it is compared with, it is compared as what it will be used as.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct PolicyName(String);

impl PolicyName {
    /// The name in this text; none if nothing but white space is in it.
    pub fn new(text: &str) -> Option<Self> {
        Some(fold(text)).filter(|name| !name.is_empty()).map(Self)
    }

    /// The names in these texts, sorted, each once; empty ones are left out.
    pub fn list(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Self> {
        let mut names: Vec<Self> = texts.into_iter().filter_map(|text| Self::new(text.as_ref())).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The same, for where policies are assigned to somebody: `root` cannot be, by any spelling.
    pub fn assigned(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<Self>, Error> {
        let names = Self::list(texts);
        match names.iter().any(Self::is_root) {
            true => Err(Error::invalid("policies cannot contain root")),
            false => Ok(names),
        }
    }

    /// Is it the policy that may do everything?
    pub fn is_root(&self) -> bool {
        self.0 == ROOT
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for PolicyName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for PolicyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PolicyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(fold(&String::deserialize(deserializer)?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn composed_and_decomposed_are_one_name() {
        assert_eq!(fold("Caf\u{e9} "), fold("cafe\u{301}"));
        assert_eq!(PolicyName::new(" \t\u{2003}"), None);
        assert_eq!(
            PolicyName::list(["b", " A", "a", ""]).iter().map(PolicyName::as_str).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    /// `root` in any case, with any white space of Unicode around it and marks that compose with nothing.
    fn spelled_root() -> impl Strategy<Value = String> {
        let space = || {
            prop::collection::vec(prop::sample::select(vec![' ', '\t', '\n', '\u{a0}', '\u{2003}', '\u{3000}']), 0..3)
        };
        let letter = |lower: char, upper: char| prop::sample::select(vec![lower, upper]);
        (space(), letter('r', 'R'), letter('o', 'O'), letter('o', 'O'), letter('t', 'T'), space())
            .prop_map(|(before, r, o, p, t, after)| before.into_iter().chain([r, o, p, t]).chain(after).collect())
    }

    proptest! {
        #[test]
        fn cve_2025_5999_no_spelling_of_root_is_assigned(name in spelled_root(), others in prop::collection::vec(".*", 0..3)) {
            let names: Vec<String> = others.into_iter().chain([name]).collect();
            prop_assert!(PolicyName::assigned(&names).is_err());
        }

        #[test]
        fn cve_2024_9180_what_is_assigned_never_becomes_root(text in "\\PC{0,8}|[rRoOtT \\t]{3,7}|[a-zA-Z\u{300}-\u{320}]{1,6}") {
            if let Ok(names) = PolicyName::assigned([&text]) {
                for name in names {
                    // However often it is folded, cut or lower-cased on its way to the decision.
                    prop_assert_eq!(fold(name.as_str()), name.as_str());
                    prop_assert_ne!(name.as_str().trim().to_lowercase(), "root");
                    prop_assert_ne!(name.as_str().nfc().collect::<String>(), "root");
                }
            }
        }

        #[test]
        fn folding_twice_changes_nothing(text in "\\PC{0,12}") {
            prop_assert_eq!(fold(&fold(&text)), fold(&text));
        }
    }
}
