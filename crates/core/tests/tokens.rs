//! Tokens: rules of creation, time, renewal, uses, revocation of trees, and pods.

use std::net::IpAddr;

use holdfast_core::{Answer, Error, Verb};
use holdfast_logical::Error as Logical;
use serde_json::{Value, json};

use crate::bench::{Bench, data, envelope, outside};

#[tokio::test]
async fn ttl_renewal_and_the_hard_end() {
    let bench = Bench::open().await;
    let created = bench.write("auth/token/create", json!({"ttl": "30m", "explicit_max_ttl": "5m"})).await;
    assert_eq!(created.auth.as_ref().unwrap().lease_duration, 300);
    assert_eq!(created.warnings.unwrap().len(), 1);

    let token = bench.token(json!({"ttl": "1h", "explicit_max_ttl": "90m", "policies": "default"})).await;
    bench.advance(40 * 60);
    let renewed =
        bench.ok(&token, Verb::Write, "auth/token/renew-self", json!({"increment": "1h"})).await.auth.unwrap();
    assert_eq!((renewed.lease_duration, renewed.client_token), (50 * 60, token.clone()));
    bench.advance(50 * 60);
    assert!(!bench.is_good(&token).await);

    let periodic = bench.token(json!({"period": "30m"})).await;
    for _ in 0..10 {
        bench.advance(20 * 60);
        let renewed = bench.ok(&periodic, Verb::Write, "auth/token/renew-self", json!({})).await.auth.unwrap();
        assert_eq!(renewed.lease_duration, 1800);
    }
    let looked = data(bench.ok(&periodic, Verb::Read, "auth/token/lookup-self", json!({})).await);
    assert_eq!((&looked["period"], &looked["type"]), (&json!(1800), &json!("service")));
    let error = bench.fails(&bench.root, Verb::Write, "auth/token/renew-self", json!({})).await;
    assert_eq!(error.to_string(), "lease is not renewable");
}

#[tokio::test]
async fn a_tree_goes_depth_first_with_its_leases_and_orphans_stay() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let uuid = bench.read("sys/mounts/probe").await["uuid"].as_str().unwrap().to_owned();
    bench
        .write(
            "sys/policy/all",
            json!({"policy": r#"path "*" { capabilities = ["create", "read", "update", "sudo"] }"#}),
        )
        .await;
    let parent = bench.token(json!({"policies": ["all"]})).await;
    let child =
        async |of: &str, path: &str| bench.ok(of, Verb::Write, path, json!({})).await.auth.unwrap().client_token;
    let (son, orphan) = (child(&parent, "auth/token/create").await, child(&parent, "auth/token/create-orphan").await);
    let grandson = child(&son, "auth/token/create").await;
    let leased = bench.ok(&grandson, Verb::Read, "probe/creds/app", json!({})).await;
    assert!(leased.lease_id.starts_with("probe/creds/app/") && leased.lease_duration == 600);
    bench.ok(&son, Verb::Write, "cubbyhole/mine", json!({"a": 1})).await;
    assert_eq!(outside(&uuid).len(), 1);

    bench.write("auth/token/revoke", json!({"token": parent})).await;
    for token in [&parent, &son, &grandson] {
        assert!(!bench.is_good(token).await);
    }
    assert!(bench.is_good(&orphan).await);
    crate::bench::until(async || outside(&uuid).is_empty()).await;
    // Once more is no error.
    bench.write("auth/token/revoke", json!({"token": parent})).await;
}

#[tokio::test]
async fn a_token_that_is_no_text_is_a_fault_and_not_a_stranger() {
    let bench = Bench::open().await;
    for token in ["hvs.a\u{7f}b", "hvs.\u{fffd}", "a\nb"] {
        let refused = bench.fails(token, Verb::Read, "sys/mounts", json!({})).await;
        assert!(matches!(refused, Error::Logical(Logical::Invalid(_))), "{refused}");
    }
    let refused = bench.fails("hvs.ab", Verb::Read, "sys/mounts", json!({})).await;
    assert!(matches!(refused, Error::Logical(Logical::Denied(_))), "{refused}");
}

#[tokio::test]
async fn logins_are_leases_of_their_path() {
    let bench = Bench::open().await;
    bench.write("sys/policy/app", json!({"policy": r#"path "auth/token/create" { capabilities = ["update"] }"#})).await;
    for path in ["door", "team/door"] {
        bench.write(&format!("sys/auth/{path}"), json!({"type": "door"})).await;
    }
    let login = async |path: &str| {
        let path = format!("auth/{path}/login");
        bench.ok("", Verb::Write, &path, json!({})).await.auth.unwrap().client_token
    };
    let keys = async |path: &str| {
        data(bench.ok(&bench.root, Verb::List, &format!("sys/leases/lookup/{path}"), json!({})).await)["keys"].clone()
    };
    let (first, second) = (login("door").await, login("door").await);
    let other = login("team/door").await;
    let child = bench.ok(&first, Verb::Write, "auth/token/create", json!({})).await.auth.unwrap().client_token;
    let made = bench.token(json!({"policies": ["app"]})).await;

    assert_eq!(keys("").await, json!(["auth/"]));
    assert_eq!(keys("auth").await, json!(["door/", "team/", "token/"]));
    assert_eq!(keys("auth/token/create").await.as_array().unwrap().len(), 2, "and not the first root token");
    let ids = keys("auth/door/login").await;
    assert_eq!(ids.as_array().unwrap().len(), 2);
    let id = format!("auth/door/login/{}", ids[0].as_str().unwrap());
    let looked = data(bench.write("sys/leases/lookup", json!({"lease_id": id})).await);
    assert_eq!((&looked["id"], &looked["ttl"]), (&json!(id), &json!(3600)));
    let refused = bench.fails(&bench.root, Verb::Write, "sys/leases/renew", json!({"lease_id": id})).await;
    assert_eq!(refused.to_string(), "tokens cannot be renewed through this endpoint");
    for path in ["auth/door/login/none", "auth/token/create/h00", "auth/door/login/h/"] {
        let refused = bench.fails(&bench.root, Verb::Write, "sys/leases/renew", json!({"lease_id": path})).await;
        assert_eq!(refused.to_string(), "lease not found");
        let refused = bench.fails(&bench.root, Verb::Write, "sys/leases/lookup", json!({"lease_id": path})).await;
        assert_eq!(refused.to_string(), "invalid lease");
    }
    // Who does not wait is told 202, although it is done.
    let answer = bench.answer(&bench.root, Verb::Write, "sys/leases/revoke", json!({"lease_id": id})).await;
    assert!(matches!(answer, Answer::Envelope { status: 202, .. }), "{answer:?}");
    let answer =
        bench.answer(&bench.root, Verb::Write, "sys/leases/revoke", json!({"lease_id": id, "sync": true})).await;
    assert!(matches!(answer, Answer::Empty), "{answer:?}");
    assert_eq!(keys("auth/door/login").await.as_array().unwrap().len(), 1);
    bench.write("sys/leases/revoke-prefix/auth/doo", json!({})).await;
    assert_eq!(keys("auth/door/login").await.as_array().unwrap().len(), 1, "a prefix ends at a slash");

    bench.write("sys/leases/revoke-prefix/auth/door", json!({})).await;
    for (token, alive) in [(&first, false), (&second, false), (&child, false), (&other, true), (&made, true)] {
        assert_eq!(bench.is_good(token).await, alive);
    }
    bench.write("sys/revoke-force/auth", json!({})).await;
    for (token, alive) in [(&other, false), (&made, false), (&bench.root, true)] {
        assert_eq!(bench.is_good(token).await, alive);
    }
    bench.fails(&bench.root, Verb::List, "sys/leases/lookup/auth", json!({})).await;
}

#[tokio::test]
async fn revoke_orphan_sets_the_children_free() {
    let bench = Bench::open().await;
    bench.write("sys/policy/all", json!({"policy": r#"path "*" { capabilities = ["update", "read"] }"#})).await;
    let parent = bench.token(json!({"policies": ["all"]})).await;
    let child = bench.ok(&parent, Verb::Write, "auth/token/create", json!({})).await.auth.unwrap().client_token;
    bench.write("auth/token/revoke-orphan", json!({"token": parent})).await;
    assert!(!bench.is_good(&parent).await);
    let looked = data(bench.ok(&child, Verb::Read, "auth/token/lookup-self", json!({})).await);
    assert_eq!(looked["orphan"], true);
}

#[tokio::test]
async fn uses_are_counted_exactly_also_when_denied_and_at_once() {
    let bench = Bench::open().await;
    let token = bench.token(json!({"num_uses": 3, "policies": "default"})).await;
    assert!(bench.is_good(&token).await);
    bench.fails(&token, Verb::Read, "sys/mounts", json!({})).await;
    assert!(bench.is_good(&token).await);
    assert!(!bench.is_good(&token).await);

    for (uses, tries) in [(5, 20), (50, 60)] {
        let token = bench.token(json!({"num_uses": uses, "policies": "default"})).await;
        let tries = (0..tries).map(|_| bench.is_good(&token));
        let good = futures::future::join_all(tries).await.into_iter().filter(|good| *good).count();
        assert_eq!(good, uses);
    }
}

#[tokio::test]
async fn children_get_no_more_than_their_parent_has() {
    let bench = Bench::open().await;
    let text = r#"path "auth/token/create*" { capabilities = ["update"] }"#;
    bench.write("sys/policy/maker", json!({ "policy": text })).await;
    let maker = bench.token(json!({"policies": ["maker"]})).await;
    let create = async |body: Value| bench.fails(&maker, Verb::Write, "auth/token/create", body).await.to_string();
    assert_eq!(create(json!({"policies": ["other"]})).await, "child policies must be subset of parent");
    assert_eq!(create(json!({"policies": ["root"]})).await, "child policies must be subset of parent");
    assert!(create(json!({"no_parent": true})).await.contains("sudo"));
    assert!(create(json!({"period": "1h"})).await.contains("sudo"));
    assert!(create(json!({"id": "chosen"})).await.contains("sudo"));

    bench.write("auth/token/roles/r", json!({"allowed_policies": "testpolicy"})).await;
    let created = bench.write("auth/token/create/r", json!({})).await.auth.unwrap();
    assert_eq!(created.policies, ["default", "testpolicy"]);
    let refused = bench.fails(&bench.root, Verb::Write, "auth/token/create/r", json!({"policies": "x"})).await;
    assert!(refused.to_string().contains("must be subset of the role's allowed policies"));
}

#[tokio::test]
async fn accessors_look_up_renew_and_revoke_without_the_id() {
    let bench = Bench::open().await;
    let created = bench.write("auth/token/create", json!({"ttl": "1h", "display_name": "a b"})).await.auth.unwrap();
    let body = json!({"accessor": created.accessor});
    let looked = data(bench.write("auth/token/lookup-accessor", body.clone()).await);
    assert_eq!((&looked["id"], &looked["display_name"]), (&json!(""), &json!("token-a-b")));
    assert_eq!(bench.write("auth/token/renew-accessor", body.clone()).await.auth.unwrap().client_token, "");
    let listed = data(bench.ok(&bench.root, Verb::List, "auth/token/accessors", json!({})).await);
    assert!(listed["keys"].as_array().unwrap().contains(&json!(created.accessor)));
    bench.write("auth/token/revoke-accessor", body.clone()).await;
    assert!(!bench.is_good(&created.client_token).await);
    let gone = bench.fails(&bench.root, Verb::Write, "auth/token/lookup-accessor", body).await;
    assert_eq!(gone.to_string(), "invalid accessor");
}

#[tokio::test]
async fn a_token_comes_only_from_where_it_may() {
    let bench = Bench::open().await;
    bench.write("auth/token/roles/r", json!({"token_bound_cidrs": "10.0.0.0/8"})).await;
    let token = bench.write("auth/token/create/r", json!({})).await.auth.unwrap().client_token;
    for (address, good) in [("10.1.2.3", true), ("192.0.2.1", false)] {
        for path in ["auth/token/lookup-self", "sys/internal/ui/mounts"] {
            let mut raw = bench.raw(&token, Verb::Read, path, json!({}));
            raw.connection.remote = address.parse::<IpAddr>().ok();
            assert_eq!(!matches!(bench.core.handle(raw).await, Answer::Error(_)), good, "{address} {path}");
        }
    }
}

#[tokio::test]
async fn a_pod_finds_the_credential_of_its_item_again_after_a_new_login() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench.write("sys/auth/door", json!({"type": "door"})).await;
    bench.write("sys/policy/app", json!({"policy": r#"path "probe/creds/*" { capabilities = ["read"] }"#})).await;
    let login =
        async || bench.ok("", Verb::Write, "auth/door/login", json!({"pod": "uid-1"})).await.auth.unwrap().client_token;
    let fetch = async |token: String, item: &str| {
        let mut raw = bench.raw(&token, Verb::Read, "probe/creds/app", json!({}));
        raw.item = Some(item.to_owned());
        envelope("creds", bench.core.handle(raw).await)
    };
    let first = fetch(login().await, "db").await;
    bench.advance(100);
    let again = fetch(login().await, "db").await;
    assert_eq!((&again.lease_id, again.lease_duration), (&first.lease_id, 500));
    assert_eq!(again.data.unwrap().to_map(), first.data.unwrap().to_map());
    let other = fetch(login().await, "cache").await;
    assert_ne!(other.lease_id, first.lease_id);

    let shown = bench.read("sys/bindings/pod/uid-1").await;
    assert_eq!(shown["items"]["db"]["lease_id"], json!(first.lease_id));
    // Another owner takes a permission that the pod has not.
    let mut raw = bench.raw(&login().await, Verb::Read, "probe/creds/app", json!({}));
    (raw.item, raw.owner) = (Some("db".to_owned()), Some("pod/uid-2".to_owned()));
    assert!(matches!(bench.core.handle(raw).await, Answer::Error(_)));
    bench.ok(&bench.root, Verb::Delete, "sys/bindings/pod/uid-1", json!({})).await;
    let late = bench.raw(&login().await, Verb::Read, "probe/creds/app", json!({}));
    let late = holdfast_core::Raw { item: Some("db".to_owned()), ..late };
    assert!(matches!(bench.core.handle(late).await, Answer::Error(_)), "a released owner gets nothing more");
}

#[tokio::test]
async fn a_token_past_its_end_is_cleared_away_with_its_children_and_leases() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let uuid = bench.read("sys/mounts/probe").await["uuid"].as_str().unwrap().to_owned();
    bench.write("sys/policy/all", json!({"policy": r#"path "*" { capabilities = ["update", "read"] }"#})).await;
    let parent = bench.token(json!({"policies": ["all"], "ttl": "5m"})).await;
    let child = bench.ok(&parent, Verb::Write, "auth/token/create", json!({"ttl": "1h"})).await.auth.unwrap();
    bench.ok(&child.client_token, Verb::Read, "probe/creds/app", json!({})).await;
    assert_eq!(outside(&uuid).len(), 1);
    bench.advance(301);
    assert!(!bench.is_good(&parent).await);
    crate::bench::until(async || outside(&uuid).is_empty()).await;
    assert!(!bench.is_good(&child.client_token).await);
    let listed = async || data(bench.ok(&bench.root, Verb::List, "auth/token/accessors", json!({})).await);
    crate::bench::until(async || listed().await["keys"].as_array().unwrap().len() == 1).await;
}

#[tokio::test]
async fn root_comes_by_no_other_spelling() {
    let bench = Bench::open().await;
    let text = r#"path "auth/token/*" { capabilities = ["create", "read", "update", "sudo"] }"#;
    bench.write("sys/policies/acl/issuer", json!({ "policy": text })).await;
    let issuer = bench.token(json!({"policies": ["issuer"]})).await;
    for spelling in ["root", "ROOT", " root", "root\t", "\u{a0}Root\u{2003}"] {
        bench.fails(&issuer, Verb::Write, "auth/token/create", json!({"policies": [spelling]})).await;
        let role = json!({"allowed_policies": [spelling], "allowed_policies_glob": ["*"]});
        bench.write("auth/token/roles/wide", role).await;
        for asked in [json!({}), json!({"policies": [spelling]})] {
            bench.fails(&issuer, Verb::Write, "auth/token/create/wide", asked).await;
        }
    }
}

#[tokio::test]
async fn a_role_that_names_no_policies_widens_nothing() {
    let bench = Bench::open().await;
    let text = r#"path "auth/token/create/plain" { capabilities = ["update"] }"#;
    bench.write("sys/policies/acl/maker", json!({ "policy": text })).await;
    bench.write("auth/token/roles/plain", json!({"orphan": true})).await;
    let maker = bench.token(json!({"policies": ["maker"]})).await;
    let error =
        bench.fails(&maker, Verb::Write, "auth/token/create/plain", json!({"policies": ["admin"]})).await.to_string();
    assert_eq!(error, "child policies must be subset of parent");
    let made = bench.ok(&maker, Verb::Write, "auth/token/create/plain", json!({})).await.auth.unwrap();
    assert_eq!(made.policies, ["default", "maker"]);
    bench.write("auth/token/roles/plain", json!({"disallowed_policies": ["admin"]})).await;
    let other = bench.ok(&maker, Verb::Write, "auth/token/create/plain", json!({"policies": ["app"]})).await;
    assert_eq!(other.auth.unwrap().policies, ["app", "default"]);
}

/// A handler that says no makes no token, whatever else it says: neither with an error, nor with a status, nor by a panic
/// after it had made up its mind. (`Result` leaves no way to give both an error and a grant.)
#[tokio::test]
async fn cve_2026_46405_a_login_that_fails_mints_nothing() {
    let bench = Bench::open().await;
    bench.write("sys/auth/door", json!({"type": "door"})).await;
    let counted = async || {
        let tokens = bench.read("sys/internal/counters/tokens").await;
        let accessors = data(bench.ok(&bench.root, Verb::List, "auth/token/accessors", json!({})).await);
        (tokens["counters"].clone(), accessors["keys"].as_array().unwrap().len())
    };
    let before = counted().await;
    for fails in ["error", "status", "panic"] {
        for wrap in [false, true] {
            let mut raw = bench.raw("", Verb::Write, "auth/door/login", json!({ "fails": fails, "alias": fails }));
            raw.wrap_ttl = wrap.then(|| std::time::Duration::from_secs(60));
            let answer = bench.core.handle(raw).await;
            assert!(matches!(answer, Answer::Error(_)), "{fails}: {answer:?}");
            assert_eq!(counted().await, before, "{fails}");
        }
    }
    bench.ok("", Verb::Write, "auth/door/login", json!({})).await;
    assert_ne!(counted().await, before, "one that succeeds is counted");
}
