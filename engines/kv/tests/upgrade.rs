//! From version 1 to version 2 while the mount serves.

use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::mount::Mount;

async fn upgraded() -> Mount {
    let mut mount = Mount::new("1").await;
    for path in ["a", "team/b", "team/deep/c", "data/d"] {
        mount.put(path, json!({ "of": path, "n": 1 })).await;
    }
    mount.upgrade().await;
    mount
}

#[tokio::test]
async fn everything_is_readable_at_once_and_listed_before_anything_is_moved() {
    let mount = upgraded().await;
    let keys = async |path: &str| mount.data(Operation::List, path, Value::Null).await["keys"].clone();
    assert_eq!(keys("metadata/").await, json!(["a", "data/", "team/"]));
    let read = mount.get("data/team/deep/c").await;
    assert_eq!((&read["data"], &read["metadata"]["version"]), (&json!({"of": "team/deep/c", "n": 1}), &json!(1)));
    // Some are moved, some are not: nobody sees a difference.
    assert_eq!(keys("metadata/team/").await, json!(["b", "deep/"]));
    let all = mount.data(Operation::Scan, "metadata/", Value::Null).await;
    assert_eq!(all["keys"], json!(["a", "data/d", "team/b", "team/deep/c"]));
    assert_eq!(mount.get("data/data/d").await["data"]["of"], "data/d");
    assert_eq!(mount.put("data/a", json!({"data": {"n": 2}, "options": {"cas": 1}})).await["version"], 2);
    let first = mount.data(Operation::Read, "data/a", json!({"version": 1})).await;
    assert_eq!(first["data"]["of"], "a");
}

#[tokio::test]
async fn the_background_moves_the_rest_and_what_was_deleted_stays_deleted() {
    let mount = upgraded().await;
    mount.data(Operation::Delete, "metadata/a", Value::Null).await;
    mount.backend.tick().await.unwrap();
    mount.backend.tick().await.unwrap();
    assert!(matches!(mount.ask(Operation::Read, "data/a", Value::Null).await, Err(Error::NotFound(None))));
    assert_eq!(mount.get("metadata/team/b").await["current_version"], 1);
    let all = mount.data(Operation::Scan, "metadata/", Value::Null).await;
    assert_eq!(all["keys"], json!(["data/d", "team/b", "team/deep/c"]));
}

#[tokio::test]
async fn a_request_that_was_routed_before_the_upgrade_writes_nothing_after_it() {
    let mount = Mount::new("1").await;
    mount.put("a", json!({"n": 1})).await;
    let before = mount.request(Operation::Update, "a", json!({"n": 2}));
    let read = mount.request(Operation::Read, "a", Value::Null);
    let mut mount = mount;
    mount.upgrade().await;
    assert_eq!(mount.get("data/a").await["data"], json!({"n": 1}));
    for late in [before, read] {
        assert!(matches!(mount.backend.handle(late).await, Err(Error::Unavailable(_))));
    }
    assert_eq!(mount.get("data/a").await["data"], json!({"n": 1}));
}
