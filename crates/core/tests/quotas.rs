//! Rate limits, lease counts, and what browsers are told.

use std::sync::Arc;

use holdfast_core::{Answer, Error, Greeting, Raw, Verb};
use holdfast_logical::{Connection, Error as Logical};
use serde_json::{Value, json};

use crate::bench::{self, Bench, Make, data};

fn raw(path: &str, address: &str) -> Raw {
    let mut raw = Raw::new("request", Verb::Read, path);
    raw.connection = Connection { remote: Some(address.parse().unwrap()), ..Connection::default() };
    raw
}

fn is_429(greeting: &Greeting) -> bool {
    matches!(&greeting.refusal, Some(Error::Logical(Logical::Status { code: 429, message }))
        if message.contains("rate limit quota exceeded"))
}

async fn asks(bench: &Bench, path: &str, address: &str) -> bool {
    !is_429(&bench.core.greet(&raw(path, address)).await)
}

#[tokio::test]
async fn a_rate_limit_holds_for_each_client_and_free_paths_stay_free() {
    let bench = Bench::open().await;
    assert!(asks(&bench, "sys/mounts", "10.0.0.1").await);
    bench.write("sys/quotas/rate-limit/all", json!({"rate": "2", "interval": "10s"})).await;
    for (path, address, served) in [
        ("sys/mounts", "10.0.0.1", true),
        ("auth/token/lookup-self", "10.0.0.1", true),
        ("sys/mounts", "10.0.0.1", false),
        ("sys/health", "10.0.0.1", true),
        ("sys/unseal", "10.0.0.1", true),
        ("sys/mounts", "10.0.0.2", true),
    ] {
        assert_eq!(asks(&bench, path, address).await, served, "{path} {address}");
    }
    bench.advance(10);
    assert!(asks(&bench, "sys/mounts", "10.0.0.1").await);
    bench.ok(&bench.root, Verb::Delete, "sys/quotas/rate-limit/all", json!({})).await;
    for _ in 0..5 {
        assert!(asks(&bench, "sys/mounts", "10.0.0.1").await);
    }
}

#[tokio::test]
async fn the_headers_and_the_audit_of_refusals_are_on_when_asked_for() {
    let bench = Bench::open().await;
    bench.write("sys/quotas/rate-limit/all", json!({"rate": 1, "interval": 60, "block_interval": "5m"})).await;
    assert!(bench.core.greet(&raw("sys/mounts", "10.0.0.1")).await.headers.is_empty());
    bench.write("sys/quotas/config", json!({"enable_rate_limit_response_headers": true})).await;
    let refused = bench.core.greet(&raw("sys/mounts", "10.0.0.1")).await;
    assert!(is_429(&refused));
    assert!(refused.headers.contains(&("retry-after", "300".to_owned())), "{:?}", refused.headers);
    let config = bench.read("sys/quotas/config").await;
    assert_eq!(config["enable_rate_limit_response_headers"], true);
    assert_eq!(config["enable_rate_limit_audit_logging"], false);
}

#[tokio::test]
async fn another_replica_knows_within_a_second() {
    let bench = Bench::open().await;
    let mut other = Bench::new();
    (other.clock, other.storage) = (bench.clock.clone(), bench.storage.clone());
    other.core = bench::core(&bench.storage, &bench.clock, Make::default());
    other.shares.clone_from(&bench.shares);
    other.unseal().await;
    bench.write("sys/quotas/rate-limit/all", json!({"rate": 1})).await;
    other.advance(1);
    assert!(asks(&other, "sys/mounts", "10.0.0.1").await);
    assert!(!asks(&other, "sys/mounts", "10.0.0.1").await);
}

#[tokio::test]
async fn quotas_are_shown_as_they_were_set() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/test", json!({"type": "probe"})).await;
    let quota = json!({"rate": 100, "path": "test/*", "interval": "600", "block_interval": "600"});
    bench.write("sys/quotas/rate-limit/q", quota).await;
    let shown = bench.read("sys/quotas/rate-limit/q").await;
    let expected = json!({"block_interval": 600, "interval": 600, "name": "q", "path": "test/*", "rate": 100,
        "role": "", "type": "rate-limit"});
    assert_eq!(Value::Object(shown), expected);
    bench.write("sys/quotas/rate-limit/q", json!({"rate": 1.5})).await;
    let shown = bench.read("sys/quotas/rate-limit/q").await;
    assert_eq!((&shown["rate"], &shown["path"]), (&json!(1.5), &json!("test/*")), "the rest stays");
    bench.write("sys/quotas/lease-count/c", json!({"path": "/test", "max_leases": "5"})).await;
    assert_eq!(bench.read("sys/quotas/lease-count/c").await["path"], "test/");
    for (path, body) in [
        ("rate-limit/x", json!({"rate": 1, "path": "/not-exist"})),
        ("rate-limit/x", json!({"rate": 0})),
        ("rate-limit/x", json!({"rate": -1})),
        ("rate-limit/x", json!({})),
        ("rate-limit/x", json!({"rate": 1, "interval": 0})),
        ("rate-limit/x", json!({"rate": 1, "path": "test/*"})),
        ("lease-count/x", json!({"max_leases": 0})),
    ] {
        let error = bench.fails(&bench.root, Verb::Write, &format!("sys/quotas/{path}"), body.clone()).await;
        assert!(matches!(error, Error::Logical(Logical::Invalid(_))), "{path} {body}: {error}");
    }
    let keys = data(bench.ok(&bench.root, Verb::List, "sys/quotas/rate-limit", json!({})).await);
    assert_eq!(keys["keys"], json!(["q"]));
}

async fn limited() -> (Bench, String) {
    let bench = Bench::open().await;
    bench.write("sys/mounts/db", json!({"type": "probe"})).await;
    bench.write("sys/quotas/lease-count/c", json!({"path": "db/", "max_leases": 3})).await;
    bench.write("sys/policies/acl/app", json!({"policy": "path \"db/*\" { capabilities = [\"read\"] }"})).await;
    let token = bench.token(json!({"policies": ["app"]})).await;
    (bench, token)
}

#[tokio::test]
async fn a_lease_count_holds_at_the_limit_and_root_is_exempt() {
    let (bench, token) = limited().await;
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(bench.ok(&token, Verb::Read, "db/creds/a", json!({})).await.lease_id);
    }
    let error = bench.fails(&token, Verb::Read, "db/creds/a", json!({})).await;
    assert!(error.to_string().contains("lease count quota exceeded"), "{error}");
    assert!(matches!(error, Error::Logical(Logical::Status { code: 429, .. })));
    bench.ok(&bench.root, Verb::Read, "db/creds/a", json!({})).await;
    for lease in leases {
        bench.write("sys/leases/revoke", json!({"lease_id": lease, "sync": true})).await;
    }
    for _ in 0..2 {
        bench.ok(&token, Verb::Read, "db/creds/a", json!({})).await;
    }
    bench.fails(&token, Verb::Read, "db/creds/a", json!({})).await;
}

#[tokio::test]
async fn of_many_at_once_on_two_replicas_exactly_as_many_as_may_get_one() {
    let (bench, token) = limited().await;
    let other = bench::core(&bench.storage, &bench.clock, Make::default());
    for share in &bench.shares[..2] {
        other.handle(bench.raw("", Verb::Write, "sys/unseal", json!({ "key": share }))).await;
    }
    let asked: Vec<_> = (0..24)
        .map(|at| {
            let core = if at % 2 == 0 { Arc::clone(&bench.core) } else { other.clone() };
            let raw = bench.raw(&token, Verb::Read, "db/creds/a", json!({}));
            tokio::spawn(async move { matches!(core.handle(raw).await, Answer::Envelope { .. }) })
        })
        .collect();
    let mut got = 0;
    for one in asked {
        got += usize::from(one.await.unwrap());
    }
    assert!(got <= 3, "{got}");
    while got < 3 {
        bench.ok(&token, Verb::Read, "db/creds/a", json!({})).await;
        got += 1;
    }
    bench.fails(&token, Verb::Read, "db/creds/a", json!({})).await;
}

#[tokio::test]
async fn cors_is_off_until_it_is_set() {
    let bench = Bench::open().await;
    assert!(bench.core.cors().is_none());
    assert_eq!(Value::Object(bench.read("sys/config/cors").await), json!({"enabled": false}));
    bench.fails(&bench.root, Verb::Write, "sys/config/cors", json!({})).await;
    bench.fails(&bench.root, Verb::Write, "sys/config/cors", json!({"allowed_origins": "*,https://a"})).await;
    bench.write("sys/config/cors", json!({"allowed_origins": ["https://a"], "allowed_headers": "X-Own"})).await;
    let cors = bench.core.cors().unwrap();
    assert!(cors.allows("https://a") && !cors.allows("https://b"));
    let shown = bench.read("sys/config/cors").await;
    assert!(shown["allowed_headers"].as_array().unwrap().contains(&json!("X-Own")));
    bench.ok(&bench.root, Verb::Delete, "sys/config/cors", json!({})).await;
    assert!(bench.core.cors().is_none());
}

#[tokio::test]
async fn headers_for_a_user_interface_are_kept() {
    let bench = Bench::open().await;
    bench.write("sys/config/ui/headers/X-Own", json!({"values": ["a", "b"]})).await;
    assert_eq!(bench.read("sys/config/ui/headers/x-own").await["value"], "a");
    let list = data(bench.ok(&bench.root, Verb::List, "sys/config/ui/headers", json!({})).await);
    assert_eq!(list["keys"], json!(["x-own"]));
    bench.fails(&bench.root, Verb::Write, "sys/config/ui/headers/X-Vault-Token", json!({"values": "a"})).await;
    bench.ok(&bench.root, Verb::Delete, "sys/config/ui/headers/X-Own", json!({})).await;
    bench.fails(&bench.root, Verb::Read, "sys/config/ui/headers/X-Own", json!({})).await;
}

#[tokio::test]
async fn a_role_has_a_limit_of_its_own() {
    let bench = Bench::open().await;
    bench.write("sys/auth/door", json!({"type": "door"})).await;
    let quota = json!({"rate": 1, "interval": 60, "path": "auth/door/", "role": "web"});
    bench.write("sys/quotas/rate-limit/web", quota).await;
    let login = async |role: &str| bench.answer("", Verb::Write, "auth/door/login", json!({ "role": role })).await;
    assert!(!matches!(login("web").await, Answer::Error(_)));
    let Answer::Error(error) = login("web").await else { panic!("let in") };
    assert!(error.to_string().contains("rate limit quota exceeded"), "{error}");
    for _ in 0..3 {
        assert!(!matches!(login("other").await, Answer::Error(_)), "other roles are free");
        assert!(asks(&bench, "auth/door/login", "10.0.0.1").await, "so is the path");
    }
}
