//! Templates that speak of whoever asks: `{{identity.entity.name}}` in the paths of policies and elsewhere.

/// Somebody that templates can be filled from.
pub trait Subject {
    /// What a template names; none if the subject has no such thing.
    fn value(&self, reference: &Reference) -> Option<String>;
}

/// What stands between the braces (Vault: "templated policies").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `identity.entity.id`
    EntityId,
    /// `identity.entity.name`
    EntityName,
    /// `identity.entity.metadata.<key>`
    EntityMetadata(String),
    /// `identity.entity.aliases.<mount accessor>.…`
    Alias {
        /// Accessor of the auth mount.
        accessor: String,
        /// What of the alias.
        field: AliasField,
    },
    /// `identity.groups.ids.<id>.…` and `identity.groups.names.<name>.…`: of a group that the subject is in.
    Group {
        /// Which group.
        by: GroupBy,
        /// What of the group.
        field: GroupField,
    },
}

/// What of an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasField {
    /// `id`
    Id,
    /// `name`
    Name,
    /// `metadata.<key>`, set by the auth method.
    Metadata(String),
    /// `custom_metadata.<key>`, set by people.
    CustomMetadata(String),
}

/// How a group is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// By its id.
    Id(String),
    /// By its name.
    Name(String),
}

/// What of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupField {
    /// `id`
    Id,
    /// `name`
    Name,
    /// `metadata.<key>`
    Metadata(String),
}

/// A text with references in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Reference { text: String, reference: Reference },
}

/// Why a template was not filled. Values do not appear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfilled {
    /// There is no such thing.
    #[error("there is no {0}")]
    Missing(String),
    /// The value would change the meaning of the text around it.
    #[error("the value of {0} is empty or holds one of * + / , {{ }} or a control character")]
    Unsafe(String),
}

// === impl Reference ===

impl Reference {
    /// Reads what stands between the braces, white space around it included.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().strip_prefix("identity.")?;
        if let Some(text) = text.strip_prefix("entity.") {
            return match text {
                "id" => Some(Self::EntityId),
                "name" => Some(Self::EntityName),
                _ => match text.strip_prefix("metadata.") {
                    Some(key) => some(key).map(Self::EntityMetadata),
                    None => Self::alias(text.strip_prefix("aliases.")?),
                },
            };
        }
        let text = text.strip_prefix("groups.")?;
        if let Some(text) = text.strip_prefix("ids.") {
            let (id, field) = group_field(text)?;
            return Some(Self::Group { by: GroupBy::Id(id), field });
        }
        let (name, field) = group_field(text.strip_prefix("names.")?)?;
        Some(Self::Group { by: GroupBy::Name(name), field })
    }

    fn alias(text: &str) -> Option<Self> {
        let (accessor, field) = text.split_once('.')?;
        let field = match field {
            "id" => AliasField::Id,
            "name" => AliasField::Name,
            _ => match field.split_once('.')? {
                ("metadata", key) => AliasField::Metadata(some(key)?),
                ("custom_metadata", key) => AliasField::CustomMetadata(some(key)?),
                _ => return None,
            },
        };
        Some(Self::Alias { accessor: some(accessor)?, field })
    }
}

/// Names may have dots: what is last counts.
fn group_field(text: &str) -> Option<(String, GroupField)> {
    if let Some((name, key)) = text.split_once(".metadata.") {
        return Some((some(name)?, GroupField::Metadata(some(key)?)));
    }
    let (name, field) = text.rsplit_once('.')?;
    let field = match field {
        "id" => GroupField::Id,
        "name" => GroupField::Name,
        _ => return None,
    };
    Some((some(name)?, field))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

// === impl Template ===

impl Template {
    /// Reads a text; none if there are no braces in it. The error says what is wrong with them.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let found = after.split_once("}}").filter(|(inner, _)| !inner.contains("{{"));
            let (inner, tail) = found.ok_or_else(|| "\"{{\" without \"}}\"".to_owned())?;
            let reference = Reference::parse(inner).filter(|_| !before.contains("}}")).ok_or_else(|| {
                format!(
                    "a template must be {{{{identity.…}}}}; {:?} is none that is known (identity.entity.id, .name, \
                     .metadata.<key>, .aliases.<accessor>.…, identity.groups.ids.<id>.…, identity.groups.names.<name>.…)",
                    inner.trim()
                )
            })?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Reference { text: inner.trim().to_owned(), reference });
            rest = tail;
        }
        if rest.contains("}}") {
            return Err("\"}}\" without \"{{\"".to_owned());
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok((pieces.len() > 1).then_some(Self { pieces }))
    }

    /// The text with all values in it. A value that could widen a path is refused (GHSA-59w7-v8rr-pr4p).
    pub fn fill(&self, subject: &dyn Subject) -> Result<String, Unfilled> {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Reference { text, reference } => {
                    let value = subject.value(reference).ok_or_else(|| Unfilled::Missing(text.clone()))?;
                    if !is_plain(&value) {
                        return Err(Unfilled::Unsafe(text.clone()));
                    }
                    filled.push_str(&value);
                }
            }
        }
        Ok(filled)
    }
}

/// May the value stand in a path, a list or a pattern without changing what the text around it means?
fn is_plain(value: &str) -> bool {
    let special = |c: char| c.is_control() || matches!(c, '*' | '+' | '/' | ',' | '{' | '}');
    !value.is_empty() && value != "." && value != ".." && !value.contains(special)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct One(String);

    impl Subject for One {
        fn value(&self, reference: &Reference) -> Option<String> {
            (*reference == Reference::EntityName).then(|| self.0.clone())
        }
    }

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap().unwrap()
    }

    #[test]
    fn all_forms_are_read() {
        for text in [
            "identity.entity.id",
            " identity.entity.name ",
            "identity.entity.metadata.team.x",
            "identity.entity.aliases.kubernetes_12ab.name",
            "identity.entity.aliases.kubernetes_12ab.metadata.service_account_namespace",
            "identity.entity.aliases.a_1.custom_metadata.k",
            "identity.groups.ids.1-2.name",
            "identity.groups.names.dev.ops.id",
            "identity.groups.names.dev.metadata.team",
        ] {
            assert!(Reference::parse(text).is_some(), "{text}");
        }
        for text in
            ["identity.entity", "entity.id", "identity.entity.metadata.", "identity.groups.names.x.policies", ""]
        {
            assert!(Reference::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn braces_must_pair_and_mean_something() {
        assert_eq!(Template::parse("secret/*"), Ok(None));
        for text in
            ["a/{{identity.entity.id", "a}}", "{{ {{identity.entity.id}}", "{{request.x}}", "}}{{identity.entity.id}}"]
        {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert_eq!(template("a/{{identity.entity.name}}/b").fill(&One("x".into())).unwrap(), "a/x/b");
        let missing = template("a/{{identity.entity.id}}").fill(&One("x".into())).unwrap_err();
        assert_eq!(missing, Unfilled::Missing("identity.entity.id".into()));
    }

    proptest! {
        #[test]
        fn cve_ghsa_59w7_a_value_fills_one_segment_and_matches_nothing_else(value in "[a-z*+/,{}.]{0,6}|\\PC{0,6}") {
            if let Ok(filled) = template("s/{{identity.entity.name}}/x").fill(&One(value.clone())) {
                prop_assert_eq!(filled.split('/').count(), 3);
                prop_assert!(!filled.contains(['*', '+', ',', '{', '}']), "{}", filled);
                prop_assert_eq!(filled, format!("s/{value}/x"));
            }
        }
    }
}
