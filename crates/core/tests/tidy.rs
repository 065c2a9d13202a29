//! Tidy repairs what a damaged or edited store points to wrongly.

use holdfast_core::Verb;
use holdfast_logical::{Store, View};
use serde_json::json;
use std::sync::Arc;

use crate::bench::{Bench, outside, until};

fn view(bench: &Bench, folder: &str) -> View {
    View::new(bench.core.config().barrier.clone() as Arc<dyn Store>, folder)
}

async fn names(view: &View, folder: &str) -> Vec<String> {
    view.list(folder, "", 0).await.unwrap()
}

#[tokio::test]
async fn dangling_tokens_are_found_and_children_of_nobody_go() {
    let bench = Bench::open().await;
    bench.write("sys/policy/all", json!({"policy": r#"path "*" { capabilities = ["update", "read", "sudo"] }"#})).await;
    let tokens = view(&bench, "token/");
    let before = names(&tokens, "id/").await;
    let parent = bench.token(json!({"policies": ["all"]})).await;
    let parent_hash = names(&tokens, "id/").await.into_iter().find(|hash| !before.contains(hash)).unwrap();
    let child = bench.ok(&parent, Verb::Write, "auth/token/create", json!({})).await.auth.unwrap();
    let lost = bench.write("auth/token/create", json!({"policies": ["all"]})).await.auth.unwrap();

    tokens.delete(&format!("id/{parent_hash}")).await.unwrap();
    let of_root = bench.read("auth/token/lookup-self").await["accessor"].as_str().unwrap().to_owned();
    let edge = format!("parent/{of_root}/{}", lost.accessor);
    tokens.delete(&edge).await.unwrap();
    assert!(bench.is_good(&child.client_token).await);
    let answer = bench.write("auth/token/tidy", json!({})).await;
    assert!(answer.warnings.unwrap()[0].starts_with("Tidy operation successfully started"));
    until(async || !bench.is_good(&child.client_token).await).await;
    until(async || tokens.get(&edge).await.unwrap().is_some()).await;
    until(async || names(&tokens, &format!("parent/{parent_hash}/")).await.is_empty()).await;
    assert!(bench.is_good(&bench.root).await && bench.is_good(&lost.client_token).await);
    for accessor in names(&tokens, "id/").await {
        bench.write("auth/token/lookup-accessor", json!({ "accessor": accessor })).await;
    }
}

#[tokio::test]
async fn a_lease_that_nothing_would_expire_gets_its_time_back() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let uuid = bench.read("sys/mounts/probe").await["uuid"].as_str().unwrap().to_owned();
    bench.ok(&bench.root, Verb::Read, "probe/creds/app", json!({})).await;
    let leases = view(&bench, "lease/");
    for bucket in names(&leases, "due/").await {
        for name in names(&leases, &format!("due/{bucket}")).await {
            leases.delete(&format!("due/{bucket}{name}")).await.unwrap();
        }
    }
    leases.put_json("token/nobody/x", &"probe/creds/app/xxxxxxxxxxxxxxxxxxxxxxxx").await.unwrap();
    bench.write("sys/leases/tidy", json!({})).await;
    until(async || names(&leases, "token/nobody/").await.is_empty()).await;
    until(async || !names(&leases, "due/").await.is_empty()).await;
    assert_eq!(outside(&uuid).len(), 1);
    bench.advance(601);
    until(async || outside(&uuid).is_empty()).await;
    // The record goes last.
    let nothing = json!({"lease_count": 0, "counts": {}});
    until(async || {
        let counted = bench.read("sys/leases/count").await;
        json!({"lease_count": counted["lease_count"], "counts": counted["counts"]}) == nothing
    })
    .await;
    let none = bench.ok(&bench.root, Verb::Read, "sys/leases", json!({"type": "irrevocable", "limit": "none"})).await;
    assert_eq!(crate::bench::data(none)["lease_count"], 0);
    bench.fails(&bench.root, Verb::Read, "sys/leases", json!({"type": "paper"})).await;
}
