//! The checker itself: it must find what is wrong in histories of a few lines.

#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

use std::process::Command;

use holdfast_chaos::{
    history::{Action, History, Outcome, Request},
    verdict::{Verdict, build_checker, judge},
};

fn read(version: u64, value: &str) -> Request {
    Request { key: "kv/a".into(), version, value: value.into(), ..Request::default() }
}

async fn verdict_on(reads: &[(u64, &str)]) -> Verdict {
    let (folder, history) = (tempfile::tempdir().unwrap(), History::default());
    let write = Request { action: Action::Cas, ..read(1, "x") };
    history.record(0, history.now(), write, Outcome::Ok);
    for (version, value) in reads {
        history.record(1, history.now(), read(*version, value), Outcome::Ok);
    }
    let file = folder.path().join("history.jsonl");
    history.write(&file).unwrap();
    let checker = build_checker(folder.path()).await.unwrap();
    judge(&checker, &file, &folder.path().join("picture.html")).await.unwrap()
}

#[tokio::test]
async fn a_read_of_what_was_written_is_linearizable() {
    assert_eq!(verdict_on(&[(1, "x"), (1, "x")]).await, Verdict::Linearizable);
}

#[tokio::test]
async fn a_stale_read_is_shown() {
    let Verdict::Violated(said) = verdict_on(&[(1, "x"), (0, "")]).await else { panic!("it was not found") };
    assert!(said.contains("kv/a") && said.contains("read → version 0"), "{said}");
}

#[test]
fn the_checkers_own_tests_pass() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/checker");
    let output = Command::new("go").args(["test", "./..."]).current_dir(folder).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
