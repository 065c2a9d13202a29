//! Where things are, below the storage of the mount.
//!
//! | key | value |
//! |---|---|
//! | `entity/<id>` | [`crate::Entity`] with its aliases |
//! | `entity-name/<name>` | id |
//! | `alias/<alias id>` | id of the entity |
//! | `factor/<accessor>/<alias name>` | [`Factor`]: who logs in there by that name |
//! | `merged/<id>` | id of the entity that took this one in |
//! | `group/<id>` | [`crate::Group`] with its alias and its members, those of external groups apart |
//! | `group-name/<name>` | id |
//! | `group-alias/<alias id>` | id of the group |
//! | `group-factor/<accessor>/<alias name>` | id of the group |
//! | `member/<group id>/<accessor>/<alias name>/<entity id>` | nothing: a member of an external group; the entity lists it too |
//! | `groups` | nothing: written with every change of a group, and compared by it |
//! | `oidc/…` | see [`crate::oidc`] |
//!
//! Names are folded ([`holdfast_logical::fold`]), ids and accessors are not: a policy that names one has it as it is.
//! `/` and `%` in both are percent-encoded.

use holdfast_logical::fold;
use serde::{Deserialize, Serialize};

/// Key that is written with every change of a group.
pub(crate) const GROUPS: &str = "groups";

/// Who logs in by an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Factor {
    /// Id of the alias.
    pub alias: String,
    /// Id of the entity.
    pub entity: String,
}

pub(crate) fn entity(id: &str) -> String {
    format!("entity/{}", exact(id))
}

pub(crate) fn entity_name(name: &str) -> String {
    format!("entity-name/{}", segment(name))
}

pub(crate) fn alias(id: &str) -> String {
    format!("alias/{}", exact(id))
}

pub(crate) fn factor(accessor: &str, name: &str) -> String {
    format!("factor/{}/{}", exact(accessor), segment(name))
}

pub(crate) fn merged(id: &str) -> String {
    format!("merged/{}", exact(id))
}

pub(crate) fn group(id: &str) -> String {
    format!("group/{}", exact(id))
}

pub(crate) fn group_name(name: &str) -> String {
    format!("group-name/{}", segment(name))
}

pub(crate) fn group_alias(id: &str) -> String {
    format!("group-alias/{}", exact(id))
}

pub(crate) fn group_factor(accessor: &str, name: &str) -> String {
    format!("group-factor/{}/{}", exact(accessor), segment(name))
}

/// Folder of the members of an external group.
pub(crate) fn members(group: &str) -> String {
    format!("member/{}/", exact(group))
}

/// Folder of those members that a mount named by a name.
pub(crate) fn members_by(group: &str, accessor: &str, name: &str) -> String {
    format!("{}{}/{}/", members(group), exact(accessor), segment(name))
}

pub(crate) fn member(group: &str, accessor: &str, name: &str, entity: &str) -> String {
    format!("{}{}", members_by(group, accessor, name), exact(entity))
}

/// A name as one segment of a key: equal for names that differ in case only.
fn segment(name: &str) -> String {
    exact(&fold(name))
}

/// An id as one segment of a key.
fn exact(id: &str) -> String {
    id.replace('%', "%25").replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_slashes_is_one_segment_and_case_does_not_count() {
        assert_eq!(factor("jwt_1", "Repo/A%b"), factor("jwt_1", "repo/a%B"));
        assert_eq!(entity_name("a/b").split('/').count(), 2);
        assert_ne!(entity_name("a/b"), entity_name("a%2Fb"));
    }

    #[test]
    fn an_id_in_another_case_is_another_id() {
        for key in [entity, alias, merged, group, group_alias] {
            assert_ne!(key("A-1"), key("a-1"));
            assert_eq!(key("a/b%").split('/').count(), 2);
        }
        assert_ne!(member("G", "m", "n", "e"), member("g", "m", "n", "e"));
        assert_ne!(member("g", "m", "n", "E"), member("g", "m", "n", "e"));
    }

    proptest! {
        #[test]
        fn different_names_have_different_keys(a in "\\PC{1,6}|[a%/2F]{1,6}", b in "\\PC{1,6}|[a%/2F]{1,6}") {
            prop_assert_eq!(fold(&a) == fold(&b), entity_name(&a) == entity_name(&b));
        }
    }
}
