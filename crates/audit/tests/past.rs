//! What the end of a file says of the time before.

use std::{fs, path::Path, sync::Arc};

use holdfast_audit::*;
use holdfast_base::{ManualClock, Milestone};
use holdfast_secret::SecretBytes;
use tokio::sync::mpsc;

use crate::spec;

fn signer(cluster: u8) -> Signer {
    Signer::new(&SecretBytes::new(vec![cluster; 32])).unwrap()
}

fn at(number: u64) -> Milestone {
    Milestone { restores: 0, number, revision: 100 + i64::try_from(number).unwrap() }
}

/// Opens the device anew, passes these milestones with so many entries after each, and closes it.
async fn epoch(file: &Path, (cluster, node): (u8, &str), epoch: u64, milestones: &[Milestone], entries: usize) {
    let (heads, mut told) = mpsc::unbounded_channel();
    let mut spec = spec("file", file, &[("sync", "none")]);
    spec.chain = Some(ChainSpec {
        id: ChainId { node: node.to_owned(), device: "file/".to_owned(), epoch: epoch.to_string() },
        key: SecretBytes::new(vec![u8::try_from(epoch).unwrap(); 32]),
        signer: Some(Arc::new(signer(cluster))),
        clock: Arc::new(ManualClock::new(format!("2026-01-01T00:00:{epoch:02}Z").parse().unwrap())),
        heads,
        stored: None,
    });
    let broker = Broker::default();
    broker.insert(Device::open(spec).unwrap()).unwrap();
    for milestone in milestones {
        assert!(broker.checkpoint(Some(*milestone)).await.is_empty());
        for _ in 0..entries {
            broker.log_request(&RequestEntry::default()).await.unwrap();
        }
    }
    drop(broker);
    while told.recv().await.is_some() {}
}

fn past(file: &Path, (cluster, node): (u8, &str)) -> Past {
    Past::read(&spec("file", file, &[]), node, &signer(cluster).public_key()).unwrap()
}

#[tokio::test]
async fn the_last_milestone_and_the_last_epoch_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    epoch(&file, (9, "a"), 3, &[at(4), at(5)], 2).await;
    let found = past(&file, (9, "a"));
    let name = file.display().to_string();
    assert_eq!(found, Past { file: name, epoch: 3, store: Some(at(5)), foreign: 0 });
    // Another replica on the same file: the store is the same, the chain is not.
    epoch(&file, (9, "b"), 1, &[at(6)], 0).await;
    let found = past(&file, (9, "a"));
    assert_eq!((found.epoch, found.store), (3, Some(at(6))));
    // An epoch that was told nothing says nothing, and hides nothing.
    epoch(&file, (9, "a"), 4, &[], 0).await;
    let found = past(&file, (9, "a"));
    assert_eq!((found.epoch, found.store), (4, Some(at(6))));
    let report =
        Log::read(&[&file]).unwrap().verify(&Known { public_key: Some(signer(9).public_key()), ..Known::default() });
    assert!(report.ok, "{report:#?}");
}

/// A busy server writes more than anybody reads back between two milestones.
#[tokio::test]
async fn each_checkpoint_says_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    epoch(&file, (9, "a"), 1, &[at(7)], 2500).await;
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&file, lines[1200..].join("\n") + "\n").unwrap();
    assert_eq!(past(&file, (9, "a")).store, Some(at(7)));
}

#[tokio::test]
async fn what_this_cluster_has_not_signed_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    epoch(&file, (9, "a"), 1, &[at(5)], 1).await;
    let found = past(&file, (8, "a"));
    assert!(found.store.is_none() && found.foreign > 0, "{found:?}");
    // Somebody wants the server to stay sealed for ever, or takes a milestone for another one.
    epoch(&file, (9, "a"), 2, &[at(6)], 0).await;
    let text = fs::read_to_string(&file).unwrap();
    for other in ["\"number\":9", "\"number\":5"] {
        fs::write(&file, text.replace("\"number\":6", other)).unwrap();
        let found = past(&file, (9, "a"));
        assert!(found.store == Some(at(5)) && found.foreign > 0, "{found:?}");
    }
}

#[test]
fn what_cannot_be_read_back_has_no_past() {
    let folder = tempfile::tempdir().unwrap();
    let key = signer(9).public_key();
    let file = folder.path().join("audit.log");
    let none = Past { file: file.display().to_string(), ..Past::default() };
    assert_eq!(Past::read(&spec("file", &file, &[]), "a", &key), Some(none));
    let targets = ["stdout".into(), "discard".into(), folder.path().to_owned(), "/dev/null".into()];
    for target in targets {
        assert_eq!(Past::read(&spec("file", &target, &[]), "a", &key), None, "{target:?}");
    }
    let socket = DeviceSpec { kind: "socket".to_owned(), ..spec("file", &file, &[]) };
    assert_eq!(Past::read(&socket, "a", &key), None);
}
