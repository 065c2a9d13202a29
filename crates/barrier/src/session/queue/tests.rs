use super::*;

type Waiter = oneshot::Receiver<Outcome>;

fn pending(checks: &[&'static str], deletes: &[&'static str]) -> (Pending, Waiter) {
    let (reply, waiter) = oneshot::channel();
    let checks = checks.iter().map(|key| (Bytes::from(*key), Condition::Absent)).collect();
    let write = |key: &&'static str| PendingWrite {
        path: (*key).to_owned(),
        key: Bytes::from(*key),
        change: PendingChange::Delete,
    };
    (Pending { checks, writes: deletes.iter().map(write).collect(), reply, since: Instant::now() }, waiter)
}

fn sizes(all: Vec<(Pending, Waiter)>) -> Vec<usize> {
    let (queue, _waiters): (VecDeque<_>, Vec<_>) = all.into_iter().unzip();
    let mut queue = queue;
    let mut sizes = Vec::new();
    while !queue.is_empty() {
        sizes.push(take_batch(&mut queue, MAX_INNER).len());
    }
    sizes
}

#[test]
fn write_skew_does_not_travel_together() {
    assert_eq!(sizes(vec![pending(&["x"], &["y"]), pending(&["y"], &["x"])]), [1, 1]);
    assert_eq!(sizes(vec![pending(&[], &["x"]), pending(&[], &["x"])]), [1, 1]);
    assert_eq!(sizes(vec![pending(&["x"], &[]), pending(&[], &["x"])]), [1, 1]);
    assert_eq!(sizes(vec![pending(&["x"], &["a"]), pending(&["x"], &["b"])]), [2]);
}

#[test]
fn what_meets_nothing_overtakes_what_waits() {
    assert_eq!(sizes(vec![pending(&[], &["x"]), pending(&[], &["x"]), pending(&[], &["y"])]), [2, 1]);
}

#[test]
fn a_batch_stays_within_what_etcd_takes() {
    let many = (0..130).map(|_| pending(&[], &[])).collect();
    assert_eq!(sizes(many), [64, 64, 2]);
    // 2 + 100 operations leave room for 26 transactions.
    let keys: Vec<&'static str> = (0..100).map(|number| &*format!("k{number}").leak()).collect();
    let mut wide = vec![pending(&[], &keys)];
    wide.extend((0..40).map(|_| pending(&[], &[])));
    assert_eq!(sizes(wide), [27, 14]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_company_while_another_is_under_way_and_not_for_long() {
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let queue = Queue::default();
    let mut waiters = Vec::new();
    let mut push = |keys: &[&'static str]| {
        for key in keys {
            let (one, waiter) = pending(&[], &[key]);
            waiters.push(waiter);
            assert!(queue.push(one));
        }
    };
    let begun = Instant::now();
    push(&keys[..6]);
    assert_eq!((queue.take().await.len(), begun.elapsed()), (6, Duration::ZERO), "nobody was here before");
    push(&keys[..1]);
    let (batch, ()) = tokio::join!(queue.take(), async { push(&keys[1..3]) });
    assert_eq!((batch.len(), begun.elapsed()), (3, Duration::ZERO), "half of the crowd is company enough");
    push(&keys[..1]);
    assert_eq!((queue.take().await.len(), begun.elapsed()), (1, LINGER), "the others take their time");
    for done in [6, 3, 1] {
        queue.done(done);
    }
    assert!(queue.is_idle());
    push(&keys[..1]);
    assert_eq!((queue.take().await.len(), begun.elapsed()), (1, LINGER * 2), "who was answered may come again");
    queue.done(1);
    tokio::time::advance(DISPERSED).await;
    push(&keys[..1]);
    assert_eq!((queue.take().await.len(), begun.elapsed()), (1, LINGER * 2 + DISPERSED), "one alone goes at once");
}

#[test]
fn who_waits_no_more_is_dropped_before_anything_is_sent() {
    let (gone, waiter) = pending(&[], &["x"]);
    drop(waiter);
    let mut queue = VecDeque::from([gone]);
    assert!(take_batch(&mut queue, MAX_INNER).is_empty() && queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_for_a_lane_is_refused_and_who_is_under_way_is_not() {
    let (queue, begun) = (Queue::default(), Instant::now());
    let ((first, under_way), (second, waiting)) = (pending(&[], &["x"]), pending(&[], &["x"]));
    assert!(queue.push(first) && queue.push(second));
    let batch = queue.take().await;
    let refused = queue.outcome(waiting).await;
    assert!(matches!(refused, Err(Refusal { error: StoreError::Unavailable(_), seen: 0 })), "{refused:?}");
    assert_eq!((batch.len(), begun.elapsed()), (1, PATIENCE));
    let (told, ()) = tokio::join!(queue.outcome(under_way), async {
        tokio::time::sleep(PATIENCE * 3).await;
        for pending in batch {
            pending.reply.send(Ok(7)).unwrap();
        }
    });
    assert_eq!(told.unwrap(), 7);
    queue.done(1);
    assert!(queue.is_idle(), "no lane finds the refused one");
}
