use std::{sync::Arc, time::Duration};

use holdfast_logical::{Check, Error as BackendError, Issue, Store, Txn};

use super::world::{HOUR, World};
use crate::lease::{Error, Revoked};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn killed_between_any_two_steps_of_issuing_nothing_stays_outside_unknown() {
    for commits in 0..4 {
        let world = World::new().await;
        let outcome = world.mortal(commits).issue(world.offer("db"), world.context("db")).await;
        let recorded = world.leases.count("").await.unwrap();
        assert_eq!(outcome.is_ok(), recorded == 1, "{commits} commits: {outcome:?}");
        world.pass(2 * MINUTE).await;
        assert_eq!(world.users() as u64, recorded, "{commits} commits");
        world.pass(DAY + HOUR).await;
        assert_eq!((world.users(), world.stored().await.len()), (0, 0), "{commits} commits");
    }
}

#[tokio::test]
async fn killed_between_any_two_steps_of_revoking_it_is_finished() {
    for commits in 0..3 {
        let world = World::new().await;
        let id = world.issue("db").await.lease_id;
        let outcome = world.mortal(commits).revoke(&id, true).await;
        assert_eq!(matches!(outcome, Ok(Revoked::Done(_))), commits >= 2, "{commits} commits: {outcome:?}");
        if commits == 0 {
            // Nothing was stored, so it lives on.
            assert_eq!(world.users(), 1);
            world.pass(HOUR).await;
        }
        world.pass(2 * MINUTE).await;
        assert_eq!((world.users(), world.stored().await.len()), (0, 0), "{commits} commits");
    }
}

#[tokio::test]
async fn a_creation_that_fails_is_undone_as_far_as_it_may_have_gone() {
    for (error, left) in [
        (BackendError::Status { code: 503, message: "no connection".into() }, 0),
        (BackendError::Internal("statement 2 failed".into()), 0),
        (BackendError::Unavailable("the connection broke".into()), 2),
    ] {
        let world = World::new().await;
        let (outside, text) = (world.outside("db"), error.to_string());
        let Issue { create, .. } = world.offer("db");
        let offer = Issue {
            create: Box::new(|| {
                Box::pin(async move {
                    create().await?;
                    Err(error)
                })
            }),
            ..world.offer("db")
        };
        let failed = world.leases.issue(offer, world.context("db")).await.unwrap_err();
        assert_eq!(failed.to_string(), text);
        assert_eq!(world.stored().await.len(), left, "{text}");
        // The played user has another name, so it stays; what counts is how often it was revoked.
        world.pass(DAY + HOUR).await;
        let expected = match left {
            0 => usize::from(text != "no connection"),
            _ => 6,
        };
        assert_eq!(outside.revocations.lock().len(), expected, "{text}");
        assert_eq!(world.stored().await, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_hangs_is_given_up_and_swept_for_a_day() {
    let world = World::new().await;
    world.outside("db").set_silent();
    let outcome = world.leases.issue(world.offer("db"), world.context("db")).await;
    assert!(matches!(outcome, Err(Error::Timeout)));
    assert_eq!(world.stored().await.len(), 2);
    world.outside("db").silent.store(false, std::sync::atomic::Ordering::SeqCst);
    world.pass(2 * DAY).await;
    assert_eq!(world.outside("db").revocations.lock().len(), 6);
    assert_eq!(world.stored().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_maker_that_was_paused_takes_back_what_it_made_too_late() {
    let world = Arc::new(World::new().await);
    let offer = world.offer("db");
    let (paused, create) = (world.clone(), offer.create);
    let offer = Issue {
        create: Box::new(|| {
            Box::pin(async move {
                // Meanwhile the intent is given up and revoked, of which the maker knows nothing.
                paused.pass(2 * MINUTE).await;
                create().await
            })
        }),
        ..offer
    };
    let outcome = world.leases.issue(offer, world.context("db")).await;
    assert!(matches!(outcome, Err(Error::Raced)), "{outcome:?}");
    assert_eq!((world.users(), world.leases.count("").await.unwrap()), (0, 0));
    world.pass(DAY + HOUR).await;
    assert_eq!(world.stored().await, Vec::<String>::new());
}

/// It dies before it can take back what it made too late: only a later sweep can.
#[tokio::test]
async fn a_maker_that_was_paused_and_dies_leaves_nothing() {
    let world = Arc::new(World::new().await);
    let offer = world.offer("db");
    let (paused, create) = (world.clone(), offer.create);
    let offer = Issue {
        create: Box::new(|| {
            Box::pin(async move {
                paused.pass(2 * MINUTE).await;
                create().await?;
                panic!("killed");
            })
        }),
        ..offer
    };
    let outcome = world.leases.issue(offer, world.context("db")).await;
    assert!(outcome.is_err());
    assert!(!world.outside("db").revocations.lock().is_empty(), "it was revoked before it was made");
    assert_eq!(world.users(), 1);
    world.pass(DAY + HOUR).await;
    assert_eq!((world.users(), world.stored().await.len()), (0, 0));
}

#[tokio::test]
async fn a_token_that_is_revoked_while_a_credential_is_made_gets_none() {
    let world = Arc::new(World::new().await);
    let store = world.leases.view().clone();
    store.put_json("guard", &1).await.unwrap();
    let offer = world.offer("db");
    let (create, view) = (offer.create, store.clone());
    let offer = Issue {
        create: Box::new(|| {
            Box::pin(async move {
                create().await?;
                view.delete("guard").await.unwrap();
                Ok(())
            })
        }),
        ..offer
    };
    let mut context = world.context("db");
    let mut guards = Txn::new();
    guards.check(store.path("guard"), Check::Exists);
    context.guards = guards;
    assert!(matches!(world.leases.issue(offer, context).await, Err(Error::Raced)));
    assert_eq!((world.users(), world.stored().await.len()), (0, 0));
}

/// A credential whose maker died after it made it, and the id of that maker.
async fn abandoned(world: &World) -> String {
    // The store has confirmed that it is a member.
    world.leases.view().put_json("before", &1).await.unwrap();
    world.leases.view().delete("before").await.unwrap();
    let maker = world.store.member().unwrap();
    assert!(!maker.is_empty());
    let offer = world.offer("db");
    let create = offer.create;
    let offer = Issue {
        create: Box::new(|| {
            Box::pin(async move {
                create().await?;
                panic!("killed");
            })
        }),
        ..offer
    };
    assert!(world.leases.issue(offer, world.context("db")).await.is_err());
    assert_eq!(world.users(), 1);
    maker
}

#[tokio::test]
async fn what_a_maker_that_is_gone_has_under_way_is_ended_before_each_revocation() {
    for (gone, stubborn) in [(true, false), (true, true), (false, false)] {
        let world = World::new().await;
        let maker = abandoned(&world).await;
        *world.mounts.members.lock() = vec![if gone { "another".to_owned() } else { maker.clone() }];
        world.outside("db").stubborn.store(stubborn, std::sync::atomic::Ordering::SeqCst);
        world.pass(MINUTE + MINUTE / 2).await;
        let done = world.outside("db").revocations.lock().clone();
        let ended = done.first() == Some(&format!("sessions of {maker}"));
        assert_eq!((ended, done.len()), (gone && !stubborn, 1 + usize::from(ended)), "{done:?}");
        assert_eq!(world.users(), 0);
        world.pass(DAY + HOUR).await;
        assert_eq!(world.outside("db").revocations.lock().len(), 6 * done.len());
        assert_eq!(world.stored().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_mount_goes_when_nothing_that_it_was_making_can_come_any_more() {
    let world = World::new().await;
    let maker = abandoned(&world).await;
    *world.mounts.members.lock() = vec!["another".to_owned()];
    let end = async || world.leases.end_intents_of_mount("db").await;
    assert!(end().await.is_err(), "its maker may be at work");
    assert_eq!(world.users(), 1);
    world.leases.end_intents_of_mount("other").await.unwrap();
    world.clock.advance(MINUTE + MINUTE / 2);
    // It stays with the sweep as long as the maker may have something under way.
    world.outside("db").stubborn.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(end().await.is_err());
    assert_eq!((world.users(), world.stored().await.len()), (0, 2));
    world.outside("db").stubborn.store(false, std::sync::atomic::Ordering::SeqCst);
    end().await.unwrap();
    assert_eq!(world.outside("db").revocations.lock().iter().filter(|done| done.ends_with(&maker)).count(), 1);
    assert_eq!(world.stored().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_mount_whose_maker_lives_goes_after_the_sweep_of_a_minute_later() {
    let world = World::new().await;
    let maker = abandoned(&world).await;
    *world.mounts.members.lock() = vec![maker];
    world.pass(MINUTE + MINUTE / 2).await;
    assert!(world.leases.end_intents_of_mount("db").await.is_err());
    world.pass(MINUTE).await;
    world.leases.end_intents_of_mount("db").await.unwrap();
    assert_eq!((world.users(), world.stored().await.len()), (0, 0));
}

#[tokio::test]
async fn what_cannot_be_taken_back_keeps_its_mount_until_it_is_forgotten_by_force() {
    let world = World::new().await;
    abandoned(&world).await;
    world.clock.advance(2 * MINUTE);
    world.outside("db").set_dead(true);
    assert!(world.leases.end_intents_of_mount("db").await.is_err());
    for (folder, left) in [("other", 2), ("d", 2), ("db/creds", 0)] {
        world.leases.revoke_prefix(folder, true).await.unwrap();
        assert_eq!(world.stored().await.len(), left, "{folder}");
    }
    world.leases.end_intents_of_mount("db").await.unwrap();
}
