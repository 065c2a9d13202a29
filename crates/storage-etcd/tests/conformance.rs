//! The suite, on one etcd, each case below a prefix of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use holdfast_storage::conformance::{Subject, run};
use holdfast_storage_etcd::{Config, EtcdStorage};

use crate::etcd::Etcd;

#[tokio::test(flavor = "multi_thread")]
async fn etcd_passes() {
    let etcd = Etcd::start().await;
    let number = AtomicU32::new(0);
    run(|| async {
        let prefix = format!("case-{}/", number.fetch_add(1, Ordering::Relaxed));
        let config = Config { endpoints: vec![etcd.endpoint.clone()], prefix, ..Config::default() };
        let storage = Arc::new(EtcdStorage::connect(config).await.unwrap());
        let other = storage.clone();
        let compact = Box::new(move |revision| {
            let other = other.clone();
            let done = async move { other.compact(revision).await.unwrap() };
            Box::pin(done) as futures::future::BoxFuture<'static, ()>
        });
        Subject { storage, compact }
    })
    .await;
}
