//! The template of a role: JSON whose `{{…}}` become JSON values. A value never becomes more than the one value it is.

use std::time::Duration;

use holdfast_base::duration;
use holdfast_logical::{Error, Reference, Subject, Timestamp};
use serde_json::{Map, Value, json};

use crate::Standing;

/// Claims that are not the template's to set.
const RESERVED: &[&str] = &["iat", "aud", "exp", "iss", "sub", "namespace", "nonce", "at_hash", "c_hash"];

/// The claims that a template adds. `standing` is whom they are about.
pub(super) fn fill(template: &str, standing: &Standing, now: Timestamp) -> Result<Map<String, Value>, Error> {
    filled(template, |name| value(name, standing, now))
}

/// Refuses a template that is no JSON object, names what is unknown, or sets reserved claims.
pub(super) fn check(template: &str) -> Result<(), Error> {
    let claims = filled(template, |name| is_known(name).then_some(Value::Null))?;
    match claims.keys().find(|key| RESERVED.contains(&key.as_str())) {
        Some(key) => {
            Err(Error::invalid(format!("top level key {key:?} not allowed. Restricted keys: {}", RESERVED.join(", "))))
        }
        None => Ok(()),
    }
}

fn filled(template: &str, value: impl Fn(&str) -> Option<Value>) -> Result<Map<String, Value>, Error> {
    if template.trim().is_empty() {
        return Ok(Map::new());
    }
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, tail) =
            after.split_once("}}").ok_or_else(|| Error::invalid("error parsing template: \"{{\" without \"}}\""))?;
        let unknown = || Error::invalid(format!("error parsing template: {:?} is not known", name.trim()));
        text.push_str(before);
        text.push_str(&value(name.trim()).ok_or_else(unknown)?.to_string());
        rest = tail;
    }
    text.push_str(rest);
    serde_json::from_str(&text).map_err(|_| Error::invalid("error parsing template JSON: it must be one JSON object"))
}

fn is_known(name: &str) -> bool {
    matches!(name, "identity.entity.metadata" | "identity.entity.groups.ids" | "identity.entity.groups.names")
        || Reference::parse(name).is_some()
        || alias_map(name).is_some()
        || time(name, Timestamp::UNIX_EPOCH).is_some()
}

fn value(name: &str, standing: &Standing, now: Timestamp) -> Option<Value> {
    let groups = || standing.groups.iter();
    match name {
        "identity.entity.metadata" => Some(json!(standing.entity.metadata)),
        "identity.entity.groups.ids" => Some(groups().map(|group| group.id.clone()).collect()),
        "identity.entity.groups.names" => Some(groups().map(|group| group.name.clone()).collect()),
        _ => {
            if let Some((accessor, custom)) = alias_map(name) {
                let alias = standing.entity.alias_at(accessor);
                let map = alias.map(|alias| if custom { &alias.custom_metadata } else { &alias.metadata });
                return Some(json!(map.cloned().unwrap_or_default()));
            }
            if let Some(time) = time(name, now) {
                return Some(time);
            }
            // What is not there is empty, as in Vault.
            Reference::parse(name).map(|reference| json!(standing.value(&reference).unwrap_or_default()))
        }
    }
}

/// `identity.entity.aliases.<accessor>.metadata` or `.custom_metadata`, the whole map.
fn alias_map(name: &str) -> Option<(&str, bool)> {
    match name.strip_prefix("identity.entity.aliases.")?.split_once('.')? {
        (accessor, "metadata") => Some((accessor, false)),
        (accessor, "custom_metadata") => Some((accessor, true)),
        _ => None,
    }
}

/// `time.now`, `time.now.plus.<duration>`, `time.now.minus.<duration>`: seconds since 1970.
fn time(name: &str, now: Timestamp) -> Option<Value> {
    let rest = name.strip_prefix("time.now")?;
    if rest.is_empty() {
        return Some(json!(now.as_second()));
    }
    let shifted =
        |by: &str| duration::parse(by).ok().map(|by: Duration| i64::try_from(by.as_secs()).unwrap_or(i64::MAX));
    if let Some(by) = rest.strip_prefix(".plus.") {
        return Some(json!(now.as_second().saturating_add(shifted(by)?)));
    }
    Some(json!(now.as_second().saturating_sub(shifted(rest.strip_prefix(".minus.")?)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entity, index::Groups};

    fn standing(name: &str) -> Standing {
        let mut entity = Entity::new("e1".to_owned(), name.to_owned(), Timestamp::UNIX_EPOCH);
        entity.metadata.insert("team".to_owned(), "a\",\"admin\":\"yes".to_owned());
        Standing::new(entity, &Groups::default())
    }

    #[test]
    fn values_stay_values() {
        let template = r#"{"name": {{identity.entity.name}}, "team": {{identity.entity.metadata.team}},
            "all": {{identity.entity.metadata}}, "groups": {{ identity.entity.groups.names }}, "none": {{identity.entity.metadata.x}},
            "until": {{time.now.plus.1h}}}"#;
        let claims = fill(template, &standing("bob"), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(claims["name"], "bob");
        assert_eq!(claims["team"], "a\",\"admin\":\"yes");
        assert!(!claims.contains_key("admin"));
        assert_eq!((&claims["groups"], &claims["none"], &claims["until"]), (&json!([]), &json!(""), &json!(3600)));
    }

    #[test]
    fn a_template_is_an_object_of_known_things() {
        assert!(check(r#"{"a": {{identity.entity.aliases.jwt_1.metadata}}}"#).is_ok());
        for bad in
            [r#"{"a": {{identity.entity.x}}}"#, "[1]", r#"{"a": {{time.now}"#, r#"{"sub": "me"}"#, r#"{"aud": 1}"#]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
