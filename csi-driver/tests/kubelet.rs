//! A kubelet: it finds the driver by its socket, registers it, repeats its requests, forgets to answer, restarts.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use holdfast_csi::proto::{
    csi::{NodeGetInfoRequest, node_client::NodeClient},
    registration::{InfoRequest, RegistrationStatus, registration_client::RegistrationClient},
};
use serde_json::json;

use crate::node::{Node, connect};

const KV: &str = "k8s/shop/kv/data/orders/api";
const ATTRIBUTES: &[(&str, &str)] = &[
    ("credentials", "orders-ro"),
    (
        "items",
        "- {path: k8s/shop/kv/data/orders/api, key: token, file: pair/one}\n\
               - {path: k8s/shop/kv/data/orders/api, key: token, file: pair/two}",
    ),
];

/// What kubelet's plugin watcher does with a socket; answers the CSI socket.
async fn register(node: &Node, notify: bool) -> String {
    let mut watcher = RegistrationClient::new(connect(&node.registry_socket()).await);
    let info = watcher.get_info(InfoRequest {}).await.unwrap().into_inner();
    let mut driver = NodeClient::new(connect(info.endpoint.as_ref()).await);
    let told = driver.node_get_info(NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(told.node_id, "node-1");
    if notify {
        let status = RegistrationStatus { plugin_registered: true, error: String::new() };
        watcher.notify_registration_status(status).await.unwrap();
    }
    info.endpoint
}

/// Tells one socket file from the next, which may get the same inode.
fn inode(node: &Node) -> Option<std::time::SystemTime> {
    fs::symlink_metadata(node.registry_socket()).ok()?.modified().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_republish_every_50_ms_disturbs_no_reader() {
    let node = Node::start().await;
    register(&node, true).await;
    node.server.with(|world| world.kv.insert(KV.to_owned(), json!({"token": "value-0"})));
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    let (root, done) = (node.target("u-1"), &AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                // One folder is one payload: both files of it say the same.
                let Ok(link) = fs::read_link(root.join("..data")) else { panic!("..data is gone") };
                let read = |name: &str| fs::read_to_string(root.join(&link).join("pair").join(name));
                if let (Ok(one), Ok(two)) = (read("one"), read("two")) {
                    assert!(one == two && one.starts_with("value-"), "{one} {two}");
                    seen += 1;
                }
            }
            seen
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let start = Instant::now();
                for round in 1..=60 {
                    node.server
                        .with(|world| world.kv.insert(KV.to_owned(), json!({"token": format!("value-{round}")})));
                    node.publish("u-1", ATTRIBUTES).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                node.until("the last value", || node.read("u-1", "pair/one") == "value-60").await;
                eprintln!("60 republishes in {:?}", start.elapsed());
            });
        });
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    assert_eq!((node.mounts("u-1"), node.server.with(|world| (world.minted, world.logins))), (1, (1, 1)));
}

#[tokio::test]
async fn a_lost_notification_is_asked_for_again() {
    let mut node = Node::new().await;
    node.start_driver_with(&["--registration-patience", "1s"]).await;
    let first = inode(&node);
    register(&node, false).await;
    node.until("another socket", || inode(&node).is_some() && inode(&node) != first).await;
    register(&node, true).await;
    node.until("registration", || node.log().contains("kubelet has registered the driver")).await;
    // A kubelet that restarts finds the socket where it is, and asks again; if it gets nowhere and cannot say so, it is
    // called again.
    let first = inode(&node);
    register(&node, false).await;
    node.until("another socket", || inode(&node).is_some() && inode(&node) != first).await;
    register(&node, true).await;
    node.until("registration", || node.log().matches("kubelet has registered the driver").count() == 2).await;
}

#[tokio::test]
async fn leftover_sockets_are_replaced_and_requests_in_between_answered() {
    let mut node = Node::start().await;
    node.server.with(|world| world.kv.insert(KV.to_owned(), json!({"token": "value-0"})));
    register(&node, true).await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    // The node loses power: nobody removes anything.
    node.kill_driver_and_leave_sockets();
    node.kill_mounter();
    let old = inode(&node);
    assert!(old.is_some());
    node.start_driver().await;
    node.until("another socket", || inode(&node).is_some() && inode(&node) != old).await;
    register(&node, true).await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    node.unpublish("u-1").await.unwrap();
    node.unpublish("u-1").await.unwrap();
    node.until("the release", || node.server.with(|world| world.bound.is_empty())).await;
}

#[tokio::test]
async fn the_startup_taint_goes_when_the_driver_is_registered() {
    let mut node = Node::new().await;
    let key = "holdfast.dev/agent-not-ready";
    let taint = |node: &Node| {
        node.server.with(|world| {
            world.taints =
                vec![json!({"key": "other", "effect": "NoSchedule"}), json!({"key": key, "effect": "NoExecute"})];
        });
    };
    taint(&node);
    node.start_driver_with(&["--startup-taint", key]).await;
    register(&node, false).await;
    assert_eq!(node.server.with(|world| world.taints.len()), 2, "not before it is registered");
    register(&node, true).await;
    node.until("the taint to go", || node.server.with(|world| world.taints.len()) == 1).await;
    assert_eq!(node.server.with(|world| world.taints[0]["key"].clone()), "other");

    // The Node object was deleted: kubelet starts again and makes another one, which has the taint.
    taint(&node);
    register(&node, true).await;
    node.until("the taint to go again", || node.server.with(|world| world.taints.len()) == 1).await;
}

#[tokio::test]
async fn no_secret_and_no_token_is_in_a_log_or_on_disk() {
    let node = Node::start().await;
    node.server.with(|world| world.kv.insert(KV.to_owned(), json!({"token": "canary-value"})));
    register(&node, true).await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    assert_eq!(node.read("u-1", "pair/one"), "canary-value");
    // The payload of the pod's token, its signature, the server's token, the credential, the value.
    let canaries = ["canary-value", "password-1", "c2lnbmF0dXJl", "e30.ey", "hvs."];
    assert_eq!(node.leaks(&canaries), Vec::<String>::new());
    node.server.with(|world| world.away = true);
    node.unpublish("u-1").await.unwrap();
    node.until("a first try", || node.log().contains("release is owed")).await;
    assert_eq!(node.leaks(&canaries), Vec::<String>::new());
    node.server.with(|world| world.away = false);
    node.until("the release", || node.server.with(|world| world.bound.is_empty())).await;
}
