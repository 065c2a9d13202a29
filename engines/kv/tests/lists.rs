//! Lists, scans and pages, and check-and-set of metadata.

use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::mount::Mount;

async fn filled(version: &str) -> (Mount, &'static str) {
    let mount = Mount::new(version).await;
    let (data, list) = if version == "1" { ("", "") } else { ("data/", "metadata/") };
    for path in ["a", "b/a", "b/c/d", "b-", "e"] {
        mount.put(&format!("{data}{path}"), json!({"data": {"n": 1}})).await;
    }
    (mount, list)
}

#[tokio::test]
async fn a_scan_names_everything_below_in_order() {
    for version in ["1", "2"] {
        let (mount, list) = filled(version).await;
        let scan = async |path: &str, body: Value| {
            mount.data(Operation::Scan, &format!("{list}{path}"), body).await["keys"].clone()
        };
        assert_eq!(scan("", json!({})).await, json!(["a", "b-", "b/a", "b/c/d", "e"]));
        assert_eq!(scan("b/", json!({})).await, json!(["a", "c/d"]));
        assert_eq!(scan("", json!({"after": "b/a", "limit": 1})).await, json!(["b/c/d"]));
        let none = mount.ask(Operation::Scan, &format!("{list}none/"), Value::Null).await;
        assert!(matches!(none, Err(Error::NotFound(None))));
    }
}

#[tokio::test]
async fn gh_3518_pages_follow_each_other_and_a_limit_of_zero_or_less_is_none() {
    for version in ["1", "2"] {
        let (mount, list) = filled(version).await;
        let page = async |body: Value| mount.data(Operation::List, list, body).await["keys"].clone();
        assert_eq!(page(json!({"limit": 2})).await, json!(["a", "b-"]));
        assert_eq!(page(json!({"limit": "2", "after": "b-"})).await, json!(["b/", "e"]));
        assert_eq!(page(json!({"after": "b"})).await, json!(["b-", "b/", "e"]));
        for limit in [json!(0), json!(-1), json!("-1"), json!(""), json!(99)] {
            assert_eq!(page(json!({ "limit": limit })).await, json!(["a", "b-", "b/", "e"]), "{limit}");
        }
    }
}

#[tokio::test]
async fn detailed_metadata_lists_with_what_is_known() {
    let (mount, _) = filled("2").await;
    let listed = mount.data(Operation::List, "detailed-metadata/", Value::Null).await;
    assert_eq!(listed["keys"], json!(["a", "b-", "b/", "e"]));
    assert_eq!(listed["key_info"]["a"]["current_version"], 1);
    assert_eq!(listed["key_info"].as_object().unwrap().len(), 3);
    let scanned = mount.data(Operation::Scan, "detailed-metadata/b/", Value::Null).await;
    assert_eq!(scanned["key_info"]["c/d"]["max_versions"], 0);
}

#[tokio::test]
async fn metadata_has_a_check_and_set_of_its_own() {
    let mount = Mount::new("2").await;
    let text = "metadata check-and-set parameter did not match the current version";
    mount.put("metadata/a", json!({"metadata_cas": 0, "max_versions": 3})).await;
    assert_eq!(mount.refused(Operation::Update, "metadata/a", json!({"metadata_cas": 0})).await, text);
    mount.data(Operation::Patch, "metadata/a", json!({"metadata_cas": 1, "metadata_cas_required": true})).await;
    let read = mount.get("metadata/a").await;
    assert_eq!((&read["current_metadata_version"], &read["max_versions"]), (&json!(2), &json!(3)));
    let refused = mount.refused(Operation::Update, "metadata/a", json!({"max_versions": 4})).await;
    assert_eq!(refused, "metadata check-and-set parameter required for this call");
    mount.put("config", json!({"metadata_cas_required": true})).await;
    assert!(mount.refused(Operation::Update, "metadata/b", json!({})).await.contains("required"));
}
