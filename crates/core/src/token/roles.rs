//! Token roles: limits that `auth/token/create/<role>` puts on what it makes.

use holdfast_base::glob;
use holdfast_logical::{Fields, Namespace, fold};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Tokens, store::scoped};
use crate::Error;

/// A role. Durations in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Role {
    pub name: String,
    pub allowed_policies: Vec<String>,
    pub disallowed_policies: Vec<String>,
    pub allowed_policies_glob: Vec<String>,
    pub disallowed_policies_glob: Vec<String>,
    pub allowed_entity_aliases: Vec<String>,
    pub orphan: bool,
    pub renewable: bool,
    pub path_suffix: String,
    pub token_type: String,
    pub token_period: u64,
    pub token_explicit_max_ttl: u64,
    pub token_bound_cidrs: Vec<String>,
    pub token_num_uses: u64,
    pub token_no_default_policy: bool,
}

impl Default for Role {
    fn default() -> Self {
        Self {
            name: String::new(),
            allowed_policies: Vec::new(),
            disallowed_policies: Vec::new(),
            allowed_policies_glob: Vec::new(),
            disallowed_policies_glob: Vec::new(),
            allowed_entity_aliases: Vec::new(),
            orphan: false,
            renewable: true,
            path_suffix: String::new(),
            token_type: "default-service".to_owned(),
            token_period: 0,
            token_explicit_max_ttl: 0,
            token_bound_cidrs: Vec::new(),
            token_num_uses: 0,
            token_no_default_policy: false,
        }
    }
}

impl Role {
    /// Takes over the fields that were sent; names without `token_` are the old ones.
    pub fn apply(&mut self, fields: &Fields) -> Result<(), Error> {
        let lists: [(&str, &mut Vec<String>); 5] = [
            ("allowed_policies", &mut self.allowed_policies),
            ("disallowed_policies", &mut self.disallowed_policies),
            ("allowed_policies_glob", &mut self.allowed_policies_glob),
            ("disallowed_policies_glob", &mut self.disallowed_policies_glob),
            ("allowed_entity_aliases", &mut self.allowed_entity_aliases),
        ];
        for (name, list) in lists {
            if let Some(values) = fields.list(name) {
                *list = values.iter().map(|value| fold(value)).filter(|value| !value.is_empty()).collect();
            }
        }
        self.orphan = fields.bool("orphan").unwrap_or(self.orphan);
        self.renewable = fields.bool("renewable").unwrap_or(self.renewable);
        if let Some(suffix) = fields.string("path_suffix") {
            suffix.clone_into(&mut self.path_suffix);
        }
        if let Some(kind) = fields.string("token_type") {
            match kind {
                "" | "default" => "default-service".clone_into(&mut self.token_type),
                "service" | "batch" | "default-service" | "default-batch" => kind.clone_into(&mut self.token_type),
                _ => return Err(Error::invalid(format!("invalid 'token_type' value {kind:?}"))),
            }
        }
        if let Some(period) = fields.duration("token_period").or_else(|| fields.duration("period")) {
            self.token_period = period.as_secs();
        }
        if let Some(max) = fields.duration("token_explicit_max_ttl").or_else(|| fields.duration("explicit_max_ttl")) {
            self.token_explicit_max_ttl = max.as_secs();
        }
        if let Some(cidrs) = fields.list("token_bound_cidrs").or_else(|| fields.list("bound_cidrs")) {
            crate::cidr::check(&cidrs)?;
            self.token_bound_cidrs = cidrs;
        }
        if let Some(uses) = fields.int("token_num_uses") {
            self.token_num_uses =
                u64::try_from(uses).map_err(|_| Error::invalid("token_num_uses cannot be negative"))?;
        }
        self.token_no_default_policy = fields.bool("token_no_default_policy").unwrap_or(self.token_no_default_policy);
        self.check()
    }

    /// Batch tokens are of one kind; a role that always makes them must not promise another.
    fn check(&self) -> Result<(), Error> {
        let promises = [
            (!self.orphan, "non-orphan tokens"),
            (self.token_period > 0, "periodic tokens"),
            (self.renewable, "renewable tokens"),
            (self.token_explicit_max_ttl > 0, "tokens with an explicit max TTL"),
            (self.token_num_uses > 0, "tokens with limited use count"),
        ];
        match promises.into_iter().find(|(promised, _)| *promised && self.token_type == "batch") {
            Some((_, what)) => {
                Err(Error::invalid(format!("'token_type' cannot be 'batch' when role is set to generate {what}")))
            }
            None => Ok(()),
        }
    }

    /// As `auth/token/roles/<name>` shows it.
    pub fn show(&self) -> Value {
        let mut shown = json!(self);
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("period".into(), json!(self.token_period));
            shown.insert("explicit_max_ttl".into(), json!(self.token_explicit_max_ttl));
        }
        shown
    }

    /// Does the role let tokens have this policy? The default policy is always allowed unless it is forbidden.
    pub fn allows(&self, policy: &str) -> bool {
        let unlimited = self.allowed_policies.is_empty() && self.allowed_policies_glob.is_empty();
        let allowed = policy == holdfast_policy::DEFAULT
            || self.allowed_policies.iter().any(|allowed| allowed == policy)
            || self.allowed_policies_glob.iter().any(|glob| glob::matches(glob, policy));
        (unlimited || allowed) && !self.forbids(policy)
    }

    /// May tokens be made for this alias?
    pub fn allows_alias(&self, alias: &str) -> bool {
        let alias = fold(alias);
        self.allowed_entity_aliases.iter().any(|allowed| glob::matches(allowed, &alias))
    }

    /// Does the role forbid this policy?
    pub fn forbids(&self, policy: &str) -> bool {
        self.disallowed_policies.iter().any(|forbidden| forbidden == policy)
            || self.disallowed_policies_glob.iter().any(|glob| glob::matches(glob, policy))
    }

    /// Does the role say anything about policies?
    pub fn names_policies(&self) -> bool {
        self.limits_policies() || !(self.disallowed_policies.is_empty() && self.disallowed_policies_glob.is_empty())
    }

    /// Are policies limited to a list?
    pub fn limits_policies(&self) -> bool {
        !(self.allowed_policies.is_empty() && self.allowed_policies_glob.is_empty())
    }
}

impl Tokens {
    pub(super) async fn role(&self, namespace: &Namespace, name: &str) -> Result<Option<Role>, Error> {
        Ok(self.view.get_json(&role_key(namespace, name)).await?.map(|(role, _)| role))
    }

    pub(super) async fn put_role(&self, namespace: &Namespace, role: &Role) -> Result<(), Error> {
        self.view.put_json(&role_key(namespace, &role.name), role).await?;
        Ok(())
    }

    pub(super) async fn delete_role(&self, namespace: &Namespace, name: &str) -> Result<(), Error> {
        self.view.delete(&role_key(namespace, name)).await?;
        Ok(())
    }

    pub(super) async fn roles(&self, namespace: &Namespace) -> Result<Vec<String>, Error> {
        let mut names = self.view.list(&role_key(namespace, ""), "", 0).await?;
        names.retain(|name| !name.ends_with('/'));
        Ok(names)
    }
}

fn role_key(namespace: &Namespace, name: &str) -> String {
    scoped("role", &namespace.suffix(), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_is_allowed_unless_forbidden() {
        let mut role = Role { allowed_policies: vec!["a".into()], ..Role::default() };
        assert!(role.allows("default") && role.allows("a") && !role.allows("b"));
        role.disallowed_policies = vec!["default".into()];
        assert!(!role.allows("default"));
    }
}
