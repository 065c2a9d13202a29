//! Where a request belongs, and what is served there.

use holdfast_core::{Answer, Error, Verb};
use holdfast_logical::Error as Logical;
use serde_json::json;

use super::{Space, text};
use crate::bench::{Bench, data, envelope};

#[tokio::test]
async fn header_and_path_are_joined() {
    let bench = Bench::open().await;
    let (a, _) = (Space::new(&bench, "a").await, ());
    let inner = Space::new(&bench, "a/b").await;
    a.write("probe/data/x", json!({"in": "a"})).await;
    inner.write("probe/data/x", json!({"in": "a/b"})).await;
    for (header, path, expected) in [
        ("a", "probe/data/x", "a"),
        ("/a/", "probe/data/x", "a"),
        ("", "a/probe/data/x", "a"),
        ("root", "a/probe/data/x", "a"),
        ("a/b", "probe/data/x", "a/b"),
        ("a", "b/probe/data/x", "a/b"),
        ("", "a/b/probe/data/x", "a/b"),
    ] {
        let answer = bench.within(header, &bench.root, Verb::Read, path, json!({})).await;
        assert_eq!(data(envelope(path, answer))["in"], expected, "{header:?} {path}");
    }
    for (header, path) in
        [("c", "probe/data/x"), ("a/c", "probe/data/x"), ("root/a", "probe/data/x"), ("a//b", "sys/mounts")]
    {
        let answer = bench.within(header, &bench.root, Verb::Read, path, json!({})).await;
        assert_eq!(text(&answer), "namespace not found", "{header:?}");
    }
    assert!(text(&bench.within("", &bench.root, Verb::Read, "probe/data/x", json!({})).await).contains("no handler"));
}

#[tokio::test]
async fn a_namespace_is_made_shown_changed_and_listed() {
    let bench = Bench::open().await;
    let empty = bench.fails(&bench.root, Verb::List, "sys/namespaces", json!({})).await;
    assert!(matches!(empty, Error::Logical(Logical::NotFound(None))));
    let made = data(bench.write("sys/namespaces/team", json!({"custom_metadata": {"owner": "x"}})).await);
    assert_eq!((&made["path"], &made["locked"], &made["tainted"]), (&json!("team/"), &json!(false), &json!(false)));
    assert_eq!(made["id"].as_str().unwrap().len(), 6);
    assert_eq!(bench.read("sys/namespaces/team").await, made);
    let mut patch = bench.raw(
        &bench.root,
        Verb::Patch,
        "sys/namespaces/team",
        json!({"custom_metadata": {"owner": null, "b": "2"}}),
    );
    patch.id = "patch".to_owned();
    let patched = data(envelope("patch", bench.core.handle(patch).await));
    assert_eq!((&patched["custom_metadata"], &patched["id"]), (&json!({"b": "2"}), &made["id"]));
    let again = data(bench.write("sys/namespaces/team", json!({"custom_metadata": {}})).await);
    assert_eq!((&again["custom_metadata"], &again["uuid"]), (&json!({}), &made["uuid"]));
    Space::new(&bench, "team/inner").await;
    let listed = data(bench.ok(&bench.root, Verb::List, "sys/namespaces/", json!({})).await);
    assert_eq!((&listed["keys"], &listed["key_info"]["team/"]["id"]), (&json!(["team/"]), &made["id"]));
    let scanned = data(bench.ok(&bench.root, Verb::Scan, "sys/namespaces", json!({})).await);
    assert_eq!(scanned["keys"], json!(["team/", "team/inner/"]));
    let inside = envelope("inside", bench.within("team", &bench.root, Verb::List, "sys/namespaces", json!({})).await);
    assert_eq!(data(inside)["keys"], json!(["inner/"]));
    let shown = data(bench.ok(&bench.root, Verb::Read, "sys/internal/ui/namespaces", json!({})).await);
    assert_eq!(shown["keys"], json!(["team/", "team/inner/"]));
}

#[tokio::test]
async fn names_that_mean_something_else_and_paths_in_use_are_refused() {
    let bench = Bench::open().await;
    for name in ["root", "sys", "auth", "identity", "cubbyhole", "audit", "a/b", "a*", "a b"] {
        let error = bench.fails(&bench.root, Verb::Write, &format!("sys/namespaces/{name}"), json!({})).await;
        assert!(matches!(error, Error::Logical(Logical::Invalid(_))), "{name}: {error}");
    }
    bench.write("sys/mounts/db/main", json!({"type": "probe"})).await;
    let error = bench.fails(&bench.root, Verb::Write, "sys/namespaces/db", json!({})).await;
    assert_eq!(error.to_string(), "path is already in use at db/main/");
    Space::new(&bench, "team").await;
    for path in ["team", "team/x"] {
        let error =
            bench.fails(&bench.root, Verb::Write, &format!("sys/mounts/{path}"), json!({"type": "probe"})).await;
        assert_eq!(error.to_string(), "path is already in use at namespace team/", "{path}");
    }
    let body = json!({"from": "db/main", "to": "team/db"});
    assert!(bench.fails(&bench.root, Verb::Write, "sys/remount", body).await.to_string().contains("namespace team/"));
    bench.write("sys/mounts/teams", json!({"type": "probe"})).await;
    let mut path = String::new();
    for depth in 1..=9 {
        let answer = bench.within(&path, &bench.root, Verb::Write, "sys/namespaces/deep", json!({})).await;
        assert_eq!(matches!(answer, Answer::Error(_)), depth > 8, "{depth}");
        path.push_str("deep/");
    }
}

#[tokio::test]
async fn what_acts_on_the_whole_server_is_served_in_the_root_namespace_only() {
    let bench = Bench::open().await;
    let space = Space::new(&bench, "a").await;
    for (verb, path) in [
        (Verb::Write, "sys/seal"),
        (Verb::Write, "sys/unseal"),
        (Verb::Write, "sys/init"),
        (Verb::Read, "sys/audit"),
        (Verb::Write, "sys/audit/file"),
        (Verb::Write, "sys/rotate"),
        (Verb::Write, "sys/rekey/init"),
        (Verb::Write, "sys/generate-root/attempt"),
        (Verb::Read, "sys/raw/core/x"),
        (Verb::Read, "sys/storage/raft/snapshot"),
        (Verb::Read, "sys/config/state/sanitized"),
        (Verb::Write, "sys/step-down"),
        (Verb::Read, "sys/key-status"),
        (Verb::Read, "sys/fsck"),
    ] {
        let error = space.fails(&bench.root, verb, path, json!({})).await;
        assert!(
            matches!(&error, Error::Logical(Logical::Invalid(text)) if text == "operation unavailable in namespaces"),
            "{path}"
        );
        assert!(bench.core.is_unsealed());
    }
    // Clients send their namespace with everything.
    assert!(matches!(space.answer("", Verb::Read, "sys/health", json!({})).await, Answer::Bare { status: 200, .. }));
    assert!(matches!(
        space.answer("", Verb::Read, "sys/seal-status", json!({})).await,
        Answer::Bare { status: 200, .. }
    ));
}

#[tokio::test]
async fn each_namespace_has_mounts_policies_and_a_cubbyhole_of_its_own() {
    let bench = Bench::open().await;
    let space = Space::new(&bench, "a").await;
    let mounts: Vec<_> = space.read("sys/mounts").await.into_iter().map(|(path, _)| path).collect();
    assert!(
        mounts.contains(&"sys/".to_owned())
            && mounts.contains(&"cubbyhole/".to_owned())
            && mounts.contains(&"probe/".to_owned())
    );
    assert!(!bench.read("sys/mounts").await.contains_key("probe/"));
    let policies = data(space.ask(&bench.root, Verb::List, "sys/policies/acl", json!({})).await);
    assert_eq!(policies["keys"], json!(["app", "default", "root"]));
    assert!(matches!(
        bench.fails(&bench.root, Verb::Read, "sys/policies/acl/app", json!({})).await,
        Error::Logical(Logical::NotFound(_))
    ));

    let token = space.token(&["app"]).await;
    assert!(
        token.client_token.ends_with(&format!(".{}", space.id)) && token.accessor.ends_with(&format!(".{}", space.id))
    );
    let token = &token.client_token;
    space.ask(token, Verb::Write, "cubbyhole/mine", json!({"v": 1})).await;
    assert_eq!(data(space.ask(token, Verb::Read, "cubbyhole/mine", json!({})).await)["v"], 1);
    assert!(
        space
            .fails(&bench.root, Verb::Read, "cubbyhole/mine", json!({}))
            .await
            .to_string()
            .contains("permission denied")
    );
    assert_eq!(data(space.ask(token, Verb::Read, "auth/token/lookup-self", json!({})).await)["namespace_path"], "a/");
    // Its own namespace is all that it can be used in.
    space.ask(token, Verb::Write, "probe/data/x", json!({"v": 1})).await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench
        .write(
            "sys/policies/acl/app",
            json!({"policy": r#"path "probe/*" { capabilities = ["read", "update", "create"] }"#}),
        )
        .await;
    for path in ["probe/data/x", "auth/token/lookup-self"] {
        assert!(
            bench.fails(token, Verb::Read, path, json!({})).await.to_string().contains("permission denied"),
            "{path}"
        );
    }
    let login = space.ask("", Verb::Write, "auth/door/login", json!({})).await.auth.unwrap();
    assert!(login.client_token.ends_with(&space.id) && login.policies == ["app", "default"]);
    space.ask(&login.client_token, Verb::Read, "probe/data/x", json!({})).await;
}

#[tokio::test]
async fn the_root_policy_of_a_namespace_ends_at_its_border() {
    let bench = Bench::open().await;
    let (space, other) = (Space::new(&bench, "a").await, Space::new(&bench, "b").await);
    let inner = Space::new(&bench, "a/in").await;
    let root = space.token(&["root"]).await.client_token;
    space.ask(&root, Verb::Read, "sys/mounts", json!({})).await;
    inner.ask(&root, Verb::Read, "sys/mounts", json!({})).await;
    other.fails(&root, Verb::Read, "sys/mounts", json!({})).await;
    bench.fails(&root, Verb::Read, "sys/mounts", json!({})).await;
    space.ask(&root, Verb::Write, "sys/namespaces/more", json!({})).await;
    bench.fails(&root, Verb::Write, "sys/namespaces/more", json!({})).await;
}

#[tokio::test]
async fn a_parents_policy_reaches_a_child_where_it_names_it() {
    let bench = Bench::open().await;
    let rules = |paths: &[&str]| {
        let rule = |path: &&str| {
            format!("path \"{path}\" {{ capabilities = [\"read\", \"update\", \"create\", \"list\"] }}\n")
        };
        paths.iter().map(rule).collect::<String>()
    };
    bench.write("sys/policies/acl/wild", json!({"policy": rules(&["*", "+/probe/*", "te*"])})).await;
    bench
        .write("sys/policies/acl/named", json!({"policy": rules(&["team/probe/*", "team/sys/capabilities-self"])}))
        .await;
    let wild = bench.token(json!({"policies": ["wild"]})).await;
    let named = bench.token(json!({"policies": ["named"]})).await;
    let space = Space::new(&bench, "team").await;
    space.write("probe/data/x", json!({"v": 1})).await;
    assert!(space.fails(&wild, Verb::Read, "probe/data/x", json!({})).await.to_string().contains("permission denied"));
    assert!(
        bench.fails(&wild, Verb::Read, "team/probe/data/x", json!({})).await.to_string().contains("permission denied")
    );
    space.ask(&named, Verb::Read, "probe/data/x", json!({})).await;
    let asked =
        space.ask(&named, Verb::Write, "sys/capabilities-self", json!({"paths": ["probe/data/x", "sys/mounts"]})).await;
    let asked = data(asked);
    assert_eq!(
        (&asked["probe/data/x"], &asked["sys/mounts"]),
        (&json!(["read", "list", "update", "create"]), &json!(["deny"]))
    );
    // A token of the parent makes tokens in the child only by sudo, and never with the policies of its own names.
    bench
        .write(
            "sys/policies/acl/maker",
            json!({"policy": r#"path "team/auth/token/create" { capabilities = ["update"] }"#}),
        )
        .await;
    let maker = bench.token(json!({"policies": ["maker", "app"]})).await;
    let error = space.fails(&maker, Verb::Write, "auth/token/create", json!({"policies": ["app"]})).await;
    assert_eq!(error.to_string(), "child policies must be subset of parent");
}

#[tokio::test]
async fn a_locked_namespace_answers_503_until_it_is_unlocked() {
    let bench = Bench::open().await;
    let (space, inner) = (Space::new(&bench, "a").await, Space::new(&bench, "a/in").await);
    assert!(
        bench
            .fails(&bench.root, Verb::Write, "sys/namespaces/api-lock/lock", json!({}))
            .await
            .to_string()
            .contains("root")
    );
    let lock = async || {
        let locked = bench.ok(&bench.root, Verb::Write, "sys/namespaces/api-lock/lock/a", json!({})).await;
        data(locked)["unlock_key"].as_str().unwrap().to_owned()
    };
    let key = lock().await;
    assert_eq!(bench.read("sys/namespaces/a").await["locked"], true);
    for space in [&space, &inner] {
        let error = space.fails(&bench.root, Verb::Read, "sys/mounts", json!({})).await;
        assert!(matches!(&error, Error::Logical(Logical::Status { code: 503, message }) if message.contains("locked")));
    }
    let wrong = json!({"unlock_key": "wrong"});
    bench.fails(&bench.root, Verb::Write, "sys/namespaces/api-lock/unlock/a", wrong).await;
    bench
        .write(
            "sys/policies/acl/key",
            json!({"policy": r#"path "a/sys/namespaces/api-lock/unlock" { capabilities = ["update"] }"#}),
        )
        .await;
    let holder = bench.token(json!({"policies": ["key"]})).await;
    let without = space.fails(&holder, Verb::Write, "sys/namespaces/api-lock/unlock", json!({})).await;
    assert_eq!(without.to_string(), "provided empty key");
    space.ask(&holder, Verb::Write, "sys/namespaces/api-lock/unlock", json!({"unlock_key": key})).await;
    inner.read("sys/mounts").await;
    lock().await;
    bench.write("sys/namespaces/api-lock/unlock/a", json!({})).await;
    space.read("sys/mounts").await;
}

#[tokio::test]
async fn namespaces_are_there_after_a_restart() {
    let mut bench = Bench::open().await;
    let space = Space::new(&bench, "a").await;
    space.write("probe/data/x", json!({"v": 1})).await;
    let (token, id) = (space.token(&["app"]).await.client_token, space.id.clone());
    bench.restart().await;
    let space = Space { bench: &bench, path: "a".to_owned(), id };
    assert_eq!(data(space.ask(&token, Verb::Read, "probe/data/x", json!({})).await)["v"], 1);
}
