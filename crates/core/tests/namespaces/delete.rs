//! Deleting a namespace, and being killed at any point of it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use holdfast_core::{Answer, Verb};
use holdfast_logical::Store;
use holdfast_storage::{Error, MemoryStorage, Page, Range, Revision, Storage, Txn, TxnReply, Watch};
use serde_json::json;
use tokio::sync::Notify;

use super::{Space, text};
use crate::bench::{self, Bench, Make, outside};

/// A store that takes so many transactions more and then nothing, as for a process that is killed.
struct Mortal {
    storage: Arc<MemoryStorage>,
    left: AtomicI64,
    killed: Notify,
}

#[async_trait]
impl Storage for Mortal {
    async fn range(&self, range: Range) -> Result<Page, Error> {
        self.storage.range(range).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply, Error> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            left if left > 0 => self.storage.txn(txn).await,
            _ => {
                self.killed.notify_one();
                std::future::pending().await
            }
        }
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
        self.storage.watch(prefix, from).await
    }

    fn kind(&self) -> &'static str {
        "inmem"
    }
}

/// All plain paths, but those that say nothing of a namespace.
async fn paths(bench: &Bench) -> BTreeSet<String> {
    let (barrier, mut paths, mut folders) = (&bench.core.config().barrier, BTreeSet::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        for name in barrier.list(&folder, "", 0).await.unwrap() {
            let path = format!("{folder}{name}");
            match path.ends_with('/') {
                true => folders.push(path),
                false => drop(paths.insert(path)),
            }
        }
    }
    let running = |path: &str| {
        ["core/namespaces", "core/mount-stamp", "core/encryptions", "lease/cursor"].contains(&path)
            || path.starts_with("lease/owner/")
    };
    paths.retain(|path| !running(path));
    paths
}

/// Is it gone within the first tick of a process?
async fn gone(bench: &Bench) -> bool {
    for _ in 0..20 {
        if !bench.answer(&bench.root, Verb::Read, "sys/namespaces/a", json!({})).await.is_served() {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    false
}

trait Served {
    fn is_served(&self) -> bool;
}

impl Served for Answer {
    fn is_served(&self) -> bool {
        !matches!(self, Answer::Error(_))
    }
}

/// A namespace with all that one can have.
async fn furnished<'b>(bench: &'b Bench) -> (Space<'b>, String) {
    let space = Space::new(bench, "a").await;
    space.write("probe/data/x/y", json!({"v": 1})).await;
    space.write("auth/token/roles/mine", json!({})).await;
    space
        .write("sys/policies/password/long", json!({"policy": "length = 20\nrule \"charset\" { charset = \"ab\" }"}))
        .await;
    space.write("sys/mounts/other", json!({"type": "probe"})).await;
    let token = space.token(&["app"]).await.client_token;
    space.ask(&token, Verb::Write, "cubbyhole/x", json!({"v": 1})).await;
    space.ask(&token, Verb::Read, "probe/creds/x", json!({})).await;
    space.ask(&bench.root, Verb::Read, "probe/creds/x", json!({})).await;
    let login = space.ask("", Verb::Write, "auth/door/login", json!({"pod": "u-1"})).await.auth.unwrap().client_token;
    let mut bound = bench.raw(&login, Verb::Read, "probe/creds/x", json!({}));
    (bound.namespace, bound.item) = (Some("a".to_owned()), Some("db".to_owned()));
    assert!(bench.core.handle(bound).await.is_served());
    let mut wrap = bench.raw(&bench.root, Verb::Read, "sys/mounts", json!({}));
    (wrap.namespace, wrap.wrap_ttl) = (Some("a".to_owned()), Some(std::time::Duration::from_secs(60)));
    assert!(bench.core.handle(wrap).await.is_served());
    space.ask(&bench.root, Verb::Delete, "sys/bindings/pod/gone", json!({})).await;
    let uuid = space.read("sys/mounts/probe").await["uuid"].as_str().unwrap().to_owned();
    assert_eq!(outside(&uuid).len(), 3);
    (space, uuid)
}

#[tokio::test]
async fn a_deleted_namespace_leaves_nothing_and_its_ids_mean_nothing() {
    let bench = Bench::open().await;
    let before = paths(&bench).await;
    let (space, uuid) = furnished(&bench).await;
    let (token, id) = (space.token(&["app"]).await.client_token, space.id.clone());
    bench.ok(&bench.root, Verb::Delete, "sys/namespaces/a", json!({})).await;
    assert_eq!(paths(&bench).await, before);
    assert!(outside(&uuid).is_empty());
    assert_eq!(text(&space.answer(&bench.root, Verb::Read, "sys/mounts", json!({})).await), "namespace not found");
    bench.fails(&token, Verb::Read, "auth/token/lookup-self", json!({})).await;
    // One of the same name is another one.
    let again = Space::new(&bench, "a").await;
    assert_ne!(again.id, id);
    again.fails(&token, Verb::Read, "auth/token/lookup-self", json!({})).await;
    again.fails(&bench.root, Verb::Read, "probe/data/x/y", json!({})).await;
    let missing = bench.ok(&bench.root, Verb::Delete, "sys/namespaces/nothing", json!({})).await;
    assert_eq!(missing.warnings.unwrap(), ["requested namespace does not exist"]);
}

#[tokio::test]
async fn a_namespace_with_children_stays() {
    let bench = Bench::open().await;
    let (_, inner) = (Space::new(&bench, "a").await, Space::new(&bench, "a/in").await);
    let error = bench.fails(&bench.root, Verb::Delete, "sys/namespaces/a", json!({})).await;
    assert_eq!(error.to_string(), "cannot delete namespace (\"a/\") containing child namespaces");
    inner.read("sys/mounts").await;
    bench.within("a", &bench.root, Verb::Delete, "sys/namespaces/in", json!({})).await;
    bench.ok(&bench.root, Verb::Delete, "sys/namespaces/a", json!({})).await;
}

#[tokio::test]
async fn cve_2026_42186_killed_at_any_point_a_deletion_is_finished() {
    let mut bench = Bench::open().await;
    let before = paths(&bench).await;
    for transactions in 0..200 {
        let (_, uuid) = furnished(&bench).await;
        let store =
            Arc::new(Mortal { storage: bench.storage.clone(), left: AtomicI64::new(i64::MAX), killed: Notify::new() });
        let mortal = bench::core(&bench.storage, &bench.clock, Make { store: Some(store.clone()), ..Make::default() });
        let alive = std::mem::replace(&mut bench.core, mortal);
        bench.unseal().await;
        drop(alive);
        store.left.store(transactions, Ordering::Relaxed);
        let finished = tokio::select! {
            answer = bench.within("", &bench.root, Verb::Delete, "sys/namespaces/a", json!({})) => answer.is_served(),
            () = store.killed.notified() => false,
        };
        // The next process starts at every point and serves. What was not begun is begun again; what was is finished.
        bench.restart().await;
        if bench.within("a", &bench.root, Verb::Read, "sys/mounts", json!({})).await.is_served() {
            bench.ok(&bench.root, Verb::Delete, "sys/namespaces/a", json!({})).await;
        }
        for _ in 0..10 {
            if gone(&bench).await {
                break;
            }
            // The one that was killed has claimed what it was about to revoke.
            bench.advance(120);
            bench.restart().await;
        }
        assert!(outside(&uuid).is_empty(), "{transactions}");
        assert_eq!(paths(&bench).await, before, "{transactions}");
        if finished {
            assert!(transactions > 10, "{transactions}");
            return;
        }
    }
    panic!("it never came to an end");
}
