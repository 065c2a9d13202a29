use std::time::{Duration, Instant};

use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::{
    mount::Mount,
    postgres::{PASSWORD, Postgres, SUPERUSER, shared},
};

const CREATE: &str = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; \
                      GRANT CREATE, USAGE ON SCHEMA public TO \"{{name}}\";";

async fn mounted(postgres: &Postgres, username: &str, password: &str) -> Mount {
    let mount = Mount::new().await;
    mount
        .put(
            "config/main",
            json!({
                "plugin_name": "postgresql-database-plugin", "connection_url": postgres.url("disable"),
                "username": username, "password": password, "allowed_roles": "*",
            }),
        )
        .await;
    mount
}

async fn valid_until(postgres: &Postgres, user: &str) -> f64 {
    let sql = "SELECT extract(epoch FROM rolvaliduntil)::float8 FROM pg_roles WHERE rolname = $1";
    postgres.admin().await.query_one(sql, &[&user]).await.unwrap().get(0)
}

async fn lifecycle(postgres: &Postgres, mount: &Mount, role: &str) {
    mount
        .put(&format!("roles/{role}"), json!({"db_name": "main", "creation_statements": CREATE, "default_ttl": "10m"}))
        .await;
    let made = mount.make(role).await;
    assert!(made.username.starts_with(&format!("v-kubernet-{role}-")), "{}", made.username);
    let session = postgres.login(&made.username, &made.password).await.unwrap();
    let table = format!("made_by_{role}");
    session.batch_execute(&format!("CREATE TABLE {table} (); SELECT 1")).await.unwrap();

    let before = valid_until(postgres, &made.username).await;
    mount.backend.renew(&made.internal, Duration::from_secs(1800)).await.unwrap();
    assert!(valid_until(postgres, &made.username).await > before + 1000.0);

    mount.backend.revoke(&made.internal).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while session.simple_query("SELECT 1").await.is_ok() {
        assert!(Instant::now() < deadline, "the session outlived its user");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(postgres.login(&made.username, &made.password).await.is_err());
    assert!(postgres.users_like(&made.username).await.is_empty());
    // What it made stays, with a new owner.
    postgres.admin().await.batch_execute(&format!("DROP TABLE {table}")).await.unwrap();
    mount.backend.revoke(&made.internal).await.unwrap();
    let error = mount.backend.renew(&made.internal, Duration::from_secs(60)).await.unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
}

#[tokio::test]
async fn a_user_lives_as_long_as_its_lease() {
    let postgres = shared();
    let mount = mounted(&postgres, SUPERUSER, PASSWORD).await;
    lifecycle(&postgres, &mount, "app").await;
}

#[tokio::test]
async fn the_connection_needs_no_superuser() {
    let postgres = shared();
    let sql =
        "CREATE ROLE minter LOGIN CREATEROLE PASSWORD 'minter'; GRANT ALL ON SCHEMA public TO minter WITH GRANT OPTION";
    postgres.admin().await.batch_execute(sql).await.unwrap();
    let mount = mounted(&postgres, "minter", "minter").await;
    lifecycle(&postgres, &mount, "plain").await;
}

#[tokio::test]
async fn a_creation_that_fails_leaves_nothing() {
    let postgres = shared();
    let mount = mounted(&postgres, SUPERUSER, PASSWORD).await;
    let broken = [CREATE, "GRANT nothing TO \"{{name}}\"; SELECT '{{password}}' syntax error"];
    let rollback = "CREATE TABLE rolled_back ()";
    let role = json!({"db_name": "main", "creation_statements": broken, "rollback_statements": rollback});
    mount.put("roles/broken", role).await;
    let issue = mount.issue("broken").await;
    let (password, internal) = (issue.data.to_map()["password"].as_str().unwrap().to_owned(), issue.internal.clone());
    let error = (issue.create)().await.unwrap_err();
    assert!(matches!(error, Error::Internal(_)));
    assert!(error.to_string().contains("statement 3 of 4"), "{error}");
    assert!(!error.to_string().contains(&password));
    assert!(postgres.users_like("v-kubernet-broken-%").await.is_empty());
    postgres.admin().await.batch_execute("DROP TABLE rolled_back").await.unwrap();
    mount.backend.revoke(&internal).await.unwrap();
}

#[tokio::test]
async fn a_user_that_was_there_before_is_nobodys_to_drop() {
    let postgres = shared();
    let mount = mounted(&postgres, SUPERUSER, PASSWORD).await;
    mount.put("roles/late", json!({"db_name": "main", "creation_statements": CREATE})).await;
    let issue = mount.issue("late").await;
    let taken = issue.data.to_map()["username"].as_str().unwrap().to_owned();
    postgres.admin().await.batch_execute(&format!("CREATE ROLE \"{taken}\" LOGIN")).await.unwrap();
    let error = (issue.create)().await.unwrap_err();
    assert!(matches!(error, Error::Status { code: 503, .. }), "the leases take nothing back: {error}");
    assert_eq!(postgres.users_like(&taken).await.len(), 1);
    postgres.admin().await.batch_execute(&format!("DROP ROLE \"{taken}\"")).await.unwrap();
}

#[tokio::test]
async fn statements_of_the_role_are_used_and_renewed_from_it() {
    let postgres = shared();
    let mount = mounted(&postgres, SUPERUSER, PASSWORD).await;
    let revoke = "DO $$ BEGIN PERFORM 1; END $$; ALTER ROLE \"{{name}}\" NOLOGIN";
    mount
        .put(
            "roles/own",
            json!({
                "db_name": "main", "creation_statements": [CREATE], "revocation_statements": revoke,
                "renew_statements": "ALTER ROLE \"{{name}}\" VALID UNTIL '2099-01-01'", "max_ttl": "2h",
            }),
        )
        .await;
    let made = mount.make("own").await;
    mount.backend.renew(&made.internal, Duration::from_secs(60)).await.unwrap();
    assert!(valid_until(&postgres, &made.username).await > 4_000_000_000.0);
    assert_eq!(mount.backend.lease_limits(&made.internal).await.unwrap(), (None, Some(Duration::from_secs(7200))));
    mount.backend.revoke(&made.internal).await.unwrap();
    assert!(postgres.login(&made.username, &made.password).await.is_err());
    // Without the role, the statements that the lease carries are used; the default ones would have dropped it.
    mount.ask(Operation::Delete, "roles/own", Value::Null).await.unwrap();
    mount.backend.revoke(&made.internal).await.unwrap();
    assert_eq!(postgres.users_like(&made.username).await.len(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let postgres = shared();
    let mount = mounted(&postgres, SUPERUSER, PASSWORD).await;
    assert_eq!(mount.refused(Operation::Read, "creds/none", Value::Null).await, "unknown role: none");
    mount.put("roles/app", json!({"db_name": "main", "creation_statements": CREATE})).await;
    mount.put("config/main", json!({"allowed_roles": ["other"]})).await;
    let error = mount.ask(Operation::Read, "creds/app", Value::Null).await.unwrap_err();
    assert!(matches!(&error, Error::Internal(text) if text == "\"app\" is not an allowed role"), "{error}");
    let open = json!({"db_name": "main", "creation_statements": "SELECT 'x"});
    assert!(mount.refused(Operation::Update, "roles/bad", open).await.contains("creation_statements"));
    assert_eq!(mount.get("roles/app").await["credential_type"], "password");
}
