//! What the server tells of itself: help, OpenAPI, plug-ins, versions, counters.

use holdfast_api_types::VAULT_VERSION;
use holdfast_core::{Answer, Verb};
use serde_json::{Value, json};

use crate::bench::{Bench, data};

async fn bare(bench: &Bench, token: &str, verb: Verb, path: &str) -> Value {
    match bench.answer(token, verb, path, json!({})).await {
        Answer::Bare { status: 200, body } => body,
        other => panic!("{path}: {other:?}"),
    }
}

#[tokio::test]
async fn help_comes_with_the_openapi_document_of_the_path() {
    let bench = Bench::open().await;
    for path in ["sys/quotas/config", "sys/health", "auth/token/create"] {
        let help = bare(&bench, &bench.root, Verb::Help, path).await;
        assert!(help["help"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
        assert_eq!(help["see_also"], Value::Null);
        assert_eq!(help["openapi"]["paths"].as_object().unwrap().len(), 1, "{path}");
    }
}

#[tokio::test]
async fn help_about_a_mount_lists_its_paths() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/team/probe", json!({"type": "probe"})).await;
    for (path, row) in [
        ("sys", "    internal/ui/mounts\n"),
        ("sys/", "    unseal\n"),
        ("auth/token", "    create\n"),
        ("identity", "    entity\n"),
        ("cubbyhole", "    *path\n"),
        ("team/probe", "    creds/:name\n        Makes a credential.\n"),
    ] {
        let help = bare(&bench, &bench.root, Verb::Help, path).await;
        assert!(help["help"].as_str().unwrap().contains(row), "{path}: {help}");
        assert!(!help["openapi"]["paths"].as_object().unwrap().is_empty(), "{path}");
    }
    bench.fails("", Verb::Help, "team/probe", json!({})).await;
    bench.fails(&bench.root, Verb::Help, "team", json!({})).await;
    bench.fails(&bench.root, Verb::Read, "team/probe", json!({})).await;
}

#[tokio::test]
async fn the_openapi_document_has_what_the_token_may_touch() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/db", json!({"type": "probe"})).await;
    bench.write("sys/mounts/other", json!({"type": "probe"})).await;
    bench.write("sys/policies/acl/app", json!({"policy": "path \"db/creds/*\" { capabilities = [\"read\"] }"})).await;
    let token = bench.token(json!({"policies": ["app"], "no_default_policy": true})).await;
    let all = bare(&bench, &bench.root, Verb::Read, "sys/internal/specs/openapi").await;
    let paths = all["paths"].as_object().unwrap();
    for path in ["/db/creds/{name}", "/other/data/{path}", "/sys/health", "/sys/mounts/{path}", "/auth/token/create"] {
        assert!(paths.contains_key(path), "{path}");
    }
    let some = bare(&bench, &token, Verb::Read, "sys/internal/specs/openapi").await;
    let paths: Vec<&String> = some["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/db/creds/{name}", "/db/data/{path}"]);
    let none = bare(&bench, "", Verb::Read, "sys/internal/specs/openapi").await;
    assert_eq!(none["paths"], json!({}));
}

#[tokio::test]
async fn a_token_sees_what_its_policies_grant() {
    let bench = Bench::open().await;
    let policy = "path \"a/b\" { capabilities = [\"read\"] }\npath \"c/*\" { capabilities = [\"list\"] }\n\
                  path \"sys/internal/ui/resultant-acl\" { capabilities = [\"read\"] }";
    bench.write("sys/policies/acl/app", json!({ "policy": policy })).await;
    let token = bench.token(json!({"policies": ["app"], "no_default_policy": true})).await;
    let shown = data(bench.ok(&token, Verb::Read, "sys/internal/ui/resultant-acl", json!({})).await);
    assert_eq!(shown["root"], false);
    assert_eq!(shown["exact_paths"]["a/b"], json!({"capabilities": ["read"]}));
    assert_eq!(shown["glob_paths"]["c/"], json!({"capabilities": ["list"]}));
    assert_eq!(bench.read("sys/internal/ui/resultant-acl").await["root"], true);
}

#[tokio::test]
async fn clients_are_told_the_version_that_they_choose_features_by() {
    let bench = Bench::open().await;
    for path in ["sys/health", "sys/seal-status"] {
        let (_, body) = bench.bare(Verb::Read, path, json!({})).await;
        assert_eq!((&body["version"], &body["holdfast_version"]), (&json!(VAULT_VERSION), &json!("1.0.0")), "{path}");
    }
    let node = &bench.read("sys/ha-status").await["nodes"][0];
    assert_eq!(node["version"], VAULT_VERSION);
    assert_eq!(
        bare(&bench, &bench.root, Verb::Read, "sys/internal/specs/openapi").await["info"]["version"],
        VAULT_VERSION
    );
    let plugin = format!("v{VAULT_VERSION}+builtin");
    assert_eq!(bench.read("sys/mounts").await["sys/"]["running_plugin_version"], plugin);
    assert_eq!(bench.read("sys/internal/ui/mounts/sys").await["running_plugin_version"], plugin);
    assert_eq!(bench.read("sys/plugins/catalog/secret/probe").await["version"], plugin);
}

#[tokio::test]
async fn the_catalog_has_what_is_built_in() {
    let bench = Bench::open().await;
    let catalog = bench.read("sys/plugins/catalog").await;
    for (class, name) in [("secret", "probe"), ("auth", "door")] {
        assert!(catalog[class].as_array().unwrap().contains(&json!(name)), "{catalog:?}");
    }
    assert_eq!(catalog["detailed"][0]["builtin"], true);
    let list = data(bench.ok(&bench.root, Verb::List, "sys/plugins/catalog/secret", json!({})).await);
    assert!(list["keys"].as_array().unwrap().contains(&json!("probe")));
    assert_eq!(bench.read("sys/plugins/catalog/secret/probe").await["name"], "probe");
    bench.fails(&bench.root, Verb::Read, "sys/plugins/catalog/secret/none", json!({})).await;
    bench.fails(&bench.root, Verb::Write, "sys/plugins/catalog/secret/x", json!({"command": "x"})).await;
    bench.write("sys/plugins/reload/backend", json!({"plugin": "probe"})).await;
}

#[tokio::test]
async fn versions_and_counters() {
    let bench = Bench::open().await;
    let list = data(bench.ok(&bench.root, Verb::List, "sys/version-history", json!({})).await);
    assert_eq!(list["keys"], json!(["1.0.0"]));
    assert_eq!(list["key_info"]["1.0.0"]["timestamp_installed"], "2026-01-01T00:00:00Z");
    bench.token(json!({})).await;
    let counters = bench.read("sys/internal/counters/tokens").await;
    assert!(counters["counters"]["service_tokens"]["total"].as_u64().unwrap() >= 2);
    assert_eq!(bench.read("sys/internal/counters/entities").await["counters"], json!({"entities": {"total": 0}}));
    bench.write("identity/entity", json!({"name": "ada"})).await;
    assert_eq!(bench.read("sys/internal/counters/entities").await["counters"], json!({"entities": {"total": 1}}));
    let activity = bench.answer(&bench.root, Verb::Read, "sys/internal/counters/activity", json!({})).await;
    assert!(matches!(activity, Answer::Empty), "{activity:?}");
    assert_eq!(data(bench.ok("", Verb::Read, "sys/replication/status", json!({})).await)["mode"], "disabled");
    let flying = bare(&bench, &bench.root, Verb::Read, "sys/in-flight-req").await;
    assert_eq!(flying["request"]["request_path"], "/v1/sys/in-flight-req", "the request sees itself");
}

#[tokio::test]
async fn the_raw_store_is_closed_unless_it_was_opened() {
    let bench = Bench::open().await;
    let error = bench.fails(&bench.root, Verb::Read, "sys/raw/core/cluster", json!({})).await;
    assert_eq!(error.to_string(), "unsupported path");
}

#[tokio::test]
async fn parameters_that_nobody_reads_are_pointed_out() {
    let bench = Bench::open().await;
    let answer = bench.write("auth/token/create", json!({"nonsense": 1, "ttl": "1h"})).await;
    assert_eq!(answer.warnings.unwrap(), ["Endpoint ignored these unrecognized parameters: [nonsense]"]);
    assert!(bench.write("sys/mounts/a", json!({"type": "probe", "nonsense": 1})).await.warnings.is_none());
    for (verb, path) in [(Verb::Read, "sys/mounts"), (Verb::List, "sys/policies/acl")] {
        let query = json!({"nonsense": "1", "limit": "5"});
        let told = bench.ok(&bench.root, verb, path, query).await.warnings.unwrap();
        let unread = if verb == Verb::List { "[nonsense]" } else { "[limit nonsense]" };
        assert_eq!(told, [format!("Endpoint ignored these unrecognized parameters: {unread}")], "{path}");
    }
    bench.write("cubbyhole/a", json!({"b": 1})).await;
    assert!(bench.ok(&bench.root, Verb::Read, "cubbyhole/a", json!({"c": "1"})).await.warnings.is_none());
    bench.write("auth/token/roles/r", json!({})).await;
    let answer = bench.write("auth/token/create/r", json!({"role": "other", "nonsense": 1})).await;
    assert_eq!(
        answer.warnings.unwrap(),
        [
            "Endpoint ignored these unrecognized parameters: [nonsense]",
            "Endpoint replaced the value of these parameters with the values captured from the endpoint's path: [role]",
        ]
    );
}

#[tokio::test]
async fn lists_are_paged() {
    let bench = Bench::open().await;
    for name in ["a", "b", "c", "d"] {
        let policy = json!({"policy": "path \"x\" { capabilities = [\"read\"] }"});
        bench.write(&format!("sys/policies/acl/{name}"), policy).await;
    }
    let page =
        async |query: Value| data(bench.ok(&bench.root, Verb::List, "sys/policies/acl", query).await)["keys"].clone();
    assert_eq!(page(json!({"limit": "2"})).await, json!(["a", "b"]));
    assert_eq!(page(json!({"after": "b", "limit": 1})).await, json!(["c"]));
    for all in [json!({"limit": 0}), json!({"limit": -1}), json!({"limit": "100"}), json!({})] {
        assert_eq!(page(all).await, json!(["a", "b", "c", "d", "default", "root"]));
    }
}
