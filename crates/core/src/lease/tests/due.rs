use std::time::Duration;

use holdfast_base::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

use super::world::{HOUR, World};

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap()
}

#[tokio::test]
async fn tokens_are_expired_when_they_were_last_scheduled_for() {
    let world = World::new().await;
    let start = world.clock.now();
    let view = world.leases.view().clone();
    let (first, second) = (later(start, HOUR), later(start, 2 * HOUR));
    view.commit(world.leases.schedule_token("t", first, None).unwrap()).await.unwrap();
    view.commit(world.leases.schedule_token("t", second, Some(first)).unwrap()).await.unwrap();
    view.commit(world.leases.schedule_token("t", second, Some(second)).unwrap()).await.unwrap();
    world.pass(HOUR + HOUR / 2).await;
    assert!(world.mounts.expired.lock().is_empty());
    world.pass(HOUR).await;
    assert_eq!(*world.mounts.expired.lock(), ["t"]);
    assert_eq!(world.stored().await, Vec::<String>::new());
    let at = later(world.clock.now(), HOUR);
    view.commit(world.leases.schedule_token("u", at, None).unwrap()).await.unwrap();
    view.commit(world.leases.unschedule_token("u", at)).await.unwrap();
    assert_eq!(world.stored().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_came_due_while_nobody_ran_is_found() {
    for seen_before in [true, false] {
        let world = World::new().await;
        if seen_before {
            world.leases.drain().await;
        }
        world.issue("db").await;
        world.clock.advance(72 * HOUR);
        world.replica().drain().await;
        assert_eq!((world.users(), world.stored().await.len()), (0, 0));
    }
}

#[tokio::test]
async fn a_clock_that_jumps_revokes_nothing_early() {
    let world = World::new().await;
    world.issue("db").await;
    world.clock.set_wall(later(world.clock.now(), 5 * HOUR));
    world.pass(HOUR / 2).await;
    assert_eq!(world.users(), 1);
    world.pass(HOUR / 2).await;
    assert_eq!(world.users(), 0);
}

#[tokio::test]
async fn a_start_with_a_clock_that_went_back_goes_on_from_the_stored_time() {
    let world = World::new().await;
    world.issue("db").await;
    world.pass(HOUR / 2).await;
    world.clock.set_wall(later(world.clock.now(), Duration::ZERO).checked_sub(24 * HOUR).unwrap());
    let restarted = world.replica();
    restarted.drain().await;
    assert_eq!(world.users(), 1);
    world.clock.advance(HOUR);
    restarted.drain().await;
    assert_eq!(world.users(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_database_that_hangs_does_not_delay_the_others() {
    let world = World::new().await;
    for _ in 0..40 {
        world.issue("db").await;
    }
    let other = world.issue("other").await.lease_id;
    world.outside("db").set_silent();
    world.clock.advance(HOUR);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(world.leases.clone().run(shutdown.clone()));
    let begun = tokio::time::Instant::now();
    while world.leases.lookup(&other).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the other mount waits for the one that hangs");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.users(), 40);
    shutdown.cancel();
    running.await.unwrap();
}

/// More of a mount hangs than there is room for; what comes after it in the index is dealt with all the same, and what found
/// no room is found again.
#[tokio::test(start_paused = true)]
async fn what_hangs_does_not_take_the_room_of_others() {
    const ROOM: usize = 10;
    let world = World::new().await;
    for _ in 0..150 {
        world.issue("db").await;
    }
    world.clock.advance(Duration::from_secs(1));
    let other = world.issue("other").await.lease_id;
    world.outside("db").set_silent();
    world.clock.advance(HOUR);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(world.leases.clone().run_with(ROOM, shutdown.clone()));
    let begun = tokio::time::Instant::now();
    while world.leases.lookup(&other).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the other mount waits for the one that hangs");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.users(), 150);
    world.outside("db").silent.store(false, std::sync::atomic::Ordering::SeqCst);
    let step = Duration::from_secs(10);
    while world.users() > 0 {
        assert!(begun.elapsed() < HOUR, "{} are left", world.users());
        world.clock.advance(step);
        tokio::time::sleep(step).await;
    }
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn two_replicas_share_the_work_and_lose_nothing() {
    let world = World::new().await;
    for _ in 0..60 {
        world.issue("db").await;
    }
    world.clock.advance(HOUR);
    let other = world.replica();
    tokio::join!(world.leases.drain(), other.drain());
    assert_eq!((world.users(), world.stored().await.len()), (0, 0));
    assert_eq!(world.outside("db").revocations.lock().len(), 60, "without a takeover, none is revoked twice");
}

#[tokio::test]
async fn what_another_leaves_undone_is_taken_by_who_has_nothing_to_do() {
    let world = World::new().await;
    *world.mounts.members.lock() = vec!["one".to_owned(), "another".to_owned()];
    for _ in 0..60 {
        world.issue("db").await;
    }
    world.clock.advance(HOUR);
    world.leases.drain().await;
    let left = world.users();
    assert!((1..60).contains(&left), "{left} of 60 are of shares of another");
    world.clock.advance(Duration::from_secs(20));
    world.leases.drain().await;
    assert_eq!(world.users(), left, "it may be about to do them");
    world.clock.advance(Duration::from_secs(11));
    world.leases.drain().await;
    assert_eq!((world.users(), world.outside("db").revocations.lock().len()), (0, 60));
}

#[tokio::test]
async fn one_damaged_record_does_not_keep_the_others() {
    let world = World::new().await;
    for _ in 0..20 {
        world.issue("db").await;
    }
    let names = world.leases.list("db/creds/app").await.unwrap();
    world.leases.view().put_json(&format!("id/db/creds/app/{}", names[7]), &"damaged").await.unwrap();
    world.pass(HOUR).await;
    assert_eq!(world.users(), 1);
}
