use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::mount::Mount;

#[tokio::test]
async fn a_role_has_vaults_defaults_and_keeps_what_is_written() {
    let mount = Mount::new().await;
    mount.write("role/App", json!({})).await;
    let role = mount.get("role/app").await;
    let expected = json!({
        "bind_secret_id": true, "secret_id_bound_cidrs": null, "secret_id_num_uses": 0, "secret_id_ttl": 0,
        "local_secret_ids": false, "token_ttl": 0, "token_max_ttl": 0, "token_explicit_max_ttl": 0,
        "token_period": 0, "token_policies": [], "token_bound_cidrs": [], "token_no_default_policy": false,
        "token_num_uses": 0, "token_type": "default",
    });
    assert_eq!(role, expected);
    mount
        .write(
            "role/app",
            json!({
                "policies": "a,b", "secret_id_num_uses": "5", "secret_id_ttl": "10m", "token_ttl": "20m",
                "token_max_ttl": "30m", "bound_cidr_list": "10.0.0.0/8",
            }),
        )
        .await;
    let role = mount.get("role/app").await;
    assert_eq!(role["secret_id_bound_cidrs"], json!(["10.0.0.0/8"]));
    assert_eq!((&role["secret_id_num_uses"], &role["secret_id_ttl"]), (&json!(5), &json!(600)));
    assert_eq!((&role["policies"], &role["token_policies"]), (&json!(["a", "b"]), &json!(["a", "b"])));
    assert_eq!(mount.keys("role").await, ["app"]);

    let old = mount.get("role/app/role-id").await["role_id"].clone();
    assert_eq!(old.as_str().unwrap().len(), 36);
    mount.ask(Operation::Delete, "role/APP", Value::Null).await.unwrap();
    assert!(matches!(mount.ask(Operation::Read, "role/app", Value::Null).await, Err(Error::NotFound(None))));
    assert!(mount.keys("role").await.is_empty());
    mount.ask(Operation::Delete, "role/app", Value::Null).await.unwrap();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mount = Mount::new().await;
    mount.write("role/app", json!({"local_secret_ids": true})).await;
    for (body, part) in [
        (json!({"bind_secret_id": false}), "at least one constraint should be enabled on the role"),
        (json!({"secret_id_num_uses": -1}), "secret_id_num_uses cannot be negative"),
        (json!({"secret_id_bound_cidrs": "10.0.0.0/33"}), "10.0.0.0/33"),
        (json!({"local_secret_ids": false}), "local_secret_ids can only be modified during role creation"),
        (json!({"token_ttl": 20, "token_max_ttl": 10}), "'token_ttl' cannot be greater"),
        (json!({"token_period": "3h"}), "period of \"3h0m0s\" is greater"),
        (json!({"role_id": ""}), "invalid role_id"),
    ] {
        let error = mount.refused("role/app", body).await;
        assert!(error.contains(part), "{error}");
    }
    let role = mount.get("role/app").await;
    assert_eq!((&role["bind_secret_id"], &role["local_secret_ids"]), (&json!(true), &json!(true)));
    assert_eq!(mount.write("role/app", json!({"token_max_ttl": "9h"})).await.warnings.len(), 1);
    mount.write("role/app", json!({"bind_secret_id": false, "token_bound_cidrs": "10.0.0.0/8"})).await;
}

#[tokio::test]
async fn each_setting_has_a_path_of_its_own() {
    let mount = Mount::with_role(json!({})).await;
    for (path, field, value, default) in [
        ("policies", "token_policies", json!(["a"]), json!([])),
        ("secret-id-bound-cidrs", "secret_id_bound_cidrs", json!(["10.0.0.0/8"]), Value::Null),
        ("bound-cidr-list", "bound_cidr_list", json!(["10.0.0.0/8"]), Value::Null),
        ("secret-id-num-uses", "secret_id_num_uses", json!(3), json!(0)),
        ("secret-id-ttl", "secret_id_ttl", json!(60), json!(0)),
        ("token-bound-cidrs", "token_bound_cidrs", json!(["10.0.0.0/8"]), json!([])),
        ("token-num-uses", "token_num_uses", json!(4), json!(0)),
        ("token-ttl", "token_ttl", json!(120), json!(0)),
        ("token-max-ttl", "token_max_ttl", json!(240), json!(0)),
        ("period", "token_period", json!(300), json!(0)),
    ] {
        let path = format!("role/app/{path}");
        assert_eq!(mount.get(&path).await, json!({field: default}), "{path}");
        assert_eq!(mount.refused(&path, json!({})).await, format!("missing {field}"));
        mount.write(&path, json!({field: value})).await;
        assert_eq!(mount.get(&path).await, json!({field: value}), "{path}");
        mount.ask(Operation::Delete, &path, Value::Null).await.unwrap();
        assert_eq!(mount.get(&path).await, json!({field: default}), "{path}");
    }
    mount.write("role/app/period", json!({"period": 300})).await;
    assert_eq!(mount.get("role/app/period").await, json!({"token_period": 300, "period": 300}));

    mount.write("role/app/secret-id-bound-cidrs", json!({"secret_id_bound_cidrs": "10.0.0.0/8"})).await;
    mount.write("role/app/bind-secret-id", json!({"bind_secret_id": false})).await;
    assert_eq!(mount.get("role/app/bind-secret-id").await, json!({"bind_secret_id": false}));
    let last = mount.ask(Operation::Delete, "role/app/secret-id-bound-cidrs", Value::Null).await;
    assert!(matches!(last, Err(Error::Invalid(text)) if text.contains("at least one constraint")));
    mount.ask(Operation::Delete, "role/app/bind-secret-id", Value::Null).await.unwrap();
    assert_eq!(mount.get("role/app/bind-secret-id").await, json!({"bind_secret_id": true}));
    assert_eq!(mount.get("role/app/local-secret-ids").await, json!({"local_secret_ids": false}));

    for path in ["role/none/token-ttl", "role/none/role-id"] {
        assert!(matches!(mount.ask(Operation::Read, path, Value::Null).await, Err(Error::NotFound(None))));
        let written = mount.ask(Operation::Update, path, json!({"token_ttl": 1, "role_id": "x"})).await;
        assert!(matches!(written, Err(Error::NotFound(Some(text))) if text.contains("\"none\"")));
    }
}

#[tokio::test]
async fn a_role_id_belongs_to_one_role() {
    let mount = Mount::with_role(json!({})).await;
    assert_eq!(mount.refused("role/other", json!({"role_id": "r"})).await, "role_id already in use");
    mount.write("role/other", json!({"role_id": "o"})).await;
    assert_eq!(mount.refused("role/other/role-id", json!({"role_id": "r"})).await, "role_id already in use");
    assert_eq!(mount.refused("role/other/role-id", json!({})).await, "missing role_id");

    let secret_id = mount.secret_id(json!({})).await;
    mount.write("role/app/role-id", json!({"role_id": "new"})).await;
    mount.no_login("r", &secret_id).await;
    mount.login_from(crate::mount::HOME, "new", &secret_id).await.unwrap();
    mount.write("role/other/role-id", json!({"role_id": "r"})).await;
    mount.no_login("r", &secret_id).await;
}
