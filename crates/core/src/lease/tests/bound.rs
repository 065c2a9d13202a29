use std::time::Duration;

use holdfast_logical::Namespace;

use super::world::{HOUR, World};
use crate::lease::{Error, IssueContext};

#[tokio::test]
async fn whoever_asks_gets_the_same_credential_of_an_item() {
    let world = World::new().await;
    let first = world.issue_bound("db-creds", None).await.unwrap();
    world.pass(Duration::from_secs(600)).await;
    let again = world.replica().issue(world.offer("db"), world.bound("db-creds", None)).await.unwrap();
    assert!(again.found && !first.found);
    assert_eq!((&again.lease_id, again.data.to_map()), (&first.lease_id, first.data.to_map()));
    assert_eq!(again.ttl, HOUR - Duration::from_secs(600));
    // The end of a login is not the end of the pod.
    assert_eq!(world.leases.revoke_token("token").await.unwrap().done, 0);
    assert_eq!(world.leases.find_bound("pod/u-1", "db-creds").await.unwrap().unwrap().lease_id, first.lease_id);
    assert_eq!(world.users(), 1);
    assert_eq!(world.leases.bindings("pod/u-1").await.unwrap()["db-creds"].id, first.lease_id);
    assert_eq!(world.leases.owner_kinds(&Namespace::root()).await.unwrap(), ["pod/"]);
    assert_eq!(world.leases.owners("pod").await.unwrap(), ["u-1"]);
}

#[tokio::test]
async fn requests_at_the_same_time_make_one_credential_also_on_two_replicas() {
    let world = World::new().await;
    let (other, mut tasks) = (world.replica(), tokio::task::JoinSet::new());
    for turn in 0..16 {
        let leases = if turn % 2 == 0 { world.leases.clone() } else { other.clone() };
        let (offer, context) = (world.offer("db"), world.bound("x/y z", None));
        tasks.spawn(async move { leases.issue(offer, context).await.unwrap().lease_id });
    }
    let mut ids = tasks.join_all().await;
    ids.dedup();
    assert_eq!((ids.len(), world.users()), (1, 1));
}

#[tokio::test]
async fn replacing_is_a_compare_and_the_old_one_lives_on() {
    let world = World::new().await;
    let old = world.issue_bound("a", None).await.unwrap().lease_id;
    let new = world.issue_bound("a", Some(&old)).await.unwrap();
    assert!(!new.found && new.lease_id != old);
    let late = world.issue_bound("a", Some(&old)).await.unwrap();
    assert_eq!((late.found, &late.lease_id), (true, &new.lease_id));
    assert_eq!(world.users(), 2);
    world.leases.revoke(&old, true).await.unwrap();
    assert_eq!(world.leases.find_bound("pod/u-1", "a").await.unwrap().unwrap().lease_id, new.lease_id);
    // Another path is another credential.
    let elsewhere = IssueContext { request_path: "db/creds/other".into(), ..world.bound("a", None) };
    let moved = world.leases.issue(world.offer("db"), elsewhere).await.unwrap();
    assert!(!moved.found && moved.lease_id.starts_with("db/creds/other/"));
}

#[tokio::test]
async fn an_expired_or_revoked_credential_is_not_found_again() {
    let world = World::new().await;
    let first = world.issue_bound("a", None).await.unwrap().lease_id;
    world.clock.advance(HOUR);
    let second = world.issue_bound("a", None).await.unwrap();
    assert!(!second.found && second.lease_id != first);
    world.outside("db").set_dead(true);
    world.leases.revoke(&second.lease_id, true).await.unwrap();
    assert!(world.leases.find_bound("pod/u-1", "a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_released_owner_loses_all_and_gets_nothing_for_a_day() {
    let world = World::new().await;
    let old = world.issue_bound("a", None).await.unwrap().lease_id;
    world.issue_bound("a", Some(&old)).await.unwrap();
    world.issue_bound("b", None).await.unwrap();
    assert_eq!(world.leases.release("pod/u-1", None).await.unwrap().done, 3);
    assert_eq!((world.users(), world.leases.count("").await.unwrap()), (0, 0));
    assert!(matches!(world.issue_bound("a", None).await, Err(Error::Released(_))));
    assert_eq!(world.leases.release("pod/u-1", None).await.unwrap().done, 0);
    world.pass(25 * HOUR).await;
    assert_eq!(world.stored().await, Vec::<String>::new());
    world.issue_bound("a", None).await.unwrap();
}

#[tokio::test]
async fn an_item_alone_can_be_released_and_others_stay() {
    let world = World::new().await;
    let old = world.issue_bound("a", None).await.unwrap().lease_id;
    world.issue_bound("a", Some(&old)).await.unwrap();
    world.issue_bound("b", None).await.unwrap();
    assert_eq!(world.leases.release("pod/u-1", Some("a")).await.unwrap().done, 2);
    assert_eq!(world.users(), 1);
    assert!(!world.issue_bound("a", None).await.unwrap().found);
    assert_eq!(world.leases.release("pod/none", Some("a")).await.unwrap().done, 0);
}

#[tokio::test]
async fn a_release_while_the_database_is_down_is_remembered() {
    let world = World::new().await;
    world.issue_bound("a", None).await.unwrap();
    world.outside("db").set_dead(true);
    let released = world.leases.release("pod/u-1", None).await.unwrap();
    assert_eq!((released.done, released.queued), (0, 1));
    world.outside("db").set_dead(false);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.users(), 0);
}

#[tokio::test]
async fn a_release_while_a_credential_is_made_wins() {
    let world = std::sync::Arc::new(World::new().await);
    let offer = world.offer("db");
    let (leases, create) = (world.leases.clone(), offer.create);
    let offer = holdfast_logical::Issue {
        create: Box::new(|| {
            Box::pin(async move {
                create().await?;
                leases.release("pod/u-1", None).await.unwrap();
                Ok(())
            })
        }),
        ..offer
    };
    assert!(matches!(world.leases.issue(offer, world.bound("a", None)).await, Err(Error::Released(_))));
    assert_eq!((world.users(), world.leases.count("").await.unwrap()), (0, 0));
}

#[tokio::test]
async fn owners_and_items_that_are_none_are_refused() {
    let world = World::new().await;
    for owner in ["", "pod", "pod/", "/u", "pod/a/b", "pod/..", "pod/a b"] {
        assert!(matches!(world.leases.find_bound(owner, "a").await, Err(Error::BadBinding(_))), "{owner}");
        assert!(matches!(world.leases.release(owner, None).await, Err(Error::BadBinding(_))), "{owner}");
    }
    assert!(matches!(world.issue_bound("", None).await, Err(Error::BadBinding(_))));
}
