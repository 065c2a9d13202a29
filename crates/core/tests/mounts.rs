//! Mounting, tuning, moving, unmounting.

use holdfast_core::{Answer, Verb};
use holdfast_logical::View;
use serde_json::{Value, json};

use crate::bench::{Bench, outside};

#[tokio::test]
async fn a_mount_lives_is_tuned_and_takes_its_leases_along() {
    let bench = Bench::open().await;
    let body =
        json!({"type": "probe", "description": "d", "options": {"version": 2}, "config": {"default_lease_ttl": "1h"}});
    bench.write("sys/mounts/k8s/shop/db", body).await;
    let table = bench.read("sys/mounts").await;
    let row = &table["k8s/shop/db/"];
    assert_eq!((&row["type"], &row["options"]["version"]), (&json!("probe"), &json!("2")));
    assert_eq!(row["config"]["default_lease_ttl"], 3600);
    assert!(row["accessor"].as_str().unwrap().starts_with("probe_"));
    assert!(table.contains_key("sys/") && table.contains_key("cubbyhole/"));
    for taken in ["k8s/shop", "k8s/shop/db", "k8s/shop/db/x"] {
        let error =
            bench.fails(&bench.root, Verb::Write, &format!("sys/mounts/{taken}"), json!({"type": "probe"})).await;
        assert!(error.to_string().contains("path is already in use at k8s/shop/db/"), "{error}");
    }
    bench.fails(&bench.root, Verb::Write, "sys/mounts/sys/x", json!({"type": "probe"})).await;
    bench.fails(&bench.root, Verb::Write, "sys/mounts/y", json!({"type": "no-such-type"})).await;

    bench.write("sys/mounts/k8s/shop/db/tune", json!({"max_lease_ttl": "2h", "description": "new"})).await;
    let tuned = bench.read("sys/mounts/k8s/shop/db/tune").await;
    assert_eq!((&tuned["max_lease_ttl"], &tuned["default_lease_ttl"]), (&json!(7200), &json!(3600)));
    bench.fails(&bench.root, Verb::Write, "sys/mounts/k8s/shop/db/tune", json!({"default_lease_ttl": "9h"})).await;

    // The way on which Vault's Go client tunes auth methods.
    bench.write("sys/mounts/auth/token/tune", json!({"max_lease_ttl": "3h"})).await;
    assert_eq!(bench.read("sys/mounts/auth/token/tune").await["max_lease_ttl"], 10800);
    assert_eq!(bench.read("sys/auth/token/tune").await["max_lease_ttl"], 10800);

    let uuid = row["uuid"].as_str().unwrap();
    bench.read("k8s/shop/db/creds/app").await;
    assert_eq!(outside(uuid).len(), 1);
    bench.write("k8s/shop/db/data/x", json!({"a": 1})).await;
    bench.ok(&bench.root, Verb::Delete, "sys/mounts/k8s/shop/db", json!({})).await;
    assert!(outside(uuid).is_empty());
    bench.ok(&bench.root, Verb::Delete, "sys/mounts/k8s/shop/db", json!({})).await;
    bench.fails(&bench.root, Verb::Read, "k8s/shop/db/data/x", json!({})).await;
    bench.write("sys/mounts/k8s/shop/db", json!({"type": "probe"})).await;
    bench.fails(&bench.root, Verb::Read, "k8s/shop/db/data/x", json!({})).await;
}

#[tokio::test]
async fn a_move_is_done_when_it_is_answered() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/old", json!({"type": "probe"})).await;
    bench.write("old/data/x", json!({"a": 1})).await;
    let moved = bench.write("sys/remount", json!({"from": "old", "to": "new"})).await.data.unwrap().to_map();
    assert_eq!(bench.read("new/data/x").await["a"], 1);
    assert!(!bench.read("sys/mounts").await.contains_key("old/"));
    let status = bench.read(&format!("sys/remount/status/{}", moved["migration_id"].as_str().unwrap())).await;
    assert_eq!(status["migration_info"]["status"], "success");
}

#[tokio::test]
async fn old_clients_find_the_table_at_the_top_level() {
    let bench = Bench::open().await;
    bench.write("sys/auth/door", json!({"type": "door"})).await;
    match bench.answer(&bench.root, Verb::Read, "sys/auth", json!({})).await {
        Answer::Envelope { top_level: true, envelope, .. } => {
            assert!(envelope.data.unwrap().to_map().contains_key("door/"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn unmounting_an_auth_method_ends_its_tokens() {
    let bench = Bench::open().await;
    bench.write("sys/auth/door", json!({"type": "door"})).await;
    let token = bench.ok("", Verb::Write, "auth/door/login", json!({})).await.auth.unwrap().client_token;
    assert!(bench.is_good(&token).await);
    bench.ok(&bench.root, Verb::Delete, "sys/auth/door", json!({})).await;
    assert!(!bench.is_good(&token).await);
}

#[tokio::test]
async fn accessors_tell_the_class_and_clients_learn_all_of_the_configuration() {
    let bench = Bench::open().await;
    bench.write("sys/auth/door", json!({"type": "door"})).await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let accessor =
        |rows: &serde_json::Map<String, Value>, path: &str| rows[path]["accessor"].as_str().unwrap().to_owned();
    let (auth, secret) = (bench.read("sys/auth").await, bench.read("sys/mounts").await);
    assert!(accessor(&auth, "door/").starts_with("auth_door_"));
    assert!(accessor(&auth, "token/").starts_with("auth_token_"));
    assert!(accessor(&secret, "probe/").starts_with("probe_"));

    let tuning = json!({"listing_visibility": "unauth", "audit_non_hmac_request_keys": "a", "max_lease_ttl": "3h"});
    bench.write("sys/auth/door/tune", tuning).await;
    let shown = bench.read("sys/internal/ui/mounts/auth/door").await;
    assert_eq!(shown["config"], bench.read("sys/auth/door").await["config"]);
    for (key, value) in [
        ("listing_visibility", json!("unauth")),
        ("audit_non_hmac_request_keys", json!(["a"])),
        ("max_lease_ttl", json!(10800)),
        ("token_type", json!("default-service")),
    ] {
        assert_eq!(shown["config"][key], value);
    }
}

#[tokio::test]
async fn clients_learn_the_version_of_a_mount_they_may_touch() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe", "options": {"version": "2"}})).await;
    bench.write("sys/policy/app", json!({"policy": r#"path "probe/data/a" { capabilities = ["read"] }"#})).await;
    let token = bench.token(json!({"policies": ["app"]})).await;
    let path = "sys/internal/ui/mounts/probe/data/a";
    let shown = bench.ok(&token, Verb::Read, path, json!({})).await.data.unwrap().to_map();
    assert_eq!((&shown["path"], &shown["options"]["version"]), (&json!("probe/"), &json!("2")));
    let other = bench.token(json!({"policies": ["default"]})).await;
    let refused = bench.fails(&other, Verb::Read, path, json!({})).await;
    assert!(refused.to_string().contains("preflight capability check returned 403"), "{refused}");
    let all: Value =
        bench.ok(&token, Verb::Read, "sys/internal/ui/mounts", json!({})).await.data.unwrap().to_map().into();
    assert!(all["secret"]["probe/"].is_object());
}

#[tokio::test]
async fn a_second_replica_sees_a_mount_with_its_next_request() {
    let mut bench = Bench::open().await;
    let first = bench.core.clone();
    bench.restart().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench.write("probe/data/x", json!({"a": 1})).await;
    bench.core = first;
    assert_eq!(bench.read("probe/data/x").await["a"], 1);
}

#[tokio::test]
async fn an_unmount_that_a_crash_interrupted_is_finished_at_the_next_start() {
    let mut bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let uuid = bench.read("sys/mounts/probe").await["uuid"].as_str().unwrap().to_owned();
    bench.read("probe/creds/app").await;
    // The first half of an unmount: the row is marked and nothing else happened.
    let view = View::new(bench.core.config().barrier.clone(), "core/");
    let (mut table, _) = view.get_json::<Value>("mounts").await.unwrap().unwrap();
    let row = table["mounts"].as_array_mut().unwrap().iter_mut().find(|row| row["path"] == "probe/").unwrap();
    row["leaving"] = json!(true);
    view.put_json("mounts", &table).await.unwrap();
    view.put_json("mount-stamp", &()).await.unwrap();
    bench.fails(&bench.root, Verb::Read, "probe/creds/app", json!({})).await;
    assert_eq!(outside(&uuid).len(), 1);
    bench.restart().await;
    crate::bench::until(async || outside(&uuid).is_empty()).await;
    crate::bench::until(async || {
        let again = bench.answer(&bench.root, Verb::Write, "sys/mounts/probe", json!({"type": "probe"})).await;
        !matches!(again, Answer::Error(_))
    })
    .await;
}
