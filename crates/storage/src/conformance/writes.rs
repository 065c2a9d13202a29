//! Transactions.

use std::sync::Arc;

use super::{Subject, commit, put, value};
use crate::{Compare, Condition, Error, Op, OpReply, Txn};

pub(super) async fn a_key_keeps_its_create_revision(subject: Subject) {
    let storage = &*subject.storage;
    let first = put(storage, "k", "1").await;
    let second = put(storage, "k", "2").await;
    assert!(second > first);
    let (item, revision) = storage.get(b"k").await.unwrap();
    let item = item.unwrap();
    assert_eq!((item.create_revision, item.mod_revision, revision), (first, second, second));
    commit(storage, vec![Op::delete("k")]).await;
    let again = put(storage, "k", "3").await;
    assert_eq!(storage.get(b"k").await.unwrap().0.unwrap().create_revision, again);
}

pub(super) async fn one_transaction_is_one_revision(subject: Subject) {
    let storage = &*subject.storage;
    let revision = commit(storage, vec![Op::put("a", "1"), Op::put("b", "2")]).await;
    for key in [b"a", b"b"] {
        assert_eq!(storage.get(key).await.unwrap().0.unwrap().mod_revision, revision);
    }
}

pub(super) async fn compares_decide(subject: Subject) {
    let storage = &*subject.storage;
    let at = put(storage, "k", "1").await;
    let cases = [
        ("k", Condition::Exists, true),
        ("k", Condition::Absent, false),
        ("k", Condition::ModRevision(at), true),
        ("k", Condition::ModRevision(at - 1), false),
        ("none", Condition::Exists, false),
        ("none", Condition::Absent, true),
        ("none", Condition::ModRevision(0), true),
        ("none", Condition::ModRevision(at), false),
    ];
    for (key, condition, expected) in cases {
        let txn = Txn {
            compares: vec![Compare::new("k", Condition::Exists), Compare::new(key, condition)],
            then: vec![Op::put("yes", "1")],
            otherwise: vec![Op::get("k")],
        };
        let before = storage.get(b"k").await.unwrap().1;
        let reply = storage.txn(txn).await.unwrap();
        assert_eq!(reply.succeeded, expected, "{key} {condition:?}");
        if expected {
            assert_eq!((&reply.replies[..], reply.revision), (&[OpReply::Put][..], before + 1));
        } else {
            let OpReply::Get(Some(item)) = &reply.replies[0] else { panic!("{:?}", reply.replies) };
            assert_eq!((&item.value[..], reply.revision), (&b"1"[..], before));
        }
    }
}

pub(super) async fn nested_transactions_have_outcomes_of_their_own(subject: Subject) {
    let storage = &*subject.storage;
    let at = put(storage, "a", "1").await;
    let good = Txn {
        compares: vec![Compare::new("a", Condition::ModRevision(at))],
        then: vec![Op::put("a", "2"), Op::delete("none")],
        ..Txn::default()
    };
    let bad =
        Txn { compares: vec![Compare::new("b", Condition::Exists)], then: vec![Op::put("b", "2")], ..Txn::default() };
    let outer = Txn {
        compares: vec![Compare::new("lane", Condition::Absent)],
        then: vec![Op::put("lane", "1"), Op::Txn(good), Op::Txn(bad)],
        ..Txn::default()
    };
    let reply = storage.txn(outer.clone()).await.unwrap();
    assert!(reply.succeeded && reply.revision > at);
    let [OpReply::Put, OpReply::Txn(good), OpReply::Txn(bad)] = &reply.replies[..] else { panic!("{reply:?}") };
    assert!(good.succeeded && good.replies == [OpReply::Put, OpReply::Delete(false)]);
    assert!(!bad.succeeded && bad.replies.is_empty());
    assert_eq!(value(storage, "a").await.unwrap(), "2");
    assert_eq!(value(storage, "b").await, None);
    assert_eq!(storage.get(b"a").await.unwrap().0.unwrap().mod_revision, reply.revision);
    // The outer compare fails now, and nothing within is done.
    assert!(!storage.txn(outer).await.unwrap().succeeded);
}

pub(super) async fn nested_compares_see_the_state_before(subject: Subject) {
    let inner = |when: &'static str, then: &'static str| {
        Op::Txn(Txn {
            compares: vec![Compare::new(when, Condition::Absent)],
            then: vec![Op::put(then, "1")],
            ..Txn::default()
        })
    };
    let storage = &*subject.storage;
    // No serial order lets both succeed, and both do: this is why a batch must not hold transactions that meet.
    commit(storage, vec![inner("x", "y"), inner("y", "x")]).await;
    assert!(value(storage, "x").await.is_some() && value(storage, "y").await.is_some());
}

pub(super) async fn deleting_nothing_changes_nothing(subject: Subject) {
    let storage = &*subject.storage;
    let at = put(storage, "member", "1").await;
    let heartbeat = Txn {
        compares: vec![Compare::new("member", Condition::ModRevision(at))],
        then: vec![Op::delete("never")],
        ..Txn::default()
    };
    let reply = storage.txn(heartbeat.clone()).await.unwrap();
    assert!(reply.succeeded && reply.revision == at);
    let moved = put(storage, "member", "2").await;
    let reply = storage.txn(heartbeat).await.unwrap();
    assert!(!reply.succeeded && reply.revision == moved);
}

pub(super) async fn a_key_is_written_once_in_a_transaction(subject: Subject) {
    let storage = &*subject.storage;
    let nested = |key| Op::Txn(Txn { then: vec![Op::put(key, "2")], ..Txn::default() });
    for ops in [vec![Op::put("k", "1"), Op::put("k", "2")], vec![nested("k"), nested("k")]] {
        let refused = storage.txn(Txn { then: ops, ..Txn::default() }).await;
        assert!(matches!(refused, Err(Error::Failed(_))), "{refused:?}");
        assert_eq!(value(storage, "k").await, None);
    }
}

pub(super) async fn too_large_is_refused_and_nothing_is_written(subject: Subject) {
    let storage = &*subject.storage;
    let txn = Txn { then: vec![Op::put("small", "1"), Op::put("large", vec![0; 4 * 1024 * 1024])], ..Txn::default() };
    let refused = storage.txn(txn).await;
    assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
    assert_eq!(value(storage, "small").await, None);
}

pub(super) async fn concurrent_increments_are_all_counted(subject: Subject) {
    let storage = subject.storage;
    put(&*storage, "count", "0").await;
    let tasks = (0..8).map(|_| {
        let storage = Arc::clone(&storage);
        async move {
            for _ in 0..10 {
                while !increment(&*storage).await {}
            }
        }
    });
    futures::future::join_all(tasks).await;
    assert_eq!(value(&*storage, "count").await.unwrap(), "80");
}

async fn increment(storage: &dyn crate::Storage) -> bool {
    let item = storage.get(b"count").await.unwrap().0.unwrap();
    let count: u32 = std::str::from_utf8(&item.value).unwrap().parse().unwrap();
    let txn = Txn {
        compares: vec![Compare::new("count", Condition::ModRevision(item.mod_revision))],
        then: vec![Op::put("count", (count + 1).to_string())],
        ..Txn::default()
    };
    storage.txn(txn).await.unwrap().succeeded
}
