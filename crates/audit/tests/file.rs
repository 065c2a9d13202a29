//! The file sink.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use holdfast_audit::{Broker, Device, OpenError, Request, RequestEntry};

use crate::{device, spec};

fn entry(id: &str) -> RequestEntry<'_> {
    RequestEntry { request: Request { id, ..Request::default() }, ..RequestEntry::default() }
}

fn ids(file: &Path) -> Vec<String> {
    let lines = fs::read_to_string(file).unwrap();
    assert!(lines.is_empty() || lines.ends_with('\n'), "no torn line");
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["request"]["id"].to_string();
    lines.lines().map(|line| id(line).trim_matches('"').to_owned()).collect()
}

#[tokio::test]
async fn lines_are_in_the_file_when_the_call_returns() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/audit.log");
    let broker = Broker::default();
    broker.enable(device("file", &file), &entry("test")).await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for n in 0..50 {
        broker.log_request(&entry(&n.to_string())).await.unwrap();
        assert_eq!(ids(&file).len(), n + 2);
    }
    assert_eq!(ids(&file)[..3], ["test", "0", "1"]);
    assert_eq!(broker.paths(), ["file/"]);
    assert!(broker.hash("file", "x").unwrap().starts_with("hmac-sha256:"));
    assert!(broker.hash("other", "x").is_none());
    assert!(matches!(broker.insert(device("file/", &file)), Err(OpenError::InUse)));
    assert!(broker.disable("file") && !broker.disable("file"));
}

#[tokio::test]
async fn many_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let broker = std::sync::Arc::new(Broker::default());
    broker.insert(device("file", &file)).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200 {
        let broker = broker.clone();
        tasks.spawn(async move { broker.log_request(&entry(&n.to_string())).await.unwrap() });
    }
    tasks.join_all().await;
    let mut ids: Vec<u32> = ids(&file).iter().map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn rotation() {
    let folder = tempfile::tempdir().unwrap();
    let (file, old) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
    let broker = Broker::default();
    broker.insert(device("file", &file)).unwrap();
    broker.log_request(&entry("a")).await.unwrap();
    fs::rename(&file, &old).unwrap();
    broker.log_request(&entry("b")).await.unwrap();
    assert!(broker.reopen().await.is_empty());
    broker.log_request(&entry("c")).await.unwrap();
    assert_eq!(ids(&old), ["a", "b"]);
    assert_eq!(ids(&file), ["c"]);
    // The folder is gone: the old file stays in use, and the error says why.
    fs::rename(&file, &old).unwrap();
    fs::create_dir(&file).unwrap();
    let errors = broker.reopen().await;
    assert_eq!(errors.len(), 1);
    broker.log_request(&entry("d")).await.unwrap();
    assert_eq!(ids(&old), ["c", "d"]);
}

#[tokio::test]
async fn a_full_disk_fails_closed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::default();
    broker.insert(device("full", Path::new("/dev/full"))).unwrap();
    let error = broker.log_request(&entry("a")).await.unwrap_err();
    assert!(error.to_string().contains("full/"), "{error}");
    let enabled = broker.enable(device("more", Path::new("/dev/full")), &entry("t")).await;
    assert!(matches!(enabled, Err(OpenError::Sink(_))));
    // One device that accepts is enough.
    let file = folder.path().join("audit.log");
    broker.insert(device("file", &file)).unwrap();
    broker.log_request(&entry("b")).await.unwrap();
    assert_eq!(ids(&file), ["b"]);
}

#[test]
fn options_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    for (name, value, why) in [
        ("mode", "0777", "octal"),
        ("mode", "x", "octal"),
        ("sync", "often", "batch"),
        ("format", "jsonx", "json"),
        ("log_raw", "loud", "true or false"),
        ("prefix", "#!/bin/sh", "CVE-2025-6000"),
        ("required", "maybe", "true or false"),
        ("colour", "red", "unknown"),
        ("hmac_accessor", "maybe", "true or false"),
    ] {
        let error = Device::open(spec("x", &file, &[(name, value)])).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains(why), "{error}");
    }
    std::os::unix::fs::symlink(&file, folder.path().join("link")).unwrap();
    assert!(Device::open(spec("x", &folder.path().join("link"), &[])).is_err(), "no symbolic links");
    let mut other = spec("x", &file, &[]);
    other.kind = "http".to_owned();
    assert!(matches!(Device::open(other), Err(OpenError::Kind(_))));
    assert!(Device::open(spec("x", Path::new("discard"), &[])).is_ok());
    let mut alias = spec("x", &file, &[]);
    let path = alias.options.remove("file_path").unwrap();
    alias.options.insert("path".to_owned(), path);
    assert!(Device::open(alias).is_ok());
}

#[test]
fn cve_2025_6000_a_file_cannot_become_a_program() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let open = |options: &[(&str, &str)]| Device::open(spec("x", &file, options)).err().map(|error| error.to_string());
    assert!(open(&[("prefix", "x")]).unwrap().contains("prefix"));
    for mode in ["0755", "0700", "0610", "0622"] {
        assert!(open(&[("mode", mode)]).unwrap().contains("mode"), "{mode}");
    }
    // Neither may what is there already be one, nor anybody else's, nor open to all; nor lie where all may put files.
    fs::write(&file, "").unwrap();
    for mode in [0o711, 0o666] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert!(open(&[]).is_some(), "{mode:o}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(open(&[]), None);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(open(&[]).unwrap().contains("everybody may write"));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(open(&[]), None);
}

#[test]
fn cve_2026_5051_no_name_of_the_file_escapes_the_allowed_folders() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("audit"), folder.path().join("plugins"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
    let opens = |option: &str, path: &Path| {
        let mut spec = spec("x", path, &[]);
        spec.options.clear();
        spec.options.insert(option.to_owned(), path.display().to_string());
        spec.folders = Some(Arc::from([inside.clone()]));
        Device::open(spec).is_ok()
    };
    for option in ["file_path", "path"] {
        assert!(opens(option, &inside.join("a.log")));
        assert!(opens(option, &inside.join("new/a.log")));
        assert!(!opens(option, &outside.join("a.log")));
        assert!(!opens(option, &inside.join("../plugins/a.log")));
        assert!(!opens(option, &inside.join("link/a.log")));
    }
}
