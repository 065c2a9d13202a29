//! A crash while tokens are made, used and revoked: a tree is there or it goes, and no use is counted twice for nothing.

use holdfast_client::Client;
use serde_json::json;

use super::site::{Keys, Site};
use crate::fixture::{data, etcd::Etcd};

/// A child of the client's token.
async fn child(client: &Client, body: serde_json::Value) -> Client {
    let made = client.write("auth/token/create", body).await.unwrap().unwrap();
    client.with_token(made.auth.unwrap().client_token.as_str().into())
}

async fn is_good(client: &Client) -> bool {
    client.read("auth/token/lookup-self").await.is_ok()
}

#[tokio::test]
async fn a_tree_of_tokens_comes_and_goes_as_a_whole() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "tokens", Keys::File).await;
    for (point, more) in [("token.create.before-store", 0), ("token.create.stored", 1)] {
        let before = data(&site.client(), "sys/fsck").await["tokens"].as_u64().unwrap();
        site.crash(point, site.write("auth/token/create", json!({"ttl": "1h"}))).await;
        let after = data(&site.client(), "sys/fsck").await["tokens"].as_u64().unwrap();
        assert_eq!(after, before + more, "{point}");
    }
    for point in
        ["token.revoke.killed", "token.revoke.children-done", "token.revoke.leases-done", "token.revoke.before-end"]
    {
        let parent = child(&site.client(), json!({"policies": "root", "ttl": "1h"})).await;
        parent.write("cubbyhole/own", json!({"n": 1})).await.unwrap();
        let son = child(&parent, json!({"policies": "root", "ttl": "1h"})).await;
        let grandson = child(&son, json!({"policies": "root", "ttl": "1h"})).await;
        assert!(is_good(&grandson).await);
        let revoker = parent.clone();
        site.crash(point, async move { revoker.write("auth/token/revoke-self", json!({})).await.is_ok() }).await;
        assert!(!is_good(&parent).await, "{point}");
        site.until("the children are gone", async || !is_good(&son).await && !is_good(&grandson).await).await;
        let client = site.client();
        site.until("the revocation is finished", async || data(&client, "sys/fsck").await["tokens_being_revoked"] == 0)
            .await;
    }
}

#[tokio::test]
async fn a_use_is_taken_with_its_commit() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "uses", Keys::File).await;
    let twice = child(&site.client(), json!({"policies": "root", "num_uses": 2, "ttl": "1h"})).await;
    let reader = twice.clone();
    site.crash("token.use.before-store", async move { reader.read("kept/data/secret").await.is_ok() }).await;
    for _ in 0..2 {
        assert_eq!(data(&twice, "kept/data/secret").await["data"]["word"], "kept");
    }
    assert!(twice.read("kept/data/secret").await.is_err(), "a third use");
}
