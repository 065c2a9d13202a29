//! A static seal and `initialize` stanzas: the first start needs nobody, and no root token comes out of it.

use std::path::Path;

use holdfast_client::Client;
use holdfast_storage::Storage;
use holdfast_storage_etcd::EtcdStorage;
use serde_json::{Value, json};

use crate::fixture::{Server, client, etcd::Etcd, folder, free_port, get, put, until};

#[tokio::test]
async fn the_first_start_does_it_and_the_second_finds_it_done() {
    let folder = folder();
    std::fs::write(folder.path().join("seal.key"), [7; 32]).unwrap();
    let configuration = format!(
        r#"
        storage "file" {{ path = {:?} }}
        seal "static" {{
          current_key_id = "k1"
          current_key = "file://{}"
        }}
        initialize "first" {{
          request "kv" {{
            operation = "update"
            path = "sys/mounts/kv"
            data = {{ type = "kv", options = {{ version = "2" }} }}
          }}
          request "open" {{
            operation = "update"
            path = "sys/mounts/other"
            data = {{ type = "kv" }}
          }}
        }}
        "#,
        folder.path().join("data").display().to_string(),
        folder.path().join("seal.key").display(),
    );
    for start in ["first", "second"] {
        let server = Server::start(folder.path(), &configuration).await;
        let client = server.client();
        wait_until_unsealed(&client, &server).await;
        // Mounts are there: without a token the answer is 403 and not 404, and the internal list needs one too.
        let answer = client.call(get("kv/data/x")).await.unwrap();
        assert_eq!(answer.status, 403, "{start}");
        let status: Value = client.bare(get("sys/seal-status")).await.unwrap();
        assert_eq!((&status["type"], &status["sealed"]), (&"static".into(), &false.into()), "{start}: {status}");
        assert!(!server.errors().contains("hvs."), "a token is in the log");
        assert!(server.stop().success());
    }
}

async fn wait_until_unsealed(client: &Client, server: &Server) {
    for _ in 0..500 {
        if client.health().await.is_ok_and(|health| health.initialized && !health.sealed) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("still sealed:\n{}", server.errors());
}

/// A replica as the chart starts it.
fn replica(folder: &Path, etcd: &Etcd) -> (u16, Vec<String>) {
    let port = free_port();
    let file = |name: &str| etcd.folder().join(name);
    let role = |name: &str| {
        json!({"operation": "update", "path": format!("auth/kubernetes/role/{name}"), "data": {
            "bound_service_account_names": name, "bound_service_account_namespaces": "holdfast", "audience": "holdfast",
            "token_policies": name, "token_ttl": "1h"}})
    };
    let policy = |name: &str, text: &str| json!({"operation": "update", "path": format!("sys/policies/acl/{name}"), "data": {"policy": text}});
    let audit = json!({"type": "file", "options": {"file_path": folder.join("audit.log")}});
    let host = json!({"kubernetes_host": "https://kubernetes.default.svc"});
    let requests = json!([
        {"audit": {"operation": "update", "path": "sys/audit/file", "data": audit}},
        {"auth": {"operation": "update", "path": "sys/auth/kubernetes", "data": {"type": "kubernetes"}}},
        {"config": {"operation": "update", "path": "auth/kubernetes/config", "data": host}},
        {"operator-policy": policy("holdfast-operator", include_str!("../../charts/holdfast/files/operator-policy.hcl"))},
        {"csi-policy": policy("holdfast-csi", include_str!("../../charts/holdfast/files/csi-policy.hcl"))},
        {"operator-role": role("holdfast-operator")},
        {"csi-role": role("holdfast-csi")},
    ]);
    let configuration = json!({
        "storage": {"etcd": {"endpoints": [etcd.endpoint()], "prefix": "holdfast/", "tls_ca_file": file("ca.crt"),
                             "tls_cert_file": file("client.crt"), "tls_key_file": file("client.key")}},
        "listener": {"tcp": {"address": format!("127.0.0.1:{port}"), "tls_disable": true}},
        "seal": {"static": {"current_key_id": "k1", "current_key": format!("file://{}", file("seal.key").display())}},
        "initialize": {"holdfast": {"request": requests}},
    });
    let path = folder.join("config.json");
    std::fs::write(&path, configuration.to_string()).unwrap();
    (port, vec![format!("-config={}", path.display())])
}

fn start(folder: &Path, (port, arguments): &(u16, Vec<String>)) -> Server {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Server::spawn(folder, *port, &arguments)
}

#[tokio::test]
async fn three_replicas_that_start_at_once_initialize_one_cluster_even_when_one_is_killed() {
    let etcd = Etcd::start().await;
    std::fs::write(etcd.folder().join("seal.key"), [9; 32]).unwrap();
    let folders = [folder(), folder(), folder()];
    let replicas: Vec<_> = folders.iter().map(|folder| replica(folder.path(), &etcd)).collect();
    let mut servers: Vec<_> = folders.iter().zip(&replicas).map(|(f, replica)| start(f.path(), replica)).collect();
    // Whoever got how far: it starts again.
    let victim = client(&servers[0].address());
    servers[0].wait_until_answering(&victim).await;
    servers.remove(0).kill();
    servers.push(start(folders[0].path(), &replicas[0]));

    let mut clusters = Vec::new();
    for server in &servers {
        let client = server.client();
        wait_until_unsealed(&client, server).await;
        clusters.push(client.seal_status().await.unwrap().cluster_id);
        role_is_there(&client).await;
    }
    clusters.dedup();
    assert_eq!(clusters.len(), 1, "{clusters:?}");
    assert!(!clusters[0].is_empty());
    wait_until_finished(&etcd).await;
    assert!(folders.iter().any(|folder| folder.path().join("audit.log").exists()), "nothing is audited");
}

/// The last step may be seen before whoever took it has put away the marker.
async fn wait_until_finished(etcd: &Etcd) {
    let store = EtcdStorage::connect(etcd.config("holdfast/")).await.unwrap();
    let is_away = async || store.get(b"clear/self-init").await.unwrap().0.is_none();
    until("somebody finishes the steps", std::time::Duration::from_secs(10), is_away).await;
}

/// The method and its role are there when only the token is wrong.
async fn role_is_there(client: &Client) {
    let mut text = String::new();
    for _ in 0..500 {
        let login = put("auth/kubernetes/login", json!({"role": "holdfast-csi", "jwt": "none"}));
        let answer = client.call(login).await.unwrap();
        text = String::from_utf8_lossy(&answer.body).into_owned();
        if matches!(answer.status, 400 | 403) && !text.contains("role") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the role does not appear: {text}");
}
