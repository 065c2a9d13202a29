//! A crash while a replica opens, joins, leaves, seals or evicts another one.

use serde_json::json;

use super::site::{Keys, Site};
use crate::{
    audit::device,
    fixture::{etcd::Etcd, unseal},
};

#[tokio::test]
async fn an_opening_that_was_broken_off_is_begun_again() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "opening", Keys::File).await;
    for point in [
        "unseal.barrier-open",
        "unseal.loaded",
        "unseal.before-start",
        "unseal.started",
        "join.entered",
        "join.predecessors-removed",
        "join.state-written",
    ] {
        // Killed, so that the next start has a predecessor to remove.
        site.server.take().unwrap().kill();
        site.arm(point, "abort");
        site.start_and_die(point).await;
        site.start().await;
        site.open().await;
        site.check(point).await;
    }
    for point in ["leave.before-removal", "leave.done"] {
        site.arm(point, "abort");
        site.server.as_ref().unwrap().signal("-TERM");
        site.died_at(point).await;
        site.start().await;
        site.open().await;
        site.check(point).await;
    }
}

/// The store is further then than the audit file says, which is no fault.
#[tokio::test]
async fn a_milestone_that_no_file_knows_of_keeps_nobody_sealed() {
    let etcd = Etcd::start().await;
    let mut site = Site::new(&etcd, "milestone", Keys::File).await;
    site.configuration += &device(site.folder.path(), "main", "audit.log");
    site.start().await;
    site.initialize().await;
    site.furnish().await;
    site.server.take().unwrap().kill();
    for ending in ["-KILL", "-TERM"] {
        site.arm("milestone.passed", "abort");
        match ending {
            "-KILL" => site.start_and_die("milestone.passed").await,
            _ => {
                site.server.as_ref().unwrap().signal(ending);
                site.died_at("milestone.passed").await;
            }
        }
        site.start().await;
        site.open().await;
        site.check("milestone.passed").await;
    }
}

#[tokio::test]
async fn an_order_to_seal_holds_although_who_gave_it_died() {
    let etcd = Etcd::start().await;
    let mut site = Site::furnished(&etcd, "order", Keys::Shares).await;
    site.arm("seal.ordered", "abort");
    let work = tokio::spawn(site.write("sys/seal", json!({})));
    site.died_at("seal.ordered").await;
    let _ = work.await;
    site.start().await;
    assert!(site.bare_client().seal_status().await.unwrap().sealed);
    unseal(&site.bare_client(), &site.shares[..2]).await;
    site.open().await;
    site.check("seal.ordered").await;
}

/// The first replica stands still in the middle of everything, the second evicts it and dies of that; both serve in the end.
#[tokio::test]
async fn an_eviction_that_was_broken_off_is_finished() {
    let etcd = Etcd::start().await;
    for (number, point) in ["evict.written", "evict.tombstone-removed"].into_iter().enumerate() {
        let name = format!("evict-{number}");
        let first = Site::furnished(&etcd, &name, Keys::File).await;
        let mut second = Site::new(&etcd, &name, Keys::File).await;
        // Another place than the first one's.
        second.configuration += "cluster_name = \"second\"\n";
        second.root = first.root.as_ref().map(holdfast_secret::SecretString::duplicate);
        std::fs::copy(first.folder.path().join("seal.key"), second.folder.path().join("seal.key")).unwrap();
        // Reading from its memory, as it is alone.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        first.server.as_ref().unwrap().signal("-STOP");
        second.arm(point, "abort");
        second.start_and_die(point).await;
        second.start().await;
        second.open().await;
        second.check(point).await;
        first.server.as_ref().unwrap().signal("-CONT");
        first.client().write("kept/data/other", json!({"data": {"word": "again"}})).await.unwrap();
        first.check(point).await;
    }
}
