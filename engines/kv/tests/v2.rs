use std::time::Duration;

use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::mount::Mount;

#[tokio::test]
async fn versions_are_kept_and_read_exactly() {
    let mount = Mount::new("2").await;
    let secret: Value = serde_json::from_str(r#"{"n": 1.10}"#).unwrap();
    let written = mount.put("data/a", json!({"data": secret})).await;
    assert_eq!(written["version"], 1);
    assert_eq!(written["created_time"], "2023-11-14T22:13:20Z");
    assert_eq!(written["custom_metadata"], Value::Null);
    mount.put("data/a", json!({"data": {"n": 2}})).await;
    let read = mount.get("data/a").await;
    assert_eq!(read["data"], json!({"n": 2}));
    assert_eq!(read["metadata"]["version"], 2);
    assert_eq!(read["metadata"]["deletion_time"], "");
    let first = mount.ask(Operation::Read, "data/a", json!({"version": "1"})).await.unwrap();
    let text = serde_json::to_string(&first.data.unwrap()).unwrap();
    assert!(text.contains("1.10"), "{text}");
    assert!(matches!(mount.ask(Operation::Read, "data/a", json!({"version": 9})).await, Err(Error::NotFound(None))));
}

#[tokio::test]
async fn a_path_without_data_in_it_is_absent_and_the_warning_says_what_to_do() {
    let mount = Mount::new("2").await;
    mount.put("data/a", json!({"data": {"n": 1}})).await;
    for (operation, path, command) in [
        (Operation::Read, "a", "kv get"),
        (Operation::Update, "team/a", "kv put"),
        (Operation::Delete, "a", "kv delete"),
        (Operation::List, "", "kv list"),
    ] {
        let answer = mount.ask(operation, path, Value::Null).await.unwrap();
        assert_eq!((answer.status, answer.data.is_none()), (Some(404), true), "{path}");
        let [warning] = answer.warnings.as_slice() else { panic!("{:?}", answer.warnings) };
        assert!(warning.starts_with("Invalid path for a versioned K/V secrets engine. See the API docs"), "{warning}");
        assert!(warning.contains(command), "{warning}");
    }
    assert_eq!(mount.get("data/a").await["data"], json!({"n": 1}));
}

#[tokio::test]
async fn check_and_set_is_exact() {
    let mount = Mount::new("2").await;
    let with = |cas: i64| json!({"data": {"a": 1}, "options": {"cas": cas}});
    let mismatch = "check-and-set parameter did not match the current version";
    assert_eq!(mount.refused(Operation::Update, "data/a", with(1)).await, mismatch);
    mount.put("data/a", with(0)).await;
    assert_eq!(mount.refused(Operation::Update, "data/a", with(0)).await, mismatch);
    assert_eq!(mount.refused(Operation::Update, "data/a", with(-1)).await, mismatch);
    mount.put("data/a", with(1)).await;
    mount.put("metadata/a", json!({"cas_required": true})).await;
    assert_eq!(
        mount.refused(Operation::Update, "data/a", json!({"data": {}})).await,
        "check-and-set parameter required for this call"
    );
    assert_eq!(mount.refused(Operation::Update, "data/b", json!({})).await, "no data provided");
}

#[tokio::test]
async fn of_many_writers_with_the_same_cas_one_wins() {
    let mount = Mount::new("2").await;
    let write = |n: i32| mount.ask(Operation::Update, "data/a", json!({"data": {"n": n}, "options": {"cas": 0}}));
    let outcomes = tokio::join!(write(1), write(2), write(3), write(4));
    let won = [outcomes.0.is_ok(), outcomes.1.is_ok(), outcomes.2.is_ok(), outcomes.3.is_ok()];
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
}

#[tokio::test]
async fn deleted_versions_answer_404_with_the_envelope_and_come_back() {
    let mount = Mount::new("2").await;
    mount.put("data/a", json!({"data": {"k": "v"}})).await;
    mount.data(Operation::Delete, "data/a", Value::Null).await;
    let gone = mount.ask(Operation::Read, "data/a", Value::Null).await.unwrap();
    assert_eq!(gone.status, Some(404));
    let body = gone.data.unwrap().to_map();
    assert_eq!(body["data"], Value::Null);
    assert_ne!(body["metadata"]["deletion_time"], "");
    mount.put("undelete/a", json!({"versions": [1, 7]})).await;
    assert_eq!(mount.get("data/a").await["data"], json!({"k": "v"}));
    mount.put("destroy/a", json!({"versions": "1"})).await;
    mount.put("undelete/a", json!({"versions": [1]})).await;
    let gone = mount.ask(Operation::Read, "data/a", Value::Null).await.unwrap();
    assert_eq!(gone.status, Some(404));
    assert_eq!(gone.data.unwrap().to_map()["metadata"]["destroyed"], true);
    mount.data(Operation::Delete, "data/absent", Value::Null).await;
    mount.put("delete/absent", json!({"versions": [1]})).await;
}

#[tokio::test]
async fn patch_merges_into_a_live_version_only() {
    let mount = Mount::new("2").await;
    let patch = json!({"data": {"b": null, "c": {"d": 1}}});
    assert!(matches!(mount.ask(Operation::Patch, "data/a", patch.clone()).await, Err(Error::NotFound(None))));
    mount.put("data/a", json!({"data": {"a": 1, "b": 2}})).await;
    assert_eq!(mount.data(Operation::Patch, "data/a", patch.clone()).await["version"], 2);
    assert_eq!(mount.get("data/a").await["data"], json!({"a": 1, "c": {"d": 1}}));
    mount.data(Operation::Delete, "data/a", Value::Null).await;
    assert_eq!(mount.ask(Operation::Patch, "data/a", patch).await.unwrap().status, Some(404));
}

#[tokio::test]
async fn old_versions_fall_out_of_the_history() {
    let mount = Mount::new("2").await;
    mount.put("config", json!({"max_versions": 2})).await;
    for n in 0..4 {
        mount.put("data/a", json!({"data": {"n": n}})).await;
    }
    let metadata = mount.get("metadata/a").await;
    assert_eq!(metadata["oldest_version"], 3);
    assert_eq!(metadata["versions"].as_object().unwrap().keys().collect::<Vec<_>>(), ["3", "4"]);
    assert!(mount.ask(Operation::Read, "data/a", json!({"version": 2})).await.is_err());
}

#[tokio::test]
async fn a_negative_age_of_the_mount_keeps_versions_whatever_the_secret_says() {
    let mount = Mount::new("2").await;
    mount.put("metadata/a", json!({"delete_version_after": "1m"})).await;
    for (sent, shown, kept) in [(json!("-1s"), "-1s", true), (json!(-5), "-1s", true), (json!("0s"), "0s", false)] {
        mount.put("config", json!({ "delete_version_after": sent })).await;
        mount.put("config", json!({"max_versions": 5})).await;
        assert_eq!(mount.get("config").await["delete_version_after"], shown);
        mount.put("data/a", json!({"data": {}})).await;
        mount.clock.advance(Duration::from_secs(61));
        let read = mount.ask(Operation::Read, "data/a", Value::Null).await.unwrap();
        assert_eq!(read.status.is_none(), kept, "{sent}");
    }
    // A secret's own may not be negative: its field takes none, which the tests of fields hold.
}

#[tokio::test]
async fn versions_are_deleted_when_their_time_has_come() {
    let mount = Mount::new("2").await;
    mount.put("config", json!({"delete_version_after": "30m"})).await;
    assert_eq!(mount.get("config").await["delete_version_after"], "30m0s");
    mount.put("data/a", json!({"data": {}})).await;
    mount.clock.advance(Duration::from_secs(1799));
    mount.get("data/a").await;
    mount.clock.advance(Duration::from_secs(1));
    assert_eq!(mount.ask(Operation::Read, "data/a", Value::Null).await.unwrap().status, Some(404));
}

#[tokio::test]
async fn metadata_is_set_patched_listed_and_deleted() {
    let mount = Mount::new("2").await;
    mount.put("data/d/a", json!({"data": {"x": 1}})).await;
    mount.put("metadata/d/a", json!({"max_versions": 3, "custom_metadata": {"team": "shop", "n": 5}})).await;
    let metadata = mount.get("metadata/d/a").await;
    assert_eq!(metadata["custom_metadata"], json!({"n": "5", "team": "shop"}));
    assert_eq!(metadata["delete_version_after"], "0s");
    assert_eq!(metadata["current_version"], 1);
    mount.data(Operation::Patch, "metadata/d/a", json!({"custom_metadata": {"n": null}})).await;
    assert_eq!(mount.get("data/d/a").await["metadata"]["custom_metadata"], json!({"team": "shop"}));
    assert!(mount.ask(Operation::Patch, "metadata/none", json!({})).await.is_err());
    let long = "x".repeat(513);
    assert!(
        mount.refused(Operation::Update, "metadata/d/a", json!({"custom_metadata": {"k": long}})).await.contains("512")
    );
    assert_eq!(mount.data(Operation::List, "metadata/", Value::Null).await["keys"], json!(["d/"]));
    assert_eq!(mount.data(Operation::List, "metadata/d/", Value::Null).await["keys"], json!(["a"]));
    mount.data(Operation::Delete, "metadata/d/a", Value::Null).await;
    assert!(mount.ask(Operation::Read, "metadata/d/a", Value::Null).await.is_err());
    assert!(mount.ask(Operation::List, "metadata/", Value::Null).await.is_err());
    assert_eq!(mount.put("data/d/a", json!({"data": {}})).await["version"], 1);
}

#[tokio::test]
async fn subkeys_hide_the_values() {
    let mount = Mount::new("2").await;
    mount.put("data/a", json!({"data": {"a": {"b": {"c": 1}}, "d": "x"}})).await;
    assert_eq!(mount.get("subkeys/a").await["subkeys"], json!({"a": {"b": {"c": null}}, "d": null}));
    let shallow = mount.data(Operation::Read, "subkeys/a", json!({"depth": 1})).await;
    assert_eq!(shallow["subkeys"], json!({"a": null, "d": null}));
}

/// A reader finds the newest version in the metadata, and its value is gone when it comes for it, as only so many are kept. At
/// no moment was there no newest version. Seen first by `make chaos`, with a replica whose way to the store was slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_version_is_found_while_older_ones_go() {
    let mount = std::sync::Arc::new(Mount::new("2").await);
    mount.put("metadata/s", json!({"max_versions": 1})).await;
    mount.put("data/s", json!({"data": {"n": 0}})).await;
    let writer = tokio::spawn({
        let mount = mount.clone();
        async move {
            for n in 1..=300 {
                mount.put("data/s", json!({"data": {"n": n}})).await;
            }
        }
    });
    while !writer.is_finished() {
        let answer = mount.ask(Operation::Read, "data/s", Value::Null).await.unwrap();
        assert_eq!(answer.status, None, "{:?}", answer.data.map(|data| data.to_map()));
    }
    writer.await.unwrap();
    assert_eq!(mount.get("data/s").await["data"]["n"], 300);
}
