//! The past, and watches.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use super::{Subject, commit, put};
use crate::{Error, Event, Op, Range, Update, Watch};

/// Longest wait for an update that must come.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn the_past_can_be_read(subject: Subject) {
    let storage = &*subject.storage;
    put(storage, "h/a", "1").await;
    let then = put(storage, "h/b", "1").await;
    commit(storage, vec![Op::put("h/a", "2"), Op::delete("h/b"), Op::put("h/c", "1")]).await;
    let page = storage.range(Range::prefix("h/").at(then)).await.unwrap();
    let values: Vec<_> = page.items.iter().map(|item| (item.key.clone(), item.value.clone())).collect();
    let pair = |key: &'static str| (Bytes::from(key), Bytes::from("1"));
    assert_eq!(values, [pair("h/a"), pair("h/b")]);
    assert!(page.revision > then);
    let one = storage.range(Range::prefix("h/").at(then).limit(1)).await.unwrap();
    assert!(one.items.len() == 1 && one.more);
    assert!(storage.range(Range::key("h/c").at(then)).await.unwrap().items.is_empty());
}

pub(super) async fn the_future_and_the_forgotten_cannot(subject: Subject) {
    let storage = &*subject.storage;
    let first = put(storage, "h", "1").await;
    let second = put(storage, "h", "2").await;
    let third = put(storage, "h", "3").await;
    assert_eq!(storage.range(Range::key("h").at(third + 1000)).await.unwrap_err(), Error::Future);
    (subject.compact)(second).await;
    let forgotten = storage.range(Range::key("h").at(first)).await;
    assert!(matches!(forgotten, Err(Error::Compacted(_))), "{forgotten:?}");
    assert_eq!(storage.range(Range::key("h").at(third)).await.unwrap().items[0].value, "3");
}

pub(super) async fn a_watch_tells_whole_revisions_in_order(subject: Subject) {
    let storage = &*subject.storage;
    let first = put(storage, "w/a", "1").await;
    put(storage, "other", "1").await;
    let mut watch = storage.watch(b"w/", first).await.unwrap();
    let second = commit(storage, vec![Op::delete("w/a"), Op::put("w/b", "1"), Op::put("x", "1")]).await;
    let third = put(storage, "w/b", "2").await;

    let (revision, events) = next(&mut watch).await;
    assert!(revision == first && events.len() == 1);
    let (revision, events) = next(&mut watch).await;
    assert_eq!(revision, second);
    assert!(events.contains(&Event::Delete { key: "w/a".into(), mod_revision: second }));
    assert!(events.iter().any(|event| matches!(event, Event::Put(item) if item.key == "w/b" && item.value == "1")));
    assert_eq!(events.len(), 2);
    let (revision, events) = next(&mut watch).await;
    let Event::Put(item) = &events[0] else { panic!("{events:?}") };
    assert_eq!((revision, item.create_revision, item.mod_revision), (third, second, third));
}

pub(super) async fn a_watch_may_start_one_ahead(subject: Subject) {
    let storage = &*subject.storage;
    let now = put(storage, "w", "1").await;
    let mut watch = storage.watch(b"w", now + 1).await.unwrap();
    let then = put(storage, "w", "2").await;
    assert_eq!(next(&mut watch).await.0, then);
}

pub(super) async fn a_watch_tells_progress(subject: Subject) {
    let storage = &*subject.storage;
    let from = put(storage, "w", "1").await;
    let mut watch = storage.watch(b"w", from).await.unwrap();
    let elsewhere = put(storage, "elsewhere", "1").await;
    let reached = async {
        loop {
            watch.ask_progress();
            let update = tokio::time::timeout(Duration::from_millis(100), watch.next()).await;
            match update {
                Ok(Some(Ok(Update::Progress(revision)))) if revision >= elsewhere => return,
                Ok(Some(Ok(_))) | Err(_) => {}
                Ok(other) => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
}

pub(super) async fn a_watch_of_the_forgotten_says_so(subject: Subject) {
    let storage = &*subject.storage;
    let first = put(storage, "w", "1").await;
    put(storage, "w", "2").await;
    let third = put(storage, "w", "3").await;
    (subject.compact)(third).await;
    let error = match storage.watch(b"w", first).await {
        Err(error) => error,
        Ok(mut watch) => tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap_err(),
    };
    assert!(matches!(error, Error::Compacted(_)), "{error:?}");
}

pub(super) async fn a_watch_of_much_misses_nothing(subject: Subject) {
    let storage = &*subject.storage;
    let from = put(storage, "w/start", "1").await;
    for number in 0..12 {
        let large = vec![number; 600 * 1024];
        commit(storage, vec![Op::put(format!("w/{number}"), large.clone()), Op::put(format!("w/{number}/b"), large)])
            .await;
    }
    let mut watch = storage.watch(b"w/", from + 1).await.unwrap();
    for number in 0..12 {
        let (_, events) = next(&mut watch).await;
        let keys: Vec<_> = events.iter().map(|event| event.key().clone()).collect();
        assert_eq!(keys, [format!("w/{number}"), format!("w/{number}/b")]);
    }
}

async fn next(watch: &mut Watch) -> (i64, Vec<Event>) {
    loop {
        let update = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
        if let Update::Revision { revision, events } = update {
            return (revision, events);
        }
    }
}
