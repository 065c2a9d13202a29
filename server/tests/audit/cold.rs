//! The store is put back to an older state while no server runs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use holdfast_client::Client;
use holdfast_secret::SecretString;
use serde_json::{Value, json};

use super::{assert_whole, device, verify};
use crate::fixture::{Server, data, etcd::Etcd, folder, pieces, put, unseal};

/// `cp -a`, over what is there.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Why it does not unseal.
async fn refusal(server: &Server, keys: &[String]) -> String {
    let refused = server.client().bare::<Value>(put("sys/unseal", json!({ "key": keys[0] }))).await.unwrap_err();
    assert_eq!(refused.status(), Some(500), "{refused}");
    assert!(server.client().seal_status().await.unwrap().sealed);
    refused.to_string()
}

/// The value that a refusal asks for.
fn asked_for(refusal: &str) -> &str {
    let rest = refusal.split_once("accept_restored_store = \"").unwrap().1;
    rest.split_once('"').unwrap().0
}

fn entries(file: &Path, path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["request"]["path"] == path).collect()
}

async fn kv_of(client: &Client) -> Value {
    data(client, "kv/app").await["is"].clone()
}

/// An old token comes back with an old store: nobody serves it before somebody has said that this is meant, and then only
/// this once. Two replicas have a file each; one was stopped and one was killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_put_back_is_served_only_if_somebody_accepts_it() {
    let mut etcd = Etcd::start().await;
    let homes = [folder(), folder()];
    let saved = homes[0].path().join("saved");
    let storage = etcd.stanza(etcd.folder(), "client");
    let files: Vec<PathBuf> = ["main", "other"].iter().zip(&homes).map(|(name, home)| home.path().join(name)).collect();
    let start = async |at: usize, more: &str| {
        let (home, name) = (homes[at].path(), ["main", "other"][at]);
        Server::start(home, &format!("{storage}{}{more}", device(home, name, name))).await
    };

    let first = start(0, "").await;
    let (client, made) = first.initialize(1, 1).await;
    let keys = &made.keys_base64;
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "1"}})).await.unwrap();
    client.write("kv/app", json!({"is": "old"})).await.unwrap();
    let token = client.write("auth/token/create", json!({})).await.unwrap().unwrap().auth.unwrap().client_token;
    let root = |server: &Server| server.client().with_token(SecretString::new(made.root_token.as_str()));
    let stolen = |server: &Server| server.client().with_token(SecretString::new(token.as_str()));
    assert!(first.stop().success());
    etcd.restart_after(|data| copy(data, &saved)).await;

    let (first, second) = (start(0, "").await, start(1, "").await);
    for server in [&first, &second] {
        assert_eq!(unseal(&server.client(), keys).await["sealed"], false);
    }
    root(&first).write("auth/token/revoke", json!({ "token": token.as_str() })).await.unwrap();
    root(&first).write("kv/app", json!({"is": "new"})).await.unwrap();
    assert!(stolen(&second).read("auth/token/lookup-self").await.is_err());
    second.kill();
    assert!(first.stop().success());
    etcd.restart_after(|data| copy(&saved, data)).await;

    let (first, second) = (start(0, "").await, start(1, "").await);
    let why = refusal(&first, keys).await;
    for part in [files[0].to_str().unwrap(), "the store is older than it was", " at revision "] {
        assert!(why.contains(part) && first.errors().contains(part), "{part}: {why}\n{}", first.errors());
    }
    assert!(refusal(&second, keys).await.contains(files[1].to_str().unwrap()));
    assert!(stolen(&first).read("auth/token/lookup-self").await.is_err());
    // What was accepted some other time accepts nothing.
    assert!(first.stop().success());
    let first = start(0, "accept_restored_store = \"0/1\"\n").await;
    assert_eq!(refusal(&first, keys).await, why);
    assert!(first.stop().success());

    let accepted = format!("accept_restored_store = \"{}\"\n", asked_for(&why));
    let first = start(0, &accepted).await;
    assert_eq!(unseal(&first.client(), keys).await["sealed"], false);
    assert_eq!(kv_of(&root(&first)).await, "old");
    assert!(stolen(&first).read("auth/token/lookup-self").await.is_ok());
    let told = entries(&files[0], "sys/storage/restored");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0]["error"].as_str().unwrap().starts_with("restored: the store went back from milestone 0/"));
    // One acceptance is for all replicas.
    assert_eq!(unseal(&second.client(), keys).await["sealed"], false, "{}", second.errors());
    assert!(entries(&files[1], "sys/storage/restored").is_empty());
    for server in [&first, &second] {
        assert_whole(&verify(server, &made.root_token, &[], &files));
    }

    // It was for once.
    assert!(second.stop().success());
    assert!(first.stop().success());
    let first = start(0, "").await;
    assert_eq!(unseal(&first.client(), keys).await["sealed"], false);
    first.kill();
    etcd.restart_after(|data| copy(&saved, data)).await;
    let first = start(0, &accepted).await;
    let again = refusal(&first, keys).await;
    assert!(asked_for(&again).starts_with("1/"), "{again}");
}

/// Beside the server's own restore; and lines after it are of an epoch that is no older one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_by_the_server_itself_needs_no_acceptance() {
    let home = folder();
    let storage = format!("storage \"file\" {{ path = {:?} }}\n", home.path().join("data").display().to_string());
    let configuration = storage + &device(home.path(), "main", "audit.log");
    let files = [home.path().join("audit.log")];
    let server = Server::start(home.path(), &configuration).await;
    let (client, made) = server.initialize(1, 1).await;
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "1"}})).await.unwrap();
    client.write("kv/app", json!({"is": "old"})).await.unwrap();
    let mut archive = Vec::new();
    let mut keep = |piece: &[u8]| {
        archive.extend_from_slice(piece);
        Ok(())
    };
    client.download("sys/storage/raft/snapshot", &mut keep).await.unwrap();

    let restart = async |server: Server| {
        assert!(server.stop().success());
        let server = Server::start(home.path(), &configuration).await;
        assert_eq!(unseal(&server.client(), &made.keys_base64).await["sealed"], false, "{}", server.errors());
        server
    };
    let root = |server: &Server| server.client().with_token(SecretString::new(made.root_token.as_str()));
    let server = restart(server).await;
    root(&server).write("kv/app", json!({"is": "new"})).await.unwrap();
    root(&server).upload("sys/storage/raft/snapshot", pieces(&archive)).await.unwrap();
    assert_eq!(kv_of(&root(&server)).await, "old");
    let server = restart(server).await;
    assert_eq!(kv_of(&root(&server)).await, "old");
    assert!(entries(&files[0], "sys/storage/restored").is_empty());
    assert_whole(&verify(&server, &made.root_token, &[], &files));
}

/// A file that was rotated away proves nothing, and neither does one of another cluster: both are said.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_says_nothing_of_this_store_keeps_nobody_from_serving() {
    let home = folder();
    let start = async |store: &str| {
        let storage = format!("storage \"file\" {{ path = {:?} }}\n", home.path().join(store).display().to_string());
        Server::start(home.path(), &(storage + &device(home.path(), "main", "audit.log"))).await
    };
    let server = start("one").await;
    let (_, made) = server.initialize(1, 1).await;
    assert!(server.stop().success());
    let server = start("two").await;
    server.initialize(1, 1).await;
    assert!(server.errors().contains("are not of this cluster"), "{}", server.errors());
    assert!(server.stop().success());
    std::fs::remove_file(home.path().join("audit.log")).unwrap();
    let server = start("one").await;
    assert_eq!(unseal(&server.client(), &made.keys_base64).await["sealed"], false);
    assert!(server.errors().contains("does not say how far the store was"), "{}", server.errors());
}
