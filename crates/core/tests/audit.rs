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
use holdfast_core::{AuditConfig, ConfiguredDevice, Error, Raw, Verb};
use holdfast_storage::{Op, Storage, Txn};
use serde_json::{Value, json};

use crate::bench::{self, Bench, Make, data, outside};

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
async fn what_somebody_else_did_to_the_store_is_written() {
    let bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    enable(&bench, &file).await;
    let before = bench.storage.dump();
    bench.write("sys/policies/acl/a", json!({"policy": "path \"x\" { capabilities = [\"read\"] }"})).await;
    let new = bench
        .storage
        .dump()
        .into_iter()
        .find(|item| item.key.starts_with(b"data/") && before.iter().all(|old| old.key != item.key));
    let new = new.unwrap();
    let then = vec![Op::put(new.key, new.value)];
    bench.storage.txn(Txn { then, ..Txn::default() }).await.unwrap();
    let told = || -> Vec<Value> {
        lines(&file).into_iter().filter(|line| line["request"]["path"] == "sys/storage/integrity").collect()
    };
    bench::until(async || !told().is_empty()).await;
    let entries = told();
    assert_eq!((entries.len(), &entries[0]["type"]), (1, &json!("request")));
    assert!(entries[0]["error"].as_str().unwrap().starts_with("integrity: 1 stored values"), "{entries:?}");
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
async fn the_path_of_a_device_has_several_segments() {
    let bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    let options = json!({"file_path": folder.path().join("audit.log").to_str().unwrap(), "sync": "none"});
    bench.write("sys/audit/team/a/file", json!({"type": "file", "options": options})).await;
    assert_eq!(bench.read("sys/audit").await["team/a/file/"]["type"], "file");
    let hash = data(bench.write("sys/audit-hash/team/a/file", json!({"input": "x"})).await);
    assert!(hash["hash"].as_str().unwrap().starts_with("hmac-sha256:"));
    bench.fails(&bench.root, Verb::Write, "sys/audit-hash/team/a", json!({"input": "x"})).await;
    bench.ok(&bench.root, Verb::Delete, "sys/audit/team/a/file", json!({})).await;
    assert!(bench.read("sys/audit").await.is_empty());
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

fn configured(file: &Path) -> Make {
    let options = [("file_path", file.to_str().unwrap()), ("sync", "none")];
    let device = ConfiguredDevice {
        path: "main".to_owned(),
        kind: "file".to_owned(),
        description: String::new(),
        options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    };
    Make { audit: AuditConfig { devices: vec![device], ..AuditConfig::default() }, ..Make::default() }
}

fn kinds(lines: &[Value]) -> Vec<String> {
    let shown =
        |line: &Value| format!("{} {}", line["type"].as_str().unwrap(), line["request"]["path"].as_str().unwrap());
    lines.iter().map(shown).collect()
}

#[tokio::test]
async fn devices_of_the_configuration_see_everything_from_init_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let mut bench = Bench::new();
    bench.core = bench::core(&bench.storage, &bench.clock, configured(&file));
    let body = bench.bare(Verb::Write, "sys/init", json!({"secret_shares": 1, "secret_threshold": 1})).await.1;
    bench.root = body["root_token"].as_str().unwrap().to_owned();
    let share = body["keys_base64"][0].as_str().unwrap().to_owned();
    bench.bare(Verb::Read, "sys/seal-status", json!({})).await;
    bench.bare(Verb::Write, "sys/unseal", json!({ "key": share })).await;
    bench.bare(Verb::Read, "sys/health", json!({})).await;
    bench.read("sys/mounts").await;
    bench.write("sys/seal", json!({})).await;
    let answer = bench.answer("", Verb::Write, "sys/unseal", json!({ "key": "no share" })).await;
    assert!(matches!(answer, holdfast_core::Answer::Error(_)));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&share) && !text.contains(&bench.root), "a share or token is in clear");
    let entries: Vec<Value> = lines(&file).into_iter().filter(|line| line["type"] != "checkpoint").collect();
    let expected = [
        "start sys/audit/main",
        "request sys/init",
        "response sys/init",
        "request sys/unseal",
        "start sys/audit/main",
        "response sys/unseal",
        "request sys/mounts",
        "response sys/mounts",
        "request sys/seal",
        "response sys/seal",
        "start sys/audit/main",
        "request sys/unseal",
        "response sys/unseal",
    ];
    // The device of the sealed server may be faster than the answer of the seal.
    let (mut found, mut wanted) = (kinds(&entries), expected.map(str::to_owned).to_vec());
    assert_eq!(found[..8], wanted[..8]);
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    assert!(entries.last().unwrap()["error"].as_str().unwrap().contains("key"), "{entries:?}");
    // What a sealed server wrote is named by the next start.
    assert_eq!(entries[4]["start"]["previous"]["seq"], 4);
    // It is not the API's to take away, or to make twice.
    bench.unseal_with(&share).await;
    let refused = bench.fails(&bench.root, Verb::Delete, "sys/audit/main", json!({})).await;
    assert!(refused.to_string().contains("configuration"), "{refused}");
    let refused = bench.fails(&bench.root, Verb::Write, "sys/audit/main", json!({"type": "trap"})).await;
    assert!(refused.to_string().contains("already in use"), "{refused}");
}

#[tokio::test]
async fn a_configured_device_that_fails_stops_an_init() {
    let bench = Bench::new();
    let core = bench::core(&bench.storage, &bench.clock, configured(Path::new("/dev/full")));
    let raw = bench.raw("", Verb::Write, "sys/init", json!({"secret_shares": 1, "secret_threshold": 1}));
    assert!(matches!(core.handle(raw).await, holdfast_core::Answer::Error(Error::Audit("request"))));
    assert!(!core.is_initialized().await.unwrap());
}

#[tokio::test]
async fn devices_of_the_table_are_told_what_happened_before_them() {
    let bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    enable(&bench, &file).await;
    let found = kinds(&lines(&file));
    for path in ["sys/init", "sys/unseal"] {
        let requests = found.iter().filter(|line| **line == format!("request {path}")).count();
        let responses = found.iter().filter(|line| **line == format!("response {path}")).count();
        assert!(requests == responses && requests > 0, "{found:?}");
    }
}

#[tokio::test]
async fn headers_that_are_configured_reach_the_log() {
    let bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    enable(&bench, &file).await;
    let headers = "sys/config/auditing/request-headers";
    bench.write(&format!("{headers}/X-Request-Id"), json!({"hmac": false})).await;
    bench.write(&format!("{headers}/x-secret"), json!({"hmac": true})).await;
    assert_eq!(
        bench.read(headers).await["headers"],
        json!({"X-Request-Id": {"hmac": false}, "x-secret": {"hmac": true}})
    );
    assert_eq!(bench.read(&format!("{headers}/X-REQUEST-ID")).await["X-Request-Id"]["hmac"], false);
    let refused = bench.fails(&bench.root, Verb::Write, &format!("{headers}/X-Vault-Token"), json!({})).await;
    assert!(refused.to_string().contains("credential"), "{refused}");
    let send = async || {
        let mut raw = bench.raw(&bench.root, Verb::Read, "sys/mounts", json!({}));
        for (name, value) in
            [("x-request-id", "canary-open"), ("x-secret", "canary-hidden"), ("x-other", "canary-other")]
        {
            raw.headers.add(name.parse().unwrap(), value.parse().unwrap());
        }
        let trace = format!("00-{}-b7ad6b7169203331-01", "4bf92f35".repeat(4));
        raw.headers.add("traceparent".parse().unwrap(), trace.parse().unwrap());
        bench.core.handle(raw).await;
        lines(&file).pop().unwrap()
    };
    let line = send().await;
    assert_eq!(line["request"]["headers"]["x-request-id"], json!(["canary-open"]));
    assert!(line["request"]["headers"]["x-secret"][0].as_str().unwrap().starts_with("hmac-sha256:"));
    assert_eq!(line["hf"]["trace_id"], "4bf92f35".repeat(4));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("canary-hidden") && !text.contains("canary-other"));
    bench.ok(&bench.root, Verb::Delete, &format!("{headers}/X-Secret"), json!({})).await;
    assert!(send().await["request"]["headers"].get("x-secret").is_none());
    let keys = bench.ok(&bench.root, Verb::List, headers, json!({})).await.data.unwrap().to_map();
    assert_eq!(keys["keys"], json!(["X-Request-Id"]));
}

#[tokio::test]
async fn raw_entries_of_one_device_do_not_leak_into_another() {
    let bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    let (file, raw) = (folder.path().join("audit.log"), folder.path().join("raw.log"));
    enable(&bench, &file).await;
    let options = json!({"file_path": raw.to_str().unwrap(), "log_raw": "true"});
    bench.write("sys/audit/raw", json!({"type": "file", "options": options})).await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench.write("probe/data/x", json!({"password": "canary"})).await;
    assert!(std::fs::read_to_string(&raw).unwrap().contains("canary"));
    assert!(!std::fs::read_to_string(&file).unwrap().contains("canary"), "cve_2024_0831");
}

#[tokio::test]
async fn help_has_its_id_and_every_entry_the_fields_of_vault() {
    let bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    enable(&bench, &file).await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench.write("probe/data/x", json!({"password": "canary"})).await;
    bench.answer(&bench.root, Verb::Help, "probe/data/x", json!({})).await;
    bench.read("probe/creds/app").await;
    let found: Vec<Value> = lines(&file)
        .into_iter()
        .filter(|line| line["request"]["path"].as_str().unwrap().starts_with("probe/"))
        // Help has the entries of any other request; what it answers is none of this test's business.
        .filter(|line| line["request"]["operation"] != "help" || line["type"] == "request")
        .map(|mut line| {
            shape(&mut line);
            line
        })
        .collect();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit_entries.json");
    if std::env::var_os("HOLDFAST_UPDATE").is_some() {
        std::fs::write(&golden, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    let wanted: Value = serde_json::from_str(&std::fs::read_to_string(&golden).unwrap()).unwrap();
    let entries = lines(&file).into_iter().filter(|line| line["request"]["operation"] == "help");
    let ids: Vec<_> = entries.map(|line| (line["type"].clone(), line["request"]["id"].clone())).collect();
    assert_eq!(json!(ids), json!([["request", "request"], ["response", "request"]]));
    assert!(
        json!(found) == wanted,
        "{found:#?}\nHOLDFAST_UPDATE=1 writes it anew: is each field still what Vault calls it?"
    );
}

/// What differs from run to run becomes a word.
fn shape(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("hmac-sha256:") => *text = "<hash>".to_owned(),
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "mac"
                    | "prev"
                    | "duration_us"
                    | "seq"
                    | "mount_accessor"
                    | "lease_id"
                    | "mount_running_version"
                    | "mount_running_plugin_version" => *value = json!(format!("<{key}>")),
                    _ => shape(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(shape),
        _ => {}
    }
}

/// A word of its own in every place of a request: none is in the log.
#[tokio::test]
async fn cve_2024_8365_no_secret_of_any_field_reaches_the_log() {
    let bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    enable(&bench, &file).await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let body = json!({"count": "canary-count", "a": "canary-a", "deep": {"b": ["canary-b", {"c": "canary-c"}]}});
    for (token, path) in [
        (bench.root.as_str(), "probe/data/x"),
        ("hvs.canary-token", "probe/data/x"),
        ("canary-token", "sys/wrapping/unwrap"),
        (bench.root.as_str(), "sys/wrapping/lookup"),
        ("", "sys/unseal"),
        ("", "sys/generate-root/update"),
        ("", "auth/token/lookup"),
        (bench.root.as_str(), "auth/token/revoke-accessor"),
    ] {
        let mut body = body.as_object().unwrap().clone();
        for key in ["key", "token", "accessor", "nonce", "otp", "id"] {
            body.insert(key.to_owned(), json!(format!("canary-{key}")));
        }
        let mut raw = bench.raw(token, Verb::Write, path, Value::Object(body));
        raw.headers.add("x-header".parse().unwrap(), "canary-header".parse().unwrap());
        bench.core.handle(raw).await;
        let mut raw = bench.raw(token, Verb::Write, path, json!({}));
        raw.fault = Some(Error::invalid("bad JSON"));
        raw.raw_body = b"canary-raw".to_vec().into();
        bench.core.handle(raw).await;
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let hit = text.lines().find(|line| line.contains("canary"));
    assert!(hit.is_none(), "{hit:?}");
}

#[tokio::test]
async fn an_engine_that_panics_is_answered_and_has_both_entries() {
    let bench = Bench::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    enable(&bench, &file).await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    let error = bench.fails(&bench.root, Verb::Read, "probe/creds/panic", json!({})).await;
    assert!(error.to_string().contains("internal error"), "{error}");
    let lines = lines(&file);
    let found: Vec<_> = lines.iter().filter(|line| line["request"]["path"] == "probe/creds/panic").collect();
    assert_eq!(found.iter().map(|line| &line["type"]).collect::<Vec<_>>(), ["request", "response"]);
    assert_eq!(found[1]["error"], "internal error");
    bench.read("probe/creds/app").await;
}
