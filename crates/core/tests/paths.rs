//! One text of a path: what the router finds, what the policies decide about and what the plug-in is given are the same
//! bytes, however the path is written.

use std::cell::Cell;

use holdfast_core::{Answer, Error, Verb};
use holdfast_logical::{Error as Logical, Operation};
use holdfast_policy::{Place, Policy, PolicySet};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Map, json};

use crate::bench::{Bench, data, envelope};

const POLICY: &str = r#"path "probe/data/allow/*" { capabilities = ["read", "update", "create"] }
path "probe/data/allow/deny/*" { capabilities = ["deny"] }
path "probe/data/+/one" { capabilities = ["read"] }
path "team/probe/data/allow/*" { capabilities = ["read", "update", "create"] }"#;

/// Something is stored at each of these, which says where.
fn seeds() -> Vec<String> {
    let mut seeds = Vec::new();
    for mount in ["probe", "hidden", "team/probe"] {
        for path in ["allow/one", "allow/deny/one", "deny/one", "deny/allow/one", "one", "allow/%2e%2e/one"] {
            seeds.push(format!("{mount}/data/{path}"));
        }
    }
    seeds
}

async fn furnished() -> (Bench, String) {
    let bench = Bench::open().await;
    bench.write("sys/namespaces/team", json!({})).await;
    for mount in ["sys/mounts/probe", "sys/mounts/hidden"] {
        bench.write(mount, json!({"type": "probe"})).await;
    }
    envelope(
        "mount",
        bench.within("team", &bench.root, Verb::Write, "sys/mounts/probe", json!({"type": "probe"})).await,
    );
    for path in seeds() {
        bench.write(&path, json!({ "at": path })).await;
    }
    bench.write("sys/policies/acl/paths", json!({ "policy": POLICY })).await;
    let token = bench.token(json!({"policies": ["paths"], "no_default_policy": true})).await;
    (bench, token)
}

/// Path of the URL, once decoded, and the header of the namespace.
fn asked() -> impl Strategy<Value = (String, &'static str)> {
    let mount = prop::sample::select(vec![
        "probe/data",
        "probe/data",
        "/probe/data",
        "probe//data",
        "probe/./data",
        "probe/../probe/data",
        "probe/data/allow/../..",
        "hidden/data",
        "team/probe/data",
        "team/../probe/data",
    ]);
    let segment = prop::sample::select(vec![
        "allow",
        "allow",
        "allow",
        "deny",
        "one",
        "one",
        "one",
        ".",
        "..",
        "",
        " allow",
        "one ",
        "%2e%2e",
        "%2f",
        "o\0ne",
        "allow\u{a0}",
    ]);
    let namespace = prop::sample::select(vec!["", "", "root", "team", "/team/", "team/..", "none"]);
    let odd = (mount, prop::collection::vec(segment, 1..4))
        .prop_map(|(mount, segments)| format!("{mount}/{}", segments.join("/")));
    let seed = prop::sample::select(seeds());
    // Also what is stored, with one thing in it that may not be there, or may.
    let change = prop::sample::select(vec!["/", "./", "../", " ", "\0", "%2f", "a"]);
    let nearly = (seed.clone(), change, any::<prop::sample::Index>()).prop_map(|(mut path, change, at)| {
        let slashes: Vec<usize> = path.match_indices('/').map(|(at, _)| at + 1).collect();
        path.insert_str(slashes[at.index(slashes.len())], change);
        path
    });
    (prop_oneof![2 => odd, 2 => nearly, 1 => seed], namespace)
}

/// Straight from the description.
fn is_canonical(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').collect();
    let last = segments.len() - 1;
    segments.iter().enumerate().all(|(at, segment)| {
        (!segment.is_empty() || at == last)
            && !matches!(*segment, "." | "..")
            && segment.trim() == *segment
            && !segment.chars().any(char::is_control)
    })
}

/// The header's namespace and the path, as one.
fn joined(namespace: &str, path: &str) -> String {
    let path = path.trim_start_matches('/');
    match namespace.trim_matches('/') {
        "" | "root" => path.to_owned(),
        namespace => format!("{namespace}/{path}"),
    }
}

#[test]
fn cve_2026_3605_router_policy_and_plug_in_see_the_same_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bench, token) = runtime.block_on(furnished());
    let set = PolicySet::new(vec![Policy::parse("paths", POLICY).unwrap().into()]);
    let (served, denied) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(6000));
    let outcome = runner.run(&asked(), |(path, namespace)| {
        let full = joined(namespace, &path);
        let place = Place { path: &full, namespace: if full.starts_with("team/") { "team/" } else { "" } };
        let allowed = set.decide(place, Operation::Read, &Map::new(), None).allowed;
        let answer = runtime.block_on(bench.within(namespace, &token, Verb::Read, &path, json!({})));
        match answer {
            Answer::Envelope { envelope, .. } => {
                // It is what is stored under that very text, and the policies grant that very text.
                prop_assert_eq!(&data(*envelope)["at"], &json!(full));
                prop_assert!(allowed && is_canonical(&full), "{:?}", full);
                served.set(served.get() + 1);
            }
            Answer::Error(Error::Logical(Logical::Denied(_))) => {
                prop_assert!(!allowed || full.ends_with('/') || !is_canonical(&full), "{:?}", full);
                denied.set(denied.get() + 1);
            }
            Answer::Error(Error::Logical(Logical::Invalid(text))) => {
                prop_assert!(!is_canonical(&full) || text.contains("namespace"), "{:?}: {}", full, text);
            }
            Answer::Error(Error::Logical(Logical::NotFound(_))) => {}
            other => prop_assert!(false, "{:?}: {:?}", full, other),
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(served.get() > 100 && denied.get() > 100, "too little was tried: {served:?} {denied:?}");
}

/// Writes too: what was allowed is found under the text that was asked, and nothing else has changed.
#[test]
fn a_write_reaches_the_path_that_was_decided_about_and_no_other() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bench, token) = runtime.block_on(furnished());
    let set = PolicySet::new(vec![Policy::parse("paths", POLICY).unwrap().into()]);
    let written = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(1000));
    let outcome = runner.run(&asked(), |(path, namespace)| {
        let answer =
            runtime.block_on(bench.within(namespace, &token, Verb::Write, &path, json!({"at": path, "by": "token"})));
        if let Answer::Error(_) = answer {
            return Ok(());
        }
        written.set(written.get() + 1);
        let full = joined(namespace, &path);
        let place = Place { path: &full, namespace: if full.starts_with("team/") { "team/" } else { "" } };
        prop_assert!(set.decide(place, Operation::Update, &Map::new(), None).allowed, "{:?}", full);
        let kept = runtime.block_on(bench.read(&full));
        prop_assert_eq!(kept["by"].as_str(), Some("token"));
        Ok(())
    });
    outcome.unwrap();
    assert!(written.get() > 20, "too little was tried: {written:?}");
    for path in seeds() {
        let place = Place { path: &path, namespace: if path.starts_with("team/") { "team/" } else { "" } };
        if !set.decide(place, Operation::Update, &Map::new(), None).allowed {
            let kept = runtime.block_on(bench.read(&path));
            assert_eq!((kept["at"].as_str(), kept.get("by")), (Some(path.as_str()), None), "{path}");
        }
    }
}
