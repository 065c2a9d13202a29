use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::mount::Mount;

#[tokio::test]
async fn users_are_written_read_listed_and_deleted() {
    let mount = Mount::new().await;
    assert!(matches!(mount.ask(Operation::List, "users", Value::Null).await, Err(Error::NotFound(None))));
    assert_eq!(mount.refused("users/ada", json!({"token_policies": "a"})).await, "missing password");
    mount.write("users/Ada", json!({"password": "canary", "policies": "a,b", "token_ttl": "10m"})).await;
    let user = mount.get("users/ada").await;
    assert_eq!((&user["policies"], &user["token_policies"]), (&json!(["a", "b"]), &json!(["a", "b"])));
    assert_eq!((&user["token_ttl"], &user["token_type"]), (&json!(600), &json!("default")));
    assert!(user.get("password").is_none() && user.get("password_hash").is_none());
    let list = mount.ask(Operation::List, "users", Value::Null).await.unwrap();
    assert_eq!(list.data.unwrap().into_map()["keys"], json!(["ada"]));

    // An update keeps what it does not name.
    mount.write("users/ada", json!({"token_max_ttl": "20m"})).await;
    let user = mount.get("users/ada").await;
    assert_eq!((&user["token_ttl"], &user["token_max_ttl"]), (&json!(600), &json!(1200)));
    mount.login("ada", "canary").await.unwrap();

    mount.ask(Operation::Delete, "users/ADA", Value::Null).await.unwrap();
    assert!(matches!(mount.ask(Operation::Read, "users/ada", Value::Null).await, Err(Error::NotFound(None))));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let mount = Mount::new().await;
    let long = "x".repeat(73);
    let hash = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    for (body, part) in [
        (json!({"password": long}), "72 bytes"),
        (json!({"password": "x", "password_hash": hash}), "only one of"),
        (json!({"password_hash": "x"}), "not a valid bcrypt hash"),
        (json!({"password": "x", "token_ttl": 20, "token_max_ttl": 10}), "'token_max_ttl'"),
    ] {
        let error = mount.refused("users/ada", body).await;
        assert!(error.contains(part), "{error}");
    }
    assert!(mount.ask(Operation::Read, "users/ada", Value::Null).await.is_err());
    assert_eq!(mount.refused("users/ada/password", json!({"password": "x"})).await, "username does not exist");
    assert_eq!(mount.refused("users/ada/policies", json!({"policies": "x"})).await, "username does not exist");
    assert_eq!(mount.refused("users/ada/password", json!({})).await, "missing password");
    assert_eq!(mount.refused("users/ada/policies", json!({})).await, "missing token_policies");
}

#[tokio::test]
async fn passwords_are_stored_as_salted_bcrypt() {
    let mount = Mount::new().await;
    let mut stored = Vec::new();
    for name in ["ada", "bob"] {
        mount.write(&format!("users/{name}"), json!({"password": "canary"})).await;
        let entry = mount.view.get(&format!("user/{name}")).await.unwrap().unwrap();
        let text = String::from_utf8(entry.value.expose().to_vec()).unwrap();
        assert!(text.contains("$2b$10$") && !text.contains("canary"), "{text}");
        stored.push(text);
    }
    assert_ne!(stored[0], stored[1]);
}
