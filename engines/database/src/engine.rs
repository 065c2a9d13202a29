//! The paths of the engine and what serves them.

use std::time::Duration;

use async_trait::async_trait;
use holdfast_logical::{
    Auth, Backend, Error, Event, Field, Kind, Operation, PathTable, Request, Response, Row, Services,
};
use serde_json::{Map, Value};

use crate::postgres::Pools;

/// A database mount.
pub(crate) struct Database {
    pub services: Services,
    pub pools: Pools,
}

const NAME: Field = Field::new("name", Kind::String, "Name of the connection or role.");

static PATHS: &PathTable = &[
    Row {
        id: "configs",
        pattern: "config",
        operations: &[Operation::List],
        fields: &[],
        auth: Auth::Token,
        help: "Names of the database connections.",
    },
    Row {
        id: "config",
        pattern: "config/:name",
        operations: &[Operation::Read, Operation::Create, Operation::Update, Operation::Delete],
        fields: &[
            NAME,
            Field::new("plugin_name", Kind::String, "`postgresql-database-plugin`."),
            Field::new("plugin_version", Kind::String, "Kept for other servers' clients; has no effect."),
            Field::new("verify_connection", Kind::Bool, "Log in before the connection is stored (true)."),
            Field::new("allowed_roles", Kind::StringList, "Roles that may use the connection; `*`: all."),
            Field::new("root_rotation_statements", Kind::Any, "Statements that change the password of `username`."),
            Field::new(
                "password_policy",
                Kind::String,
                "Policy of sys/policies/password that passwords obey; none: the default one.",
            ),
            Field::sensitive("connection_url", Kind::String, "postgresql://{{username}}:{{password}}@host:5432/db"),
            Field::new("username", Kind::String, "User that makes the users."),
            Field::sensitive("password", Kind::String, "Its password."),
            Field::new("username_template", Kind::String, "How users are named."),
            Field::new("max_open_connections", Kind::Int, "Connections at a time (4)."),
            Field::new("max_idle_connections", Kind::Int, "Connections that are kept; 0: as many as may be open."),
            Field::new("max_connection_lifetime", Kind::Duration, "Age at which a connection is closed; 0s: never."),
            Field::new("disable_escaping", Kind::Bool, "Put username and password into the URL as they are."),
            Field::new("tls_ca", Kind::String, "PEM of the CA of the database's certificate."),
            Field::new("tls_certificate", Kind::String, "PEM of a client certificate."),
            Field::sensitive("private_key", Kind::String, "PEM of its key."),
        ],
        auth: Auth::Token,
        help: "A database connection.",
    },
    Row {
        id: "reset",
        pattern: "reset/:name",
        operations: &[Operation::Update],
        fields: &[NAME],
        auth: Auth::Token,
        help: "Closes the idle connections to a database.",
    },
    Row {
        id: "rotate-root",
        pattern: "rotate-root/:name",
        operations: &[Operation::Update],
        fields: &[NAME],
        auth: Auth::Token,
        help: "Gives the connection's own user a password that only this server knows.",
    },
    Row {
        id: "roles",
        pattern: "roles",
        operations: &[Operation::List],
        fields: &[],
        auth: Auth::Token,
        help: "Names of the roles.",
    },
    Row {
        id: "role",
        pattern: "roles/:name",
        operations: &[Operation::Read, Operation::Create, Operation::Update, Operation::Delete],
        fields: &[
            NAME,
            Field::new("db_name", Kind::String, "Database connection."),
            Field::new("creation_statements", Kind::Any, "SQL with {{name}}, {{password}} and {{expiration}}."),
            Field::new("revocation_statements", Kind::Any, "SQL with {{name}}; none: sessions, grants and user go."),
            Field::new("rollback_statements", Kind::Any, "SQL that runs when creation failed."),
            Field::new("renew_statements", Kind::Any, "SQL with {{name}} and {{expiration}}."),
            Field::new("default_ttl", Kind::Duration, "First TTL; 0: the mount's."),
            Field::new("max_ttl", Kind::Duration, "Longest life; 0: the mount's."),
            Field::new("credential_type", Kind::String, "`password`."),
            Field::new("credential_config", Kind::StringMap, "Kept; has no effect yet."),
        ],
        auth: Auth::Token,
        help: "A role: the SQL that makes its users, and their TTLs.",
    },
    Row {
        id: "creds",
        pattern: "creds/:name",
        operations: &[Operation::Read],
        fields: &[NAME],
        auth: Auth::Token,
        help: "A new user of a role.",
    },
];

impl Database {
    pub fn new(services: Services) -> Self {
        Self { services, pools: Pools::default() }
    }

    async fn names(&self, folder: &str) -> Result<Response, Error> {
        Response::keys(self.services.view.list(folder, "", 0).await?)
    }
}

#[async_trait]
impl Backend for Database {
    fn paths(&self) -> &'static PathTable {
        PATHS
    }

    async fn handle(&self, request: Request) -> Result<Response, Error> {
        let name = request.fields.string("name").unwrap_or_default().to_owned();
        let fields = &request.fields;
        let event = |operation: &str| Event::new("database", operation, &request.path).with("name", name.as_str());
        match (request.route, request.operation) {
            ("configs", _) => self.names("config/").await,
            ("roles", _) => self.names("role/").await,
            ("config", Operation::Read) => self.read_config(&name).await,
            ("config", Operation::Delete) => Ok(self.delete_config(&name).await?.tell(event("config-delete"))),
            ("config", _) => Ok(self.write_config(&name, fields).await?.tell(event("config-write"))),
            ("reset", _) => Ok(self.reset(&name).await?.tell(event("reset"))),
            ("rotate-root", _) => Ok(self.rotate_root(&name).await?.tell(event("root-rotate"))),
            ("role", Operation::Read) => self.read_role(&name).await,
            ("role", Operation::Delete) => Ok(self.delete_role(&name).await?.tell(event("role-delete"))),
            ("role", Operation::Create) => Ok(self.write_role(&name, fields).await?.tell(event("role-create"))),
            ("role", _) => Ok(self.write_role(&name, fields).await?.tell(event("role-update"))),
            ("creds", _) => Ok(self.issue(&name, &request).await?.tell(event("creds-create").unmodified())),
            _ => Err(Error::UnsupportedOperation),
        }
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        let name = request.fields.string("name").unwrap_or_default();
        match request.route {
            "config" | "role" => {
                Ok(Some(self.services.view.get(&format!("{}/{name}", request.route)).await?.is_some()))
            }
            _ => Ok(None),
        }
    }

    async fn renew(&self, internal: &Map<String, Value>, ttl: Duration) -> Result<(), Error> {
        self.extend(internal, ttl).await
    }

    async fn revoke(&self, internal: &Map<String, Value>) -> Result<(), Error> {
        self.drop_user(internal).await
    }

    async fn cut_off(&self, internal: &Map<String, Value>, member: &str) -> Result<bool, Error> {
        self.cut_off(internal, member).await
    }

    async fn lease_limits(&self, internal: &Map<String, Value>) -> Result<(Option<Duration>, Option<Duration>), Error> {
        self.limits(internal).await
    }

    async fn tick(&self) -> Result<(), Error> {
        self.pools.close_idle();
        self.finish_rotations().await
    }
}
