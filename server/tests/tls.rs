//! TLS of the listener.

use std::time::{Duration, Instant};

use holdfast_client::{Client, Config};

use crate::fixture::{
    SOON, Server,
    certificates::{Authority, Pair},
    folder, free_port,
};

fn client(port: u16, authority: &Authority, own: Option<&Pair>) -> Client {
    Client::new(Config {
        address: format!("https://127.0.0.1:{port}"),
        ca_pem: Some(authority.pem().into_bytes()),
        identity_pem: own.map(|pair| (pair.chain.clone().into_bytes(), pair.key.clone().into_bytes())),
        ..Config::default()
    })
    .unwrap()
}

async fn answers(port: u16, authority: &Authority) -> bool {
    client(port, authority, None).seal_status().await.is_ok()
}

async fn soon_answers(port: u16, authority: &Authority) {
    let deadline = Instant::now() + SOON;
    while !answers(port, authority).await {
        assert!(Instant::now() < deadline, "the certificate is not exchanged");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn clients_need_no_certificate_and_certificates_are_reloaded() {
    let (folder, port) = (folder(), free_port());
    let (first, second, third) = (Authority::new(), Authority::new(), Authority::new());
    let (chain, key) = first.issue().write(folder.path(), "tls");
    let file = folder.path().join("config.json");
    let configuration = serde_json::json!({
        "backend": {"inmem": {}}, "disable_mlock": true,
        "listener": {"tcp": {"address": format!("127.0.0.1:{port}"), "tls_cert_file": chain, "tls_key_file": key}},
    });
    std::fs::write(&file, configuration.to_string()).unwrap();
    let mut server = Server::spawn(folder.path(), port, &["-config", &file.display().to_string()]);
    server.scheme = "https";
    server.wait_until_answering(&client(port, &first, None)).await;
    client(port, &first, Some(&third.issue())).seal_status().await.unwrap();

    // The files change: nobody has to tell.
    second.issue().write(folder.path(), "tls");
    soon_answers(port, &second).await;
    assert!(!answers(port, &first).await);

    // A key that does not fit leaves the old pair in use, and says so.
    std::fs::write(&key, third.issue().key).unwrap();
    server.signal("-HUP");
    let deadline = Instant::now() + SOON;
    while !server.errors().contains("the key does not fit the certificate") {
        assert!(Instant::now() < deadline, "{}", server.errors());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answers(port, &second).await);
    assert!(server.stop().success());
}
