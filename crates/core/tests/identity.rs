//! Who is behind a token, and what that gives it with each request.

use holdfast_core::{Error, Verb};
use holdfast_logical::Error as Logical;
use serde_json::{Value, json};

use crate::bench::{Bench, data};

const READ_PROBE: &str = r#"path "probe/data/team" { capabilities = ["read", "update", "create"] }"#;

async fn bench() -> Bench {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench.write("sys/auth/door", json!({"type": "door"})).await;
    bench.write("sys/policies/acl/team", json!({ "policy": READ_PROBE })).await;
    bench.write("probe/data/team", json!({"a": 1})).await;
    bench
}

/// (token, entity id)
async fn log_in(bench: &Bench, body: Value) -> (String, String) {
    let auth = bench.ok("", Verb::Write, "auth/door/login", body).await.auth.unwrap();
    (auth.client_token, auth.entity_id)
}

async fn may_read(bench: &Bench, token: &str) -> bool {
    match bench.answer(token, Verb::Read, "probe/data/team", json!({})).await {
        holdfast_core::Answer::Error(Error::Logical(Logical::Denied(_))) => false,
        holdfast_core::Answer::Error(error) => panic!("{error}"),
        _ => true,
    }
}

#[tokio::test]
async fn names_of_entities_and_groups_have_slashes() {
    let bench = Bench::open().await;
    for noun in ["entity", "group"] {
        let path = format!("identity/{noun}/name/Team/Ada");
        bench.write(&path, json!({"metadata": {"a": "b"}})).await;
        let read = bench.read(&format!("identity/{noun}/name/team/ada")).await;
        assert_eq!((&read["name"], &read["metadata"]["a"]), (&json!("Team/Ada"), &json!("b")), "{noun}");
        let deny = format!(
            r#"path "identity/{noun}/name/*" {{ capabilities = ["read", "delete"] }}
               path "identity/{noun}/name/team/ada" {{ capabilities = ["deny"] }}"#
        );
        bench.write("sys/policy/guarded", json!({ "policy": deny })).await;
        let guarded = bench.token(json!({"policies": ["guarded"]})).await;
        for name in ["team/ada", "Team/Ada", "TEAM/ada"] {
            bench.fails(&guarded, Verb::Delete, &format!("identity/{noun}/name/{name}"), json!({})).await;
        }
        bench.read(&path).await;
        bench.ok(&bench.root, Verb::Delete, &path, json!({})).await;
        bench.fails(&bench.root, Verb::Read, &path, json!({})).await;
    }
}

#[tokio::test]
async fn a_login_has_an_entity_and_its_policies_count_from_the_next_request() {
    let bench = bench().await;
    let (token, entity) = log_in(&bench, json!({})).await;
    assert_eq!(log_in(&bench, json!({})).await.1, entity);
    assert!(!may_read(&bench, &token).await);
    let path = format!("identity/entity/id/{entity}");
    bench.write(&path, json!({"policies": ["Team"]})).await;
    assert!(may_read(&bench, &token).await);
    let lookup = data(bench.ok(&token, Verb::Read, "auth/token/lookup-self", json!({})).await);
    assert_eq!((&lookup["entity_id"], &lookup["identity_policies"]), (&json!(entity), &json!(["team"])));
    assert_eq!(lookup["policies"], json!(["app", "default"]));
    let auth = bench.ok("", Verb::Write, "auth/door/login", json!({})).await.auth.unwrap();
    assert_eq!((auth.identity_policies, auth.policies.len()), (vec!["team".to_owned()], 3));
    // It may look at itself, by the default policy, and at nobody else.
    bench.ok(&token, Verb::Read, &path, json!({})).await;
    bench.fails(&token, Verb::Read, "identity/entity/id/other", json!({})).await;
    // Disabled: nothing may be done, and nobody comes in.
    bench.write(&path, json!({"disabled": true})).await;
    assert!(!may_read(&bench, &token).await);
    bench.fails("", Verb::Write, "auth/door/login", json!({})).await;
    bench.write(&path, json!({"disabled": false})).await;
    assert!(may_read(&bench, &token).await);
    // Deleted: its tokens are good for nothing; a new login is somebody new.
    bench.ok(&bench.root, Verb::Delete, &path, json!({})).await;
    assert!(!bench.is_good(&token).await);
    assert_ne!(log_in(&bench, json!({})).await.1, entity);
}

#[tokio::test]
async fn cve_2020_10660_who_leaves_a_group_is_denied_with_the_next_request() {
    let bench = bench().await;
    let (token, entity) = log_in(&bench, json!({})).await;
    let group = json!({"name": "team", "policies": ["team"], "member_entity_ids": [entity]});
    bench.write("identity/group", group).await;
    assert!(may_read(&bench, &token).await);
    bench.write("identity/group/name/team", json!({"member_entity_ids": []})).await;
    assert!(!may_read(&bench, &token).await);
    // The same for groups that the auth method names.
    let accessor = bench.read("sys/auth").await["door/"]["accessor"].clone();
    let made = data(bench.write("identity/group", json!({"name": "x", "type": "external", "policies": "team"})).await);
    let alias = json!({"name": "devs", "mount_accessor": accessor, "canonical_id": made["id"]});
    bench.write("identity/group-alias", alias).await;
    log_in(&bench, json!({"groups": ["Devs"]})).await;
    assert!(may_read(&bench, &token).await);
    log_in(&bench, json!({"groups": []})).await;
    assert!(!may_read(&bench, &token).await);
}

#[tokio::test]
async fn templates_are_filled_from_the_entity_of_now() {
    let bench = bench().await;
    let (token, entity) = log_in(&bench, json!({})).await;
    let text = r#"path "probe/data/{{identity.entity.metadata.team}}" { capabilities = ["read"] }
path "probe/data/{{identity.groups.names.ops.id}}" { capabilities = ["read"] }"#;
    bench.write("sys/policies/acl/app", json!({ "policy": text })).await;
    assert!(!may_read(&bench, &token).await);
    let path = format!("identity/entity/id/{entity}");
    bench.write(&path, json!({"metadata": {"team": "team"}})).await;
    assert!(may_read(&bench, &token).await);
    let (other, _) = log_in(&bench, json!({"alias": "other"})).await;
    assert!(!may_read(&bench, &other).await);
    // GHSA-59w7: what would widen the path takes the rule away.
    for value in ["*", "te*", "+", "team,x", "../data/team", "x/../team", ""] {
        bench.write(&path, json!({"metadata": {"team": value}})).await;
        assert!(!may_read(&bench, &token).await, "{value}");
    }
}

#[tokio::test]
async fn children_inherit_the_entity_and_orphans_do_not() {
    let bench = bench().await;
    let text = r#"path "auth/token/*" { capabilities = ["create", "update", "read", "sudo"] }"#;
    bench.write("sys/policies/acl/app", json!({ "policy": text })).await;
    let (token, entity) = log_in(&bench, json!({})).await;
    let child = bench.ok(&token, Verb::Write, "auth/token/create", json!({})).await.auth.unwrap();
    assert_eq!(child.entity_id, entity);
    let orphan = bench.ok(&token, Verb::Write, "auth/token/create-orphan", json!({})).await.auth.unwrap();
    assert_eq!(orphan.entity_id, "");
    assert_eq!(bench.write("auth/token/create", json!({})).await.auth.unwrap().entity_id, "");
    // entity_alias: only with a role that allows it.
    let body = json!({"entity_alias": "Svc-1", "policies": ["default"]});
    bench.fails(&bench.root, Verb::Write, "auth/token/create", body.clone()).await;
    bench.write("auth/token/roles/svc", json!({"allowed_entity_aliases": "svc-*"})).await;
    let made = bench.write("auth/token/create/SVC", body).await.auth.unwrap();
    assert!(!made.entity_id.is_empty() && made.entity_id != entity);
    let again = bench.write("auth/token/create/svc", json!({"entity_alias": "svc-1"})).await.auth.unwrap();
    assert_eq!(again.entity_id, made.entity_id);
    bench.fails(&bench.root, Verb::Write, "auth/token/create/svc", json!({"entity_alias": "other"})).await;
}

#[tokio::test]
async fn cve_2025_5999_no_method_entity_or_group_gives_root() {
    let bench = bench().await;
    for name in ["root", "Root", " ROOT\t", "\u{2003}rOOT"] {
        bench.fails("", Verb::Write, "auth/door/login", json!({"policies": ["app", name]})).await;
        bench.fails(&bench.root, Verb::Write, "identity/entity", json!({"name": "e", "policies": [name]})).await;
        bench.fails(&bench.root, Verb::Write, "identity/group", json!({"name": "g", "policies": [name]})).await;
    }
    // Not even what is not root by NFC may read everything.
    let (token, _) = log_in(&bench, json!({"policies": ["ro\u{00f6}t", "ｒｏｏｔ"]})).await;
    assert!(!may_read(&bench, &token).await);
}

#[tokio::test]
async fn a_deny_holds_for_every_spelling_of_a_name() {
    let bench = bench().await;
    let text = r#"path "sys/policies/acl/*" { capabilities = ["read", "update", "delete"] }
path "sys/policies/acl/guard" { capabilities = ["deny"] }
path "identity/entity/name/*" { capabilities = ["read", "update"] }
path "identity/entity/name/boss" { capabilities = ["deny"] }
path "auth/token/roles/*" { capabilities = ["create", "update"] }
path "auth/token/roles/boss" { capabilities = ["deny"] }"#;
    bench.write("sys/policies/acl/guard", json!({ "policy": text })).await;
    bench.write("identity/entity", json!({"name": "boss"})).await;
    let token = bench.token(json!({"policies": ["guard"]})).await;
    for (verb, path) in [
        (Verb::Read, "sys/policies/acl/GUARD"),
        (Verb::Delete, "sys/policies/acl/Guard/"),
        (Verb::Write, "sys/policies/acl/ guard"),
        (Verb::Write, "sys/policies/acl/guard\u{a0}"),
        (Verb::Read, "identity/entity/name/Boss"),
        (Verb::Write, "identity/entity/name/BOSS"),
        (Verb::Write, "auth/token/roles/BoSS"),
    ] {
        let error = bench.fails(&token, verb, path, json!({"policy": READ_PROBE})).await;
        assert!(matches!(error, Error::Logical(Logical::Denied(_))), "{path}: {error}");
    }
    bench.ok(&token, Verb::Read, "sys/policies/acl/TEAM", json!({})).await;
    // The other way about: what is granted in upper case is not what is acted on.
    let text = r#"path "sys/policies/acl/TEAM" { capabilities = ["read"] }"#;
    bench.write("sys/policies/acl/upper", json!({ "policy": text })).await;
    let token = bench.token(json!({"policies": ["upper"]})).await;
    bench.fails(&token, Verb::Read, "sys/policies/acl/TEAM", json!({})).await;
}

#[tokio::test]
async fn merging_needs_sudo_and_tokens_of_the_merged_go_on() {
    let bench = bench().await;
    let (token, from) = log_in(&bench, json!({"alias": "a"})).await;
    let to = data(bench.write("identity/entity", json!({"name": "to", "policies": ["team"]})).await)["id"].clone();
    let text = r#"path "identity/entity/merge" { capabilities = ["update"] }"#;
    bench.write("sys/policies/acl/merger", json!({ "policy": text })).await;
    let merger = bench.token(json!({"policies": ["merger"]})).await;
    let body = json!({"from_entity_ids": [from], "to_entity_id": to});
    bench.fails(&merger, Verb::Write, "identity/entity/merge", body.clone()).await;
    assert!(!may_read(&bench, &token).await);
    bench.write("identity/entity/merge", body).await;
    assert!(may_read(&bench, &token).await);
    assert_eq!(log_in(&bench, json!({"alias": "a"})).await.1, to.as_str().unwrap());
}

#[tokio::test]
async fn the_mount_is_there_and_stays() {
    let mut bench = bench().await;
    assert_eq!(bench.read("sys/mounts").await["identity/"]["type"], "identity");
    bench.fails(&bench.root, Verb::Delete, "sys/mounts/identity", json!({})).await;
    bench.fails(&bench.root, Verb::Write, "sys/remount", json!({"from": "identity", "to": "x"})).await;
    let (token, entity) = log_in(&bench, json!({})).await;
    bench.restart().await;
    assert!(bench.is_good(&token).await);
    assert_eq!(log_in(&bench, json!({})).await.1, entity);
    // An auth method that goes takes its aliases along.
    bench.ok(&bench.root, Verb::Delete, "sys/auth/door", json!({})).await;
    let read = bench.read(&format!("identity/entity/id/{entity}")).await;
    assert_eq!(read["aliases"], json!([]));
}
