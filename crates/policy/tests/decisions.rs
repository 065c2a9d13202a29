//! Priority, merging, parameters, wrapping, capabilities.

use std::{sync::Arc, time::Duration};

use holdfast_logical::Operation::{self, *};
use holdfast_policy::{Place, Policy, PolicySet, Reason};
use serde_json::{Map, Value, json};

fn set(texts: &[&str]) -> PolicySet {
    let parse = |(i, text): (usize, &&str)| Arc::new(Policy::parse(&format!("p{i}"), text).unwrap());
    PolicySet::new(texts.iter().enumerate().map(parse).collect())
}

fn params(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn may(set: &PolicySet, path: &str, operation: Operation) -> bool {
    set.decide(path, operation, &Map::new(), None).allowed
}

#[test]
fn only_the_most_specific_stanza_counts() {
    let set = set(&[r#"
        path "secret/*" { capabilities = ["read", "update"] }
        path "secret/team/*" { capabilities = ["list"] }
        path "secret/team/x" { capabilities = ["delete"] }
        path "secret/+/y" { capabilities = ["patch"] }
        path "secret/team/no" { capabilities = ["deny"] }
    "#]);
    assert!(may(&set, "secret/a", Read));
    assert!(may(&set, "/secret/a", Read));
    assert!(!may(&set, "secret/team/a", Read), "no union with secret/*");
    assert!(may(&set, "secret/team/x", Delete));
    assert!(!may(&set, "secret/team/x", List));
    assert!(may(&set, "secret/b/y", Patch), "+ beats * at the same position");
    assert!(!may(&set, "secret/team/y", Patch), "a later * beats an earlier +");
    assert!(!may(&set, "other", Read));
    assert!(may(&set, "other", Help));
    let denied = set.decide("secret/team/no", Read, &Map::new(), None);
    assert_eq!(denied.reason, Reason::Denied { pattern: "secret/team/no".to_owned() });
}

#[test]
fn lists_look_without_the_final_slash_too() {
    let set = set(&[r#"
        path "secret/metadata" { capabilities = ["list"] }
        path "a/+" { capabilities = ["list"] }
        path "b/*" { capabilities = ["list", "read"] }
    "#]);
    assert!(may(&set, "secret/metadata/", List));
    assert!(!may(&set, "secret/metadata/", Read));
    assert!(may(&set, "a/x/", List));
    assert!(may(&set, "b/", List));
    assert!(!may(&set, "b", List));
}

#[test]
fn a_list_does_not_slip_past_a_more_specific_deny() {
    let set = set(&[r#"
        path "secret/*" { capabilities = ["read", "list"] }
        path "secret/hr/*" { capabilities = ["deny"] }
        path "kv/*" { capabilities = ["list"] }
        path "kv/+" { capabilities = ["deny"] }
        path "in/*" { capabilities = ["read"] }
        path "in/team/*" { capabilities = ["list"] }
    "#]);
    assert!(!may(&set, "secret/hr/x", Read));
    assert!(!may(&set, "secret/hr/", List), "the names below hr are behind the deny too");
    assert!(!may(&set, "kv/hr/", List));
    assert!(may(&set, "secret/", List));
    assert!(may(&set, "secret/it/", List));
    assert!(may(&set, "in/team/", List));
}

#[test]
fn equal_patterns_of_several_policies_add_up() {
    let set = set(&[
        r#"path "a" { capabilities = ["read"] allowed_parameters = { x = ["1"] } required_parameters = ["x"] }"#,
        r#"path "a" { capabilities = ["update", "sudo"] allowed_parameters = { x = ["2"] y = [] } }"#,
        r#"path "b" { capabilities = ["read"] }"#,
        r#"path "b" { capabilities = ["deny"] }"#,
    ]);
    let decide = |operation, body| set.decide("a", operation, &params(body), None);
    assert!(decide(Read, json!({"x": "1"})).allowed);
    assert!(decide(Read, json!({"X": "2", "y": 7})).allowed);
    assert!(!decide(Read, json!({"x": "3"})).allowed);
    assert!(!decide(Read, json!({"x": "1", "z": 1})).allowed);
    assert!(matches!(decide(Read, json!({})).reason, Reason::Required { .. }));
    let update = decide(Update, json!({"x": "1"}));
    assert!(update.sudo);
    assert_eq!(update.granting, [("p1".to_owned(), "a".to_owned())]);
    assert_eq!(set.capabilities("a"), ["sudo", "read", "update"]);
    assert!(!may(&set, "b", Read));
    assert_eq!(set.capabilities("b"), ["deny"]);
    assert_eq!(set.capabilities("nowhere"), ["deny"]);
}

#[test]
fn parameters() {
    let set = set(&[r#"
        path "deny-all" { capabilities = ["update"] denied_parameters = { "*" = [] } }
        path "deny-some" { capabilities = ["update"] denied_parameters = { "ttl" = ["5", "long*"] } }
        path "allow-rest" { capabilities = ["update"] allowed_parameters = { "a" = ["x"] "*" = [] } }
        path "lists" { capabilities = ["list"] denied_parameters = { "*" = [] } }
    "#]);
    let ok = |path: &str, body: Value| set.decide(path, Update, &params(body), None).allowed;
    assert!(ok("deny-all", json!({})));
    assert!(!ok("deny-all", json!({"a": 1})));
    assert!(ok("deny-some", json!({"ttl": "6", "x": 1})));
    assert!(!ok("deny-some", json!({"TTL": "5"})));
    assert!(!ok("deny-some", json!({"ttl": 5})), "a number is read as its text later");
    assert!(!ok("deny-some", json!({"ttl": "longer"})));
    assert!(ok("allow-rest", json!({"a": "x", "b": 1})));
    assert!(!ok("allow-rest", json!({"a": "y"})));
    assert!(set.decide("lists", List, &params(json!({"after": "x"})), None).allowed, "lists have no parameter rules");
}

#[test]
fn wrapping_bounds_make_wrapping_mandatory() {
    let set = set(&[
        r#"path "a" { capabilities = ["read"] min_wrapping_ttl = "1m" max_wrapping_ttl = "1h" }"#,
        r#"path "a" { capabilities = ["read"] max_wrapping_ttl = 1800 }"#,
    ]);
    let ok = |ttl: Option<u64>| set.decide("a", Read, &Map::new(), ttl.map(Duration::from_secs)).allowed;
    assert!(!ok(None));
    assert!(!ok(Some(59)));
    assert!(ok(Some(60)));
    assert!(ok(Some(1800)));
    assert!(!ok(Some(1801)));
}

#[test]
fn root_may_do_everything() {
    let set = PolicySet::new(vec![Arc::new(Policy::root())]);
    let decision = set.decide("sys/seal", Update, &Map::new(), None);
    assert!(decision.allowed && decision.root && decision.sudo);
    assert_eq!(set.capabilities("x"), ["root"]);
    let named = set_named("not-root", r#"path "*" { capabilities = ["read"] }"#);
    assert!(!named.is_root(""));
}

fn set_named(name: &str, text: &str) -> PolicySet {
    PolicySet::new(vec![Arc::new(Policy::parse(name, text).unwrap())])
}

#[test]
fn templates_that_cannot_be_filled_grant_nothing() {
    let set = set(&[r#"path "secret/{{identity.entity.id}}/*" { capabilities = ["read"] }"#]);
    assert!(!may(&set, "secret/{{identity.entity.id}}/x", Read));
    assert!(!may(&set, "secret//x", Read));
}

#[test]
fn mounts_that_a_token_may_see() {
    let set = set(&[r#"
        path "secret/data/app" { capabilities = ["read"] }
        path "k8s/+/db/creds/r" { capabilities = ["read"] }
        path "hidden/x" { capabilities = ["deny"] }
    "#]);
    assert!(set.touches("secret/"));
    assert!(set.touches("k8s/shop/db/"));
    assert!(!set.touches("k8s/shop/kv/"));
    assert!(!set.touches("hidden/"));
    assert!(!set.touches("other/"));
}

/// Policies of a namespace speak of what is below it, and rules of a parent reach into a child only where they name it.
#[test]
fn cve_2020_10661_no_wildcard_grants_in_a_namespace_that_is_made_later() {
    let paths = ["*", "+/secret/x", "+/*", "tea*", "+", "named/*", "named/inner/only"];
    let old: String = paths.iter().map(|path| format!("path \"{path}\" {{ capabilities = [\"read\"] }}\n")).collect();
    let set = PolicySet::new(vec![Arc::new(Policy::parse("old", &old).unwrap())]);
    let reads = |namespace: &str, path: &str| {
        let path = format!("{namespace}{path}");
        set.decide(Place { path: &path, namespace }, Read, &Map::new(), None).allowed
    };
    assert!(reads("", "team/secret/x"), "a mount of that name in the root namespace");
    for path in ["secret/x", "sys/mounts", ""] {
        assert!(!reads("team/", path), "{path}");
        assert!(reads("named/", path), "{path}");
        assert!(!reads("named/inner/", path), "{path}");
    }
    assert!(reads("named/inner/", "only"));
    assert!(!set.touches(Place { path: "team/secret/", namespace: "team/" }));
    assert!(set.touches(Place { path: "named/secret/", namespace: "named/" }));
}

#[test]
fn a_policy_of_a_namespace_never_leaves_it() {
    let text = "path \"*\" { capabilities = [\"read\"] } path \"+/x\" { capabilities = [\"update\"] }";
    let policies = || vec![Arc::new(Policy::parse("p", text).unwrap())];
    let set = PolicySet::below("a/", policies());
    let at = |namespace, path, operation| set.decide(Place { path, namespace }, operation, &Map::new(), None).allowed;
    assert!(at("a/", "a/secret", Read) && at("a/", "a/m/x", Update));
    assert!(!at("", "secret", Read) && !at("ab/", "ab/secret", Read) && !at("", "m/x", Update) && !at("", "a", Read));
    let root = PolicySet::below("a/", vec![Arc::new(Policy::root())]);
    let at = |namespace, path| root.decide(Place { path, namespace }, Read, &Map::new(), None).allowed;
    assert!(at("a/", "a/sys/mounts") && at("a/b/", "a/b/sys/mounts"));
    assert!(!at("", "sys/mounts") && !at("ab/", "ab/sys/mounts") && !at("", "a/"));
}

/// A limit of zero or less, or one that is no number, would mean all (OpenBao GH-3518).
#[test]
fn gh_3518_no_limit_is_larger_than_that_of_the_stanza() {
    let set = set(&[r#"path "a/*" { capabilities = ["list", "scan", "read"] pagination_limit = 10 }
                     path "b/*" { capabilities = ["list"] pagination_limit = 10 required_parameters = ["limit"] }
                     path "c/*" { capabilities = ["list"] pagination_limit = 0 }"#]);
    let decide = |path: &str, operation, params| set.decide(path, operation, &self::params(params), None);
    for limit in [json!(1), json!(10), json!("1"), json!("10")] {
        for operation in [Operation::List, Operation::Scan] {
            let decision = decide("a/", operation, json!({ "limit": limit }));
            assert_eq!((decision.allowed, decision.page), (true, Some(10)), "{limit}");
        }
    }
    for limit in
        [json!(-1), json!(0), json!(11), json!("-1"), json!("0"), json!("11"), json!(""), json!("x"), json!(1.5)]
    {
        for (path, operation) in [("a/", Operation::List), ("a/", Operation::Scan), ("b/", Operation::List)] {
            let decision = decide(path, operation, json!({ "limit": limit }));
            assert!(matches!(decision.reason, Reason::Page { most: 10, .. }) && !decision.allowed, "{limit}");
        }
    }
    let unasked = decide("a/", Operation::List, json!({}));
    assert_eq!((unasked.allowed, unasked.page), (true, Some(10)), "without one there is that of the stanza");
    assert_eq!(decide("a/x", Operation::Read, json!({"limit": 99})).page, None, "reads are no lists");
    assert!(matches!(decide("b/", Operation::List, json!({})).reason, Reason::Required { .. }));
    assert_eq!(decide("c/", Operation::List, json!({"limit": 0})).page, None, "0 is no limit");
}

#[test]
fn of_two_limits_of_one_path_the_smaller_counts() {
    let limit = |most: u8| format!(r#"path "a/*" {{ capabilities = ["list"] pagination_limit = {most} }}"#);
    let policies = [limit(5), limit(3), r#"path "a/*" { capabilities = ["list"] }"#.to_owned()];
    let policies = policies.map(|text| Arc::new(Policy::parse("p", &text).unwrap())).to_vec();
    assert_eq!(PolicySet::new(policies).decide("a/", Operation::List, &Map::new(), None).page, Some(3));
}

#[test]
fn what_has_ended_is_as_if_it_were_not_there() {
    let text = r#"path "a/*" { capabilities = ["read"] }
                  path "a/b" { capabilities = ["deny"] expiration = "2026-01-01T00:00:00Z" }
                  path "c" { capabilities = ["read"] expiration = "2026-01-01T01:00:00+01:00" }"#;
    let policy = Arc::new(Policy::parse("p", text).unwrap());
    for (now, ended) in
        [("2025-12-31T23:59:59Z", false), ("2026-01-01T00:00:00Z", true), ("2030-01-01T00:00:00Z", true)]
    {
        let now = now.parse().unwrap();
        let set = PolicySet::of("", vec![policy.clone()], None, Some(now));
        let may = |path: &str| set.decide(path, Operation::Read, &Map::new(), None).allowed;
        assert_eq!((may("a/b"), may("c"), may("a/x")), (ended, !ended, true), "{now}");
        assert_eq!(policy.ended(now).collect::<Vec<_>>(), [ended, ended]);
        let left_out = set.explain("c", Operation::Read, &Map::new(), None).left_out;
        assert_eq!(
            left_out.iter().filter(|out| out.reason.starts_with("it ended at 2026-01-01")).count(),
            2 * usize::from(ended)
        );
    }
}
