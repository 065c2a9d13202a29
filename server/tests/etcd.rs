//! Storage in etcd, with TLS and client certificates.

use serde_json::json;

use crate::fixture::{Server, certificates::Authority, data, etcd::Etcd, folder, free_port, unseal};

#[tokio::test]
async fn secrets_survive_a_restart_and_are_seen_by_another_replica() {
    let (etcd, first_folder, second_folder) = (Etcd::start().await, folder(), folder());
    let storage = etcd.stanza(etcd.folder(), "client");
    let first = Server::start(first_folder.path(), &storage).await;
    let (client, made) = first.initialize(3, 2).await;
    assert_eq!(client.seal_status().await.unwrap().storage_type, "etcd");
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "2"}})).await.unwrap();
    client.write("kv/data/app", json!({"data": {"v": 1}})).await.unwrap();

    let second = Server::start(second_folder.path(), &storage).await;
    let other = second.client().with_token(client.token().unwrap().duplicate());
    assert_eq!(unseal(&other, &made.keys_base64[..2]).await["sealed"], false);
    assert_eq!(data(&other, "kv/data/app").await["data"]["v"], 1);
    other.write("kv/data/app", json!({"data": {"v": 2}})).await.unwrap();
    assert_eq!(data(&client, "kv/data/app").await["data"]["v"], 2);

    assert!(first.stop().success());
    let first = Server::start(first_folder.path(), &storage).await;
    assert_eq!(unseal(&first.client(), &made.keys_base64[1..]).await["sealed"], false);
    let client = first.client().with_token(client.token().unwrap().duplicate());
    assert_eq!(data(&client, "kv/data/app").await["data"]["v"], 2);
}

#[tokio::test]
async fn a_wrong_client_certificate_is_said_and_ends_the_start() {
    let (etcd, folder, port) = (Etcd::start().await, folder(), free_port());
    Authority::new().issue().write(folder.path(), "client");
    let listener = format!("listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}\n");
    let file = folder.path().join("config.hcl");
    std::fs::write(&file, listener + &etcd.stanza(folder.path(), "client")).unwrap();
    let mut server = Server::spawn(folder.path(), port, &[&format!("-config={}", file.display())]);
    assert_eq!(server.wait().code(), Some(1));
    let errors = server.errors().to_lowercase();
    assert!(errors.contains("storage \"etcd\"") && errors.contains("certificate"), "{errors}");
}
