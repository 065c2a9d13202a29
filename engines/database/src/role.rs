//! Roles: `roles/`.

use std::{collections::BTreeMap, time::Duration};

use holdfast_logical::{Error, Fields, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{engine::Database, statements};

/// A role as it is stored.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Role {
    pub db_name: String,
    pub creation_statements: Vec<String>,
    pub revocation_statements: Vec<String>,
    pub rollback_statements: Vec<String>,
    pub renew_statements: Vec<String>,
    pub default_ttl_s: u64,
    pub max_ttl_s: u64,
    pub credential_config: BTreeMap<String, String>,
}

impl Role {
    /// Its own default TTL.
    pub fn default_ttl(&self) -> Option<Duration> {
        (self.default_ttl_s > 0).then(|| Duration::from_secs(self.default_ttl_s))
    }

    /// Its own maximum TTL.
    pub fn max_ttl(&self) -> Option<Duration> {
        (self.max_ttl_s > 0).then(|| Duration::from_secs(self.max_ttl_s))
    }

    fn set(&mut self, fields: &Fields) -> Result<(), Error> {
        if let Some(db_name) = fields.string("db_name") {
            db_name.clone_into(&mut self.db_name);
        }
        for (name, target) in [
            ("creation_statements", &mut self.creation_statements),
            ("revocation_statements", &mut self.revocation_statements),
            ("rollback_statements", &mut self.rollback_statements),
            ("renew_statements", &mut self.renew_statements),
        ] {
            if let Some(sql) = fields.get(name) {
                *target = statements::list(name, sql)?;
                statements::split_all(target).map_err(|error| Error::Invalid(format!("field {name:?}: {error}")))?;
            }
        }
        for (name, target) in [("default_ttl", &mut self.default_ttl_s), ("max_ttl", &mut self.max_ttl_s)] {
            if let Some(ttl) = fields.duration(name) {
                *target = ttl.as_secs();
            }
        }
        match fields.string("credential_type") {
            None | Some("" | "password") => {}
            Some(other) => return Err(Error::Invalid(format!("unsupported credential_type {other:?}: use password"))),
        }
        if let Some(config) = fields.string_map("credential_config") {
            self.credential_config = config;
        }
        if self.db_name.is_empty() {
            return Err(Error::invalid("database name is required"));
        }
        if self.max_ttl_s > 0 && self.default_ttl_s > self.max_ttl_s {
            return Err(Error::invalid("default_ttl cannot be greater than max_ttl"));
        }
        Ok(())
    }
}

impl Database {
    pub async fn role(&self, name: &str) -> Result<Option<Role>, Error> {
        Ok(self.services.view.get_json(&format!("role/{name}")).await?.map(|(role, _)| role))
    }

    pub async fn read_role(&self, name: &str) -> Result<Response, Error> {
        let role = self.role(name).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(json!({
            "db_name": role.db_name,
            "creation_statements": role.creation_statements,
            "revocation_statements": role.revocation_statements,
            "rollback_statements": role.rollback_statements,
            "renew_statements": role.renew_statements,
            "default_ttl": role.default_ttl_s,
            "max_ttl": role.max_ttl_s,
            "credential_type": "password",
            "credential_config": role.credential_config,
        })))
    }

    pub async fn delete_role(&self, name: &str) -> Result<Response, Error> {
        self.services.view.delete(&format!("role/{name}")).await?;
        Ok(Response::empty())
    }

    pub async fn write_role(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let mut role = self.role(name).await?.unwrap_or_default();
        role.set(fields)?;
        self.services.view.put_json(&format!("role/{name}"), &role).await?;
        Ok(Response::empty())
    }

    /// TTL limits of the role that a lease came from, as they are now.
    pub async fn limits(&self, internal: &Map<String, Value>) -> Result<(Option<Duration>, Option<Duration>), Error> {
        let Some(name) = internal.get("role").and_then(Value::as_str) else { return Ok((None, None)) };
        let role = self.role(name).await?.unwrap_or_default();
        Ok((role.default_ttl(), role.max_ttl()))
    }
}
