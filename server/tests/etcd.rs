//! Storage in etcd, with TLS and client certificates.

use std::time::{Duration, Instant};

use holdfast_client::Call;
use serde_json::json;

use crate::fixture::{
    SOON, Server, certificates::Authority, data, etcd::Etcd, folder, free_port, get, put, unseal, until,
};

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

#[tokio::test]
async fn while_etcd_does_not_answer_requests_are_503_and_afterwards_all_is_well() {
    let (etcd, folder) = (Etcd::start().await, folder());
    let server = Server::start(folder.path(), &etcd.stanza(etcd.folder(), "client")).await;
    let (client, _) = server.initialize(1, 1).await;
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "1"}})).await.unwrap();
    client.write("kv/a", json!({"n": 1})).await.unwrap();

    let holders = async || client.list("auth/token/accessors").await.unwrap().len();
    let before = holders().await;

    etcd.signal("-STOP");
    let started = Instant::now();
    // Two that memory lets come as far as a batch (on a busy machine it may not), and one that has to be read first.
    let calls = [("kv/a", json!({"n": 2})), ("auth/token/create", json!({})), ("kv/b", json!({"n": 2}))];
    let answers = calls.map(|(path, body)| client.call(put(path, body)));
    let mut is_known = Vec::new();
    for answer in futures::future::join_all(answers).await {
        let answer = answer.unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 503, "{text}");
        is_known.push(!text.contains("whether it was done is not known"));
    }
    assert!(started.elapsed() < SOON, "it took {:?}", started.elapsed());
    // The process lives: its health does not hang on etcd, or it would be restarted for etcd's faults.
    let health = client.call(get("sys/health")).await.unwrap();
    assert_eq!(health.status, 200);
    // Its readiness says that it cannot serve.
    let ready = async |wanted: u16| {
        let deadline = Instant::now() + SOON + Duration::from_secs(10);
        loop {
            let query = "requirestore=true".to_owned();
            let answer = client.call(Call { query, ..get("sys/health") }).await.unwrap();
            if answer.status == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "readiness stays {}", answer.status);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    ready(503).await;
    assert_eq!(client.call(get("sys/health")).await.unwrap().status, 200);
    // What failed is said once, in the answer and in the log.
    let read = client.call(get("kv/a")).await.unwrap();
    let text = String::from_utf8_lossy(&read.body).into_owned();
    assert_eq!((read.status, text.matches("unavailable").count()), (503, 1), "{text}");
    let log = server.errors();
    let refused = is_known[..2].iter().filter(|is_known| **is_known).count();
    assert_eq!(log.matches("request failed").count(), refused + 2, "{log}");
    assert!(log.contains("path=\"kv/a\""), "{log}");
    etcd.signal("-CONT");
    ready(200).await;

    let deadline = Instant::now() + SOON;
    while client.write("kv/c", json!({"n": 3})).await.is_err() {
        assert!(Instant::now() < deadline, "it does not recover:\n{}", server.errors());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(data(&client, "kv/c").await["n"], 3);
    let expected = if is_known[0] { 1 } else { 2 };
    until("what was under way is done", SOON, async || data(&client, "kv/a").await["n"] == expected).await;
    until("a token that nobody was told is taken back", SOON, async || holders().await <= before).await;
}
