//! `sys/policies/explain` says what a request meets.

use holdfast_core::{Answer, Error, Verb};
use holdfast_logical::Error as Logical;
use serde_json::{Value, json};

use crate::bench::{Bench, data};

const TEXT: &str = r#"path "probe/*" { capabilities = ["read", "list"] }
path "probe/data/prod/*" { capabilities = ["deny"] }
path "probe/data/{{identity.entity.name}}/*" { capabilities = ["read", "update"] }
path "probe/data/form" { capabilities = ["update"] required_parameters = ["who"] allowed_parameters = { "who" = ["a*"] } }
path "sys/auth/*" { capabilities = ["read", "update"] }
path "sys/policies/acl/*" { capabilities = ["read"] }
path "sys/policies/acl/boss" { capabilities = ["deny"] }"#;

async fn bench() -> Bench {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench.write("sys/auth/door", json!({"type": "door"})).await;
    bench.write("sys/policies/acl/some", json!({ "policy": TEXT })).await;
    bench
}

async fn explain(bench: &Bench, body: Value) -> serde_json::Map<String, Value> {
    data(bench.write("sys/policies/explain", body).await)
}

#[tokio::test]
async fn a_denial_names_policy_stanza_and_what_would_have_granted_it() {
    let bench = bench().await;
    let said = explain(&bench, json!({"policies": ["some", "nothing"], "path": "probe/data/prod/db"})).await;
    assert_eq!((&said["allowed"], &said["pattern"]), (&json!(false), &json!("probe/data/prod/*")));
    assert_eq!(said["reason"], "\"probe/data/prod/*\" denies it");
    assert_eq!(said["stanzas"][0]["policy"], "some");
    assert_eq!((&said["stanzas"][0]["decides"], &said["outranked"][0]["path"]), (&json!(true), &json!("probe/*")));
    assert_eq!(
        (&said["missing_policies"], &said["left_out"][0]["reason"]),
        (&json!(["nothing"]), &json!("the token has no entity"))
    );
    for (body, allowed, parameter) in [
        (json!({}), false, json!("who")),
        (json!({"who": "bob"}), false, json!("who")),
        (json!({"who": "ada", "else": 1}), false, json!("else")),
        (json!({"who": "ada"}), true, Value::Null),
    ] {
        let ask = json!({"policies": "some", "path": "probe/data/form", "operation": "update", "parameters": body});
        let said = explain(&bench, ask).await;
        assert_eq!((&said["allowed"], &said["parameter"]), (&json!(allowed), &parameter), "{said:?}");
    }
    let said = explain(&bench, json!({"policies": "some", "path": "sys/auth/x", "operation": "update"})).await;
    assert_eq!((&said["allowed"], &said["sudo_required"]), (&json!(false), &json!(true)));
    assert!(said["reason"].as_str().unwrap().contains("demands sudo"));
    let said = explain(&bench, json!({"policies": "some", "path": "sys/policies/acl/BOSS"})).await;
    assert_eq!((&said["allowed"], &said["path"]), (&json!(false), &json!("sys/policies/acl/boss")));
    let said = explain(&bench, json!({"policies": "root", "path": "x/y", "operation": "delete"})).await;
    assert_eq!((&said["allowed"], &said["root"], &said["known_path"]), (&json!(true), &json!(true), &json!(false)));
}

#[tokio::test]
async fn an_entity_is_explained_with_its_templates_and_groups() {
    let bench = bench().await;
    let auth = bench.ok("", Verb::Write, "auth/door/login", json!({})).await.auth.unwrap();
    let entity = &auth.entity_id;
    bench.write(&format!("identity/entity/id/{entity}"), json!({"name": "orders"})).await;
    bench.write("identity/group", json!({"policies": ["some"], "member_entity_ids": [entity]})).await;
    for who in [json!({"entity_id": entity}), json!({"token": auth.client_token}), json!({"accessor": auth.accessor})] {
        let mut ask = who.as_object().unwrap().clone();
        ask.extend([("path".to_owned(), json!("probe/data/orders/x")), ("operation".to_owned(), json!("update"))]);
        let said = explain(&bench, Value::Object(ask)).await;
        assert_eq!(said["allowed"], true);
        assert_eq!(said["stanzas"][0]["path"], "probe/data/{{identity.entity.name}}/*");
        assert_eq!(said["stanzas"][0]["filled_path"], "probe/data/orders/*");
        assert_eq!((&said["identity_policies"], &said["entity_id"]), (&json!(["some"]), &json!(entity)));
    }
    // Anybody may ask about itself, and nobody about others without a policy.
    let ask = json!({"path": "probe/data/prod/x"});
    let said = data(bench.ok(&auth.client_token, Verb::Write, "sys/policies/explain-self", ask.clone()).await);
    assert_eq!(said["allowed"], false);
    let denied = bench.fails(&auth.client_token, Verb::Write, "sys/policies/explain", ask).await;
    assert!(matches!(denied, Error::Logical(Logical::Denied(_))));
    bench.write(&format!("identity/entity/id/{entity}"), json!({"disabled": true})).await;
    let said = explain(&bench, json!({"entity_id": entity, "path": "probe/data/orders/x"})).await;
    assert!(said["reason"].as_str().unwrap().contains("disabled"));
}

#[tokio::test]
async fn who_is_asked_about_must_be_clear() {
    let bench = bench().await;
    for body in [
        json!({"path": "a"}),
        json!({"path": "a", "token": "x"}),
        json!({"path": "a", "token": bench.root, "accessor": "y"}),
        json!({"policies": "some"}),
        json!({"policies": "some", "path": "a/../b"}),
        json!({"policies": "some", "path": "a", "operation": "write"}),
    ] {
        let error = bench.fails(&bench.root, Verb::Write, "sys/policies/explain", body.clone()).await;
        assert!(matches!(error, Error::Logical(Logical::Invalid(_))), "{body}: {error}");
    }
}

/// The explanation is the decision: for all paths here, what is explained is what happens.
#[tokio::test]
async fn what_is_explained_is_what_happens() {
    let bench = bench().await;
    let token = bench.token(json!({"policies": ["some"]})).await;
    for path in [
        "probe/data/a",
        "probe/data/prod/x",
        "probe/data/form",
        "probe/creds/x",
        "probe/creds/x/",
        "sys/auth/door",
        "sys/auth/door/tune",
        "sys/policies/acl/BOSS",
        "sys/policies/acl/some/",
        "sys/policies/acl/boss/",
        "sys/capabilities-self",
        "none/x",
    ] {
        for (verb, operation) in [(Verb::Read, "read"), (Verb::List, "list"), (Verb::Delete, "delete")] {
            let denied = matches!(
                bench.answer(&token, verb, path, json!({})).await,
                Answer::Error(Error::Logical(Logical::Denied(_)))
            );
            let said = explain(&bench, json!({"token": token, "path": path, "operation": operation})).await;
            assert_eq!(said["allowed"], json!(!denied), "{operation} {path}: {said:?}");
        }
    }
}

#[tokio::test]
async fn a_namespace_explains_its_own_and_knows_no_token_of_others() {
    let bench = bench().await;
    bench.write("sys/namespaces/team", json!({})).await;
    let text = r#"path "secret/*" { capabilities = ["read"] }"#;
    bench.write("team/sys/policies/acl/some", json!({ "policy": text })).await;
    let ask = json!({"policies": "some", "path": "secret/x"});
    let said = data(bench.write("team/sys/policies/explain", ask.clone()).await);
    assert_eq!(
        (&said["allowed"], &said["path"], &said["pattern"]),
        (&json!(true), &json!("team/secret/x"), &json!("team/secret/*"))
    );
    assert_eq!(explain(&bench, ask).await["allowed"], false);
    let token = bench.token(json!({"policies": ["some"]})).await;
    bench
        .fails(&bench.root, Verb::Write, "team/sys/policies/explain", json!({"token": token, "path": "secret/x"}))
        .await;
    // A rule of the root namespace reaches into another only where it names it.
    let said = explain(&bench, json!({"token": token, "path": "team/probe/x"})).await;
    assert_eq!(said["allowed"], false);
}
