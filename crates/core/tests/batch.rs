//! Batch tokens: what they are, what they cannot, and how they end.

use holdfast_core::Verb;
use serde_json::{Value, json};

use crate::bench::{Bench, data, outside, until};

const ALL: &str = r#"path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }"#;

async fn open() -> Bench {
    let bench = Bench::open().await;
    bench.write("sys/policy/all", json!({ "policy": ALL })).await;
    bench.write("sys/policy/app", json!({ "policy": ALL })).await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench
}

async fn child(bench: &Bench, of: &str, body: Value) -> String {
    bench.ok(of, Verb::Write, "auth/token/create", body).await.auth.unwrap().client_token
}

#[tokio::test]
async fn it_is_not_stored_and_has_no_accessor_no_children_no_renewal_and_no_revocation() {
    let bench = open().await;
    let before = data(bench.ok(&bench.root, Verb::List, "auth/token/accessors", json!({})).await);
    let body = json!({"type": "batch", "policies": "all", "ttl": "1h", "meta": {"team": "shop"}});
    let auth = bench.write("auth/token/create", body).await.auth.unwrap();
    let token = auth.client_token.clone();
    assert!(token.starts_with("hvb."), "{token}");
    assert_eq!((auth.token_type.as_str(), auth.accessor.as_str(), auth.renewable), ("batch", "", false));
    assert_eq!((auth.lease_duration, auth.num_uses, auth.orphan), (3600, 0, false));
    let after = data(bench.ok(&bench.root, Verb::List, "auth/token/accessors", json!({})).await);
    assert_eq!(before, after);

    let looked = data(bench.ok(&token, Verb::Read, "auth/token/lookup-self", json!({})).await);
    assert_eq!((&looked["type"], &looked["id"], &looked["accessor"]), (&json!("batch"), &json!(token), &json!("")));
    assert_eq!((&looked["ttl"], &looked["renewable"]), (&json!(3600), &json!(false)));
    assert_eq!((&looked["meta"], &looked["policies"]), (&json!({"team": "shop"}), &json!(["all", "default"])));
    let same = bench.write("auth/token/lookup", json!({ "token": token })).await;
    assert_eq!(data(same), looked);

    let root = &bench.root;
    for (by, path, body, text) in [
        (&token, "auth/token/renew-self", json!({}), "batch tokens cannot be renewed"),
        (root, "auth/token/renew", json!({ "token": token }), "batch tokens cannot be renewed"),
        (&token, "auth/token/revoke-self", json!({}), "batch tokens cannot be revoked"),
        (root, "auth/token/revoke", json!({ "token": token }), "batch tokens cannot be revoked"),
        (root, "auth/token/revoke-orphan", json!({ "token": token }), "batch tokens cannot be revoked"),
        (&token, "auth/token/create", json!({}), "batch tokens cannot create more tokens"),
        (&token, "cubbyhole/a", json!({"a": 1}), "cubbyhole operations are only supported by service type tokens"),
    ] {
        assert_eq!(bench.fails(by, Verb::Write, path, body).await.to_string(), text, "{path}");
    }
    bench.ok(&token, Verb::Write, "probe/data/a", json!({"a": 1})).await;
    bench.advance(3600);
    assert!(!bench.is_good(&token).await);
}

#[tokio::test]
async fn what_a_batch_token_cannot_have_is_refused() {
    let bench = open().await;
    for (field, value) in [("num_uses", json!(3)), ("period", json!("1h")), ("explicit_max_ttl", json!("1h"))] {
        let body = json!({"type": "batch", "policies": "all", field: value});
        let error = bench.fails(&bench.root, Verb::Write, "auth/token/create", body).await.to_string();
        assert!(error.contains("batch tokens cannot have") && error.contains(field), "{error}");
    }
    let create = async |body: Value| bench.fails(&bench.root, Verb::Write, "auth/token/create", body).await.to_string();
    assert_eq!(create(json!({"type": "batch"})).await, "batch tokens cannot be root tokens");
    assert!(create(json!({"type": "paper"})).await.contains("invalid 'type' value"));
    assert!(create(json!({"type": "batch", "policies": "all", "id": "mine"})).await.contains("\"id\""));
    for body in [
        json!({"token_type": "batch", "renewable": false}),
        json!({"token_type": "batch", "orphan": true}),
        json!({"token_type": "batch", "orphan": true, "renewable": false, "token_period": 60}),
        json!({"token_type": "batch", "orphan": true, "renewable": false, "token_num_uses": 1}),
    ] {
        let error = bench.fails(&bench.root, Verb::Write, "auth/token/roles/r", body).await.to_string();
        assert!(error.starts_with("'token_type' cannot be 'batch'"), "{error}");
    }
}

#[tokio::test]
async fn roles_and_mounts_decide_the_type() {
    let bench = open().await;
    let batch = json!({"token_type": "batch", "orphan": true, "renewable": false});
    bench.write("auth/token/roles/always", batch).await;
    bench.write("auth/token/roles/mostly", json!({"token_type": "default-batch"})).await;
    for (role, asked, kind) in [
        ("always", "", "batch"),
        ("always", "service", "batch"),
        ("mostly", "", "batch"),
        ("mostly", "service", "service"),
    ] {
        let body = json!({"policies": "all", "type": asked});
        let auth = bench.write(&format!("auth/token/create/{role}"), body).await.auth.unwrap();
        assert_eq!(auth.token_type, kind, "{role} {asked}");
    }
    bench.write("sys/auth/door", json!({"type": "door", "config": {"token_type": "default-batch"}})).await;
    let login = async || bench.ok("", Verb::Write, "auth/door/login", json!({})).await.auth.unwrap();
    for (kind, made) in [("default-batch", "batch"), ("batch", "batch"), ("service", "service")] {
        bench.write("sys/auth/door/tune", json!({ "token_type": kind })).await;
        let auth = login().await;
        assert_eq!((auth.token_type.as_str(), auth.orphan), (made, true), "{kind}");
        assert!(bench.is_good(&auth.client_token).await);
    }
}

#[tokio::test]
async fn it_ends_with_its_parent_and_with_the_mount_that_made_it() {
    let bench = open().await;
    let body = json!({"policies": ["all"], "type": "batch"});
    let parent = bench.token(json!({"policies": ["all"]})).await;
    let of_parent = child(&bench, &parent, body.clone()).await;
    let brief = bench.token(json!({"policies": ["all"], "ttl": "10m"})).await;
    let of_brief = child(&bench, &brief, body.clone()).await;
    let orphan = bench.ok(&parent, Verb::Write, "auth/token/create-orphan", body).await.auth.unwrap().client_token;
    for token in [&of_parent, &of_brief, &orphan] {
        assert!(bench.is_good(token).await);
    }
    bench.write("auth/token/revoke", json!({ "token": parent })).await;
    bench.advance(600);
    assert!(!bench.is_good(&of_parent).await);
    assert!(!bench.is_good(&of_brief).await);
    assert!(bench.is_good(&orphan).await);

    bench.write("sys/auth/door", json!({"type": "door", "config": {"token_type": "batch"}})).await;
    let login = bench.ok("", Verb::Write, "auth/door/login", json!({})).await.auth.unwrap().client_token;
    assert!(bench.is_good(&login).await);
    bench.ok(&bench.root, Verb::Delete, "sys/auth/door", json!({})).await;
    assert!(!bench.is_good(&login).await);
    // The same path again is another mount.
    bench.write("sys/auth/door", json!({"type": "door"})).await;
    assert!(!bench.is_good(&login).await);
}

#[tokio::test]
async fn it_outlives_rotation_and_restart_and_an_invented_one_is_none() {
    let mut bench = open().await;
    let token = bench.token(json!({"policies": ["all"], "type": "batch"})).await;
    bench.write("sys/rotate", json!({})).await;
    assert!(bench.is_good(&token).await);
    bench.restart().await;
    assert!(bench.is_good(&token).await);
    let other = open().await;
    assert!(!other.is_good(&token).await);
    let invented = format!("{}A", &token[..token.len() - 1]);
    assert!(!bench.is_good(&invented).await || invented == token);
    assert!(!bench.is_good("hvb.").await);
}

#[tokio::test]
async fn cve_2020_25816_a_lease_outlives_neither_the_batch_token_nor_its_parent() {
    let bench = open().await;
    let uuid = bench.read("sys/mounts/probe").await["uuid"].as_str().unwrap().to_owned();
    let body = json!({"policies": ["all"], "type": "batch", "ttl": "5m"});
    let short = bench.token(body.clone()).await;
    let lease = bench.ok(&short, Verb::Read, "probe/creds/app", json!({})).await;
    assert_eq!(lease.lease_duration, 300);
    bench.advance(100);
    let renewal = json!({"lease_id": lease.lease_id, "increment": "1h"});
    assert_eq!(bench.write("sys/leases/renew", renewal.clone()).await.lease_duration, 200);
    bench.advance(200);
    bench.fails(&bench.root, Verb::Write, "sys/leases/renew", renewal).await;

    let parent = bench.token(json!({"policies": ["all"]})).await;
    let of_parent = child(&bench, &parent, json!({"policies": ["all"], "type": "batch"})).await;
    let lease = bench.ok(&of_parent, Verb::Read, "probe/creds/app", json!({})).await;
    assert_eq!(lease.lease_duration, 600);
    let made = outside(&uuid).len();
    bench.write("auth/token/revoke", json!({ "token": parent })).await;
    until(async || outside(&uuid).len() < made).await;
    bench.fails(&bench.root, Verb::Write, "sys/leases/lookup", json!({"lease_id": lease.lease_id})).await;
}
