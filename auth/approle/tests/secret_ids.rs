use std::time::Duration;

use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::mount::Mount;

#[tokio::test]
async fn secret_ids_are_made_found_and_destroyed() {
    let mount = Mount::with_role(json!({"secret_id_ttl": "1h", "secret_id_num_uses": 10})).await;
    assert!(mount.keys("role/app/secret-id").await.is_empty());
    let made = mount
        .made(
            "role/app/secret-id",
            json!({"metadata": "{\"team\":\"shop\"}", "num_uses": 3, "ttl": "10m", "cidr_list": "10.0.0.0/8"}),
        )
        .await;
    assert_eq!((&made["secret_id_ttl"], &made["secret_id_num_uses"]), (&json!(600), &json!(3)));
    let (secret_id, accessor) = (&made["secret_id"], &made["secret_id_accessor"]);
    let again = mount.write("role/app/secret-id", json!({})).await;
    let (named, data) = (again.accessor.unwrap(), again.data.unwrap().into_map());
    assert_eq!(data["secret_id_accessor"], named, "a wrapped answer names it");
    mount.write("role/app/secret-id-accessor/destroy", json!({"secret_id_accessor": named})).await;
    assert_eq!(mount.keys("role/app/secret-id").await, [accessor.as_str().unwrap()]);

    let looked = mount.made("role/app/secret-id/lookup", json!({"secret_id": secret_id})).await;
    assert_eq!(looked["metadata"], json!({"team": "shop"}));
    assert_eq!(looked["cidr_list"], json!(["10.0.0.0/8"]));
    assert_eq!(looked["creation_time"], "2023-11-14T22:13:20Z");
    assert_eq!(looked["expiration_time"], "2023-11-14T22:23:20Z");
    let by_accessor = mount.made("role/app/secret-id-accessor/lookup", json!({"secret_id_accessor": accessor})).await;
    assert_eq!(by_accessor, looked);
    assert!(!format!("{looked:?}").contains(secret_id.as_str().unwrap()));

    mount.write("role/app/secret-id/destroy", json!({"secret_id": secret_id})).await;
    mount.write("role/app/secret-id/destroy", json!({"secret_id": secret_id})).await;
    assert!(mount.write("role/app/secret-id/lookup", json!({"secret_id": secret_id})).await.data.is_none());
    assert!(mount.keys("role/app/secret-id").await.is_empty());
    mount.no_login("r", secret_id.as_str().unwrap()).await;
}

#[tokio::test]
async fn accessors_that_are_not_there_are_told_apart() {
    let mount = Mount::with_role(json!({})).await;
    let made = mount.made("role/app/secret-id", json!({})).await;
    let body = json!({"secret_id_accessor": made["secret_id_accessor"]});
    mount.write("role/app/secret-id-accessor/destroy", body.clone()).await;
    for operation in [Operation::Update, Operation::Delete] {
        let again = mount.ask(operation, "role/app/secret-id-accessor/destroy", body.clone()).await;
        assert!(matches!(again, Err(Error::Denied(text)) if text == "permission denied"));
    }
    let looked = mount.ask(Operation::Update, "role/app/secret-id-accessor/lookup", body).await;
    assert!(matches!(looked, Err(Error::NotFound(Some(text))) if text.contains("failed to find accessor entry")));
    for (path, missing) in [("secret-id/lookup", "secret_id"), ("secret-id-accessor/lookup", "secret_id_accessor")] {
        assert_eq!(mount.refused(&format!("role/app/{path}"), json!({})).await, format!("missing {missing}"));
    }
    let nowhere = mount.ask(Operation::Update, "role/none/secret-id", json!({})).await;
    assert!(matches!(nowhere, Err(Error::NotFound(Some(text))) if text == "role \"none\" does not exist"));
    assert!(mount.ask(Operation::List, "role/none/secret-id", Value::Null).await.is_err());
}

#[tokio::test]
async fn cve_2023_24999_one_role_does_not_reach_the_secret_ids_of_another() {
    let mount = Mount::with_role(json!({})).await;
    mount.write("role/other", json!({})).await;
    let made = mount.made("role/app/secret-id", json!({})).await;
    let (secret_id, accessor) = (&made["secret_id"], &made["secret_id_accessor"]);
    for path in ["lookup", "destroy"] {
        let path = format!("role/other/secret-id-accessor/{path}");
        assert!(mount.ask(Operation::Update, &path, json!({"secret_id_accessor": accessor})).await.is_err());
    }
    let looked = mount.write("role/other/secret-id/lookup", json!({"secret_id": secret_id})).await;
    assert!(looked.data.is_none());
    mount.write("role/other/secret-id/destroy", json!({"secret_id": secret_id})).await;
    mount.login(secret_id.as_str().unwrap()).await.unwrap();
    assert_eq!(mount.keys("role/app/secret-id").await, [accessor.as_str().unwrap()]);
}

#[tokio::test]
async fn limits_of_the_role_hold() {
    let mount = Mount::with_role(json!({
        "secret_id_ttl": "1h", "secret_id_num_uses": 10, "secret_id_bound_cidrs": "10.0.0.0/8",
        "token_bound_cidrs": "10.1.0.0/16",
    }))
    .await;
    for (body, part) in [
        (json!({"num_uses": 11}), "num_uses cannot be higher than the role's secret_id_num_uses"),
        (json!({"num_uses": 0}), "num_uses cannot be higher than the role's secret_id_num_uses"),
        (json!({"num_uses": -1}), "num_uses cannot be negative"),
        (json!({"ttl": "2h"}), "ttl cannot be longer than the role's secret_id_ttl"),
        (json!({"ttl": 0}), "ttl cannot be longer than the role's secret_id_ttl"),
        (json!({"cidr_list": "11.0.0.0/8"}), "failed to verify subset relationship between CIDR blocks on the role"),
        (json!({"cidr_list": "10.0.0.0/7"}), "subset"),
        (json!({"token_bound_cidrs": "10.0.0.0/8"}), "subset"),
        (json!({"cidr_list": "everywhere"}), "everywhere"),
        (json!({"metadata": "no json"}), "failed to parse metadata"),
    ] {
        let error = mount.refused("role/app/secret-id", body).await;
        assert!(error.contains(part), "{error}");
    }
    assert!(mount.keys("role/app/secret-id").await.is_empty());
    let made = mount.made("role/app/secret-id", json!({"cidr_list": "10.1.2.0/24"})).await;
    assert_eq!((&made["secret_id_ttl"], &made["secret_id_num_uses"]), (&json!(3600), &json!(10)));

    // Beyond the mount's longest TTL there is none.
    mount.write("role/app", json!({"secret_id_ttl": "100h"})).await;
    assert_eq!(mount.made("role/app/secret-id", json!({})).await["secret_id_ttl"], json!(7200));

    mount.write("role/app/bind-secret-id", json!({"bind_secret_id": false})).await;
    assert_eq!(mount.refused("role/app/secret-id", json!({})).await, "bind_secret_id is not set on the role");
}

#[tokio::test]
async fn a_secret_id_from_elsewhere_is_taken_once() {
    let mount = Mount::with_role(json!({"secret_id_ttl": "10m"})).await;
    assert_eq!(mount.refused("role/app/custom-secret-id", json!({})).await, "missing secret_id");
    let body = json!({"secret_id": "from elsewhere", "metadata": {"a": "b"}});
    let made = mount.made("role/app/custom-secret-id", body.clone()).await;
    assert_eq!(made["secret_id"], "from elsewhere");
    assert_eq!(mount.login("from elsewhere").await.unwrap().metadata["a"], "b");
    assert_eq!(mount.refused("role/app/custom-secret-id", body.clone()).await, "SecretID is already registered");
    // One that has expired makes room.
    mount.clock.advance(Duration::from_secs(601));
    mount.write("role/app/custom-secret-id", body).await;
    assert_eq!(mount.keys("role/app/secret-id").await.len(), 1);
    mount.login("from elsewhere").await.unwrap();
}

#[tokio::test]
async fn the_store_never_sees_a_secret_id() {
    let mount = Mount::with_role(json!({})).await;
    let secret_id = mount.secret_id(json!({"metadata": {"a": "b"}})).await;
    let mut folders = vec![String::new()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for name in mount.view.list(&folder, "", 0).await.unwrap() {
            let path = format!("{folder}{name}");
            assert!(!path.contains(&secret_id));
            if path.ends_with('/') {
                folders.push(path);
                continue;
            }
            let entry = mount.view.get(&path).await.unwrap().unwrap();
            assert!(!String::from_utf8_lossy(entry.value.expose()).contains(&secret_id), "{path}");
            seen += 1;
        }
    }
    assert_eq!(seen, 5, "salt, role, role id, secret id, accessor");
}
