//! The memory store passes the suite.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate; the lints know only test functions")]

use std::sync::Arc;

use holdfast_storage::MemoryStorage;
use holdfast_storage::conformance::{Subject, run};

#[tokio::test]
async fn memory_passes() {
    run(|| async {
        let storage = MemoryStorage::new();
        let other = storage.clone();
        let compact = Box::new(move |revision| {
            other.compact(revision);
            Box::pin(std::future::ready(())) as futures::future::BoxFuture<'static, ()>
        });
        Subject { storage: Arc::new(storage), compact }
    })
    .await;
}
