use std::time::Duration;

use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::mount::Mount;

#[tokio::test]
async fn what_was_written_is_read_exactly() {
    let mount = Mount::new("1").await;
    let secret: Value =
        serde_json::from_str(r#"{"n": 1.10, "big": 123456789012345678901234567890, "path": "p"}"#).unwrap();
    mount.put("a/b", secret.clone()).await;
    let response = mount.ask(Operation::Read, "a/b", Value::Null).await.unwrap();
    assert_eq!(response.lease_hint, Some(Duration::from_secs(2_764_800)));
    let text = serde_json::to_string(&response.data.unwrap()).unwrap();
    assert!(text.contains("1.10") && text.contains("123456789012345678901234567890"), "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), secret);
}

#[tokio::test]
async fn the_secret_may_give_its_lease_duration() {
    let mount = Mount::new("1").await;
    mount.put("a", json!({"ttl": "30m"})).await;
    let response = mount.ask(Operation::Read, "a", Value::Null).await.unwrap();
    assert_eq!(response.lease_hint, Some(Duration::from_secs(1800)));
}

#[tokio::test]
async fn lists_are_sorted_and_folders_end_in_a_slash() {
    let mount = Mount::new("1").await;
    mount.put("foo", json!({"a": 1})).await;
    mount.put("bar/baz", json!({"a": 1})).await;
    assert_eq!(mount.data(Operation::List, "", Value::Null).await["keys"], json!(["bar/", "foo"]));
    assert_eq!(mount.data(Operation::List, "bar/", Value::Null).await["keys"], json!(["baz"]));
    assert!(matches!(mount.ask(Operation::List, "none/", Value::Null).await, Err(Error::NotFound(None))));
}

#[tokio::test]
async fn what_is_wrong_or_absent_is_told() {
    let mount = Mount::new("1").await;
    assert_eq!(mount.refused(Operation::Update, "a", json!({})).await, "missing data fields");
    assert!(matches!(mount.ask(Operation::Read, "a", Value::Null).await, Err(Error::NotFound(None))));
    assert!(matches!(mount.ask(Operation::Patch, "a", json!({"a": 1})).await, Err(Error::UnsupportedOperation)));
    mount.data(Operation::Delete, "a", Value::Null).await;
}
