//! What the kernel says of a volume's file system.

use std::{fs, path::Path};

use holdfast_csi::proto::csi::volume_capability::AccessType;
use serde_json::json;
use tonic::Code;

use crate::node::Node;

/// Version of the kernel.
fn kernel() -> (u32, u32) {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = text.split(['.', '-']).map(|part| part.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[tokio::test]
async fn what_is_mounted_is_as_large_as_it_may_be_is_not_swapped_and_has_its_context() {
    let mut node = Node::new().await;
    node.start_driver_with(&["--volume-size", "1048576"]).await;
    let set = |text: &str| node.server.with(|world| world.kv.insert("kv/data/api".to_owned(), json!({"token": text})));
    set(&"1".repeat(700 << 10));
    let items = [("items", "- {path: kv/data/api, key: token, file: token}")];
    node.publish("u-1", &items).await.unwrap();
    let mount = |uid: &str| {
        let (target, text) = (node.target(uid), fs::read_to_string("/proc/self/mountinfo").unwrap());
        text.lines().find(|line| line.contains(target.to_str().unwrap())).unwrap().to_owned()
    };
    for option in ["size=1024k", "nr_inodes=4096", "nosuid", "nodev", "noexec"] {
        assert!(mount("u-1").contains(option), "{option}: {}", mount("u-1"));
    }
    assert_eq!(mount("u-1").contains("noswap"), kernel() >= (6, 4), "{}", mount("u-1"));
    // What does not fit beside the old files leaves them.
    set(&"2".repeat(700 << 10));
    node.until("a word about it", || node.status("u-1")["error"].to_string().contains("--volume-size")).await;
    assert!(node.read("u-1", "token").starts_with('1'));

    let mut request = node.request("u-2", &items);
    if let Some(AccessType::Mount(mount)) = request.volume_capability.as_mut().unwrap().access_type.as_mut() {
        mount.mount_flags = vec!["context=\"system_u:object_r:container_file_t:s0\"".to_owned()];
    }
    let done = node.publish_request(request).await;
    if Path::new("/sys/fs/selinux/enforce").exists() {
        assert!(mount("u-2").contains("context=system_u:object_r:container_file_t:s0"), "{}", mount("u-2"));
    } else {
        // A kernel without SELinux refuses what it does not know: so it was asked.
        assert_eq!(done.unwrap_err().code(), Code::Internal);
    }
}
