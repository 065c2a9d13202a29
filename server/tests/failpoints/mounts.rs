//! A crash while mounts and namespaces come, move and go.

use holdfast_client::Client;
use serde_json::json;

use super::site::{Keys, Site};
use crate::fixture::{data, etcd::Etcd};

async fn is_mounted(client: &Client, path: &str) -> bool {
    data(client, "sys/mounts").await.get(format!("{path}/")).is_some()
}

/// A kv mount with secrets.
async fn mount(client: &Client, path: &str) {
    client.write(&format!("sys/mounts/{path}"), json!({"type": "kv", "options": {"version": "1"}})).await.unwrap();
    for number in 0..5 {
        client.write(&format!("{path}/{number}"), json!({"n": number})).await.unwrap();
    }
}

#[tokio::test]
async fn mounts_come_and_go_as_a_whole() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "mounts", Keys::File).await;
    site.crash("mount.stored", site.write("sys/mounts/come", json!({"type": "kv"}))).await;
    assert!(is_mounted(&site.client(), "come").await);

    for point in [
        "unmount.closed",
        "unmount.tokens-revoked",
        "unmount.leases-revoked",
        "unmount.row-removed",
        "unmount.storage-wiped",
    ] {
        mount(&site.client(), "go").await;
        site.crash(point, site.delete("sys/mounts/go")).await;
        let client = site.client();
        site.until("the unmount is finished", async || !is_mounted(&client, "go").await).await;
        // What was there is not there for the next one of the name.
        mount(&client, "go").await;
        client.delete("go/0").await.unwrap();
        assert_eq!(client.list("go").await.unwrap().len(), 4, "{point}");
        client.delete("sys/mounts/go").await.unwrap();
        // One that was cut off is wiped by the next round.
        site.until("fsck is clean", async || data(&client, "sys/fsck").await["clean"] == true).await;
    }
}

#[tokio::test]
async fn a_move_is_made_or_not() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "moves", Keys::File).await;
    for (point, moved) in [("remount.emptied", false), ("remount.renamed", true)] {
        mount(&site.client(), "from").await;
        site.crash(point, site.write("sys/remount", json!({"from": "from", "to": "to"}))).await;
        let client = site.client();
        let (there, gone) = if moved { ("to", "from") } else { ("from", "to") };
        assert!(is_mounted(&client, there).await && !is_mounted(&client, gone).await, "{point}");
        assert_eq!(data(&client, &format!("{there}/3")).await["n"], 3, "{point}");
        client.delete(&format!("sys/mounts/{there}")).await.unwrap();
    }
}

#[tokio::test]
async fn an_upgrade_of_kv_goes_on() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "upgrade", Keys::File).await;
    for point in ["kv.upgrade.begun", "kv.upgrade.one-moved"] {
        let client = site.client();
        mount(&client, "old").await;
        let write = site.write("sys/mounts/old/tune", json!({"options": {"version": "2"}}));
        let (reader, tuned) = (client.clone(), write);
        site.crash(point, async move {
            tuned.await;
            // The background work comes within a minute; a list needs it now.
            while reader.list("old/metadata").await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
        let client = site.client();
        for number in 0..5 {
            assert_eq!(data(&client, &format!("old/data/{number}")).await["data"]["n"], number, "{point}");
        }
        client.delete("sys/mounts/old").await.unwrap();
    }
}

#[tokio::test]
async fn a_namespace_goes_as_a_whole() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "namespaces", Keys::File).await;
    for point in ["namespace.closed", "namespace.tokens-revoked", "namespace.leases-revoked", "namespace.storage-wiped"]
    {
        let client = site.client();
        client.write("sys/namespaces/team", json!({})).await.unwrap();
        let within = client.with_namespace("team");
        mount(&within, "kv").await;
        let token = within.write("auth/token/create", json!({"policies": "default"})).await.unwrap().unwrap();
        let token = token.auth.unwrap().client_token;
        site.crash(point, site.delete("sys/namespaces/team")).await;
        let client = site.client();
        site.until("the namespace is gone", async || client.list("sys/namespaces").await.unwrap().is_empty()).await;
        let held = site.bare_client().with_token(token.as_str().into());
        assert!(held.read("auth/token/lookup-self").await.is_err(), "{point}: its token lives");
        site.check(point).await;
    }
}
