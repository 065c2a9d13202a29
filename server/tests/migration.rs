//! The seal of a store is changed: from shares to a kept key, to another one, and back, on the real process.

use std::{path::Path, process::Command, time::Duration};

use holdfast_client::Client;
use serde_json::{Value, json};

use crate::fixture::{Server, data, folder, put};

/// `seal "static"` with the key of this number.
fn kept(folder: &Path, number: u8, disabled: bool) -> String {
    let file = folder.join(format!("seal{number}.key"));
    std::fs::write(&file, [number; 32]).unwrap();
    format!(
        "seal \"static\" {{\n current_key_id = \"k{number}\"\n current_key = \"file://{}\"\n disabled = \"{disabled}\"\n}}\n",
        file.display()
    )
}

async fn status(client: &Client) -> Value {
    serde_json::to_value(client.seal_status().await.unwrap()).unwrap()
}

/// Gives a share for the change of seals.
async fn give(client: &Client, share: &str) -> Result<Value, String> {
    let body = json!({"key": share, "migrate": true});
    client.bare(put("sys/unseal", body)).await.map_err(|error| error.to_string())
}

async fn until_unsealed(server: &Server) {
    let deadline = std::time::Instant::now() + crate::fixture::SOON;
    while server.client().seal_status().await.unwrap().sealed {
        assert!(std::time::Instant::now() < deadline, "still sealed:\n{}", server.errors());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn from_shares_to_a_kept_key_to_another_and_back() {
    let folder = folder();
    let storage = format!("storage \"file\" {{ path = {:?} }}\n", folder.path().join("data").display().to_string());
    let server = Server::start(folder.path(), &storage).await;
    let (root, made) = server.initialize(3, 2).await;
    let token = root.token().unwrap().duplicate();
    root.write("sys/mounts/kv", json!({"type": "kv"})).await.unwrap();
    root.write("kv/app", json!({"stays": "true"})).await.unwrap();
    assert!(server.stop().success());
    let still_there = async |server: &Server| {
        until_unsealed(server).await;
        let client = server.client().with_token(token.duplicate());
        assert_eq!(data(&client, "kv/app").await["stays"], "true");
        assert_eq!(data(&client, "sys/fsck").await["clean"], true);
    };
    let shares = &made.keys_base64;

    // To a kept key: the old shares do it, and nothing else does.
    let first = storage.clone() + &kept(folder.path(), 1, false);
    let server = Server::start(folder.path(), &first).await;
    let client = server.client();
    let seen = status(&client).await;
    assert_eq!((&seen["type"], &seen["migration"], &seen["t"]), (&json!("shamir"), &json!(true), &json!(2)), "{seen}");
    let plain = client.bare::<Value>(put("sys/unseal", json!({"key": shares[0]}))).await.unwrap_err().to_string();
    assert!(plain.contains("migrate option not provided"), "{plain}");
    assert_eq!(give(&client, &shares[0]).await.unwrap()["progress"], 1);
    let done = give(&client, &shares[2]).await.unwrap();
    assert_eq!((&done["sealed"], &done["migration"], &done["type"]), (&json!(false), &json!(false), &json!("static")));
    still_there(&server).await;
    assert!(server.stop().success());
    let server = Server::start(folder.path(), &first).await;
    still_there(&server).await;
    let seen = status(&server.client()).await;
    assert_eq!((&seen["recovery_seal"], &seen["n"], &seen["t"]), (&json!(true), &json!(3), &json!(2)));
    assert!(server.stop().success());

    // To another kept key, on the command line.
    let second = storage.clone() + &kept(folder.path(), 1, true) + &kept(folder.path(), 2, false);
    let server = Server::start(folder.path(), &second).await;
    for (share, code) in [(&shares[1], 0), (&shares[2], 0)] {
        let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["operator", "unseal", "-migrate", share])
            .env("HOLDFAST_ADDR", server.address())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    }
    still_there(&server).await;
    assert!(server.stop().success());
    let server = Server::start(folder.path(), &(storage.clone() + &kept(folder.path(), 2, false))).await;
    still_there(&server).await;
    assert!(server.stop().success());

    // Back to shares, which are the same all the time.
    let server = Server::start(folder.path(), &(storage.clone() + &kept(folder.path(), 2, true))).await;
    let client = server.client();
    let seen = status(&client).await;
    assert_eq!(
        (&seen["type"], &seen["migration"], &seen["recovery_seal"]),
        (&json!("static"), &json!(true), &json!(true))
    );
    let other = Server::start(crate::fixture::folder().path(), "storage \"inmem\" {}\n").await;
    let (_, others) = other.initialize(3, 2).await;
    give(&client, &others.keys_base64[0]).await.unwrap();
    assert!(give(&client, &others.keys_base64[1]).await.unwrap_err().contains("invalid key"));
    assert_eq!(status(&client).await["sealed"], true);
    give(&client, &shares[0]).await.unwrap();
    assert_eq!(give(&client, &shares[1]).await.unwrap()["sealed"], false);
    still_there(&server).await;
    assert!(server.stop().success());
    let server = Server::start(folder.path(), &storage).await;
    assert_eq!(status(&server.client()).await["migration"], false);
    assert!(give(&server.client(), &shares[0]).await.unwrap_err().contains("no migration seal found"));
    crate::fixture::unseal(&server.client(), &shares[1..]).await;
    still_there(&server).await;
}

/// A kill leaves the old seal or the new one, and the same shares go on from there.
#[tokio::test]
async fn a_kill_leaves_one_of_both_seals() {
    let folder = folder();
    let storage = format!("storage \"file\" {{ path = {:?} }}\n", folder.path().join("data").display().to_string());
    let server = Server::start(folder.path(), &storage).await;
    let (root, made) = server.initialize(1, 1).await;
    let token = root.token().unwrap().duplicate();
    let share = made.keys_base64[0].clone();
    assert!(server.stop().success());
    for (round, delay) in [0, 2, 5, 10, 20, 40].into_iter().enumerate() {
        let disabled = round % 2 == 1;
        let wanted = storage.clone() + &kept(folder.path(), 1, disabled);
        let server = Server::start(folder.path(), &wanted).await;
        let (client, key) = (server.client(), share.clone());
        let last = tokio::spawn(async move { give(&client, &key).await.is_ok() });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        server.kill();
        let answered = last.await.unwrap();
        let server = Server::start(folder.path(), &wanted).await;
        let seen = status(&server.client()).await;
        assert!(!(answered && seen["migration"] == true), "{seen}");
        if seen["migration"] == true {
            assert_eq!(give(&server.client(), &share).await.unwrap()["sealed"], false, "{delay}");
        } else if disabled {
            crate::fixture::unseal(&server.client(), std::slice::from_ref(&share)).await;
        }
        until_unsealed(&server).await;
        assert_eq!(data(&server.client().with_token(token.duplicate()), "sys/fsck").await["clean"], true);
        assert!(server.stop().success());
    }
}
