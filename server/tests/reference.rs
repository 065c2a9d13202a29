//! docs/reference/api.md says what is served, and the OpenAPI document is a valid one.

use std::{path::PathBuf, process::Command, sync::Arc};

use holdfast_barrier::Barrier;
use holdfast_base::{Entropy, SystemClock, SystemEntropy};
use holdfast_core::{Answer, Class, Core, Raw, Verb, reference::Section};
use holdfast_logical::{Auth, Row};
use holdfast_seal::ShamirSeal;
use holdfast_secret::SecretString;
use holdfast_server::{reference, registry::registry};
use holdfast_storage::MemoryStorage;
use serde_json::{Value, json};

use crate::fixture::{Server, cache, core::config, folder, free_port};

async fn write(core: &Arc<Core>, token: &str, path: &str, body: Value) -> Value {
    let mut raw = Raw::new("reference", Verb::Write, path);
    raw.token = (!token.is_empty()).then(|| SecretString::new(token));
    raw.body = body.as_object().cloned().unwrap_or_default();
    match core.handle(raw).await {
        Answer::Bare { body, .. } => body,
        Answer::Empty | Answer::Envelope { .. } => Value::Null,
        other => panic!("{path}: {other:?}"),
    }
}

/// Every engine and method of this build, mounted; kv in both versions.
async fn everything() -> Vec<Section> {
    let (clock, entropy): (Arc<SystemClock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let barrier = Barrier::open(Arc::new(MemoryStorage::new()), clock.clone(), entropy.clone());
    let core = Core::new(config(barrier, Arc::new(ShamirSeal), registry(), clock, entropy));
    let made = write(&core, "", "sys/init", json!({"secret_shares": 1, "secret_threshold": 1})).await;
    write(&core, "", "sys/unseal", json!({"key": made["keys"][0]})).await;
    let root = made["root_token"].as_str().unwrap();
    for kind in registry().kinds(Class::Secret) {
        let options = if kind == "kv" { json!({"version": "2"}) } else { json!({}) };
        write(&core, root, &format!("sys/mounts/{kind}"), json!({"type": kind, "options": options})).await;
    }
    write(&core, root, "sys/mounts/kv-1", json!({"type": "kv", "options": {"version": "1"}})).await;
    for kind in registry().kinds(Class::Auth) {
        write(&core, root, &format!("sys/auth/{kind}"), json!({ "type": kind })).await;
    }
    let mut sections = core.reference();
    // `generic` is kv version 1 by another name, and becomes it.
    sections.retain(|section| section.path != "generic/");
    let order = |section: &Section| match section.kind.as_str() {
        "system" => 0,
        "token" => 1,
        "identity" => 2,
        "cubbyhole" => 3,
        _ => 4 + u8::from(section.class == Class::Auth),
    };
    sections.sort_by_key(|section| (order(section), section.path.clone()));
    sections
}

#[tokio::test]
async fn the_reference_says_what_is_served() {
    let made = reference::markdown(&everything().await);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/api.md");
    if std::env::var_os("HOLDFAST_UPDATE").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let first = made.lines().zip(kept.lines()).position(|(made, kept)| made != kept);
    assert!(
        made == kept,
        "docs/reference/api.md is not up to date from line {:?}; refresh it with HOLDFAST_UPDATE=1 cargo test -p holdfast-server reference",
        first.map(|line| line + 1)
    );
}

/// Every path that is served without a token, by operation. CVE-2021-42135, CVE-2023-0665: what is not in this list needs a
/// policy; a new path that anybody may call is a decision, made here.
const ANYBODY: &[&str] = &[
    "auth/approle/login update",
    "auth/cert/login update",
    "auth/jwt/login update",
    "auth/jwt/oidc/auth_url update",
    "auth/jwt/oidc/callback read,update",
    "auth/jwt/oidc/poll update",
    "auth/kubernetes/login update",
    "auth/oidc/login update",
    "auth/oidc/oidc/auth_url update",
    "auth/oidc/oidc/callback read,update",
    "auth/oidc/oidc/poll update",
    "auth/userpass/login/:username update",
    "identity/oidc/.well-known/keys read",
    "identity/oidc/.well-known/openid-configuration read",
    "sys/decode-token update",
    "sys/health read",
    "sys/init read,update",
    "sys/internal/specs/openapi read",
    "sys/internal/ui/mounts read",
    "sys/internal/ui/mounts/*path read",
    "sys/internal/ui/namespaces read",
    "sys/leader read",
    "sys/replication/dr/status read",
    "sys/replication/performance/status read",
    "sys/replication/status read",
    "sys/seal-status read",
    "sys/unseal update",
    "sys/wrapping/lookup read,update",
];

#[tokio::test]
async fn cve_2023_0665_who_needs_no_token_is_this_list() {
    let mut found = Vec::new();
    for section in everything().await {
        for row in section.rows.iter().filter(|row| row.auth == Auth::None) {
            let prefix = if section.kind == "system" { "sys/" } else { section.path.as_str() };
            found.push(format!("{prefix}{} {}", row.pattern, operations(row)));
        }
    }
    found.sort();
    found.dedup();
    let list = found.iter().map(|line| format!("    \"{line}\",\n")).collect::<String>();
    assert_eq!(found, ANYBODY, "what anybody may call has changed; if that is meant, the list is\n{list}");
}

fn operations(row: &Row) -> String {
    let names = row.operations.iter().map(|operation| operation.as_str());
    names.collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn what_is_said_to_differ_or_not_to_be_served_is_so() {
    let sections = everything().await;
    let rows = |kind: &str| -> Vec<&str> {
        let of_kind = sections.iter().filter(|section| section.kind == kind);
        of_kind.flat_map(|section| section.rows.iter().map(|row| row.pattern)).collect()
    };
    for (kind, pattern) in reference::vault::differing() {
        assert!(rows(kind).contains(&pattern), "{kind}: there is no {pattern}");
    }
    let system = sections.iter().find(|section| section.kind == "system").unwrap();
    for path in reference::vault::NOT_SERVED.iter().flat_map(|(paths, _)| *paths) {
        let Some(rest) = path.strip_prefix("sys/").filter(|path| !path.contains('*')) else { continue };
        // A row that takes any name in a place is not about this path.
        let served = system.rows.iter().any(|row| row.pattern == rest);
        assert!(!served, "{path} is served");
    }
}

/// Checked by openapi-spec-validator: no error in the document of a server with everything mounted, and in the generic one.
#[tokio::test]
async fn the_openapi_document_is_valid() {
    let python = cache().join("venv/bin/python");
    let found = Command::new(&python).args(["-c", "import openapi_spec_validator"]).output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "openapi-spec-validator is needed for this test; install it with: {}/bin/pip install openapi-spec-validator",
        cache().join("venv").display()
    );
    let (folder, port) = (folder(), free_port());
    let address = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server = Server::spawn(folder.path(), port, &["-dev", &address, "-dev-root-token-id=root"]);
    let anyone = server.client();
    server.wait_until_answering(&anyone).await;
    let root = anyone.with_token(SecretString::new("root"));
    let registry = registry();
    for (class, path) in [(Class::Secret, "mounts"), (Class::Auth, "auth")] {
        for kind in registry.kinds(class) {
            let body = json!({ "type": kind });
            root.call(crate::fixture::put(&format!("sys/{path}/{kind}"), body)).await.unwrap();
        }
    }
    let mut sizes = Vec::new();
    for (client, query) in [(&root, ""), (&root, "generic_mount_paths=true"), (&anyone, "")] {
        let mut call = crate::fixture::get("sys/internal/specs/openapi");
        query.clone_into(&mut call.query);
        let document: Value = client.bare(call).await.unwrap();
        sizes.push(document["paths"].as_object().unwrap().len());
        let file = folder.path().join("openapi.json");
        std::fs::write(&file, document.to_string()).unwrap();
        let check = "import json, sys, openapi_spec_validator\n\
                     openapi_spec_validator.validate(json.load(open(sys.argv[1])))\n";
        let output = Command::new(&python).args(["-c", check]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        if query.contains("generic") {
            assert!(document["paths"].get("/auth/{approle_mount_path}/login").is_some());
        }
    }
    assert!(sizes[0] > 150 && sizes[2] == 0, "{sizes:?}: who has no token sees nothing");
}
