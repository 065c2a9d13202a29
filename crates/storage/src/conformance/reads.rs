//! Ranges.

use bytes::Bytes;

use super::{Subject, commit, keys, put};
use crate::{Op, Range};

pub(super) async fn an_absent_key_is_absent(subject: Subject) {
    let (item, revision) = subject.storage.get(b"nothing").await.unwrap();
    assert_eq!(item, None);
    assert!(revision > 0);
}

pub(super) async fn a_prefix_ends_where_it_ends(subject: Subject) {
    let storage = &*subject.storage;
    for key in ["a", "a/", "a/1", "a/2", "a0", "b"] {
        commit(storage, vec![Op::put(key, "v")]).await;
    }
    assert_eq!(keys(storage, Range::prefix("a/")).await, ["a/", "a/1", "a/2"]);
    assert_eq!(keys(storage, Range::between("a/1", "a0")).await, ["a/1", "a/2"]);
    assert_eq!(keys(storage, Range::prefix("")).await.len(), 6);
    assert_eq!(keys(storage, Range::key("a/1")).await, ["a/1"]);
}

pub(super) async fn pages_follow_each_other(subject: Subject) {
    let storage = &*subject.storage;
    for key in ["p/1", "p/2", "p/3"] {
        commit(storage, vec![Op::put(key, "v")]).await;
    }
    let first = storage.range(Range::prefix("p/").limit(2).keys_only()).await.unwrap();
    assert!(first.more);
    assert_eq!(first.items.len(), 2);
    assert!(first.items.iter().all(|item| item.value.is_empty()));
    let next = [&first.items[1].key[..], &[0]].concat();
    let second = storage.range(Range::between(next, "p0").limit(2)).await.unwrap();
    assert!(!second.more);
    assert_eq!(second.items[0].key, "p/3");
    assert_eq!(second.items[0].value, "v");
}

pub(super) async fn keys_may_hold_any_byte(subject: Subject) {
    let storage = &*subject.storage;
    let odd: [&'static [u8]; 3] = [&[0], &[b'k', 0, 0xff], &[0xff, 0xff]];
    for key in odd {
        commit(storage, vec![Op::put(key, key)]).await;
    }
    for key in odd {
        let (item, _) = storage.get(key).await.unwrap();
        assert_eq!(item.unwrap().value, Bytes::from_static(key));
    }
    assert_eq!(keys(storage, Range::prefix(&[0xff_u8][..])).await, [Bytes::from_static(&[0xff, 0xff])]);
    assert_eq!(keys(storage, Range::prefix("")).await.len(), 3);
}

pub(super) async fn large_values_come_back(subject: Subject) {
    let storage = &*subject.storage;
    let large = vec![7u8; 1024 * 1024];
    for key in ["l/1", "l/2", "l/3", "l/4", "l/5"] {
        commit(storage, vec![Op::put(key, large.clone())]).await;
    }
    // Five times the limit that gRPC libraries have by default for one message would be four.
    let page = storage.range(Range::prefix("l/")).await.unwrap();
    assert!(page.items.len() == 5 && page.items.iter().all(|item| item.value == large));
    put(storage, "l/1", "small").await;
    assert_eq!(super::value(storage, "l/1").await.unwrap(), "small");
}

pub(super) async fn keys_are_counted(subject: Subject) {
    let storage = &*subject.storage;
    for key in ["a/1", "a/2", "a/b/3", "b/1"] {
        commit(storage, vec![Op::put(key, "v")]).await;
    }
    assert_eq!(storage.count(Range::prefix("a/")).await.unwrap(), 3);
    assert_eq!(storage.count(Range::prefix("a/").limit(1)).await.unwrap(), 3);
    assert_eq!(storage.count(Range::prefix("c/")).await.unwrap(), 0);
}
