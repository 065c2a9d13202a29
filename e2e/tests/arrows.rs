//! The arrows between crates (docs/architecture.md): who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};

const LEAVES: &[&str] = &["secret", "base", "failpoint"];

/// What each crate may name, besides the leaves. A crate that is not listed may name leaves only.
const ALLOWED: &[(&str, &[&str])] = &[
    ("shamir", &[]),
    ("api-types", &[]),
    ("crd-types", &[]),
    ("fetch", &[]),
    ("hcl", &[]),
    ("jose", &[]),
    ("password", &["hcl"]),
    ("storage", &[]),
    ("storage-etcd", &["storage"]),
    ("storage-file", &["storage"]),
    ("barrier", &["storage"]),
    ("peer", &["barrier"]),
    ("seal", &["shamir"]),
    ("snapshot", &[]),
    ("logical", &["barrier", "password"]),
    ("harness", &["barrier", "logical", "storage"]),
    ("envtest", &["crd-types"]),
    ("identity", &["logical"]),
    ("policy", &["logical", "hcl"]),
    ("audit", &[]),
    ("engine-kv", &["logical"]),
    ("engine-database", &["logical"]),
    ("auth-approle", &["logical"]),
    ("auth-cert", &["fetch", "logical"]),
    ("auth-jwt", &["fetch", "jose", "logical"]),
    ("auth-kubernetes", &["fetch", "jose", "logical"]),
    ("auth-userpass", &["logical"]),
    (
        "core",
        &["api-types", "audit", "barrier", "identity", "logical", "password", "policy", "seal", "snapshot", "storage"],
    ),
    ("http", &["api-types", "core", "logical"]),
    ("client", &["api-types"]),
    ("runtime", &[]),
    ("template", &[]),
    ("cli", &["api-types", "audit", "client", "hcl", "snapshot"]),
    ("operator", &["api-types", "client", "crd-types", "hcl", "runtime", "template"]),
    ("csi", &["api-types", "client", "crd-types", "runtime", "template"]),
    ("webhook", &["agent", "crd-types", "runtime", "template"]),
    ("agent", &["api-types", "client", "hcl", "runtime", "template"]),
    ("chaos", &["client"]),
    ("bench", &["barrier", "storage", "storage-etcd"]),
    ("e2e", &["api-types", "client", "runtime"]),
];

#[test]
fn arrows_point_one_way() {
    let metadata =
        cargo_metadata::MetadataCommand::new().no_deps().other_options(vec!["--offline".to_owned()]).exec().unwrap();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let name = package.name.trim_start_matches("holdfast-");
        if name == "server" {
            continue; // the composition root
        }
        let may: BTreeSet<&str> =
            allowed.get(name).copied().unwrap_or_default().iter().chain(LEAVES).copied().collect();
        for dependency in &package.dependencies {
            let normal = dependency.kind == cargo_metadata::DependencyKind::Normal;
            if let Some(on) = dependency.name.strip_prefix("holdfast-").filter(|_| normal)
                && !may.contains(on)
            {
                wrong.push(format!("{name} → {on}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn nothing_pulls_in_openssl_or_ring() {
    let arguments = ["tree", "--workspace", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"];
    let output = std::process::Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("rustls"), "cargo tree shows nothing");
    for refused in ["openssl-sys", "native-tls", "ring", "serde_yaml"] {
        assert!(!names.contains(refused), "{refused} is in the tree: cargo tree -i {refused}");
    }
}

/// What guards something is compared by `holdfast_secret::same` and nothing else, which a test of that crate looks at.
#[test]
fn only_one_place_compares_in_constant_time() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut folders, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.extend((!name.starts_with('.') && name != "target").then_some(path));
            } else if name.ends_with(".rs") && !path.ends_with("arrows.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let compares = ["ct_eq", "verify_slices_are_equal", "constant_time_eq"];
                found.extend(compares.iter().any(|word| text.contains(word)).then_some(path));
            }
        }
    }
    assert_eq!(found, [root.join("crates/secret/src/lib.rs")]);
}
