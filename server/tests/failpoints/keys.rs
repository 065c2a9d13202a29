//! A crash in a rotation, in a rekey and in a restore: what is stored can be read, and somebody's shares open it.

use holdfast_client::Client;
use serde_json::{Value, json};

use super::site::{Keys, Site};
use crate::fixture::{data, etcd::Etcd, pieces, put, unseal};

#[tokio::test]
async fn a_rotation_is_done_or_not_begun() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "rotate", Keys::File).await;
    for (point, more) in [("rotate.before-store", 0), ("rotate.stored", 1)] {
        let before = data(&site.client(), "sys/key-status").await["term"].as_u64().unwrap();
        site.crash(point, site.write("sys/rotate", json!({}))).await;
        let after = data(&site.client(), "sys/key-status").await["term"].as_u64().unwrap();
        assert_eq!(after, before + more, "{point}");
    }
    for point in ["batch.before-commit", "batch.committed"] {
        site.crash(point, site.write("kept/data/batch", json!({"data": {"point": point}}))).await;
        let stored = data(&site.client(), "kept/data/batch").await;
        assert_eq!(stored["data"]["point"] == point, point == "batch.committed", "{point}: {stored}");
    }
}

/// Begins a rekey and gives the old shares; the last answer.
async fn rekey(client: Client, shares: Vec<String>, verify: bool) -> Option<Value> {
    client.delete("sys/rekey/init").await.ok()?;
    let wish = json!({"secret_shares": 3, "secret_threshold": 2, "require_verification": verify});
    let begun: Value = client.bare(put("sys/rekey/init", wish)).await.ok()?;
    let mut last = Value::Null;
    for share in &shares[..2] {
        last = client.bare(put("sys/rekey/update", json!({"key": share, "nonce": begun["nonce"]}))).await.ok()?;
    }
    Some(last)
}

/// Proves the new shares.
async fn verify(client: Client, made: Value) -> Option<Value> {
    let mut last = Value::Null;
    for share in &made["keys_base64"].as_array()?[..2] {
        let body = json!({"key": share, "nonce": made["verification_nonce"]});
        last = client.bare(put("sys/rekey/verify", body)).await.ok()?;
    }
    Some(last)
}

fn shares_of(answer: &Value) -> Vec<String> {
    serde_json::from_value(answer["keys_base64"].clone()).unwrap()
}

#[tokio::test]
async fn somebodys_shares_open_it_after_each_crash_of_a_rekey() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "rekey", Keys::Shares).await;
    for (point, verified) in [
        ("rekey.before-store", false),
        ("rekey.stored", false),
        ("rekey.before-answer", false),
        ("rekey.new-key-made", true),
        ("rekey.before-answer", true),
    ] {
        // The new shares reached nobody: `crash` opens it with the old ones.
        site.crash(point, rekey(site.client(), site.shares.clone(), verified)).await;
    }
    for point in ["rekey.before-store", "rekey.stored", "rekey.verified"] {
        let made = rekey(site.client(), site.shares.clone(), true).await.unwrap();
        site.arm(point, "abort");
        let work = tokio::spawn(verify(site.client(), made.clone()));
        site.died_at(point).await;
        let _ = work.await;
        site.start().await;
        // They have both; one of them must do.
        let new = shares_of(&made);
        let mut opened = Vec::new();
        for shares in [&site.shares, &new] {
            let client = site.bare_client();
            let _: Result<Value, _> = client.bare(put("sys/unseal", json!({"reset": true}))).await;
            for share in &shares[..2] {
                let _: Result<Value, _> = client.bare(put("sys/unseal", json!({ "key": share }))).await;
            }
            if !client.seal_status().await.unwrap().sealed {
                opened.push(shares.clone());
                break;
            }
        }
        assert!(!opened.is_empty(), "{point}: nobody opens it");
        site.check(point).await;
        // A rekey to the end makes it plain again who has the keys.
        site.shares = opened.remove(0);
        let done = rekey(site.client(), site.shares.clone(), false).await.unwrap_or_default();
        if done["complete"] == true {
            site.shares = shares_of(&done);
        } else {
            // The shares of before open it until the new ones are known; these are proof for a rekey as well.
            let done = rekey(site.client(), new, false).await.unwrap();
            site.shares = shares_of(&done);
        }
        site.server.take().unwrap().kill();
        site.start().await;
        assert_eq!(unseal(&site.bare_client(), &site.shares[..2]).await["sealed"], false, "{point}");
    }
}

#[tokio::test]
async fn a_restore_is_finished_by_the_next_start() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "restore", Keys::File).await;
    let client = site.client();
    for number in 0..40 {
        let text = "x".repeat(20_000);
        client.write(&format!("kept/data/{number}"), json!({"data": {"n": number, "text": text}})).await.unwrap();
    }
    let mut archive = Vec::new();
    let mut keep = |piece: &[u8]| {
        archive.extend_from_slice(piece);
        Ok(())
    };
    client.download("sys/storage/raft/snapshot", &mut keep).await.unwrap();
    for (point, done) in [
        ("restore.staged", false),
        ("restore.committed", true),
        ("restore.before-batch", true),
        ("restore.data-placed", true),
        ("restore.finished", true),
    ] {
        for number in 0..20 {
            let body = json!({"data": {"n": point}});
            site.client().write(&format!("kept/data/{number}"), body).await.unwrap();
        }
        site.client().delete("kept/metadata/30").await.unwrap();
        let (client, archive) = (site.client(), archive.clone());
        site.crash(point, async move { client.upload("sys/storage/raft/snapshot", pieces(&archive)).await }).await;
        let client = site.client();
        let found = data(&client, "kept/data/7").await["data"]["n"].clone();
        match done {
            true => {
                assert_eq!(found, 7, "{point}");
                assert_eq!(data(&client, "kept/data/30").await["data"]["n"], 30, "{point}");
                assert_eq!(data(&client, "sys/leases/hold").await["held"], true, "{point}");
                client.delete("sys/leases/hold").await.unwrap();
            }
            false => assert_eq!(found, point),
        }
    }
}
