//! Terms, the root key, fsck.

use std::sync::Arc;

use holdfast_barrier::{Store, StoreError, UnsealError};
use holdfast_secret::SecretBytes;
use holdfast_storage::{Op, Storage, Txn};

use crate::support::{open_memory, put, read, root, sealed};

#[tokio::test]
async fn a_new_term_encrypts_and_the_old_one_still_reads() {
    let (barrier, storage) = open_memory().await;
    put(&barrier, "old", "1").await.unwrap();
    let derived = barrier.derive_key("salt").unwrap();
    assert_eq!(barrier.rotate().await.unwrap(), 2);
    assert_eq!(barrier.key_status().unwrap().term, 2);
    put(&barrier, "new", "2").await.unwrap();
    assert_eq!(barrier.derive_key("salt").unwrap(), derived);
    assert_ne!(barrier.derive_key("pepper").unwrap(), derived);
    let report = barrier.fsck().await.unwrap();
    assert!(report.is_clean());
    assert_eq!(report.terms.into_iter().collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    drop(barrier);
    let again = sealed(Arc::new(storage), "one");
    again.unseal(root()).await.unwrap();
    assert_eq!((read(&again, "old").await.unwrap(), read(&again, "new").await.unwrap()), ("1".into(), "2".into()));
}

#[tokio::test]
async fn a_rotation_elsewhere_is_followed() {
    let (one, storage) = open_memory().await;
    let two = crate::support::open(Arc::new(storage), "two").await;
    one.rotate().await.unwrap();
    put(&one, "a", "1").await.unwrap();
    assert_eq!(read(&two, "a").await.unwrap(), "1");
    put(&two, "b", "2").await.unwrap();
    assert_eq!(two.key_status().unwrap().term, 2);
    assert_eq!(two.fsck().await.unwrap().terms.into_iter().collect::<Vec<_>>(), [(2, 2)]);
}

#[tokio::test]
async fn a_new_root_key_opens_and_the_old_one_does_not() {
    let (barrier, storage) = open_memory().await;
    put(&barrier, "a", "1").await.unwrap();
    let new = SecretBytes::new([9; 32]);
    barrier.rekey(&new, vec![("seal".to_owned(), b"new".to_vec())]).await.unwrap();
    assert!(barrier.is_root_key(&new).unwrap() && !barrier.is_root_key(&root()).unwrap());
    put(&barrier, "b", "2").await.unwrap();
    barrier.rotate().await.unwrap();
    barrier.forget_predecessor().await.unwrap();
    barrier.seal().await;
    let again = sealed(Arc::new(storage), "one");
    assert!(matches!(again.unseal(root()).await, Err(UnsealError::WrongKey)));
    again.unseal(new).await.unwrap();
    assert_eq!(read(&again, "a").await.unwrap(), "1");
    assert_eq!(again.read_clear("seal").await.unwrap().unwrap().0, b"new");
}

#[tokio::test]
async fn fsck_finds_what_somebody_did_to_the_store() {
    let (barrier, storage) = open_memory().await;
    for path in ["a", "b", "c"] {
        put(&barrier, path, path).await.unwrap();
    }
    assert!(barrier.fsck().await.unwrap().is_clean());
    let values: Vec<_> = storage.dump().into_iter().filter(|item| item.key.starts_with(b"data/")).collect();
    let mut broken = values[2].value.to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let then = vec![
        Op::put(values[0].key.clone(), values[1].value.clone()),
        Op::put(values[2].key.clone(), broken),
        Op::put("data/!bogus", "x"),
        Op::put("member/00000000000000000000000000000000", "x"),
    ];
    storage.txn(Txn { then, ..Txn::default() }).await.unwrap();
    let report = barrier.fsck().await.unwrap();
    assert_eq!((report.keys, report.bad_headers, report.bad_names, report.bad_records), (4, 2, 1, 1));
    assert_eq!(report.damaged_paths.len(), 2);
    let damaged = report.damaged_paths.first().unwrap();
    assert!(matches!(barrier.get(damaged).await, Err(StoreError::Corrupt { path, .. }) if path == *damaged));
}

/// Between the transaction and the moment in which people have the new shares, the old key opens too: whoever dies in between
/// leaves a store that somebody can open.
#[tokio::test]
async fn the_old_root_key_opens_until_it_is_forgotten() {
    let (barrier, storage) = open_memory().await;
    put(&barrier, "a", "1").await.unwrap();
    let new = SecretBytes::new([9; 32]);
    barrier.rekey(&new, Vec::new()).await.unwrap();
    drop(barrier);
    let again = sealed(Arc::new(storage.clone()), "one");
    again.unseal(root()).await.unwrap();
    assert!(again.opened_by_predecessor() && again.is_root_key(&root()).unwrap());
    assert!(!again.is_root_key(&SecretBytes::new([8; 32])).unwrap());
    assert_eq!(read(&again, "a").await.unwrap(), "1");
    again.seal().await;
    again.unseal(new.duplicate()).await.unwrap();
    assert!(!again.opened_by_predecessor() && !again.is_root_key(&root()).unwrap());
    again.forget_predecessor().await.unwrap();
    again.seal().await;
    assert!(matches!(again.unseal(root()).await, Err(UnsealError::WrongKey)));
    again.unseal(new).await.unwrap();
}

#[tokio::test]
async fn an_order_to_seal_reaches_all_replicas() {
    let (one, storage) = open_memory().await;
    let two = crate::support::open(Arc::new(storage), "two").await;
    put(&two, "a", "1").await.unwrap();
    let names: Vec<_> = one.members().await.unwrap().into_iter().map(|member| (member.instance, member.own)).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&("two".to_owned(), false)), "{names:?}");
    one.order_seal(b"x".to_vec()).await.unwrap();
    assert!(put(&two, "b", "2").await.is_err());
    assert!(matches!(two.get("a").await, Err(StoreError::Sealed)));
    one.seal().await;
    two.seal().await;
    assert!(one.is_alone().await.unwrap());
    two.unseal(root()).await.unwrap();
    assert_eq!(read(&two, "a").await.unwrap(), "1");
}

#[tokio::test]
async fn of_two_rotations_from_one_term_one_happens() {
    let (one, storage) = open_memory().await;
    let two = crate::support::open(Arc::new(storage), "two").await;
    let (a, b) = tokio::join!(one.rotate_from(1), two.rotate_from(1));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    assert_eq!(one.key_status().unwrap().term, 2);
}
