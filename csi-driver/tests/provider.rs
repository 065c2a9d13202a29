//! SecretProviderClasses: asked by the secrets-store driver, which the tests play, and by our own volumes.

use std::{collections::BTreeMap, fs};

use holdfast_csi::proto::provider::{
    File, MountRequest, MountResponse, VersionRequest, csi_driver_provider_client::CsiDriverProviderClient,
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::node::{Node, TOKENS, connect, pod_context, tokens};

const CREDS: &str = "k8s/shop/orders-db/creds/readonly";
const OBJECTS: &str = "- {objectName: token, secretPath: kv/data/api, secretKey: token, filePermission: 0600}\n\
                       - {objectName: whole.json, secretPath: kv/data/api}\n\
                       - {objectName: db/user, secretPath: k8s/shop/orders-db/creds/readonly, secretKey: username}\n\
                       - {objectName: db/password, secretPath: k8s/shop/orders-db/creds/readonly, secretKey: password}\n\
                       - {objectName: a.crt, secretPath: pki/issue/x, secretKey: certificate, method: PUT, secretArgs: {common_name: a}}\n\
                       - {objectName: b.crt, secretPath: pki/issue/x, secretKey: certificate, method: PUT, secretArgs: {common_name: b}}\n\
                       - {objectName: old, secretPath: 'kv/data/api?version=1', secretKey: token}\n\
                       - {objectName: bin, secretPath: kv/data/api, secretKey: bin, encoding: base64}\n";

fn parameters() -> BTreeMap<String, String> {
    let given = [("roleName", "orders"), ("vaultAddress", "https://not-asked:1"), ("objects", OBJECTS)];
    given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn node(more: &[&str]) -> Node {
    let mut node = Node::new().await;
    node.start_driver_with(more).await;
    node.server.with(|world| {
        world.kv.insert("kv/data/api".to_owned(), json!({"token": "first", "bin": "AAH/"}));
        world.kv.insert("kv/data/api?version=1".to_owned(), json!({"token": "zeroth"}));
    });
    node
}

fn request(node: &Node, uid: &str, with_tokens: bool) -> MountRequest {
    let mut attributes = parameters();
    attributes.extend(pod_context(uid));
    if with_tokens {
        attributes.insert(TOKENS.to_owned(), tokens(uid));
    }
    MountRequest {
        attributes: serde_json::to_string(&attributes).unwrap(),
        secrets: "{}".to_owned(),
        target_path: node.target(uid).to_str().unwrap().to_owned(),
        permission: "420".to_owned(),
        current_object_version: Vec::new(),
    }
}

async fn mount(node: &Node, request: MountRequest) -> Result<MountResponse, Status> {
    let socket = node.folder().join("providers/vault.sock");
    CsiDriverProviderClient::new(connect(&socket).await).mount(request).await.map(tonic::Response::into_inner)
}

fn text<'a>(files: &'a [File], name: &str) -> &'a str {
    std::str::from_utf8(&files.iter().find(|file| file.path == name).unwrap().contents).unwrap()
}

#[tokio::test]
async fn a_class_of_the_vault_provider_is_served_to_the_secrets_store_driver() {
    let node = node(&["--provider"]).await;
    let socket = node.folder().join("providers/vault.sock");
    let version =
        CsiDriverProviderClient::new(connect(&socket).await).version(VersionRequest::default()).await.unwrap();
    assert_eq!(version.into_inner().version, "v1alpha1");

    let first = mount(&node, request(&node, "u-1", true)).await.unwrap();
    let files = &first.files;
    assert_eq!((text(files, "token"), text(files, "old")), ("first", "zeroth"));
    assert_eq!((text(files, "db/user"), text(files, "db/password")), ("user-1", "password-1"));
    assert_ne!(text(files, "a.crt"), text(files, "b.crt"), "other arguments are another certificate");
    assert!(text(files, "a.crt").starts_with("a-"));
    assert_eq!(files.iter().find(|file| file.path == "bin").unwrap().contents, [0, 1, 255]);
    let whole: Value = serde_json::from_str(text(files, "whole.json")).unwrap();
    assert_eq!((&whole["data"]["data"]["token"], &whole["renewable"]), (&json!("first"), &json!(false)));
    let modes: BTreeMap<_, _> = files.iter().map(|file| (file.path.as_str(), file.mode)).collect();
    assert_eq!((modes["token"], modes["db/user"]), (0o600, 0o644));
    assert_eq!(first.object_version.len(), files.len());

    // A poll finds what there is: no login, no user, no certificate more.
    let second = mount(&node, request(&node, "u-1", true)).await.unwrap();
    assert_eq!(second.object_version, first.object_version);
    assert_eq!(node.server.with(|world| (world.minted, world.issued, world.logins)), (1, 2, 1));

    node.server.with(|world| world.kv.insert("kv/data/api".to_owned(), json!({"token": "second", "bin": "AAH/"})));
    let third = mount(&node, request(&node, "u-1", true)).await.unwrap();
    assert_eq!(text(&third.files, "token"), "second");
    let changed: Vec<_> =
        third.object_version.iter().filter(|version| !first.object_version.contains(version)).collect();
    assert_eq!(changed.iter().map(|version| version.id.as_str()).collect::<Vec<_>>(), ["token", "whole.json"]);

    // Another pod has its own.
    mount(&node, request(&node, "u-2", true)).await.unwrap();
    assert_eq!(node.server.with(|world| (world.minted, world.bound.len())), (2, 2));
}

#[tokio::test]
async fn what_a_class_gave_is_renewed_and_given_back_when_its_pod_is_gone() {
    let mut node = node(&["--provider"]).await;
    node.server.with(|world| (world.ttl, world.renewal) = (3, 3));
    mount(&node, request(&node, "u-1", true)).await.unwrap();
    node.until("renewals between polls", || node.server.with(|world| world.renewals >= 2)).await;
    // A driver that restarts finds the same credential at the next poll.
    node.kill_driver();
    node.start_driver_with(&["--provider"]).await;
    let again = mount(&node, request(&node, "u-1", true)).await.unwrap();
    assert_eq!(text(&again.files, "db/user"), "user-1");
    // Down while the pod goes: found at the next start.
    node.kill_driver();
    fs::remove_dir_all(node.root.join("pods/u-1")).unwrap();
    node.start_driver_with(&["--provider"]).await;
    node.until("the release", || node.server.with(|world| world.bound.is_empty())).await;
}

#[tokio::test]
async fn tokens_are_the_pods_and_are_asked_for_only_where_that_is_allowed() {
    let node = node(&["--provider", "--provider-request-tokens"]).await;
    let files = mount(&node, request(&node, "u-1", false)).await.unwrap().files;
    assert_eq!(text(&files, "token"), "first");

    let mut stolen = request(&node, "u-2", false);
    let mut attributes: BTreeMap<String, String> = serde_json::from_str(&stolen.attributes).unwrap();
    attributes.insert(TOKENS.to_owned(), tokens("u-1"));
    stolen.attributes = serde_json::to_string(&attributes).unwrap();
    let status = mount(&node, stolen).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains("pod UID"), "{status}");
}

#[tokio::test]
async fn without_that_a_class_says_what_is_missing() {
    let node = node(&["--provider"]).await;
    let status = mount(&node, request(&node, "u-1", false)).await.err().unwrap();
    assert!(status.message().contains("tokenRequests"), "{status}");
    node.server.with(|world| world.forbidden.push(CREDS.to_owned()));
    let status = mount(&node, request(&node, "u-1", true)).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains(CREDS), "{status}");
}

#[tokio::test]
async fn a_volume_of_our_own_may_name_a_class() {
    let node = node(&[]).await;
    node.server.with(|world| world.classes.insert("vault-db".to_owned(), parameters()));
    node.publish("u-1", &[("secretProviderClass", "vault-db")]).await.unwrap();
    assert_eq!((node.read("u-1", "db/user"), node.read("u-1", "token")), ("user-1".into(), "first".into()));
    let issued = node.server.with(|world| world.issued);
    node.server.with(|world| world.kv.insert("kv/data/api".to_owned(), json!({"token": "second", "bin": "AAH/"})));
    node.until("the new value", || node.read("u-1", "token") == "second").await;
    assert_eq!(node.server.with(|world| world.issued), issued, "certificates are not made anew by polling");

    let status = node.publish("u-2", &[("secretProviderClass", "nothing")]).await.err().unwrap();
    assert!(status.message().contains("there is no SecretProviderClass nothing in namespace shop"), "{status}");
    let status = node.publish("u-2", &[("secretProviderClass", "vault-db"), ("refresh", "1s")]).await.err().unwrap();
    assert!(status.message().contains("stands alone"), "{status}");
}
