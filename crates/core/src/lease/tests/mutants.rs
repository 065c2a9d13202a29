//! What a mutation makes wrong is missed by a test.

use std::{collections::BTreeSet, path::Path};

use holdfast_failpoint::mutants::{Mutant, in_sources, not_caught};

const MUTANTS: &[Mutant] =
    &[("mutant.forget-abandoned-intent", "lease::tests::crash::a_maker_that_was_paused_and_dies_leaves_nothing")];

#[test]
fn each_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = not_caught(folder.path(), MUTANTS).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_has_a_test() {
    let sources = in_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let tried: BTreeSet<String> = MUTANTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(sources, tried);
}
