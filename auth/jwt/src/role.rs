//! Roles: `role/`.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_base::duration;
use holdfast_logical::{Check, Error, Fields, Response, Revision, StoreError, TokenFields, Txn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::engine::Jwt;

/// Tries of a change that meets others.
const TRIES: u32 = 32;

/// As it is stored; times in seconds.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Role {
    /// For logins through a browser?
    pub browser: bool,
    pub user_claim: String,
    pub user_claim_json_pointer: bool,
    pub bound_audiences: Vec<String>,
    pub bound_subject: String,
    pub bound_claims: Map<String, Value>,
    pub globs: bool,
    pub groups_claim: String,
    /// Claim to name of the metadata.
    pub claim_mappings: BTreeMap<String, String>,
    pub allowed_redirect_uris: Vec<String>,
    pub oidc_scopes: Vec<String>,
    /// 0: the default; negative: none. So the next two.
    pub clock_skew_leeway: i64,
    pub expiration_leeway: i64,
    pub not_before_leeway: i64,
    pub verbose_oidc_logging: bool,
    pub max_age: u64,
    pub token: TokenFields,
}

impl Role {
    /// Takes over what was sent.
    fn set(&mut self, fields: &Fields, new: bool) -> Result<(), Error> {
        match fields.string("role_type") {
            None if !new => {}
            None | Some("" | "oidc") => self.browser = true,
            Some("jwt") => self.browser = false,
            Some(other) => return Err(Error::Invalid(format!("invalid 'role_type': {other}"))),
        }
        for (name, target) in [
            ("user_claim", &mut self.user_claim),
            ("bound_subject", &mut self.bound_subject),
            ("groups_claim", &mut self.groups_claim),
        ] {
            if let Some(text) = fields.string(name) {
                text.clone_into(target);
            }
        }
        for (name, target) in [
            ("bound_audiences", &mut self.bound_audiences),
            ("allowed_redirect_uris", &mut self.allowed_redirect_uris),
            ("oidc_scopes", &mut self.oidc_scopes),
        ] {
            if let Some(list) = fields.list(name) {
                *target = list.into_iter().filter(|item| !item.is_empty()).collect();
            }
        }
        for (name, target) in [
            ("user_claim_json_pointer", &mut self.user_claim_json_pointer),
            ("verbose_oidc_logging", &mut self.verbose_oidc_logging),
        ] {
            if let Some(truth) = fields.bool(name) {
                *target = truth;
            }
        }
        for (name, target) in [
            ("clock_skew_leeway", &mut self.clock_skew_leeway),
            ("expiration_leeway", &mut self.expiration_leeway),
            ("not_before_leeway", &mut self.not_before_leeway),
        ] {
            if let Some(value) = fields.get(name).filter(|value| !value.is_null()) {
                *target = leeway(value).ok_or_else(|| {
                    Error::Invalid(format!("field {name:?}: cannot read it as seconds, a duration, or -1"))
                })?;
            }
        }
        if let Some(age) = fields.duration("max_age") {
            self.max_age = age.as_secs();
        }
        self.set_claims(fields)?;
        self.token.set(fields)?;
        if let Some(cidrs) = fields.list("bound_cidr_list").filter(|_| !fields.has("token_bound_cidrs")) {
            self.token.bound_cidrs = cidrs;
            holdfast_logical::cidr::check(&self.token.bound_cidrs)?;
        }
        self.check()
    }

    fn set_claims(&mut self, fields: &Fields) -> Result<(), Error> {
        if let Some(Value::Object(claims)) = fields.get("bound_claims") {
            self.bound_claims.clone_from(claims);
        }
        if let Some(mappings) = fields.string_map("claim_mappings") {
            self.claim_mappings = mappings;
        }
        match fields.string("bound_claims_type") {
            None => {}
            Some("" | "string") => self.globs = false,
            Some("glob") => self.globs = true,
            Some(other) => return Err(Error::Invalid(format!("invalid 'bound_claims_type': {other}"))),
        }
        match fields.string("callback_mode") {
            None | Some("" | "client") => Ok(()),
            Some(other) => Err(Error::Invalid(format!("callback_mode {other:?} is not supported: use client"))),
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.user_claim.is_empty() {
            return Err(Error::invalid("a user claim must be defined on the role"));
        }
        if self.browser && self.allowed_redirect_uris.is_empty() {
            return Err(Error::invalid("'allowed_redirect_uris' must be set if 'role_type' is 'oidc' or unspecified"));
        }
        let bound = !self.bound_audiences.is_empty()
            || !self.bound_subject.is_empty()
            || !self.bound_claims.is_empty()
            || !self.token.bound_cidrs.is_empty();
        if !self.browser && !bound {
            return Err(Error::invalid("must have at least one bound constraint when creating/updating a role"));
        }
        let mut names = BTreeSet::from(["role"]);
        for name in self.claim_mappings.values() {
            if name == "role" {
                return Err(Error::invalid("metadata key \"role\" is reserved and may not be a mapping destination"));
            }
            if !names.insert(name) {
                return Err(Error::Invalid(format!("multiple keys are mapped to metadata key {name:?}")));
            }
        }
        for (claim, wanted) in &self.bound_claims {
            let fits = |value: &Value| if self.globs { value.is_string() } else { scalar(value) };
            let right = match wanted {
                Value::Array(values) => !values.is_empty() && values.iter().all(fits),
                value => fits(value),
            };
            if !right {
                return Err(Error::Invalid(format!(
                    "bound_claims: {claim:?} must be {} or a list of such",
                    if self.globs { "a string" } else { "a string, number or boolean" }
                )));
            }
        }
        Ok(())
    }

    fn shown(&self) -> Map<String, Value> {
        let list = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
        let data = json!({
            "role_type": if self.browser { "oidc" } else { "jwt" },
            "user_claim": self.user_claim,
            "user_claim_json_pointer": self.user_claim_json_pointer,
            "bound_audiences": list(&self.bound_audiences),
            "bound_subject": self.bound_subject,
            "bound_claims": if self.bound_claims.is_empty() { Value::Null } else { json!(self.bound_claims) },
            "bound_claims_type": if self.globs { "glob" } else { "string" },
            "groups_claim": self.groups_claim,
            "claim_mappings": if self.claim_mappings.is_empty() { Value::Null } else { json!(self.claim_mappings) },
            "allowed_redirect_uris": list(&self.allowed_redirect_uris),
            "oidc_scopes": list(&self.oidc_scopes),
            "clock_skew_leeway": self.clock_skew_leeway,
            "expiration_leeway": self.expiration_leeway,
            "not_before_leeway": self.not_before_leeway,
            "verbose_oidc_logging": self.verbose_oidc_logging,
            "max_age": self.max_age,
        });
        let Value::Object(mut data) = data else { return Map::new() };
        self.token.show(&mut data);
        data
    }
}

fn scalar(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

/// Seconds, also negative ones, or a duration text.
fn leeway(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => match text.trim().parse() {
            Ok(seconds) => Some(seconds),
            Err(_) => i64::try_from(duration::parse(text).ok()?.as_secs()).ok(),
        },
        _ => None,
    }
}

impl Jwt {
    pub async fn role(&self, name: &str) -> Result<Option<(Role, Revision)>, Error> {
        Ok(self.services.view.get_json(&format!("role/{name}")).await?)
    }

    pub async fn read_role(&self, name: &str) -> Result<Response, Error> {
        let (role, _) = self.role(name).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(role.shown()))
    }

    pub async fn delete_role(&self, name: &str) -> Result<Response, Error> {
        self.services.view.delete(&format!("role/{name}")).await?;
        Ok(Response::empty())
    }

    pub async fn write_role(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let path = self.services.view.path(&format!("role/{name}"));
        for _ in 0..TRIES {
            let stored = self.role(name).await?;
            let check = stored.as_ref().map_or(Check::Absent, |(_, revision)| Check::At(*revision));
            let new = stored.is_none();
            let mut role = stored.map(|(role, _)| role).unwrap_or_default();
            role.set(fields, new)?;
            let mut txn = Txn::new();
            txn.check(path.clone(), check).put_json(path.clone(), &role)?;
            match self.services.view.commit(txn).await {
                Ok(_) => return Ok(Response::empty()),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}
