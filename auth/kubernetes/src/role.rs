//! Roles: `role/`.

use std::time::Duration;

use holdfast_logical::{Error, Fields, Grant, Response, TokenKind};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{claims::Claims, engine::Kubernetes};

/// As it is stored; times in seconds.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Role {
    pub names: Vec<String>,
    pub namespaces: Vec<String>,
    pub audience: String,
    pub alias_by_name: bool,
    /// `None`: where a reviewer token is at hand.
    pub token_review: Option<bool>,
    pub ttl: u64,
    pub max_ttl: u64,
    pub explicit_max_ttl: u64,
    pub period: u64,
    pub policies: Vec<String>,
    pub bound_cidrs: Vec<String>,
    pub no_default_policy: bool,
    pub num_uses: u64,
    pub kind: TokenKind,
}

impl Role {
    fn set(&mut self, fields: &Fields) -> Result<(), Error> {
        for (name, old, target) in [
            ("bound_service_account_names", "", &mut self.names),
            ("bound_service_account_namespaces", "", &mut self.namespaces),
            ("token_bound_cidrs", "bound_cidrs", &mut self.bound_cidrs),
            ("token_policies", "policies", &mut self.policies),
        ] {
            if let Some(list) = fields.list(name).or_else(|| fields.list(old)) {
                *target = list.into_iter().filter(|item| !item.is_empty()).collect();
            }
        }
        for (name, old, target) in [
            ("token_ttl", "ttl", &mut self.ttl),
            ("token_max_ttl", "max_ttl", &mut self.max_ttl),
            ("token_explicit_max_ttl", "", &mut self.explicit_max_ttl),
            ("token_period", "period", &mut self.period),
        ] {
            if let Some(duration) = fields.duration(name).or_else(|| fields.duration(old)) {
                *target = duration.as_secs();
            }
        }
        if let Some(uses) = fields.int("token_num_uses").or_else(|| fields.int("num_uses")) {
            self.num_uses = u64::try_from(uses).map_err(|_| Error::invalid("token_num_uses cannot be negative"))?;
        }
        if let Some(audience) = fields.string("audience") {
            audience.clone_into(&mut self.audience);
        }
        if let Some(review) = fields.bool("token_review") {
            self.token_review = Some(review);
        }
        if let Some(no_default_policy) = fields.bool("token_no_default_policy") {
            self.no_default_policy = no_default_policy;
        }
        match fields.string("alias_name_source") {
            None => {}
            Some("" | "serviceaccount_uid") => self.alias_by_name = false,
            Some("serviceaccount_name") => self.alias_by_name = true,
            Some(other) => {
                return Err(Error::Invalid(format!(
                    "invalid alias_name_source {other:?}: use serviceaccount_uid or serviceaccount_name"
                )));
            }
        }
        if let Some(kind) = fields.string("token_type") {
            self.kind = kind_of(kind)?;
        }
        if fields.string("bound_service_account_namespace_selector").is_some_and(|selector| !selector.is_empty()) {
            return Err(Error::invalid(
                "bound_service_account_namespace_selector is not supported: use bound_service_account_namespaces",
            ));
        }
        self.check()
    }

    fn check(&self) -> Result<(), Error> {
        if self.names.is_empty() {
            return Err(Error::invalid("\"bound_service_account_names\" can not be empty"));
        }
        if self.namespaces.is_empty() {
            return Err(Error::invalid(
                "\"bound_service_account_namespaces\" can not be empty if \
                 \"bound_service_account_namespace_selector\" is not set",
            ));
        }
        if self.max_ttl > 0 && self.ttl > self.max_ttl {
            return Err(Error::invalid("'token_ttl' cannot be greater than 'token_max_ttl'"));
        }
        if self.kind == TokenKind::Batch && (self.period > 0 || self.num_uses > 0) {
            return Err(Error::invalid("'token_type' cannot be 'batch' with 'token_period' or 'token_num_uses'"));
        }
        Ok(())
    }

    /// Why the account may not use the role. Names what is expected and what was found.
    pub fn refuses(&self, namespace: &str, account: &str) -> Option<String> {
        let expected = |list: &[String]| list.join(", ");
        if !self.namespaces.iter().any(|pattern| glob(pattern, namespace)) {
            return Some(format!(
                "namespace not authorized: the token is from {namespace:?}, the role expects {}",
                expected(&self.namespaces)
            ));
        }
        if !self.names.iter().any(|pattern| glob(pattern, account)) {
            return Some(format!(
                "service account name not authorized: the token is of {account:?}, the role expects {}",
                expected(&self.names)
            ));
        }
        None
    }

    /// The token that a login gives.
    pub fn grant(&self, claims: &Claims) -> Grant {
        let alias = if self.alias_by_name {
            format!("{}/{}", claims.namespace, claims.account)
        } else {
            claims.account_uid.clone()
        };
        let grant = Grant {
            alias,
            display_name: format!("kubernetes-{}-{}", claims.namespace, claims.account),
            policies: self.policies.clone(),
            num_uses: self.num_uses,
            bound_cidrs: self.bound_cidrs.clone(),
            no_default_policy: self.no_default_policy,
            kind: self.kind,
            renewable: true,
            pod: claims.pod.clone(),
            ..Grant::default()
        };
        self.limit(grant)
    }

    /// Sets the times of a token.
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

/// Does a pattern with `*` for anything match?
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl Kubernetes {
    pub async fn role(&self, name: &str) -> Result<Option<Role>, Error> {
        Ok(self.services.view.get_json(&format!("role/{name}")).await?.map(|(role, _)| role))
    }

    pub async fn read_role(&self, name: &str) -> Result<Response, Error> {
        let role = self.role(name).await?.ok_or_else(Error::not_found)?;
        let mut data = json!({
            "bound_service_account_names": role.names,
            "bound_service_account_namespaces": role.namespaces,
            "bound_service_account_namespace_selector": "",
            "alias_name_source": if role.alias_by_name { "serviceaccount_name" } else { "serviceaccount_uid" },
            "token_ttl": role.ttl,
            "token_max_ttl": role.max_ttl,
            "token_explicit_max_ttl": role.explicit_max_ttl,
            "token_period": role.period,
            "token_policies": role.policies,
            "token_bound_cidrs": role.bound_cidrs,
            "token_no_default_policy": role.no_default_policy,
            "token_num_uses": role.num_uses,
            "token_type": role.kind,
        });
        if !role.audience.is_empty() {
            data["audience"] = role.audience.into();
        }
        if let Some(review) = role.token_review {
            data["token_review"] = review.into();
        }
        Ok(Response::data(data))
    }

    pub async fn delete_role(&self, name: &str) -> Result<Response, Error> {
        self.services.view.delete(&format!("role/{name}")).await?;
        Ok(Response::empty())
    }

    pub async fn write_role(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let mut role = self.role(name).await?.unwrap_or_default();
        role.set(fields)?;
        let warn = role.audience.is_empty();
        self.services.view.put_json(&format!("role/{name}"), &role).await?;
        let response = Response::empty();
        Ok(if warn {
            response.warn(format!(
                "Role {name} does not have an audience configured: tokens that were made for other services can log in."
            ))
        } else {
            response
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("*", "shop", true),
            ("shop", "shop", true),
            ("shop", "shop-2", false),
            ("shop-*", "shop-2", true),
            ("*-2", "shop-2", true),
            ("s*p-*2", "shop-12", true),
            ("s*p", "shopx", false),
            ("", "shop", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }
}
