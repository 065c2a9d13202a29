//! The life of a volume: published, kept fresh, published again, taken away; with a driver that dies and a server that
//! goes away in between.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use serde_json::json;
use tonic::Code;

use crate::node::{Node, TOKENS, tokens};

const ITEMS: &str = "- {path: k8s/shop/kv/data/orders/api, key: token, file: api-token, mode: \"0400\"}\n\
                     - {template: 'jdbc:postgresql://pg/orders?user={{ .username }}&password={{ .password }}', credential: \
                     orders-ro, file: jdbc.url}\n";
const ATTRIBUTES: &[(&str, &str)] = &[("credentials", "orders-ro"), ("items", ITEMS)];
const KV: &str = "k8s/shop/kv/data/orders/api";

async fn node() -> Node {
    let node = Node::start().await;
    node.server.with(|world| world.kv.insert(KV.to_owned(), json!({"token": "first"})));
    node
}

#[tokio::test]
async fn a_volume_has_what_its_attributes_ask_for() {
    let node = node().await;
    let mut request = node.request("u-1", ATTRIBUTES);
    if let Some(capability) = &mut request.volume_capability
        && let Some(holdfast_csi::proto::csi::volume_capability::AccessType::Mount(mount)) = &mut capability.access_type
    {
        mount.volume_mount_group = "2000".to_owned();
    }
    node.publish_request(request).await.unwrap();
    assert_eq!(
        (node.read("u-1", "orders-ro/username"), node.read("u-1", "api-token")),
        ("user-1".into(), "first".into())
    );
    assert_eq!(node.read("u-1", "jdbc.url"), "jdbc:postgresql://pg/orders?user=user-1&password=password-1");
    let target = node.target("u-1");
    let facts = |file: &str| fs::metadata(target.join(file)).map(|file| (file.mode() & 0o777, file.gid())).unwrap();
    assert_eq!(facts(""), (0o750, 2000));
    assert_eq!(facts("orders-ro/username"), (0o440, 2000));
    assert_eq!(facts("api-token"), (0o440, 2000));
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mountinfo.lines().find(|line| line.contains(target.to_str().unwrap())).unwrap();
    for option in ["nosuid", "nodev", "noexec", "- tmpfs holdfast-csi", "gid=2000"] {
        assert!(mount.contains(option), "{option}: {mount}");
    }
    let status = node.status("u-1");
    assert_eq!(status["state"], "fresh");
    assert_eq!(status["items"]["orders-ro"]["path"], "k8s/shop/orders-db/creds/readonly");
    assert!(status["items"]["orders-ro"]["expires"].is_string(), "{status}");
    assert!(status["warning"].is_null(), "{status}");
    node.server.with(|world| {
        let items: Vec<_> = world.bound.keys().cloned().collect();
        assert_eq!(items, [("u-1".to_owned(), "csi/secrets/orders-ro".to_owned())]);
        assert_eq!(world.minted, 1, "directory and template share one credential");
    });

    node.unpublish("u-1").await.unwrap();
    assert!(node.mounts("u-1") == 0 && !target.exists());
    node.until("the release", || node.server.with(|world| world.bound.is_empty())).await;
    node.unpublish("u-1").await.unwrap();
    for secret in ["password-1", "first", "c2lnbmF0dXJl", "hvs."] {
        assert!(!node.log().contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_changed_value_is_there_within_two_seconds_and_a_republish_does_nothing() {
    let node = node().await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    let warning = node.status("u-1")["warning"].as_str().unwrap_or_default().to_owned();
    assert!(warning.starts_with("only root and user 65532 can read api-token (0400): "), "{warning}");
    let link = || fs::read_link(node.target("u-1").join("..data")).unwrap();
    let before = (link(), node.server.with(|world| (world.logins, world.minted)));
    for _ in 0..20 {
        node.publish("u-1", ATTRIBUTES).await.unwrap();
    }
    assert_eq!((link(), node.server.with(|world| (world.logins, world.minted))), before);
    assert_eq!(node.mounts("u-1"), 1);

    node.server.with(|world| world.kv.insert(KV.to_owned(), json!({"token": "second"})));
    let changed = || node.read("u-1", "api-token") == "second";
    node.within(Duration::from_secs(2), "the new value", changed).await;
    assert_eq!(node.read("u-1", "orders-ro/username"), "user-1");
}

#[tokio::test]
async fn a_restarted_driver_finds_the_same_credential() {
    let mut node = node().await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    let link = fs::read_link(node.target("u-1").join("..data")).unwrap();
    node.kill_driver();
    assert_eq!(node.read("u-1", "orders-ro/username"), "user-1", "files outlive the driver");
    node.start_driver().await;
    let condition = node.stats("u-1").await.volume_condition.unwrap();
    assert!(!condition.abnormal && condition.message.starts_with("unknown: the driver has restarted"), "{condition:?}");
    node.until("its count", || node.metrics().contains("holdfast_csi_volumes_unknown 1")).await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    assert_eq!(fs::read_link(node.target("u-1").join("..data")).unwrap(), link, "nothing was written again");
    assert_eq!((node.mounts("u-1"), node.server.with(|world| world.minted)), (1, 1));
    // And it is kept fresh again.
    node.server.with(|world| world.kv.insert(KV.to_owned(), json!({"token": "second"})));
    node.until("the new value", || node.read("u-1", "api-token") == "second").await;
}

#[tokio::test]
async fn while_the_server_is_away_the_volume_stays_and_says_so() {
    let mut node = node().await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    node.server.with(|world| world.away = true);
    node.until("a stale status", || node.status("u-1")["state"] == "stale").await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    let condition = node.stats("u-1").await.volume_condition.unwrap();
    assert!(condition.abnormal && condition.message.contains("stale"), "{condition:?}");
    node.until("an Event", || node.server.with(|world| world.told.len() == 1)).await;
    let (reason, note) = node.server.with(|world| world.told[0].clone());
    assert!(reason == "SecretsStale" && note.starts_with("volume secrets: stale: "), "{reason}: {note}");
    let metrics = node.metrics();
    let labels = "namespace=\"shop\",pod=\"orders-1\",volume=\"secrets\",item=\"orders-ro\"";
    let line = metrics.lines().find(|line| line.starts_with("holdfast_csi_seconds_to_expiry{")).unwrap();
    let seconds: f64 =
        line.strip_prefix(&format!("holdfast_csi_seconds_to_expiry{{{labels}}} ")).unwrap().parse().unwrap();
    assert!(seconds > 3500.0 && seconds <= 3600.0, "{line}");
    // Also after a restart, when the driver can't take the volume up.
    node.kill_driver();
    node.start_driver().await;
    let node = node;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    assert_eq!((node.mounts("u-1"), node.read("u-1", "api-token")), (1, "first".to_owned()));
    node.server.with(|world| world.away = false);
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    assert_eq!(node.status("u-1")["state"], "fresh");
}

#[tokio::test]
async fn a_release_is_paid_when_the_server_is_back_also_after_a_restart() {
    let mut node = node().await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    node.server.with(|world| world.away = true);
    node.unpublish("u-1").await.unwrap();
    assert_eq!(node.mounts("u-1"), 0);
    node.until("a first try", || node.log().contains("release is owed")).await;
    node.kill_driver();
    node.server.with(|world| world.away = false);
    assert_eq!(node.server.with(|world| world.bound.len()), 1);
    node.start_driver().await;
    node.until("the release", || node.server.with(|world| world.bound.is_empty())).await;
}

#[tokio::test]
async fn a_volume_that_comes_back_keeps_its_credential() {
    let node = node().await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    node.server.with(|world| world.away = true);
    node.unpublish("u-1").await.unwrap();
    node.until("a first try", || node.log().contains("release is owed")).await;
    node.server.with(|world| world.away = false);
    // Whichever comes first, publish or release: what the volume shows afterwards is bound.
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    let shown = node.read("u-1", "orders-ro/username");
    node.server.with(|world| {
        let bound: Vec<_> =
            world.bound.values().map(|(_, data)| data["username"].as_str().unwrap().to_owned()).collect();
        assert_eq!(bound, [shown]);
    });
}

#[tokio::test]
async fn a_pod_that_went_while_the_driver_was_away_is_released() {
    let mut node = node().await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    node.kill_driver();
    let target = node.target("u-1");
    assert!(std::process::Command::new("umount").arg(&target).status().unwrap().success());
    fs::remove_dir_all(node.root.join("pods/u-1")).unwrap();
    node.start_driver().await;
    node.until("the release", || node.server.with(|world| world.bound.is_empty())).await;
}

#[tokio::test]
async fn a_mounter_that_died_is_waited_for_and_holds_nothing() {
    let mut node = node().await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    node.kill_mounter();
    // What is mounted stays and is kept fresh; what is asked of the node has to wait.
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    node.server.with(|world| world.kv.insert(KV.to_owned(), json!({"token": "second"})));
    node.until("the new value", || node.read("u-1", "api-token") == "second").await;
    assert_eq!(node.publish("u-2", ATTRIBUTES).await.unwrap_err().code(), Code::Internal);
    assert_eq!(node.unpublish("u-1").await.unwrap_err().code(), Code::Internal);
    node.start_mounter();
    while node.publish("u-2", ATTRIBUTES).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    node.unpublish("u-1").await.unwrap();
    assert_eq!((node.mounts("u-1"), node.mounts("u-2")), (0, 1));
}

#[tokio::test]
async fn nobody_but_the_fetcher_is_served_by_the_mounter() {
    let node = node().await;
    // The tests are root, who may connect to everything; the mounter looks who it is.
    let mounter = holdfast_csi::mounter::client::Mounter::at(&node.folder().join("mounter.sock"));
    assert!(mounter.has_pod("u-1").await.is_err());
    node.until("a word about it", || node.log().contains("not the fetcher")).await;
}

#[tokio::test]
async fn a_reboot_finds_the_same_credential() {
    let mut node = node().await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    node.kill_driver();
    assert!(std::process::Command::new("umount").arg(node.target("u-1")).status().unwrap().success());
    node.start_driver().await;
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    assert_eq!(
        (node.read("u-1", "orders-ro/username").as_str(), node.server.with(|world| world.minted)),
        ("user-1", 1)
    );
}

#[tokio::test]
async fn a_lease_is_renewed_and_near_its_end_replaced_in_place() {
    let node = node().await;
    node.server.with(|world| (world.ttl, world.renewal) = (3, 3));
    node.publish("u-1", ATTRIBUTES).await.unwrap();
    node.until("two renewals", || node.server.with(|world| world.renewals >= 2)).await;
    assert_eq!((node.read("u-1", "orders-ro/username"), node.server.with(|world| world.minted)), ("user-1".into(), 1));
    node.server.with(|world| world.renewal = 1);
    node.until("a new credential", || node.read("u-1", "orders-ro/username") == "user-2").await;
    assert_eq!(node.read("u-1", "jdbc.url"), "jdbc:postgresql://pg/orders?user=user-2&password=password-2");
}

#[tokio::test]
async fn the_ttl_of_a_dynamic_credential_is_the_duration_of_its_lease() {
    let mut node = node().await;
    node.publish("u-1", &[("credentials", "orders-short")]).await.unwrap();
    let seconds = |node: &Node, key: &str| {
        let text = node.status("u-1")["items"]["orders-short"][key].as_str().unwrap().to_owned();
        let written = node.status("u-1")["written"].as_str().unwrap().to_owned();
        let at = |text: &str| text.parse::<holdfast_base::Timestamp>().unwrap().as_second();
        at(&text) - at(&written)
    };
    assert!((4..=7).contains(&seconds(&node, "expires")), "{}", node.status("u-1"));
    assert!((2..=6).contains(&seconds(&node, "renewBy")), "{}", node.status("u-1"));
    assert_eq!(node.server.with(|world| world.renewals), 1);
    // Renewed before its end, for as long again, and never replaced for it.
    node.until("two renewals more", || node.server.with(|world| world.renewals >= 3)).await;
    assert!((3..=7).contains(&seconds(&node, "expires")), "{}", node.status("u-1"));
    // Also by a driver that starts while the Kubernetes API says nothing new.
    node.kill_driver();
    node.start_driver().await;
    node.publish("u-1", &[("credentials", "orders-short")]).await.unwrap();
    assert!((4..=7).contains(&seconds(&node, "expires")), "{}", node.status("u-1"));
    assert_eq!(
        (node.read("u-1", "orders-short/username"), node.server.with(|world| world.minted)),
        ("user-1".into(), 1)
    );
}

#[tokio::test]
async fn what_is_wrong_is_said_where_the_user_looks() {
    let node = node().await;
    let refused = async |attributes: &[(&str, &str)]| {
        let status = node.publish("u-1", attributes).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let (code, text) = refused(&[("credentails", "orders-ro")]).await;
    assert_eq!((code, text.contains("did you mean credentials?")), (Code::InvalidArgument, true), "{text}");
    let (code, text) = refused(&[("credentials", "nobody")]).await;
    assert_eq!(code, Code::NotFound);
    assert!(text.contains("there is no DynamicCredential nobody in namespace shop"), "{text}");
    node.server.with(|world| world.forbidden.push("k8s/shop/orders-db/creds/readonly".to_owned()));
    let (code, text) = refused(&[("credentials", "orders-ro")]).await;
    assert_eq!(code, Code::PermissionDenied);
    for words in [
        "credential orders-ro",
        "k8s/shop/orders-db/creds/readonly",
        "service account shop/orders",
        "(403)",
        "VaultPolicy of namespace shop: rules: [{path: \"k8s/shop/orders-db/creds/readonly\", capabilities: [read]}]",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (code, text) = refused(&[("items", "- {path: k8s/shop/kv/orders/api, key: token, file: t}")]).await;
    assert_eq!((code, text.matches("k8s/shop/kv/orders/api").count()), (Code::NotFound, 1), "{text}");
    assert!(text.contains("has data/ after the mount"), "{text}");
    let (code, text) = refused(&[("items", "- {path: k8s/shop/kv/data/orders/api, key: tokn, file: t}")]).await;
    assert_eq!((code, text.contains("no key \"tokn\"; it has token")), (Code::NotFound, true), "{text}");
    assert_eq!(node.mounts("u-1"), 0);

    let mut request = node.request("u-1", ATTRIBUTES);
    request.secrets.insert(TOKENS.to_owned(), tokens("u-2"));
    let status = node.publish_request(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
}

#[tokio::test]
async fn a_hundred_volumes_are_kept_fresh_in_little_memory() {
    let node = node().await;
    let mut times = Vec::new();
    for n in 0..100 {
        let start = Instant::now();
        node.publish(&format!("u-{n}"), ATTRIBUTES).await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    node.server.with(|world| world.kv.insert(KV.to_owned(), json!({"token": "second"})));
    let all = || (0..100).all(|n| node.read(&format!("u-{n}"), "api-token") == "second");
    node.within(Duration::from_secs(5), "the new value everywhere", all).await;
    let memory = node.memory();
    eprintln!("publish: half within {:?}, all within {:?}; {memory:?} MiB with 100 volumes", times[50], times[99]);
    assert!(memory[0] < 40 && memory[1] < 10, "{memory:?} MiB");
}
