//! The file store passes the suite, keeps what was committed, and serves one process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate; the lints know only test functions")]

use std::{fs::Permissions, os::unix::fs::PermissionsExt, sync::Arc};

use holdfast_storage::conformance::{Subject, run};
use holdfast_storage::{Op, Storage, Txn};
use holdfast_storage_file::{FileStorage, OpenError};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_passes() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicU32::new(0);
    run(|| async {
        let name = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        let storage = FileStorage::open(folder.path().join(name)).unwrap();
        let other = storage.clone();
        let compact = Box::new(move |revision| {
            other.compact(revision);
            Box::pin(std::future::ready(())) as futures::future::BoxFuture<'static, ()>
        });
        Subject { storage: Arc::new(storage), compact }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let storage = FileStorage::open(&path).unwrap();
    let txn = Txn { then: vec![Op::put("k", "v")], ..Txn::default() };
    let revision = storage.txn(txn).await.unwrap().revision;
    drop(storage);

    let storage = FileStorage::open(&path).unwrap();
    let (item, now) = storage.get(b"k").await.unwrap();
    let item = item.unwrap();
    assert_eq!((&item.value[..], item.mod_revision, now), (&b"v"[..], revision, revision));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let _first = FileStorage::open(&path).unwrap();
    let error = FileStorage::open(&path).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
}

#[test]
fn a_missing_folder_is_named() {
    let error = FileStorage::open("/nonexistent/store").err().unwrap();
    assert!(error.to_string().contains("/nonexistent/store"), "{error}");
}

#[test]
fn cve_2021_38553_the_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    drop(FileStorage::open(&path).unwrap());
    assert_eq!(mode(), 0o600, "as it was made");
    // One that was there before, as a server without this check left it.
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    drop(FileStorage::open(&path).unwrap());
    assert_eq!(mode(), 0o600, "as it was found");
}

#[test]
fn cve_2020_15113_a_file_that_others_may_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    drop(FileStorage::open(&path).unwrap());
    for mode in [0o660, 0o620, 0o602, 0o606, 0o666, 0o777] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = FileStorage::open(&path).err().unwrap();
        assert!(matches!(error, OpenError::Open { mode: told, .. } if told == mode), "{mode:o}: {error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    drop(FileStorage::open(&path).unwrap());
}
