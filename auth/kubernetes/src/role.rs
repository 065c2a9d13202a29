//! Roles: `role/`.

use holdfast_logical::{Error, Fields, Grant, Response, TokenFields, glob};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    pub token: TokenFields,
}

impl Role {
    fn set(&mut self, fields: &Fields) -> Result<(), Error> {
        for (name, target) in [
            ("bound_service_account_names", &mut self.names),
            ("bound_service_account_namespaces", &mut self.namespaces),
        ] {
            if let Some(list) = fields.list(name) {
                *target = list.into_iter().filter(|item| !item.is_empty()).collect();
            }
        }
        if let Some(audience) = fields.string("audience") {
            audience.clone_into(&mut self.audience);
        }
        if let Some(review) = fields.bool("token_review") {
            self.token_review = Some(review);
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
        if fields.string("bound_service_account_namespace_selector").is_some_and(|selector| !selector.is_empty()) {
            return Err(Error::invalid(
                "bound_service_account_namespace_selector is not supported: use bound_service_account_namespaces",
            ));
        }
        self.check()?;
        self.token.set(fields)
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
        Ok(())
    }

    /// Why the account may not use the role. Names what is expected and what was found.
    pub fn refuses(&self, namespace: &str, account: &str) -> Option<String> {
        let expected = |list: &[String]| list.join(", ");
        if !self.namespaces.iter().any(|pattern| glob::matches(pattern, namespace)) {
            return Some(format!(
                "namespace not authorized: the token is from {namespace:?}, the role expects {}",
                expected(&self.namespaces)
            ));
        }
        if !self.names.iter().any(|pattern| glob::matches(pattern, account)) {
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
        self.token.grant(Grant {
            alias,
            display_name: format!("{}-{}", claims.namespace, claims.account),
            pod: claims.pod.clone(),
            alias_metadata: [
                ("service_account_uid", &claims.account_uid),
                ("service_account_name", &claims.account),
                ("service_account_namespace", &claims.namespace),
                ("service_account_secret_name", &claims.secret),
            ]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect(),
            ..Grant::default()
        })
    }
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
        });
        if !role.audience.is_empty() {
            data["audience"] = role.audience.into();
        }
        if let Some(review) = role.token_review {
            data["token_review"] = review.into();
        }
        if let Value::Object(data) = &mut data {
            role.token.show(data);
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
