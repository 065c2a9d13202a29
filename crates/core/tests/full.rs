//! A store that takes no puts any more: what takes rights away goes on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use holdfast_core::{Answer, Verb};
use holdfast_storage::{Error, MemoryStorage, Op, Page, Range, Revision, Storage, Txn, TxnReply, Watch};
use serde_json::json;

use crate::bench::{self, Bench, Make, outside};

struct Filling {
    storage: Arc<MemoryStorage>,
    full: Arc<AtomicBool>,
}

#[async_trait]
impl Storage for Filling {
    async fn range(&self, range: Range) -> Result<Page, Error> {
        self.storage.range(range).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply, Error> {
        match self.full.load(Ordering::SeqCst) && puts(&txn) {
            true => Err(Error::NoSpace),
            false => self.storage.txn(txn).await,
        }
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
        self.storage.watch(prefix, from).await
    }

    fn kind(&self) -> &'static str {
        "inmem"
    }
}

fn puts(txn: &Txn) -> bool {
    txn.then.iter().any(|op| match op {
        Op::Put { .. } => true,
        Op::Txn(inner) => puts(inner),
        Op::Delete { .. } | Op::Get { .. } => false,
    })
}

async fn filling() -> (Bench, Arc<AtomicBool>) {
    let (mut bench, full) = (Bench::new(), Arc::new(AtomicBool::new(false)));
    let store = Arc::new(Filling { storage: bench.storage.clone(), full: full.clone() });
    bench.core = bench::core(&bench.storage, &bench.clock, Make { store: Some(store), ..Make::default() });
    let (_, made) = bench.bare(Verb::Write, "sys/init", json!({"secret_shares": 1, "secret_threshold": 1})).await;
    bench.root = made["root_token"].as_str().unwrap().to_owned();
    bench.unseal_with(made["keys_base64"][0].as_str().unwrap()).await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    (bench, full)
}

#[tokio::test]
async fn tokens_leases_and_values_go_from_a_full_store() {
    let (bench, full) = filling().await;
    let uuid = bench.read("sys/mounts").await["probe/"]["uuid"].as_str().unwrap().to_owned();
    bench.write("probe/data/x", json!({"v": 1})).await;
    let lease = bench.ok(&bench.root, Verb::Read, "probe/creds/x", json!({})).await.lease_id;
    bench
        .write("sys/policies/acl/all", json!({"policy": "path \"*\" { capabilities = [\"read\", \"update\"] }"}))
        .await;
    let parent = bench.token(json!({"policies": ["all"]})).await;
    let child = bench.ok(&parent, Verb::Write, "auth/token/create", json!({})).await.auth.unwrap().client_token;
    bench.ok(&child, Verb::Read, "probe/creds/x", json!({})).await;
    assert_eq!(outside(&uuid).len(), 2);

    full.store(true, Ordering::SeqCst);
    let refused = bench.answer(&bench.root, Verb::Write, "probe/data/y", json!({"v": 1})).await;
    assert!(matches!(&refused, Answer::Error(error) if error.to_string().contains("out of space")), "{refused:?}");
    bench.ok(&bench.root, Verb::Delete, "probe/data/x", json!({})).await;
    bench.write("sys/leases/revoke", json!({"lease_id": lease, "sync": true})).await;
    assert_eq!(outside(&uuid).len(), 1);
    bench.write("auth/token/revoke", json!({"token": parent})).await;
    assert!(!bench.is_good(&parent).await && !bench.is_good(&child).await);
    assert_eq!(outside(&uuid).len(), 0);

    full.store(false, Ordering::SeqCst);
    bench.write("probe/data/y", json!({"v": 1})).await;
    let found = bench.read("sys/fsck").await;
    assert_eq!((&found["clean"], &found["leases"]), (&json!(true), &json!(0)), "{found:?}");
}

/// Leases end by time, too.
#[tokio::test]
async fn what_is_over_ends_in_a_full_store() {
    let (bench, full) = filling().await;
    let uuid = bench.read("sys/mounts").await["probe/"]["uuid"].as_str().unwrap().to_owned();
    bench.ok(&bench.root, Verb::Read, "probe/creds/x", json!({})).await;
    full.store(true, Ordering::SeqCst);
    bench.advance(700);
    bench::until(async || outside(&uuid).is_empty()).await;
    full.store(false, Ordering::SeqCst);
    bench::until(async || {
        bench.write("probe/data/y", json!({"v": 1})).await;
        let found = bench.read("sys/fsck").await;
        found["clean"] == true && found["leases"] == 0
    })
    .await;
}
