//! What is heard of, what is polled, and what is shown while the server is away.

use std::time::{Duration, Instant};

use serde_json::json;
use tonic::Code;

use crate::node::Node;

const KV: &str = "k8s/shop/kv/data/orders/api";
const ITEMS: &[(&str, &str)] = &[("items", "- {path: k8s/shop/kv/data/orders/api, key: token, file: token}")];

fn set(node: &Node, value: &str) {
    node.server.with(|world| world.kv.insert(KV.to_owned(), json!({"token": value})));
}

#[tokio::test]
async fn changes_are_heard_of_and_polled_for_when_nobody_tells() {
    let mut node = Node::new().await;
    set(&node, "first");
    let (sender, _) = tokio::sync::broadcast::channel(16);
    node.server.with(|world| world.events = Some(sender.clone()));
    node.start_driver().await;
    node.until("the subscription", || node.log().contains("hearing of changes")).await;
    node.publish("u-1", ITEMS).await.unwrap();
    // The next poll is a minute away.
    set(&node, "second");
    sender.send(json!({"data": {"event": {"metadata": {"data_path": KV}}}}).to_string()).unwrap();
    node.until("the new value", || node.read("u-1", "token") == "second").await;
    // The subscription ends, and no other is to be had.
    node.server.with(|world| world.events = None);
    drop(sender);
    node.until("the end", || node.log().contains("no longer hearing of changes")).await;
    set(&node, "third");
    node.until("the next value", || node.read("u-1", "token") == "third").await;
}

#[tokio::test]
async fn a_change_that_is_told_of_is_in_the_file_within_a_second() {
    let mut node = Node::new().await;
    set(&node, "first");
    let (sender, _) = tokio::sync::broadcast::channel(16);
    node.server.with(|world| world.events = Some(sender.clone()));
    node.start_driver().await;
    node.until("the subscription", || node.log().contains("hearing of changes")).await;
    // Nothing but an event makes it look again.
    node.publish("u-1", &[ITEMS[0], ("refresh", "10m")]).await.unwrap();
    let mut times = Vec::new();
    for round in 1..=7 {
        let (value, begun) = (format!("value {round}"), Instant::now());
        set(&node, &value);
        sender.send(json!({"data": {"event": {"metadata": {"data_path": KV}}}}).to_string()).unwrap();
        node.within(Duration::from_secs(10), "the new value", || node.read("u-1", "token") == value).await;
        times.push(begun.elapsed());
    }
    times.sort();
    eprintln!("write to file: half within {:?}, all within {:?}", times[3], times[6]);
    assert!(times[3] < Duration::from_secs(1), "{times:?}");
}

#[tokio::test]
async fn a_pod_starts_with_the_last_good_files_where_that_is_wanted() {
    let mut node = Node::new().await;
    set(&node, "canary-1");
    let key_dir = node.key_dir();
    let wanted = ["--last-good", "1h", "--last-good-key-dir", key_dir.to_str().unwrap()];
    node.start_driver_with(&wanted).await;
    node.publish("u-1", ITEMS).await.unwrap();
    node.publish("u-2", &[("credentials", "orders-ro")]).await.unwrap();
    node.unpublish("u-1").await.unwrap();
    node.server.with(|world| world.away = true);
    node.publish("u-3", ITEMS).await.unwrap();
    assert_eq!((node.read("u-3", "token").as_str(), &node.status("u-3")["state"]), ("canary-1", &json!("stale")));
    let condition = node.stats("u-3").await.volume_condition.unwrap();
    assert!(condition.abnormal && condition.message.contains("these are the files of"), "{condition:?}");
    // Not of another service account's or other attributes, and never what has a lease.
    let status = node.publish("u-4", &[("credentials", "orders-ro")]).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");

    // A driver that restarts can still read them; a server that is back is asked.
    node.kill_driver();
    node.start_driver_with(&wanted).await;
    node.publish("u-5", ITEMS).await.unwrap();
    set(&node, "second");
    node.server.with(|world| world.away = false);
    node.until("the new value", || node.read("u-5", "token") == "second").await;
    node.until("a fresh state", || node.status("u-5")["state"] == "fresh").await;
    assert_eq!(node.leaks(&["canary-1"]), Vec::<String>::new());
}
