//! Ids of one namespace are unknown in every other one, whoever asks.

use holdfast_core::{Answer, Verb};
use serde_json::{Value, json};

use super::Space;
use crate::bench::{Bench, data, outside};

/// What an unknown id and an id of another namespace are answered with at a path.
fn told(answer: &Answer) -> String {
    match answer {
        Answer::Error(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}

/// Every path that takes an id of a token, an accessor or a lease.
const TOKEN: &[(&str, &str)] = &[
    ("auth/token/lookup", "token"),
    ("auth/token/renew", "token"),
    ("auth/token/revoke", "token"),
    ("auth/token/revoke-orphan", "token"),
    ("sys/capabilities", "token"),
    ("sys/wrapping/lookup", "token"),
    ("sys/wrapping/unwrap", "token"),
    ("sys/wrapping/rewrap", "token"),
];
const ACCESSOR: &[(&str, &str)] = &[
    ("auth/token/lookup-accessor", "accessor"),
    ("auth/token/renew-accessor", "accessor"),
    ("auth/token/revoke-accessor", "accessor"),
    ("sys/capabilities-accessor", "accessor"),
];
const LEASE: &[(&str, &str)] = &[
    ("sys/leases/lookup", "lease_id"),
    ("sys/leases/renew", "lease_id"),
    ("sys/leases/revoke", "lease_id"),
    ("sys/renew", "lease_id"),
    ("sys/revoke", "lease_id"),
];

#[tokio::test]
async fn cve_2026_45808_55774_ids_of_another_namespace_are_unknown() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let (a, b, inner) =
        (Space::new(&bench, "a").await, Space::new(&bench, "b").await, Space::new(&bench, "a/in").await);
    let root = Space { bench: &bench, path: String::new(), id: "root".to_owned() };
    let spaces = [&root, &a, &b, &inner];
    for owner in spaces {
        for (asker, other) in spaces.iter().map(|asker| (asker, asker.id != owner.id)) {
            if !other {
                continue;
            }
            let token = owner.token(&["default"]).await;
            let lease = owner.ask(&bench.root, Verb::Read, "probe/creds/x", json!({})).await.lease_id;
            let mut wrap = bench.raw(&bench.root, Verb::Read, "auth/token/lookup-self", json!({}));
            wrap.namespace = Some(owner.path.clone());
            wrap.wrap_ttl = Some(std::time::Duration::from_secs(60));
            let wrapping = crate::bench::envelope("wrap", bench.core.handle(wrap).await).wrap_info.unwrap();
            let rows = [
                (TOKEN, token.client_token.as_str(), "hvs.unknown"),
                (TOKEN, wrapping.token.as_str(), "hvs.unknown"),
                (ACCESSOR, token.accessor.as_str(), "unknown"),
                (ACCESSOR, wrapping.accessor.as_str(), "unknown"),
                (LEASE, lease.as_str(), "probe/creds/x/unknown"),
            ];
            for (paths, id, unknown) in rows {
                for (path, field) in paths {
                    let ask = async |id: &str| {
                        let body = Value::Object(
                            [((*field).to_owned(), json!(id)), ("paths".to_owned(), json!(["x"]))]
                                .into_iter()
                                .collect(),
                        );
                        told(&asker.answer(&bench.root, Verb::Write, path, body).await)
                    };
                    assert_eq!(ask(id).await, ask(unknown).await, "{path} of {:?} in {:?}", owner.path, asker.path);
                }
            }
            // Nothing of it was touched.
            let mut looks =
                owner.ask(&bench.root, Verb::Write, "auth/token/lookup", json!({"token": token.client_token})).await;
            assert!(looks.data.take().is_some());
            owner.ask(&bench.root, Verb::Write, "sys/leases/lookup", json!({"lease_id": lease})).await;
            let opened =
                owner.answer(&bench.root, Verb::Write, "sys/wrapping/unwrap", json!({"token": wrapping.token})).await;
            assert!(matches!(opened, Answer::Raw { status: 200, .. }), "{opened:?}");
        }
    }
}

#[tokio::test]
async fn prefixes_and_lists_stay_within_the_namespace() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let root = Space { bench: &bench, path: String::new(), id: "root".to_owned() };
    let (a, b) = (Space::new(&bench, "a").await, Space::new(&bench, "b").await);
    let mut ids = Vec::new();
    for space in [&root, &a, &b] {
        ids.push(space.ask(&bench.root, Verb::Read, "probe/creds/x", json!({})).await.lease_id);
        space.token(&["default"]).await;
    }
    assert!(ids[1].ends_with(&format!(".{}", a.id)) && !ids[0].contains('.'), "{ids:?}");
    let uuid = async |space: &Space<'_>| space.read("sys/mounts/probe").await["uuid"].as_str().unwrap().to_owned();
    for space in [&root, &a, &b] {
        let listed = data(space.ask(&bench.root, Verb::List, "sys/leases/lookup/probe/creds/x", json!({})).await);
        assert_eq!(listed["keys"].as_array().unwrap().len(), 1);
        assert_eq!(space.read("sys/leases/count").await["lease_count"], 1);
        let accessors = data(space.ask(&bench.root, Verb::List, "auth/token/accessors", json!({})).await);
        for accessor in accessors["keys"].as_array().unwrap() {
            assert_eq!(accessor.as_str().unwrap().contains('.'), !space.path.is_empty());
        }
    }
    a.write("sys/leases/revoke-prefix/probe", json!({})).await;
    assert_eq!(
        (outside(&uuid(&a).await).len(), outside(&uuid(&b).await).len(), outside(&uuid(&root).await).len()),
        (0, 1, 1)
    );
    // A prefix that is the lease of another namespace.
    a.write(&format!("sys/leases/revoke-force/{}", ids[2]), json!({})).await;
    a.write(&format!("sys/leases/revoke-force/{}", ids[0]), json!({})).await;
    assert_eq!((outside(&uuid(&b).await).len(), outside(&uuid(&root).await).len()), (1, 1));
    a.write("auth/token/roles/mine", json!({})).await;
    bench.fails(&bench.root, Verb::Read, "auth/token/roles/mine", json!({})).await;
    bench.fails(&bench.root, Verb::List, "auth/token/roles", json!({})).await;
}

#[tokio::test]
async fn an_owner_of_bindings_is_somebody_else_in_another_namespace() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let a = Space::new(&bench, "a").await;
    let bound = async |namespace: &str| {
        let mut raw = bench.raw(&bench.root, Verb::Read, "probe/creds/x", json!({}));
        (raw.namespace, raw.item, raw.owner) =
            (Some(namespace.to_owned()), Some("db".to_owned()), Some("pod/u-1".to_owned()));
        crate::bench::envelope("bound", bench.core.handle(raw).await).lease_id
    };
    let (outer, inner) = (bound("").await, bound("a").await);
    assert_ne!(outer, inner);
    assert_eq!((bound("").await, bound("a").await), (outer.clone(), inner.clone()));
    let shown = a.read("sys/bindings/pod/u-1").await;
    assert_eq!(shown["items"]["db"]["lease_id"], inner);
    let kinds = data(a.ask(&bench.root, Verb::List, "sys/bindings", json!({})).await);
    assert_eq!(kinds["keys"], json!(["pod/"]));
    let looked = data(a.ask(&bench.root, Verb::Write, "sys/leases/lookup", json!({"lease_id": inner})).await);
    assert_eq!(looked["owner"], "pod/u-1");
    a.ask(&bench.root, Verb::Delete, "sys/bindings/pod/u-1", json!({})).await;
    assert_eq!(bound("").await, outer);
    assert!(matches!(
        a.answer(&bench.root, Verb::Read, &format!("sys/bindings/pod@{}/u-1", a.id), json!({})).await,
        Answer::Error(_)
    ));
}

#[tokio::test]
async fn batch_tokens_and_entities_are_of_their_namespace() {
    let bench = Bench::open().await;
    let (a, b) = (Space::new(&bench, "a").await, Space::new(&bench, "b").await);
    let body = json!({"policies": ["app"], "type": "batch", "ttl": "1h"});
    let batch = a.ask(&bench.root, Verb::Write, "auth/token/create", body).await.auth.unwrap().client_token;
    assert!(batch.starts_with("hvb.") && batch.ends_with(&format!(".{}", a.id)), "{batch}");
    a.write("probe/data/x", json!({"v": 1})).await;
    a.ask(&batch, Verb::Read, "probe/data/x", json!({})).await;
    // Nor does another ending move it.
    let moved = batch.replace(&a.id, &b.id);
    let bare = batch.trim_end_matches(&a.id).trim_end_matches('.').to_owned();
    for (space, token) in [(&b, &batch), (&b, &moved), (&a, &bare), (&a, &moved)] {
        assert!(matches!(space.answer(token, Verb::Read, "auth/token/lookup-self", json!({})).await, Answer::Error(_)));
    }
    let made = a.ask(&bench.root, Verb::Write, "identity/entity", json!({"name": "ada"})).await;
    let id = data(made)["id"].as_str().unwrap().to_owned();
    assert_eq!(a.read(&format!("identity/entity/id/{id}")).await["namespace_id"], a.id);
    for path in [format!("identity/entity/id/{id}"), "identity/entity/name/ada".to_owned()] {
        b.fails(&bench.root, Verb::Read, &path, json!({})).await;
        bench.fails(&bench.root, Verb::Read, &path, json!({})).await;
    }
    let login = a.ask("", Verb::Write, "auth/door/login", json!({})).await.auth.unwrap();
    assert!(!login.entity_id.is_empty());
    b.fails(&bench.root, Verb::Read, &format!("identity/entity/id/{}", login.entity_id), json!({})).await;
}

#[tokio::test]
async fn a_quota_of_leases_counts_those_of_its_namespace() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let a = Space::new(&bench, "a").await;
    bench.write("sys/quotas/lease-count/a", json!({"path": "a/", "max_leases": 2})).await;
    bench.write("sys/policies/acl/app", json!({"policy": r#"path "probe/*" { capabilities = ["read"] }"#})).await;
    let outer = bench.token(json!({"policies": ["app"]})).await;
    let inner = a.token(&["app"]).await.client_token;
    for _ in 0..3 {
        bench.ok(&outer, Verb::Read, "probe/creds/x", json!({})).await;
    }
    for _ in 0..2 {
        a.ask(&inner, Verb::Read, "probe/creds/x", json!({})).await;
    }
    assert!(
        a.fails(&inner, Verb::Read, "probe/creds/x", json!({}))
            .await
            .to_string()
            .contains("lease count quota exceeded")
    );
}

#[tokio::test]
async fn a_child_in_another_namespace_is_nobody_there_and_works() {
    let bench = Bench::open().await;
    let a = Space::new(&bench, "a").await;
    bench.write("sys/auth/door", json!({"type": "door"})).await;
    let creates = r#"path "a/auth/token/create" { capabilities = ["create", "update", "sudo"] }"#;
    bench.write("sys/policies/acl/app", json!({ "policy": creates })).await;
    let parent = bench.ok("", Verb::Write, "auth/door/login", json!({})).await.auth.unwrap();
    assert!(!parent.entity_id.is_empty());
    let body = json!({"policies": ["app"]});
    let child = a.ask(&parent.client_token, Verb::Write, "auth/token/create", body).await.auth.unwrap();
    assert_eq!(child.entity_id, "");
    a.ask(&child.client_token, Verb::Write, "probe/data/x", json!({"v": 1})).await;
}
