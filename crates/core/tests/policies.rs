//! Policies as requests meet them.

use holdfast_core::{Answer, Error, Verb};
use holdfast_logical::Error as Logical;
use serde_json::json;

use crate::bench::{Bench, data};

#[tokio::test]
async fn names_have_slashes_and_one_spelling() {
    let bench = Bench::open().await;
    let text = r#"path "probe/data/a" { capabilities = ["read"] }"#;
    bench.write("sys/policies/acl/Team/Read", json!({ "policy": text })).await;
    bench.write("sys/policy/team", json!({ "policy": text })).await;
    let names = data(bench.ok(&bench.root, Verb::List, "sys/policies/acl", json!({})).await)["keys"].clone();
    assert_eq!(names, json!(["default", "team", "team/read", "root"]));
    for path in ["sys/policies/acl/team/read", "sys/policy/TEAM/Read", "sys/policies/acl/team/read/"] {
        assert_eq!(bench.read(path).await["name"], "team/read", "{path}");
    }
    let token = bench.write("auth/token/create", json!({"policies": "team/read"})).await;
    assert_eq!(token.warnings, None);
    assert_eq!(token.auth.unwrap().policies, ["default", "team/read"]);

    // Another spelling passes no deny.
    let guarded = r#"path "sys/policies/acl/*" { capabilities = ["read", "update", "delete"] }
                     path "sys/policies/acl/team/read" { capabilities = ["deny"] }
                     path "sys/policies/acl/team/own/*" { capabilities = ["deny"] }"#;
    bench.write("sys/policy/guarded", json!({ "policy": guarded })).await;
    let guarded = bench.token(json!({"policies": ["guarded"]})).await;
    bench.ok(&guarded, Verb::Read, "sys/policies/acl/team", json!({})).await;
    for path in ["team/read", "team/read/", "Team/read", "team/READ", "TEAM/READ/", "team/own/x", "Team/Own/x"] {
        let path = format!("sys/policies/acl/{path}");
        let refused = bench.fails(&guarded, Verb::Delete, &path, json!({})).await;
        assert!(refused.to_string().contains("permission denied"), "{path}: {refused}");
    }
    bench.ok(&bench.root, Verb::Delete, "sys/policies/acl/team", json!({})).await;
    assert_eq!(bench.read("sys/policies/acl/team/read").await["policy"], text);
    bench.ok(&bench.root, Verb::Delete, "sys/policy/Team/read", json!({})).await;
    bench.fails(&bench.root, Verb::Read, "sys/policies/acl/team/read", json!({})).await;
}

#[tokio::test]
async fn what_no_policy_grants_is_denied_and_create_differs_from_update() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let text = r#"path "probe/data/new" { capabilities = ["create"] }
path "probe/data/old" { capabilities = ["update", "read"] }"#;
    bench.write("sys/policies/acl/some", json!({ "policy": text })).await;
    let token = bench.token(json!({"policies": ["some"]})).await;
    bench.ok(&token, Verb::Write, "probe/data/new", json!({"a": 1})).await;
    let denied = bench.fails(&token, Verb::Write, "probe/data/new", json!({"a": 2})).await;
    assert!(matches!(&denied, Error::Logical(Logical::Denied(text)) if text.contains("permission denied")));
    bench.fails(&token, Verb::Write, "probe/data/old", json!({"a": 1})).await;
    bench.write("probe/data/old", json!({"a": 1})).await;
    bench.ok(&token, Verb::Write, "probe/data/old", json!({"a": 2})).await;
    bench.ok(&token, Verb::Read, "probe/data/old", json!({})).await;
    // A change of the policy counts from the next request on.
    bench.write("sys/policies/acl/some", json!({"policy": r#"path "x" { capabilities = ["deny"] }"#})).await;
    bench.fails(&token, Verb::Read, "probe/data/old", json!({})).await;
}

#[tokio::test]
async fn who_is_nobody_learns_nothing() {
    let bench = Bench::open().await;
    let status = async |token: &str, path: &str| match bench.answer(token, Verb::Read, path, json!({})).await {
        Answer::Error(Error::Logical(Logical::Denied(_))) => 403,
        Answer::Error(Error::Logical(Logical::NotFound(text))) => {
            assert!(text.is_none_or(|text| text.contains("no handler for route")));
            404
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(status("", "nothing/here").await, 403);
    assert_eq!(status("hvs.invented", "nothing/here").await, 403);
    assert_eq!(status(&bench.root, "nothing/here").await, 404);
    let token = bench.token(json!({"policies": ["default"]})).await;
    assert_eq!(status(&token, "nothing/here").await, 403);
}

#[tokio::test]
async fn texts_are_kept_and_built_in_ones_protected() {
    let bench = Bench::open().await;
    let text = "path \"a\" {\n  capabilities = [\"read\"]  \n}\n# end";
    bench.write("sys/policies/acl/Mine", json!({ "policy": text })).await;
    let read = bench.read("sys/policies/acl/mine").await;
    assert_eq!(serde_json::Value::Object(read), json!({"name": "mine", "policy": text}));
    assert_eq!(bench.read("sys/policy/mine").await["rules"], text);
    let listed = data(bench.ok(&bench.root, Verb::List, "sys/policies/acl", json!({})).await);
    assert_eq!(listed["keys"], json!(["default", "mine", "root"]));
    let broken = bench.fails(&bench.root, Verb::Write, "sys/policy/x", json!({"policy": "path { bad"})).await;
    assert!(broken.to_string().starts_with("failed to parse policy"), "{broken}");
    for name in ["root", "response-wrapping"] {
        bench.fails(&bench.root, Verb::Write, &format!("sys/policy/{name}"), json!({ "policy": text })).await;
    }
    bench.fails(&bench.root, Verb::Delete, "sys/policy/default", json!({})).await;
    bench.ok(&bench.root, Verb::Delete, "sys/policy/mine", json!({})).await;
    bench.fails(&bench.root, Verb::Read, "sys/policy/mine", json!({})).await;
}

#[tokio::test]
async fn capabilities_are_told_and_sudo_paths_need_sudo() {
    let bench = Bench::open().await;
    bench
        .write(
            "sys/policy/p",
            json!({"policy": r#"path "a/*" { capabilities = ["read", "list", "sudo"] }
path "sys/auth" { capabilities = ["read"] }
path "sys/auth/*" { capabilities = ["create", "update"] }"#}),
        )
        .await;
    let token = bench.token(json!({"policies": ["p"]})).await;
    let own = data(bench.ok(&token, Verb::Write, "sys/capabilities-self", json!({"paths": ["a/b"]})).await);
    assert_eq!(own["capabilities"], json!(["sudo", "read", "list"]));
    let two = data(bench.write("sys/capabilities", json!({"paths": ["a/b", "c"], "token": token})).await);
    assert_eq!((&two["c"], two.get("capabilities")), (&json!(["deny"]), None));
    bench.ok(&token, Verb::Read, "sys/auth", json!({})).await;
    bench.fails(&token, Verb::Write, "sys/auth/door", json!({"type": "door"})).await;
}

#[tokio::test]
async fn tools_hash_and_draw() {
    let bench = Bench::open().await;
    let token = bench.token(json!({"policies": ["default"]})).await;
    for (algorithm, begin) in [
        ("sha3-224", "e642824c3f8cf24a"),
        ("sha3-256", "3a985da74fe225b2"),
        ("sha3-384", "ec01498288516fc9"),
        ("sha3-512", "b751850b1a57168a"),
    ] {
        let path = format!("sys/tools/hash/{algorithm}");
        let sum = data(bench.ok(&token, Verb::Write, &path, json!({"input": "YWJj"})).await);
        assert!(sum["sum"].as_str().unwrap().starts_with(begin), "{algorithm}");
    }
    let sum = data(bench.ok(&token, Verb::Write, "sys/tools/hash", json!({"input": "YWJj"})).await);
    assert_eq!(sum["sum"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let drawn = data(bench.write("sys/tools/random/16", json!({"format": "hex"})).await);
    assert_eq!(drawn["random_bytes"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_slash_at_the_end_is_no_way_around_a_deny() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let text = r#"path "probe/creds/*" { capabilities = ["read"] }
path "probe/creds/admin" { capabilities = ["deny"] }
path "sys/policies/acl/*" { capabilities = ["read", "delete", "list"] }
path "sys/policies/acl/guard" { capabilities = ["deny"] }
path "probe/data/*" { capabilities = ["create", "read"] }"#;
    bench.write("sys/policies/acl/guard", json!({ "policy": text })).await;
    let token = bench.token(json!({"policies": ["guard"]})).await;
    bench.ok(&token, Verb::Read, "probe/creds/app", json!({})).await;
    bench.ok(&token, Verb::Read, "probe/creds/app/", json!({})).await;
    for (verb, path) in [
        (Verb::Read, "probe/creds/admin"),
        (Verb::Read, "probe/creds/admin/"),
        (Verb::Read, "sys/policies/acl/guard/"),
        (Verb::Delete, "sys/policies/acl/guard/"),
    ] {
        let error = bench.fails(&token, verb, path, json!({})).await;
        assert!(matches!(error, Error::Logical(Logical::Denied(_))), "{path}: {error}");
    }
    bench.read("sys/policies/acl/guard").await;
}

#[tokio::test]
async fn password_policies_are_tried_out_when_they_are_written_and_make_what_they_say() {
    let bench = Bench::open().await;
    let hcl =
        "length = 12\nrule \"charset\" { charset = \"ab\"\n min-chars = 3 }\nrule \"charset\" { charset = \"12\" }";
    let none = bench.fails(&bench.root, Verb::List, "sys/policies/password", json!({})).await;
    assert!(matches!(none, Error::Logical(Logical::NotFound(None))), "{none}");
    bench.write("sys/policies/password/db", json!({ "policy": hcl })).await;
    assert_eq!(bench.read("sys/policies/password/db").await["policy"], hcl);
    let made = bench.read("sys/policies/password/db/generate").await["password"].as_str().unwrap().to_owned();
    assert!(made.len() == 12 && made.bytes().all(|byte| b"ab12".contains(&byte)), "{made}");
    assert_ne!(bench.read("sys/policies/password/db/generate").await["password"], made);
    for (text, part) in [("length = 2", "between 4 and 100"), ("", "not supplied")] {
        let error = bench.fails(&bench.root, Verb::Write, "sys/policies/password/db", json!({ "policy": text })).await;
        assert!(error.to_string().contains(part), "{error}");
    }
    let listed = bench.ok(&bench.root, Verb::List, "sys/policies/password", json!({})).await;
    assert_eq!(data(listed)["keys"], json!(["db"]));
    bench.ok(&bench.root, Verb::Delete, "sys/policies/password/db", json!({})).await;
    bench.fails(&bench.root, Verb::Read, "sys/policies/password/db/generate", json!({})).await;
}

#[tokio::test]
async fn lists_are_cut_and_stanzas_end_as_the_policy_says() {
    let bench = Bench::open().await;
    let text = r#"path "sys/policies/acl/*" { capabilities = ["list", "read"] pagination_limit = 2 }
                  path "sys/policies/acl/a" { capabilities = ["read"] expiration = "2026-01-01T00:01:00Z" }
                  path "sys/policies/acl/b" { capabilities = ["deny"] expiration = "2026-01-01T00:01:00Z" }"#;
    for name in ["a", "b", "c", "d"] {
        bench.write(&format!("sys/policies/acl/{name}"), json!({ "policy": text })).await;
    }
    let token = bench.token(json!({"policies": ["a"], "no_default_policy": true})).await;
    let list = async |query| data(bench.ok(&token, Verb::List, "sys/policies/acl/", query).await)["keys"].clone();
    assert_eq!(list(json!({})).await, json!(["a", "b"]));
    assert_eq!(list(json!({"after": "b"})).await, json!(["c", "d"]));
    assert_eq!(list(json!({"limit": "1"})).await, json!(["a"]));
    for limit in ["3", "0", "-1", "x"] {
        let denied = bench.fails(&token, Verb::List, "sys/policies/acl/", json!({ "limit": limit })).await;
        assert!(denied.to_string().contains("permission denied"), "{limit}: {denied}");
    }
    assert_eq!(data(bench.ok(&bench.root, Verb::List, "sys/policies/acl/", json!({})).await)["keys"][5], "root");

    bench.ok(&token, Verb::Read, "sys/policies/acl/a", json!({})).await;
    bench.fails(&token, Verb::Read, "sys/policies/acl/b", json!({})).await;
    bench.advance(60);
    // The stanza with the star is the next that matches.
    bench.ok(&token, Verb::Read, "sys/policies/acl/b", json!({})).await;
    let explained =
        bench.write("sys/policies/explain", json!({"token": token, "path": "sys/policies/acl/a", "operation": "read"}));
    let explained = data(explained.await);
    assert_eq!(explained["allowed"], true, "{explained:?}");
    assert!(explained["left_out"][0]["reason"].as_str().unwrap().starts_with("it ended at"), "{explained:?}");
}
