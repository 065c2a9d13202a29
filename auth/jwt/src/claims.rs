//! What a token's claims must be like for a role.

use std::collections::BTreeMap;

use holdfast_logical::glob;
use serde_json::{Map, Value};

use crate::role::Role;

/// Leeways (seconds) that a role does not set.
const SKEW: i64 = 60;
const WITHOUT_END: i64 = 150;

/// The claims of a token whose signature is good.
pub(crate) struct Claims(Value);

/// Who logs in, as a role reads it from the claims.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub user: String,
    pub groups: Vec<String>,
    pub metadata: BTreeMap<String, String>,
}

impl Claims {
    pub fn new(claims: Map<String, Value>) -> Self {
        Self(Value::Object(claims))
    }

    /// A claim by its name, or by a JSON pointer (RFC 6901).
    fn get(&self, name: &str) -> Option<&Value> {
        let value = if name.starts_with('/') { self.0.pointer(name) } else { self.0.get(name) };
        value.filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Seconds since 1970; an error if the claim is there and no number.
    fn time(&self, name: &str) -> Result<Option<i64>, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64().filter(|seconds| seconds.is_finite()) {
                Some(seconds) => Ok(Some(seconds as i64)),
                None => Err(format!("{name} claim is not a number")),
            },
        }
    }

    /// What is wrong with the times, by the role's leeways.
    pub fn check_times(&self, role: &Role, now: i64) -> Result<(), String> {
        let or = |leeway: i64, default: i64| match leeway {
            0 => default,
            leeway => leeway.max(0),
        };
        let skew = or(role.clock_skew_leeway, SKEW);
        let (issued, not_before, expires) = (self.time("iat")?, self.time("nbf")?, self.time("exp")?);
        let latest_start = issued.max(not_before);
        let expires = match (expires, latest_start) {
            (Some(expires), _) => expires,
            (None, Some(start)) => start.saturating_add(or(role.expiration_leeway, WITHOUT_END)),
            (None, None) => {
                return Err("no issued at (iat), not before (nbf), or expiration time (exp) claims in token".to_owned());
            }
        };
        let not_before =
            not_before.or(issued).unwrap_or_else(|| expires.saturating_sub(or(role.not_before_leeway, WITHOUT_END)));
        if now > expires.saturating_add(skew) {
            return Err("invalid expiration time (exp) claim: token is expired".to_owned());
        }
        if now.saturating_add(skew) < not_before {
            return Err("invalid not before (nbf) claim: token not yet valid".to_owned());
        }
        if issued.is_some_and(|issued| now.saturating_add(skew) < issued) {
            return Err("invalid issued at (iat) claim: token issued in the future".to_owned());
        }
        if role.max_age > 0 {
            let age = i64::try_from(role.max_age).unwrap_or(i64::MAX);
            let since = self.time("auth_time")?.ok_or("auth_time claim is missing, but the role has max_age")?;
            if now > since.saturating_add(age).saturating_add(skew) {
                return Err("invalid auth_time claim: the login at the issuer is older than max_age".to_owned());
            }
        }
        Ok(())
    }

    /// Is the issuer the one that is wanted? None wanted: any.
    pub fn check_issuer(&self, wanted: &str) -> Result<(), String> {
        if wanted.is_empty() || self.text("iss") == Some(wanted) {
            return Ok(());
        }
        Err(format!("invalid issuer (iss) claim: expected {wanted:?}"))
    }

    /// Is one of the token's audiences one of the role's? A token for somebody is no token for a role without audiences.
    pub fn check_audience(&self, bound: &[String]) -> Result<(), String> {
        let audiences: Vec<&str> = match self.0.get("aud") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(audience)) => vec![audience],
            Some(Value::Array(list)) => list
                .iter()
                .map(Value::as_str)
                .collect::<Option<_>>()
                .ok_or("invalid audience (aud) claim: it is no list of strings")?,
            Some(_) => return Err("invalid audience (aud) claim: it is no string and no list".to_owned()),
        };
        if bound.is_empty() {
            return match audiences.is_empty() {
                true => Ok(()),
                false => Err("audience claim found in JWT but no audiences bound to the role".to_owned()),
            };
        }
        match audiences.iter().any(|audience| bound.iter().any(|bound| bound == audience)) {
            true => Ok(()),
            false => Err("invalid audience (aud) claim: audience claim does not match any bound audience".to_owned()),
        }
    }

    /// Do subject and claims match what the role binds?
    pub fn check_bound(&self, role: &Role) -> Result<(), String> {
        if !role.bound_subject.is_empty() && self.text("sub") != Some(&role.bound_subject) {
            return Err("sub claim does not match bound subject".to_owned());
        }
        for (name, wanted) in &role.bound_claims {
            let found = self.get(name).ok_or_else(|| format!("claim {name:?} is missing"))?;
            let same = |wanted: &Value, found: &Value| match (wanted, found) {
                (Value::String(pattern), Value::String(text)) if role.globs => glob::matches(pattern, text),
                _ if role.globs => false,
                (wanted, found) => wanted == found,
            };
            if !listed(wanted).iter().any(|wanted| listed(found).iter().any(|found| same(wanted, found))) {
                return Err(format!("claim {name:?} does not match any associated bound claim values"));
            }
        }
        Ok(())
    }

    /// Who it is, by the role.
    pub fn person(&self, role: &Role) -> Result<Person, String> {
        let name = &role.user_claim;
        let user = if role.user_claim_json_pointer { self.get(name) } else { self.0.get(name) };
        let user = user.ok_or_else(|| format!("claim {name:?} not found in token"))?;
        let user = user.as_str().ok_or_else(|| format!("claim {name:?} could not be converted to string"))?;
        if user.is_empty() {
            return Err(format!("claim {name:?} is empty"));
        }
        let mut metadata = BTreeMap::new();
        for (claim, key) in &role.claim_mappings {
            let Some(value) = self.get(claim) else { continue };
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => return Err(format!("error converting claim {claim:?} to string: it is a list or an object")),
            };
            metadata.insert(key.clone(), text);
        }
        Ok(Person { user: user.to_owned(), groups: self.groups(&role.groups_claim)?, metadata })
    }

    fn groups(&self, claim: &str) -> Result<Vec<String>, String> {
        if claim.is_empty() {
            return Ok(Vec::new());
        }
        let value = self.get(claim).ok_or_else(|| format!("{claim:?} claim not found in token"))?;
        let groups: Option<Vec<String>> = listed(value).iter().map(|group| group.as_str().map(str::to_owned)).collect();
        groups.ok_or_else(|| format!("{claim:?} claim could not be converted to string list"))
    }
}

/// A list as it is, anything else as a list of one.
fn listed(value: &Value) -> &[Value] {
    match value {
        Value::Array(list) => list,
        one => std::slice::from_ref(one),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        Claims(value)
    }

    fn audience() -> impl Strategy<Value = Value> {
        let text = || prop::sample::select(vec!["", "a", "b", "c", "A", "a b"]);
        prop_oneof![
            Just(Value::Null),
            text().prop_map(|text| json!(text)),
            prop::collection::vec(text(), 0..4).prop_map(|list| json!(list)),
            Just(json!({"a": "a"})),
            Just(json!(7)),
            Just(json!(["a", 7])),
            Just(json!([["a"]])),
            Just(json!(true)),
        ]
    }

    proptest! {
        #[test]
        fn cve_2024_5798_an_audience_is_taken_if_and_only_if_it_is_bound(
            aud in audience(),
            bound in prop::collection::vec(prop::sample::select(vec!["a", "b", "x"]).prop_map(str::to_owned), 0..3),
            absent in any::<bool>(),
        ) {
            let token = if absent { json!({"sub": "s"}) } else { json!({"aud": aud}) };
            let listed = match (&aud, absent) {
                (_, true) | (Value::Null, _) => Some(Vec::new()),
                (Value::String(one), _) => Some(vec![one.clone()]),
                (Value::Array(list), _) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
                _ => None,
            };
            let allowed = match listed {
                None => false,
                Some(listed) if bound.is_empty() => listed.is_empty(),
                Some(listed) => listed.iter().any(|audience| bound.contains(audience)),
            };
            prop_assert_eq!(claims(token).check_audience(&bound).is_ok(), allowed);
        }
    }

    #[test]
    fn cve_2025_3879_each_bound_claim_is_looked_at() {
        let token = json!({"sub": "s", "team": ["a", "b"], "n": 7, "on": true, "deep": {"x": ["y"]}, "nothing": null});
        let good = json!({"team": ["b", "z"], "n": 7, "on": true, "/deep/x/0": "y"});
        let role = |bound: Value, globs: bool| Role {
            bound_claims: bound.as_object().unwrap().clone(),
            globs,
            ..Role::default()
        };
        assert_eq!(claims(token.clone()).check_bound(&role(good.clone(), false)), Ok(()));
        for (name, wrong) in [
            ("team", json!("c")),
            ("team", json!("")),
            ("n", json!(8)),
            ("n", json!("7")),
            ("on", json!(false)),
            ("/deep/x/0", json!("z")),
            ("/deep/x/1", json!("y")),
            ("absent", json!("")),
            ("nothing", json!("null")),
        ] {
            let mut bound = good.clone();
            bound[name] = wrong;
            assert!(claims(token.clone()).check_bound(&role(bound, false)).is_err(), "{name}");
        }
        let subject = |subject: &str| Role { bound_subject: subject.to_owned(), ..Role::default() };
        assert!(claims(token.clone()).check_bound(&subject("s")).is_ok());
        assert!(claims(token.clone()).check_bound(&subject("t")).is_err());
        assert!(claims(json!({"sub": ["s"]})).check_bound(&subject("s")).is_err());
        assert!(claims(json!({})).check_bound(&subject("s")).is_err());
        // A star is a star unless the role says that it is none.
        assert!(claims(token.clone()).check_bound(&role(json!({"sub": "*"}), false)).is_err());
        assert!(claims(token.clone()).check_bound(&role(json!({"sub": "*"}), true)).is_ok());
        assert!(claims(token.clone()).check_bound(&role(json!({"sub": "t*"}), true)).is_err());
        assert!(claims(token).check_bound(&role(json!({"n": "*"}), true)).is_err());
    }

    #[test]
    fn times_are_those_of_the_token_with_the_roles_leeways() {
        let check = |token: Value, role: &Role, now| claims(token).check_times(role, now);
        let role = Role::default();
        for (token, from, until) in [
            (json!({"exp": 1000}), 1000 - 150 - 60, 1060),
            (json!({"nbf": 1000}), 940, 1000 + 150 + 60),
            (json!({"iat": 1000}), 940, 1000 + 150 + 60),
            (json!({"iat": 900, "nbf": 1000, "exp": 2000}), 940, 2060),
            (json!({"exp": 1000.9}), 790, 1060),
        ] {
            assert_eq!(check(token.clone(), &role, from), Ok(()), "{token}");
            assert_eq!(check(token.clone(), &role, until), Ok(()), "{token}");
            assert!(check(token.clone(), &role, from - 1).is_err(), "{token}");
            assert!(check(token.clone(), &role, until + 1).is_err(), "{token}");
        }
        for token in [json!({}), json!({"exp": "1000"}), json!({"exp": [1]}), json!({"exp": 1000, "nbf": "x"})] {
            assert!(check(token.clone(), &role, 1000).is_err(), "{token}");
        }
        let strict = Role { clock_skew_leeway: -1, expiration_leeway: -1, not_before_leeway: -1, ..Role::default() };
        assert!(check(json!({"exp": 1000}), &strict, 1000).is_ok());
        assert!(check(json!({"exp": 1000}), &strict, 1001).is_err());
        let aged = Role { max_age: 100, ..Role::default() };
        assert!(check(json!({"exp": 1000, "auth_time": 900}), &aged, 1000).is_ok());
        assert!(check(json!({"exp": 1000, "auth_time": 800}), &aged, 1000).is_err());
        assert!(check(json!({"exp": 1000}), &aged, 1000).is_err());
    }

    #[test]
    fn who_it_is_comes_from_the_roles_claims() {
        let token = json!({"sub": "ada", "deep": {"id": "7"}, "groups": ["a", "b"], "n": 7, "list": []});
        let role = |change: fn(&mut Role)| {
            let mut role = Role { user_claim: "sub".to_owned(), ..Role::default() };
            change(&mut role);
            claims(token.clone()).person(&role)
        };
        assert_eq!(role(|_| {}).unwrap().user, "ada");
        let deep = role(|role| (role.user_claim, role.user_claim_json_pointer) = ("/deep/id".to_owned(), true));
        assert_eq!(deep.unwrap().user, "7");
        assert!(role(|role| role.user_claim = "/deep/id".to_owned()).is_err());
        assert!(role(|role| role.user_claim = "n".to_owned()).is_err());
        assert_eq!(role(|role| role.groups_claim = "groups".to_owned()).unwrap().groups, ["a", "b"]);
        assert_eq!(role(|role| role.groups_claim = "/deep/id".to_owned()).unwrap().groups, ["7"]);
        assert!(role(|role| role.groups_claim = "none".to_owned()).is_err());
        assert!(role(|role| role.groups_claim = "n".to_owned()).is_err());
        let mapped = role(|role| {
            role.claim_mappings =
                [("n", "number"), ("/deep/id", "id"), ("none", "x")].map(|(a, b)| (a.to_owned(), b.to_owned())).into()
        });
        assert_eq!(
            mapped.unwrap().metadata,
            [("number", "7"), ("id", "7")].map(|(a, b)| (a.to_owned(), b.to_owned())).into()
        );
        assert!(role(|role| role.claim_mappings = [("list".to_owned(), "x".to_owned())].into()).is_err());
    }
}
