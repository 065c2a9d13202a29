use std::time::Duration;

use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::{
    mount::Mount,
    postgres::{PASSWORD, SUPERUSER, free_port, shared},
};

fn config(url: String, username: &str, password: &str) -> Value {
    json!({
        "plugin_name": "postgresql-database-plugin", "connection_url": url, "username": username,
        "password": password, "allowed_roles": "*",
    })
}

#[tokio::test]
async fn the_password_is_never_shown() {
    let (postgres, mount) = (shared(), Mount::new().await);
    mount.put("config/main", config(postgres.url("disable"), SUPERUSER, PASSWORD)).await;
    let shown = mount.get("config/main").await;
    assert_eq!(shown["connection_details"]["username"], SUPERUSER);
    assert_eq!(shown["allowed_roles"], json!(["*"]));
    assert!(!shown.to_string().contains(PASSWORD));
    assert_eq!(
        mount.ask(Operation::List, "config", Value::Null).await.unwrap().data.unwrap().to_map()["keys"],
        json!(["main"])
    );
    mount.put("reset/main", Value::Null).await;
    mount.ask(Operation::Delete, "config/main", Value::Null).await.unwrap();
    assert!(matches!(mount.ask(Operation::Read, "config/main", Value::Null).await, Err(Error::NotFound(None))));
}

#[tokio::test]
async fn a_wrong_password_and_a_dead_host_are_told_apart() {
    let (postgres, mount) = (shared(), Mount::new().await);
    let wrong = config(postgres.url("disable"), SUPERUSER, "wrong-canary");
    let error = mount.refused(Operation::Update, "config/main", wrong).await;
    assert!(
        error.contains("error verifying connection") && error.contains("password authentication failed"),
        "{error}"
    );
    assert!(error.contains(&format!("127.0.0.1:{}", postgres.port)) && !error.contains("wrong-canary"), "{error}");
    let url = format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres", free_port());
    let error = mount.refused(Operation::Update, "config/main", config(url.clone(), "u", "canary")).await;
    assert!(error.contains("cannot connect to 127.0.0.1") && error.contains("refused"), "{error}");
    assert!(!error.contains("canary"), "{error}");
    let mut unverified = config(url, "u", "canary");
    unverified["verify_connection"] = json!(false);
    mount.put("config/main", unverified).await;
    mount.put("roles/app", json!({"db_name": "main", "creation_statements": "SELECT 1"})).await;
    let issue = mount.issue("app").await;
    let error = (issue.create)().await.unwrap_err();
    assert!(matches!(error, Error::Status { code: 503, .. }), "{error}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_once() {
    let mount = Mount::new().await;
    for (change, part) in [
        (json!({"plugin_name": "oracle"}), "unknown database plugin"),
        (json!({"connection_url": ""}), "connection_url cannot be empty"),
        (json!({"connection_url": "postgresql://h/db?sslmode=verify-full"}), "tls_ca"),
        (json!({"username_template": "fixed"}), "random"),
    ] {
        let mut body = config("postgresql://h/db".into(), "u", "p");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let error = mount.refused(Operation::Update, "config/main", body).await;
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn tls_is_checked_as_far_as_asked_for() {
    let (postgres, mount) = (shared(), Mount::new().await);
    let with = |sslmode: &str, host: &str, ca: &str| {
        let mut body = config(postgres.url(sslmode).replace("127.0.0.1", host), SUPERUSER, PASSWORD);
        body["tls_ca"] = json!(ca);
        body
    };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    mount.put("config/a", with("require", "127.0.0.1", "")).await;
    mount.put("config/a", with("verify-ca", "127.0.0.1", &postgres.ca)).await;
    mount.put("config/a", with("verify-full", "localhost", &postgres.ca)).await;
    for (sslmode, host, ca) in [
        ("verify-full", "127.0.0.1", &postgres.ca),
        ("verify-ca", "127.0.0.1", &other),
        ("require", "127.0.0.1", &other),
    ] {
        let error = mount.refused(Operation::Update, "config/a", with(sslmode, host, ca)).await;
        assert!(error.contains("certificate"), "{sslmode}: {error}");
    }
}

#[tokio::test]
async fn the_root_password_is_rotated_and_a_half_done_rotation_is_finished() {
    let (postgres, mount) = (shared(), Mount::new().await);
    let admin = postgres.admin().await;
    admin.batch_execute("CREATE ROLE rooty LOGIN CREATEROLE PASSWORD 'first'").await.unwrap();
    mount.put("config/main", config(postgres.url("disable"), "rooty", "first")).await;
    mount.put("roles/app", json!({"db_name": "main", "creation_statements": "CREATE ROLE \"{{name}}\""})).await;
    mount.put("rotate-root/main", Value::Null).await;
    assert!(postgres.login("rooty", "first").await.is_err());
    mount.make("app").await;

    // A replica stored the next password and died: before it was set, and after.
    for set in [false, true] {
        let (mut stored, _) = mount.view.get_json::<Value>("config/main").await.unwrap().unwrap();
        stored["next_password"] = json!(format!("next-{set}"));
        mount.view.put_json("config/main", &stored).await.unwrap();
        if set {
            admin.batch_execute("ALTER ROLE rooty PASSWORD 'next-true'").await.unwrap();
            mount.make("app").await;
        }
        mount.backend.tick().await.unwrap();
        postgres.login("rooty", &format!("next-{set}")).await.unwrap();
        let (stored, _) = mount.view.get_json::<Value>("config/main").await.unwrap().unwrap();
        assert_eq!((&stored["password"], &stored["next_password"]), (&json!(format!("next-{set}")), &Value::Null));
        mount.make("app").await;
    }
}

#[tokio::test]
async fn no_more_connections_are_opened_than_allowed() {
    let (postgres, mount) = (shared(), Mount::new().await);
    let admin = postgres.admin().await;
    admin.batch_execute("CREATE ROLE few LOGIN CREATEROLE PASSWORD 'few' CONNECTION LIMIT 2").await.unwrap();
    let mut body = config(postgres.url("disable"), "few", "few");
    body["max_open_connections"] = json!(2);
    mount.put("config/main", body).await;
    mount
        .put(
            "roles/app",
            json!({"db_name": "main", "creation_statements": "CREATE ROLE \"{{name}}\"; SELECT pg_sleep(0.05)"}),
        )
        .await;
    let outcome = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::join!(mount.make("app"), mount.make("app"), mount.make("app"), mount.make("app"), mount.make("app"));
    });
    outcome.await.unwrap();
}
