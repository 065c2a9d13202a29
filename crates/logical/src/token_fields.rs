//! The `token_*` fields that roles and users of all auth methods have: what the tokens they give are like.
//!
//! Most have an older name without the prefix. It is still taken, and answered beside the new one when it was used.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Error, Field, Fields, Grant, Kind, TokenKind, cidr};

/// What the tokens of a role are like, as it is stored with the role; times in seconds, 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenFields {
    /// First TTL; 0: the mount's.
    pub ttl: u64,
    /// Longest life; 0: the mount's.
    pub max_ttl: u64,
    /// Longest life that no renewal exceeds.
    pub explicit_max_ttl: u64,
    /// Given anew with every renewal.
    pub period: u64,
    /// Policies, without `default`.
    pub policies: Vec<String>,
    /// Networks that tokens may be used from; none: all.
    pub bound_cidrs: Vec<String>,
    /// Is the policy `default` left out?
    pub no_default_policy: bool,
    /// Uses; 0: unlimited.
    pub num_uses: u64,
    /// Service or batch.
    pub kind: TokenKind,
    /// Old names that fields were written by last.
    old: BTreeSet<String>,
}

/// Names, each with its older name (or none).
const NAMES: [(&str, &str); 9] = [
    ("token_ttl", "ttl"),
    ("token_max_ttl", "max_ttl"),
    ("token_explicit_max_ttl", ""),
    ("token_period", "period"),
    ("token_policies", "policies"),
    ("token_bound_cidrs", "bound_cidrs"),
    ("token_no_default_policy", ""),
    ("token_num_uses", "num_uses"),
    ("token_type", ""),
];

const FIELDS: [Field; 15] = [
    Field::new("token_ttl", Kind::Duration, "First TTL of tokens; 0: the mount's."),
    Field::new("token_max_ttl", Kind::Duration, "Longest life of tokens; 0: the mount's."),
    Field::new("token_explicit_max_ttl", Kind::Duration, "Longest life that no renewal exceeds; 0: none."),
    Field::new("token_period", Kind::Duration, "Makes tokens periodic; 0: they are not."),
    Field::new("token_policies", Kind::StringList, "Policies of tokens."),
    Field::new("token_bound_cidrs", Kind::StringList, "Networks that tokens may be used from."),
    Field::new("token_no_default_policy", Kind::Bool, "Leave out the policy `default`."),
    Field::new("token_num_uses", Kind::Int, "Uses of a token; 0: unlimited."),
    Field::new("token_type", Kind::String, "default, service, batch, default-service or default-batch."),
    Field::new("ttl", Kind::Duration, "Old name of token_ttl."),
    Field::new("max_ttl", Kind::Duration, "Old name of token_max_ttl."),
    Field::new("period", Kind::Duration, "Old name of token_period."),
    Field::new("policies", Kind::StringList, "Old name of token_policies."),
    Field::new("bound_cidrs", Kind::StringList, "Old name of token_bound_cidrs."),
    Field::new("num_uses", Kind::Int, "Old name of token_num_uses."),
];

/// The field table of a role: its own fields and the 15 `token_*` fields and old names. `N` is the number of all.
pub const fn with_token_fields<const N: usize>(own: &[Field]) -> [Field; N] {
    assert!(N == own.len() + FIELDS.len(), "N is the number of own fields plus 15");
    let mut all = [FIELDS[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < own.len() { own[at] } else { FIELDS[at - own.len()] };
        at += 1;
    }
    all
}

impl TokenFields {
    /// Takes over what was sent. A 400 tells what is wrong; the value is then half changed and must not be stored.
    pub fn set(&mut self, fields: &Fields) -> Result<(), Error> {
        for (name, old) in NAMES {
            let used = if fields.has(name) { name } else { old };
            if used.is_empty() || !fields.has(used) {
                continue;
            }
            self.set_one(name, used, fields)?;
            if used == old {
                self.old.insert(old.to_owned());
            } else {
                self.old.remove(old);
            }
        }
        self.check()
    }

    fn set_one(&mut self, name: &str, used: &str, fields: &Fields) -> Result<(), Error> {
        let seconds = || fields.duration(used).unwrap_or_default().as_secs();
        let list = || fields.list(used).unwrap_or_default().into_iter().filter(|item| !item.is_empty()).collect();
        match name {
            "token_ttl" => self.ttl = seconds(),
            "token_max_ttl" => self.max_ttl = seconds(),
            "token_explicit_max_ttl" => self.explicit_max_ttl = seconds(),
            "token_period" => self.period = seconds(),
            "token_policies" => self.policies = list(),
            "token_bound_cidrs" => self.bound_cidrs = list(),
            "token_no_default_policy" => self.no_default_policy = fields.bool(used).unwrap_or_default(),
            "token_num_uses" => {
                self.num_uses = u64::try_from(fields.int(used).unwrap_or_default())
                    .map_err(|_| Error::invalid("'token_num_uses' cannot be negative"))?;
            }
            _ => self.kind = kind_of(fields.string(used).unwrap_or_default())?,
        }
        Ok(())
    }

    /// Sets a field back to what it is when it was never written. `name` is the new name.
    pub fn reset(&mut self, name: &str) {
        match name {
            "token_ttl" => self.ttl = 0,
            "token_max_ttl" => self.max_ttl = 0,
            "token_explicit_max_ttl" => self.explicit_max_ttl = 0,
            "token_period" => self.period = 0,
            "token_policies" => self.policies = Vec::new(),
            "token_bound_cidrs" => self.bound_cidrs = Vec::new(),
            "token_no_default_policy" => self.no_default_policy = false,
            "token_num_uses" => self.num_uses = 0,
            "token_type" => self.kind = TokenKind::Default,
            _ => {}
        }
        if let Some((_, old)) = NAMES.iter().find(|(new, _)| *new == name) {
            self.old.remove(*old);
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.max_ttl > 0 && self.ttl > self.max_ttl {
            return Err(Error::invalid("'token_ttl' cannot be greater than 'token_max_ttl'"));
        }
        if matches!(self.kind, TokenKind::Batch | TokenKind::DefaultBatch) {
            if self.period > 0 {
                return Err(Error::invalid(
                    "'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens",
                ));
            }
            if self.num_uses > 0 {
                return Err(Error::invalid(
                    "'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use \
                     count",
                ));
            }
        }
        cidr::check(&self.bound_cidrs)
    }

    /// Adds the fields to the `data` of a role that is read.
    pub fn show(&self, data: &mut Map<String, Value>) {
        for (name, old) in NAMES {
            let value = match name {
                "token_ttl" => json!(self.ttl),
                "token_max_ttl" => json!(self.max_ttl),
                "token_explicit_max_ttl" => json!(self.explicit_max_ttl),
                "token_period" => json!(self.period),
                "token_policies" => json!(self.policies),
                "token_bound_cidrs" => json!(self.bound_cidrs),
                "token_no_default_policy" => json!(self.no_default_policy),
                "token_num_uses" => json!(self.num_uses),
                _ => json!(self.kind),
            };
            if self.old.contains(old) {
                data.insert(old.to_owned(), value.clone());
            }
            data.insert(name.to_owned(), value);
        }
    }

    /// Fills in what a token of the role is like: times, policies, uses, networks, kind; it may be renewed.
    pub fn grant(&self, grant: Grant) -> Grant {
        self.limit(Grant {
            policies: self.policies.clone(),
            num_uses: self.num_uses,
            bound_cidrs: self.bound_cidrs.clone(),
            no_default_policy: self.no_default_policy,
            kind: self.kind,
            renewable: true,
            ..grant
        })
    }

    /// Sets the times only, as for a renewal.
    pub fn limit(&self, grant: Grant) -> Grant {
        let seconds = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        Grant {
            ttl: seconds(self.ttl),
            max_ttl: seconds(self.max_ttl),
            explicit_max_ttl: seconds(self.explicit_max_ttl),
            period: seconds(self.period),
            ..grant
        }
    }
}

fn kind_of(text: &str) -> Result<TokenKind, Error> {
    match text {
        "" | "default" => Ok(TokenKind::Default),
        "service" => Ok(TokenKind::Service),
        "batch" => Ok(TokenKind::Batch),
        "default-service" => Ok(TokenKind::DefaultService),
        "default-batch" => Ok(TokenKind::DefaultBatch),
        other => Err(Error::Invalid(format!("invalid 'token_type' value {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    static TABLE: [Field; 16] = with_token_fields(&[Field::new("own", Kind::String, "")]);

    fn set(token: &mut TokenFields, body: Value) -> Result<(), Error> {
        token.set(&Fields::coerce(&TABLE, &BTreeMap::new(), body.as_object().unwrap().clone())?)
    }

    fn shown(token: &TokenFields) -> Value {
        let mut data = Map::new();
        token.show(&mut data);
        Value::Object(data)
    }

    #[test]
    fn the_table_has_own_fields_first_and_each_name_once() {
        assert_eq!(TABLE[0].name, "own");
        let names: BTreeSet<_> = TABLE.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), TABLE.len());
        for (name, old) in NAMES {
            assert!(names.contains(name) && (old.is_empty() || names.contains(old)));
        }
    }

    #[test]
    fn old_names_are_taken_and_answered_only_while_they_are_used() {
        let mut token = TokenFields::default();
        set(&mut token, json!({"ttl": "10s", "token_policies": "a,b", "policies": "c"})).unwrap();
        let data = shown(&token);
        assert_eq!((&data["ttl"], &data["token_ttl"]), (&json!(10), &json!(10)));
        assert_eq!((data.get("policies"), &data["token_policies"]), (None, &json!(["a", "b"])));
        set(&mut token, json!({"token_ttl": 20})).unwrap();
        assert_eq!((shown(&token).get("ttl"), token.ttl), (None, 20));
        assert_eq!(token.policies, ["a", "b"]);
        let stored: TokenFields = serde_json::from_str(&serde_json::to_string(&token).unwrap()).unwrap();
        assert_eq!(stored, token);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (body, part) in [
            (json!({"token_ttl": 20, "token_max_ttl": 10}), "'token_max_ttl'"),
            (json!({"token_type": "batch", "token_period": 10}), "periodic"),
            (json!({"token_type": "batch", "token_num_uses": 1}), "use count"),
            (json!({"token_type": "paper"}), "paper"),
            (json!({"token_num_uses": -1}), "negative"),
            (json!({"token_bound_cidrs": "10.0.0.0/99"}), "10.0.0.0/99"),
        ] {
            let error = set(&mut TokenFields::default(), body).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn reset_makes_a_field_as_new() {
        let mut token = TokenFields::default();
        set(&mut token, json!({"period": 60, "num_uses": 3, "token_bound_cidrs": "10.0.0.0/8"})).unwrap();
        for (name, _) in NAMES {
            token.reset(name);
        }
        assert_eq!(token, TokenFields::default());
    }
}
