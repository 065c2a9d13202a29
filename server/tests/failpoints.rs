//! The process dies at each failpoint, as by SIGKILL, starts again and is in order: fsck is clean, what was acknowledged is
//! readable, what was begun is finished or undone, and no user is left at the database that nothing owns.

mod birth;
mod keys;
mod leases;
mod members;
mod mounts;
pub mod site;
mod tokens;

use std::{collections::BTreeSet, fs, path::Path};

/// Failpoints that a crash cannot be tried at by itself, each with where it is used instead.
const ELSEWHERE: &[&str] = &[];

/// All points of the sources are crashed at by one of the modules here, and there are enough of them.
#[test]
fn every_failpoint_is_crashed_at() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut in_sources = BTreeSet::new();
    for folder in ["crates/core/src", "crates/barrier/src", "engines", "auth"] {
        collect(&root.join(folder), "failpoint!(\"", &mut in_sources);
    }
    let mut tried = BTreeSet::new();
    collect(&root.join("server/tests/failpoints"), "\"", &mut tried);
    let untried: Vec<_> =
        in_sources.iter().filter(|name| !tried.contains(*name) && !ELSEWHERE.contains(&name.as_str())).collect();
    assert!(untried.is_empty(), "no crash at {untried:?}");
    assert!(in_sources.len() >= 60, "{} failpoints", in_sources.len());
}

/// All texts that stand between `opening` and the next quotation mark in the Rust files below a folder.
fn collect(folder: &Path, opening: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, opening, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let texts = text.split(opening).skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(texts.map(str::to_owned));
        }
    }
}
