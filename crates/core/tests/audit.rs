//! Audit: everything is written, nothing secret is, and what cannot be written does not happen.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use holdfast_audit::{Device, DeviceSpec, OpenError, Record, Sink, SinkError};
use holdfast_core::{Error, Raw, Verb};
use serde_json::{Value, json};

use crate::bench::{Bench, outside};

/// A device that takes everything until [`break_traps`] is called.
struct Trap;

static BROKEN: AtomicBool = AtomicBool::new(false);

pub fn break_traps() {
    BROKEN.store(true, Ordering::SeqCst);
}

/// Real devices, and traps.
pub fn open(spec: DeviceSpec) -> Result<Device, OpenError> {
    if spec.kind == "trap" { Device::with_sink(&spec, Arc::new(Trap)) } else { Device::open(spec) }
}

#[async_trait]
impl Sink for Trap {
    async fn write(&self, _: Record) -> Result<(), SinkError> {
        if BROKEN.load(Ordering::SeqCst) { Err(SinkError::Full) } else { Ok(()) }
    }

    async fn reopen(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

async fn enable(bench: &Bench, file: &Path) {
    let options = json!({"file_path": file.to_str().unwrap(), "sync": "none"});
    bench.write("sys/audit/file", json!({"type": "file", "options": options})).await;
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn denied_and_malformed_requests_are_written_and_secrets_are_not() {
    let bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    enable(&bench, &file).await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench.write("probe/data/x", json!({"password": "canary"})).await;
    bench.read("probe/data/x").await;
    bench.fails("hvs.nobody", Verb::Read, "probe/data/denied", json!({})).await;
    bench.fails(&bench.root, Verb::Write, "probe/data/y/", json!({})).await;
    let raw = bench.raw(&bench.root, Verb::Write, "probe/data/z", json!({}));
    bench.core.handle(Raw { fault: Some(Error::invalid("bad JSON")), ..raw }).await;

    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("canary") && !text.contains(&bench.root));
    let written = lines(&file);
    let errors: Vec<_> = written
        .iter()
        .filter(|line| line["type"] == "request")
        .filter_map(|line| Some((line["request"]["path"].as_str()?, line["error"].as_str().filter(|e| !e.is_empty())?)))
        .collect();
    let paths: Vec<_> = errors.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, ["probe/data/denied", "probe/data/y/", "probe/data/z"], "{errors:?}");
    let hash = bench.write("sys/audit-hash/file", json!({"input": "canary"})).await.data.unwrap().to_map();
    assert!(text.contains(hash["hash"].as_str().unwrap()));
}

#[tokio::test]
async fn a_device_that_cannot_be_opened_stops_everything() {
    let mut bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("logs").join("audit.log");
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    enable(&bench, &file).await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let uuid = bench.read("sys/mounts/probe").await["uuid"].as_str().unwrap().to_owned();
    // After a restart the folder is a file, so the device cannot be opened.
    std::fs::rename(folder.path().join("logs"), folder.path().join("moved")).unwrap();
    std::fs::write(folder.path().join("logs"), "").unwrap();
    bench.restart().await;
    let refused = bench.fails(&bench.root, Verb::Read, "probe/creds/app", json!({})).await;
    assert!(matches!(refused, Error::Audit("request")), "{refused}");
    assert!(outside(&uuid).is_empty(), "nothing was made");
    // It serves again as soon as the device can be opened.
    std::fs::remove_file(folder.path().join("logs")).unwrap();
    std::fs::rename(folder.path().join("moved"), folder.path().join("logs")).unwrap();
    bench.read("probe/creds/app").await;
    assert_eq!(outside(&uuid).len(), 1);
}

#[tokio::test]
async fn devices_are_listed_refused_and_disabled() {
    let bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    enable(&bench, &folder.path().join("audit.log")).await;
    let listed = bench.read("sys/audit").await;
    assert_eq!(listed["file/"]["type"], "file");
    let twice = json!({"type": "file", "options": {"file_path": "discard"}});
    let again = bench.fails(&bench.root, Verb::Write, "sys/audit/file", twice).await;
    assert!(again.to_string().contains("already in use"));
    let unknown = bench.fails(&bench.root, Verb::Write, "sys/audit-hash/nope", json!({"input": "x"})).await;
    assert!(unknown.to_string().contains("unknown audit backend"));
    bench.ok(&bench.root, Verb::Delete, "sys/audit/file", json!({})).await;
    bench.ok(&bench.root, Verb::Delete, "sys/audit/file", json!({})).await;
    assert_eq!(bench.ok(&bench.root, Verb::Read, "sys/audit", json!({})).await.data.unwrap().to_map().len(), 0);
}

#[tokio::test]
async fn what_was_made_for_an_answer_that_cannot_be_written_is_taken_back() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let uuid = bench.read("sys/mounts/probe").await["uuid"].as_str().unwrap().to_owned();
    bench.write("sys/audit/trap", json!({"type": "trap"})).await;
    // The device breaks after it took the request: while the credential is made.
    let refused = bench.fails(&bench.root, Verb::Read, "probe/creds/break-audit", json!({})).await;
    assert!(matches!(refused, Error::Audit("response")), "{refused}");
    assert!(outside(&uuid).is_empty(), "the credential was taken back");
}
