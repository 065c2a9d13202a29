//! Storage in a file: what was written is there after a restart, and only with the right shares.

use serde_json::json;

use crate::fixture::{Server, data, folder, put, unseal};

fn storage(folder: &std::path::Path) -> String {
    format!("storage \"file\" {{ path = {:?} }}\n", folder.join("data").display().to_string())
}

#[tokio::test]
async fn secrets_survive_a_restart() {
    let folder = folder();
    let server = Server::start(folder.path(), &storage(folder.path())).await;
    let (client, made) = server.initialize(3, 2).await;
    assert_eq!(made.keys.len(), 3);
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "2"}})).await.unwrap();
    client.write("kv/data/app", json!({"data": {"password": "canary-5a1f"}})).await.unwrap();
    let token = client.token().unwrap().duplicate();
    assert!(server.stop().success());

    let server = Server::start(folder.path(), &storage(folder.path())).await;
    let client = server.client().with_token(token);
    let sealed = client.read("kv/data/app").await.unwrap_err();
    assert_eq!(sealed.status(), Some(503));
    let status = client.seal_status().await.unwrap();
    assert!(status.initialized && status.sealed);
    assert_eq!((status.n, status.t, status.storage_type.as_str()), (3, 2, "file"));
    let status = unseal(&client, &made.keys_base64[1..]).await;
    assert_eq!(status["sealed"], false);
    assert_eq!(data(&client, "kv/data/app").await["data"]["password"], "canary-5a1f");
    assert!(server.stop().success());

    for entry in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"canary-5a1f"), "the store holds clear text");
    }
}

#[tokio::test]
async fn wrong_shares_do_not_unseal_and_the_right_ones_still_do() {
    let folder = folder();
    let server = Server::start(folder.path(), &storage(folder.path())).await;
    let (client, made) = server.initialize(3, 2).await;
    client.write("sys/seal", json!({})).await.unwrap();
    let sealed = client.read("sys/mounts").await.unwrap_err();
    assert_eq!((sealed.status(), sealed.to_string().contains("sealed")), (Some(503), true), "{sealed}");

    let status = unseal(&client, &made.keys_base64[..1]).await;
    assert_eq!((&status["progress"], &status["sealed"]), (&json!(1), &json!(true)));
    let mut wrong = hex(&made.keys[1]);
    wrong[3] ^= 1;
    let text: String = wrong.iter().map(|byte| format!("{byte:02x}")).collect();
    let answer = client.call(put("sys/unseal", json!({"key": text}))).await.unwrap();
    assert_eq!(answer.status, 400);
    let status = client.seal_status().await.unwrap();
    assert_eq!((status.progress, status.sealed), (0, true));
    assert_eq!(client.call(put("sys/unseal", json!({"key": "no share"}))).await.unwrap().status, 400);

    let status = unseal(&client, &made.keys[1..]).await;
    assert_eq!(status["sealed"], false);
    assert!(client.read("sys/mounts").await.unwrap().is_some());
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
