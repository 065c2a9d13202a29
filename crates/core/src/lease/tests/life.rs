use std::time::Duration;

use holdfast_logical::{Check, Error as BackendError};

use super::world::{HOUR, World};
use crate::lease::{Error, Revoked};

#[tokio::test]
async fn a_lease_lives_until_its_ttl_and_leaves_nothing_behind() {
    let world = World::new().await;
    let leased = world.issue("db").await;
    assert!(leased.lease_id.starts_with("db/creds/app/") && leased.lease_id.len() == 13 + 24, "{}", leased.lease_id);
    assert_eq!((leased.ttl, leased.renewable, leased.found), (HOUR, true, false));
    let info = world.leases.lookup(&leased.lease_id).await.unwrap();
    assert_eq!((info.id, info.ttl, info.last_renewal), (leased.lease_id.clone(), HOUR, None));
    assert_eq!(world.leases.list("db/creds").await.unwrap(), ["app/"]);
    assert_eq!(world.leases.count("").await.unwrap(), 1);
    world.pass(HOUR - Duration::from_secs(1)).await;
    assert_eq!(world.users(), 1);
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.users(), 0);
    assert!(matches!(world.leases.lookup(&leased.lease_id).await, Err(Error::Invalid)));
    assert_eq!(world.stored().await, Vec::<String>::new());
}

#[tokio::test]
async fn renewal_moves_the_end_within_the_maximum() {
    let world = World::new().await;
    let id = world.issue("db").await.lease_id;
    world.pass(HOUR / 2).await;
    let renewed = world.leases.renew(&id, None).await.unwrap();
    assert_eq!((renewed.ttl, renewed.warnings.len()), (HOUR, 0));
    world.pass(HOUR - Duration::from_secs(1)).await;
    assert_eq!(world.users(), 1);
    let renewed = world.leases.renew(&id, Some(9 * HOUR)).await.unwrap();
    assert_eq!(renewed.ttl, 2 * HOUR + HOUR / 2 + Duration::from_secs(1));
    assert_eq!(
        renewed.warnings,
        ["TTL of \"9h0m0s\" exceeded the effective max_ttl of \"2h30m1s\"; TTL value is capped accordingly"]
    );
    *world.outside("db").limits.lock() = (None, Some(HOUR));
    assert!(matches!(world.leases.renew(&id, None).await, Err(Error::PastMax)));
    *world.outside("db").limits.lock() = (None, None);
    world.outside("db").set_dead(true);
    assert!(matches!(world.leases.renew(&id, None).await, Err(Error::Backend(BackendError::Unavailable(_)))));
    world.outside("db").set_dead(false);
    world.pass(3 * HOUR).await;
    assert_eq!(world.users(), 0);
    assert!(matches!(world.leases.renew(&id, None).await, Err(Error::NotFound)));
}

#[tokio::test]
async fn what_cannot_be_renewed_says_why() {
    let world = World::new().await;
    let fixed = holdfast_logical::Issue { renewable: false, ..world.offer("db") };
    let id = world.leases.issue(fixed, world.context("db")).await.unwrap().lease_id;
    assert_eq!(world.leases.renew(&id, None).await.unwrap_err().to_string(), "lease is not renewable");
    world.clock.advance(HOUR);
    assert_eq!(world.leases.renew(&id, None).await.unwrap_err().to_string(), "lease expired");
    world.outside("db").set_dead(true);
    world.leases.drain().await;
    let error = world.leases.renew(&id, None).await.unwrap_err().to_string();
    assert_eq!(error, "lease is expired and has failed previous revocation attempts");
}

#[tokio::test]
async fn revoking_twice_is_harmless() {
    let world = World::new().await;
    let id = world.issue("db").await.lease_id;
    assert!(matches!(world.leases.revoke(&id, true).await.unwrap(), Revoked::Done(_)));
    assert_eq!(world.leases.revoke(&id, true).await.unwrap(), Revoked::Absent);
    assert_eq!(world.outside("db").revocations.lock().len(), 1);
    assert_eq!(world.stored().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_lease_that_cannot_be_revoked_is_tried_again_for_ever() {
    let world = World::new().await;
    let id = world.issue("db").await.lease_id;
    world.outside("db").set_dead(true);
    assert!(matches!(world.leases.revoke(&id, true).await.unwrap(), Revoked::Queued(Some(_))));
    world.pass(48 * HOUR).await;
    let stuck = world.leases.stuck("", 10).await.unwrap();
    assert_eq!(stuck[0].id, id);
    assert!(stuck[0].revoke_error.as_deref().unwrap().contains("is down"));
    let attempts = stuck[0].revoke_attempts.unwrap();
    assert!((40..80).contains(&attempts), "{attempts} attempts in two days: about one per hour");
    world.outside("db").set_dead(false);
    world.pass(2 * HOUR).await;
    assert_eq!((world.users(), world.stored().await.len()), (0, 0));
}

#[tokio::test]
async fn a_token_takes_its_leases_with_it_and_a_prefix_too() {
    let world = World::new().await;
    let (first, second) = (world.issue("db").await, world.issue("db").await);
    let mut context = world.context("db");
    context.token_hash = Some("another".into());
    let third = world.leases.issue(world.offer("db"), context).await.unwrap();
    assert_eq!(world.leases.revoke_token("token").await.unwrap().done, 2);
    for id in [&first.lease_id, &second.lease_id] {
        assert!(world.leases.lookup(id).await.is_err());
    }
    let fourth = world.issue("other").await;
    assert_eq!(world.leases.revoke_prefix(&third.lease_id, false).await.unwrap().done, 1);
    assert_eq!(world.leases.revoke_prefix("oth", false).await.unwrap().done, 0);
    assert_eq!(world.leases.revoke_prefix("other/", false).await.unwrap().done, 1);
    assert!(world.leases.lookup(&fourth.lease_id).await.is_err());
    assert_eq!((world.users(), world.stored().await.len()), (0, 0));
}

#[tokio::test]
async fn force_forgets_what_cannot_be_revoked() {
    let world = World::new().await;
    let id = world.issue("db").await.lease_id;
    world.unmount("db");
    let outcome = world.leases.revoke_prefix("db", false).await.unwrap();
    assert_eq!((outcome.done, outcome.queued), (0, 1));
    assert_eq!(world.leases.revoke_prefix("db", true).await.unwrap().done, 1);
    assert!(world.leases.lookup(&id).await.is_err());
    assert_eq!(world.stored().await, Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_issued_when_the_token_is_gone() {
    let world = World::new().await;
    let mut context = world.context("db");
    context.guards.check("token/id/gone".into(), Check::Exists);
    assert!(matches!(world.leases.issue(world.offer("db"), context).await, Err(Error::Raced)));
    assert_eq!((world.users(), world.stored().await.len()), (0, 0));
}
