//! What is sent to the server for a SecretEngine, and whether what the server has is the same. Pure.

use holdfast_base::duration;
use holdfast_client::Error as ServerError;
use holdfast_crd_types::{DatabaseRole, PostgresqlConnection, SecretEngineSpec, names};
use serde_json::{Map, Value, json};

use crate::{failure::Failure, terms::seconds};

/// Where the rotation of the root password stands, for the root credentials that the Secret holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Not begun, or the Secret has other credentials since.
    None,
    /// Begun; the server may have a password of its own.
    Pending,
    /// The server has a password of its own.
    Done,
}

impl Rotation {
    /// Reads the mark in the status.
    pub fn of(mark: Option<&str>, credentials: &str) -> Self {
        match mark {
            Some(mark) if mark == credentials => Self::Done,
            Some(mark) if mark == Self::pending(credentials) => Self::Pending,
            _ => Self::None,
        }
    }

    /// The mark of a rotation that has begun.
    pub fn pending(credentials: &str) -> String {
        format!("pending:{credentials}")
    }
}

/// Body of `sys/mounts/<path>`.
pub fn mount(spec: &SecretEngineSpec, engine: &str) -> Result<Value, Failure> {
    let mut config = Map::new();
    for (key, text) in [("default_lease_ttl", &spec.default_lease_ttl), ("max_lease_ttl", &spec.max_lease_ttl)] {
        if let Some(text) = text {
            config.insert(key.to_owned(), Value::from(seconds(key, text)?));
        }
    }
    let mut body = json!({
        "type": engine,
        "description": spec.description.clone().unwrap_or_default(),
        "config": config,
    });
    if let Some(kv) = &spec.kv {
        body["options"] = json!({ "version": kv.version.to_string() });
    }
    Ok(body)
}

/// Body of `sys/mounts/<path>/tune`: what differs, or `None`.
pub fn tune(wanted: &Value, found: &Value) -> Option<Value> {
    let mut body = Map::new();
    if wanted["description"] != found["description"] && wanted["description"] != "" {
        body.insert("description".to_owned(), wanted["description"].clone());
    }
    for (key, value) in wanted["config"].as_object().into_iter().flatten() {
        if !same(value, &found["config"][key]) {
            body.insert(key.clone(), value.clone());
        }
    }
    (!body.is_empty()).then_some(Value::Object(body))
}

/// Body of `config/main`; without a password the server keeps the one that it has.
pub fn connection(spec: &PostgresqlConnection, username: &str, password: Option<&str>, ca: Option<&str>) -> Value {
    let mut body = json!({
        "plugin_name": "postgresql-database-plugin",
        "connection_url": spec.connection_url,
        "allowed_roles": ["*"],
        "username": username,
        "verify_connection": spec.verify_connection,
    });
    if let Some(password) = password {
        body["password"] = Value::from(password);
    }
    if let Some(ca) = ca {
        body["tls_ca"] = Value::from(ca);
    }
    if let Some(most) = spec.max_open_connections {
        body["max_open_connections"] = Value::from(most);
    }
    if let Some(template) = &spec.username_template {
        body["username_template"] = Value::from(template.as_str());
    }
    body
}

/// Has the server this connection, as far as it shows it?
pub fn connection_stands(spec: &PostgresqlConnection, username: &str, found: &Value) -> bool {
    let details = &found["connection_details"];
    let shown_same = |key: &str, wanted: Value| details[key].is_null() || same(&wanted, &details[key]);
    // A URL with a password in it is not shown as it is.
    let masked = details["connection_url"].as_str().is_some_and(|url| url.contains("*****"));
    found["plugin_name"] == "postgresql-database-plugin"
        && same(&json!(["*"]), &found["allowed_roles"])
        && (masked || shown_same("connection_url", Value::from(spec.connection_url.as_str())))
        && shown_same("username", Value::from(username))
        && spec.max_open_connections.is_none_or(|most| shown_same("max_open_connections", Value::from(most)))
}

/// Body of `roles/<name>`. Every field is sent, so that one that is taken out of the object goes from the server too.
pub fn role(role: &DatabaseRole) -> Result<Value, Failure> {
    let ttl = |field: &str, text: &Option<String>| text.as_deref().map_or(Ok(0), |text| seconds(field, text));
    let (default, max) = (ttl("defaultTTL", &role.default_ttl)?, ttl("maxTTL", &role.max_ttl)?);
    if max > 0 && default > max {
        let message = format!("role {}: defaultTTL must not be more than maxTTL", role.name);
        return Err(Failure::edit("Invalid", message));
    }
    Ok(json!({
        "db_name": names::DATABASE_CONFIG,
        "creation_statements": role.creation_statements,
        "revocation_statements": role.revocation_statements,
        "renew_statements": role.renew_statements,
        "default_ttl": default,
        "max_ttl": max,
    }))
}

/// Has the server everything that is wanted?
pub fn stands(wanted: &Value, found: &Value) -> bool {
    wanted.as_object().into_iter().flatten().all(|(key, value)| same(value, &found[key]))
}

/// A failure of `config/main` in words that say what to look at.
pub fn refused(spec: &PostgresqlConnection, error: &ServerError) -> Failure {
    let failure = Failure::server("configuring the database", error);
    if !matches!(error, ServerError::Status { status: 400 | 500, .. }) {
        return failure;
    }
    let said = failure.message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let host = host(&spec.connection_url);
    let (reason, hint) = if has(&[
        "password authentication",
        "authentication failed",
        "role does not exist",
        "no pg_hba",
    ]) {
        let rotated = "; if an engine that is gone rotated the password, nobody knows it: set a new one in the database \
                           and in the Secret";
        let (secret, rotated) = (&spec.root_credentials_ref.name, if spec.rotate_root { rotated } else { "" });
        ("RootCredentialsRefused", format!("check username and password in Secret {secret}{rotated}"))
    } else if has(&[
        "connect",
        "refused",
        "timed out",
        "timeout",
        "resolve",
        "lookup",
        "unreachable",
        "no route",
        "reset",
    ]) {
        ("DatabaseUnreachable", format!("can the server's pods reach {host}?"))
    } else if has(&["certificate", "tls", "ssl"]) {
        ("DatabaseUntrusted", "check sslmode in connectionURL and tlsCAKey".to_owned())
    } else {
        ("DatabaseRefused", "see the server's log for more".to_owned())
    };
    Failure { reason, message: format!("{}; {hint}", failure.message), ..failure }
}

/// `host:port` of a connection URL, without what stands before it.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// The same, whichever way it is written: numbers and texts of numbers, one element and a list of one, nothing and empty.
fn same(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Array(list), Value::Null) => list.is_empty(),
        (Value::Array(list), single) => list.len() == 1 && same(&list[0], single),
        (Value::Number(a), Value::String(b)) => {
            a.to_string() == *b || duration::parse(b).is_ok_and(|time| a.as_u64() == Some(time.as_secs()))
        }
        (Value::Number(a), Value::Null) => a.as_u64() == Some(0),
        (Value::String(a), Value::Null) => a.is_empty(),
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgresql() -> PostgresqlConnection {
        serde_json::from_value(json!({
            "connectionURL": "postgresql://{{username}}:{{password}}@pg.shop.svc:5432/orders?sslmode=verify-full",
            "rootCredentialsRef": { "name": "pg-root" },
        }))
        .unwrap()
    }

    fn database_role() -> DatabaseRole {
        serde_json::from_value(json!({
            "name": "readonly", "creationStatements": ["CREATE ROLE"], "defaultTTL": "1h", "maxTTL": "24h",
        }))
        .unwrap()
    }

    #[test]
    fn a_role_that_the_server_writes_its_own_way_is_the_same() {
        let wanted = role(&database_role()).unwrap();
        let found = json!({
            "db_name": "main", "creation_statements": ["CREATE ROLE"], "revocation_statements": null,
            "renew_statements": [], "default_ttl": "1h0m0s", "max_ttl": 86400, "credential_type": "password",
        });
        assert!(stands(&wanted, &found));
        assert!(!stands(&wanted, &json!({ "db_name": "main", "creation_statements": ["DROP"] })));
    }

    #[test]
    fn a_ttl_above_its_maximum_is_the_objects_fault() {
        let mut bad = database_role();
        bad.max_ttl = Some("10m".to_owned());
        let failure = role(&bad).unwrap_err();
        assert_eq!(failure.reason, "Invalid");
    }

    #[test]
    fn only_what_differs_is_tuned() {
        let spec: SecretEngineSpec =
            serde_json::from_value(json!({ "kv": { "version": 2 }, "maxLeaseTTL": "2h" })).unwrap();
        let wanted = mount(&spec, "kv").unwrap();
        assert_eq!(wanted["options"]["version"], "2");
        let found = json!({ "description": "", "config": { "default_lease_ttl": 0, "max_lease_ttl": 7200 } });
        assert_eq!(tune(&wanted, &found), None);
        let found = json!({ "description": "by hand", "config": { "max_lease_ttl": 60 } });
        assert_eq!(tune(&wanted, &found), Some(json!({ "max_lease_ttl": 7200 })));
    }

    #[test]
    fn the_password_is_sent_only_when_it_is_given() {
        assert_eq!(connection(&postgresql(), "root", Some("p"), None)["password"], "p");
        assert!(connection(&postgresql(), "root", None, None).get("password").is_none());
    }

    #[test]
    fn a_connection_that_somebody_changed_does_not_stand() {
        let mut found = json!({
            "plugin_name": "postgresql-database-plugin", "allowed_roles": ["*"],
            "connection_details": { "connection_url": postgresql().connection_url, "username": "root" },
        });
        assert!(connection_stands(&postgresql(), "root", &found));
        found["connection_details"]["connection_url"] = json!("postgresql://evil/");
        assert!(!connection_stands(&postgresql(), "root", &found));
    }

    #[test]
    fn the_mark_of_a_rotation_belongs_to_its_credentials() {
        assert_eq!(Rotation::of(None, "a"), Rotation::None);
        assert_eq!(Rotation::of(Some("a"), "a"), Rotation::Done);
        assert_eq!(Rotation::of(Some("a"), "b"), Rotation::None);
        assert_eq!(Rotation::of(Some(&Rotation::pending("a")), "a"), Rotation::Pending);
    }

    #[test]
    fn an_unreachable_database_is_called_so() {
        let error = ServerError::Status {
            status: 400,
            path: "k8s/shop/db/config/main".into(),
            errors: vec!["error verifying connection: failed to connect: connection refused".into()],
        };
        let failure = refused(&postgresql(), &error);
        assert_eq!(failure.reason, "DatabaseUnreachable");
        assert!(failure.message.contains("pg.shop.svc:5432"), "{failure}");
        assert!(!failure.message.contains("{{password}}"), "{failure}");
    }
}
