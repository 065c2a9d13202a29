//! Database connections: `config/`.

use std::time::Duration;

use holdfast_logical::{Check, Error, Fields, Response, Revision, StoreError, Txn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    engine::Database,
    member::Member,
    postgres::{self, Pool},
    statements, username,
};

const PLUGIN: &str = "postgresql-database-plugin";

/// A connection as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Config {
    pub plugin_name: String,
    pub plugin_version: String,
    pub verify_connection: bool,
    pub allowed_roles: Vec<String>,
    pub root_rotation_statements: Vec<String>,
    pub password_policy: String,
    pub connection_url: String,
    pub username: String,
    pub password: String,
    /// A password that is on its way into the database: stored before it is set there.
    pub next_password: Option<String>,
    pub username_template: String,
    pub max_open_connections: u32,
    pub max_idle_connections: u32,
    pub max_connection_lifetime_s: u64,
    pub disable_escaping: bool,
    pub tls_ca: String,
    pub tls_certificate: String,
    pub private_key: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            plugin_name: String::new(),
            plugin_version: String::new(),
            verify_connection: true,
            allowed_roles: Vec::new(),
            root_rotation_statements: Vec::new(),
            password_policy: String::new(),
            connection_url: String::new(),
            username: String::new(),
            password: String::new(),
            next_password: None,
            username_template: String::new(),
            max_open_connections: 4,
            max_idle_connections: 0,
            max_connection_lifetime_s: 0,
            disable_escaping: false,
            tls_ca: String::new(),
            tls_certificate: String::new(),
            private_key: String::new(),
        }
    }
}

impl Config {
    /// May the role use the connection?
    pub fn allows(&self, role: &str) -> bool {
        self.allowed_roles.iter().any(|allowed| allowed == "*" || allowed == role)
    }

    fn set(&mut self, fields: &Fields) -> Result<(), Error> {
        for (name, target) in [
            ("plugin_name", &mut self.plugin_name),
            ("plugin_version", &mut self.plugin_version),
            ("password_policy", &mut self.password_policy),
            ("connection_url", &mut self.connection_url),
            ("username", &mut self.username),
            ("username_template", &mut self.username_template),
            ("tls_ca", &mut self.tls_ca),
            ("tls_certificate", &mut self.tls_certificate),
            ("private_key", &mut self.private_key),
        ] {
            if let Some(text) = fields.string(name) {
                text.clone_into(target);
            }
        }
        if let Some(password) = fields.string("password") {
            password.clone_into(&mut self.password);
            self.next_password = None;
        }
        for (name, target) in
            [("verify_connection", &mut self.verify_connection), ("disable_escaping", &mut self.disable_escaping)]
        {
            if let Some(truth) = fields.bool(name) {
                *target = truth;
            }
        }
        if let Some(roles) = fields.list("allowed_roles") {
            self.allowed_roles = roles;
        }
        if let Some(sql) = fields.get("root_rotation_statements") {
            self.root_rotation_statements = statements::list("root_rotation_statements", sql)?;
        }
        if let Some(lifetime) = fields.duration("max_connection_lifetime") {
            self.max_connection_lifetime_s = lifetime.as_secs();
        }
        let count = |name: &str| {
            fields
                .int(name)
                .map(|count| u32::try_from(count).map_err(|_| Error::Invalid(format!("{name} is negative"))))
        };
        if let Some(count) = count("max_open_connections") {
            self.max_open_connections = match count? {
                0 => 4,
                count => count.min(256),
            };
        }
        if let Some(count) = count("max_idle_connections") {
            self.max_idle_connections = count?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        match self.plugin_name.as_str() {
            PLUGIN => {}
            "" => return Err(Error::invalid("empty plugin name")),
            other => return Err(Error::Invalid(format!("unknown database plugin {other:?}: use {PLUGIN}"))),
        }
        if self.connection_url.is_empty() {
            return Err(Error::invalid("connection_url cannot be empty"));
        }
        if !self.username_template.is_empty() {
            username::check(&self.username_template)?;
        }
        postgres::check(self)
    }

    fn to_json(&self) -> Value {
        let mut details = Map::new();
        details.insert("connection_url".to_owned(), postgres::without_password(&self.connection_url).into());
        details.insert("username".to_owned(), self.username.as_str().into());
        details.insert("max_open_connections".to_owned(), self.max_open_connections.into());
        for (name, text) in [
            ("username_template", &self.username_template),
            ("tls_ca", &self.tls_ca),
            ("tls_certificate", &self.tls_certificate),
        ] {
            if !text.is_empty() {
                details.insert(name.to_owned(), text.as_str().into());
            }
        }
        if self.max_idle_connections > 0 {
            details.insert("max_idle_connections".to_owned(), self.max_idle_connections.into());
        }
        if self.max_connection_lifetime_s > 0 {
            details.insert("max_connection_lifetime".to_owned(), format!("{}s", self.max_connection_lifetime_s).into());
        }
        if self.disable_escaping {
            details.insert("disable_escaping".to_owned(), true.into());
        }
        json!({
            "plugin_name": self.plugin_name,
            "plugin_version": self.plugin_version,
            "verify_connection": self.verify_connection,
            "allowed_roles": self.allowed_roles,
            "connection_details": details,
            "password_policy": self.password_policy,
            "root_credentials_rotate_statements": self.root_rotation_statements,
        })
    }
}

impl Database {
    /// A connection and the revision that wrote it.
    pub async fn config(&self, name: &str) -> Result<Option<(Config, Revision)>, Error> {
        Ok(self.services.view.get_json(&format!("config/{name}")).await?)
    }

    /// The pool of a connection, as it is configured now.
    pub async fn pool(&self, name: &str) -> Result<(Config, Pool), Error> {
        let Some((config, revision)) = self.config(name).await? else {
            return Err(Error::Internal(format!("the database connection {name:?} is not configured")));
        };
        let pool = self.pools.get(name, &config, revision)?;
        Ok((config, pool))
    }

    /// The member of the cluster that this replica is now.
    pub fn member(&self) -> Member {
        Member::now(&self.services.view)
    }

    pub async fn read_config(&self, name: &str) -> Result<Response, Error> {
        let (config, _) = self.config(name).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(config.to_json()))
    }

    pub async fn delete_config(&self, name: &str) -> Result<Response, Error> {
        self.services.view.delete(&format!("config/{name}")).await?;
        self.pools.forget(name);
        Ok(Response::empty())
    }

    pub async fn reset(&self, name: &str) -> Result<Response, Error> {
        if self.config(name).await?.is_none() {
            return Err(Error::Invalid(format!("failed to find entry for connection with name: {name:?}")));
        }
        self.pools.forget(name);
        Ok(Response::empty())
    }

    pub async fn write_config(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let stored = self.config(name).await?;
        let check = stored.as_ref().map_or(Check::Absent, |(_, revision)| Check::At(*revision));
        let mut config = stored.map(|(config, _)| config).unwrap_or_default();
        config.set(fields)?;
        config.check()?;
        if config.verify_connection {
            self.verify(&config).await?;
        }
        match self.store_config(name, &config, check).await {
            Ok(_) => Ok(Response::empty()),
            Err(StoreError::Conflict) => Err(Error::Unavailable(
                "the connection was changed at the same time; nothing was written, try again".to_owned(),
            )),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn store_config(&self, name: &str, config: &Config, check: Check) -> Result<Revision, StoreError> {
        let path = self.services.view.path(&format!("config/{name}"));
        let mut txn = Txn::new();
        txn.check(path.clone(), check);
        txn.put_json(path, config)?;
        self.services.view.commit(txn).await
    }

    async fn verify(&self, config: &Config) -> Result<(), Error> {
        let pool = Pool::new(config)?;
        let session = pool.open_with(&config.password, &self.member()).await;
        let outcome = match session {
            Ok(session) => session.ask("SELECT 1").await,
            Err(error) => Err(error),
        };
        outcome.map(drop).map_err(|error| {
            Error::Invalid(format!("error creating database object: error verifying connection: {error}"))
        })
    }
}

/// Seconds of a stored lifetime, if it is limited.
pub(crate) fn lifetime(config: &Config) -> Option<Duration> {
    (config.max_connection_lifetime_s > 0).then(|| Duration::from_secs(config.max_connection_lifetime_s))
}
