use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::mount::Mount;

async fn refused(mount: &Mount, path: &str, body: Value) -> String {
    match mount.ask(Operation::Update, path, body).await {
        Err(Error::Invalid(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_configuration_is_read_back_without_the_token() {
    let mount = Mount::new(None).await;
    assert!(matches!(mount.ask(Operation::Read, "config", Value::Null).await, Err(Error::NotFound(None))));
    assert_eq!(refused(&mount, "config", json!({})).await, "no host provided");
    assert_eq!(
        refused(&mount, "config", json!({"kubernetes_host": "https://k", "disable_local_ca_jwt": true})).await,
        "kubernetes_ca_cert must be given when disable_local_ca_jwt is true"
    );
    assert!(
        refused(&mount, "config", json!({"kubernetes_host": "https://k", "pem_keys": ["x"]}))
            .await
            .contains("pem_keys")
    );
    let no_jwt = json!({"kubernetes_host": "https://k", "token_reviewer_jwt": "canary"});
    let refusal = mount.ask(Operation::Update, "config", no_jwt).await.unwrap_err();
    assert!(matches!(refusal, Error::Status { code: 500, .. }), "{refusal:?}");
    assert_eq!(refusal.to_string(), "token_reviewer_jwt: compact JWS format must have three parts");
    let pem = "-----BEGIN CERTIFICATE-----\\n.....\\n-----END CERTIFICATE-----";
    mount
        .configure(
            json!({"kubernetes_host": "https://k", "kubernetes_ca_cert": pem, "token_reviewer_jwt": "a.canary.b"}),
        )
        .await;
    let config = mount.get("config").await;
    assert_eq!(config["kubernetes_ca_cert"], pem);
    assert_eq!(config["token_reviewer_jwt_set"], true);
    assert_eq!(config["disable_iss_validation"], true);
    assert!(!config.to_string().contains("canary"));
}

#[tokio::test]
async fn roles_are_written_read_listed_and_deleted() {
    let mount = Mount::new(None).await;
    assert!(refused(&mount, "role/a", json!({"bound_service_account_namespaces": "x"})).await.contains("names"));
    assert!(refused(&mount, "role/a", json!({"bound_service_account_names": "x"})).await.contains("namespaces"));
    mount.role("App", json!({"bound_service_account_names": ["a", "b"], "token_max_ttl": 3600})).await;
    let role = mount.get("role/app").await;
    assert_eq!(role["bound_service_account_names"], json!(["a", "b"]));
    assert_eq!((&role["token_ttl"], &role["token_max_ttl"]), (&json!(1200), &json!(3600)));
    assert_eq!(role["alias_name_source"], "serviceaccount_uid");
    assert_eq!(role["token_type"], "default");
    let response = mount.ask(Operation::Update, "role/app", json!({"audience": ""})).await.unwrap();
    assert_eq!(response.warnings.len(), 1);
    assert_eq!(mount.get("role/app").await["token_policies"], json!(["app"]));
    let list = mount.ask(Operation::List, "role", Value::Null).await.unwrap();
    assert_eq!(list.data.unwrap().to_map()["keys"], json!(["app"]));
    mount.ask(Operation::Delete, "role/app", Value::Null).await.unwrap();
    assert!(mount.ask(Operation::Read, "role/app", Value::Null).await.is_err());
    assert!(mount.ask(Operation::List, "role", Value::Null).await.is_err());
}
