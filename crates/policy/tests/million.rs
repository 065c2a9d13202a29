//! A million decisions: each is what the rules say (GHSA-xp3c-3jw3-4vcr), and none leaves anything behind
//! (CVE-2023-5954). `cargo test -p holdfast-policy --test million -- --nocapture` shows the figures.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod rules;

use std::time::{Duration, Instant};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::Map;

use rules::{OPERATIONS, compile, naive, path, policies};

/// Policies of a token at a time, paths for each, and how often anew: with the operations 1,120,000 different decisions.
const SETS: usize = 2_000;
const PATHS: usize = 10;
const ROUNDS: usize = 8;
/// A leak of two bytes for each decision would be more.
const SLACK: usize = 2 << 20;

#[test]
fn cve_2023_5954_ghsa_xp3c_a_million_decisions_are_right_and_leave_nothing_behind() {
    let mut runner = TestRunner::deterministic();
    let (mut decisions, mut granted, mut took, mut before) = (0, 0, Duration::ZERO, 0);
    for round in 0..ROUNDS {
        let mut draw = || {
            let policies = policies().new_tree(&mut runner).unwrap().current();
            let paths: Vec<String> = (0..PATHS).map(|_| path().new_tree(&mut runner).unwrap().current()).collect();
            (compile(&policies), policies, paths)
        };
        let cases: Vec<_> = (0..SETS).map(|_| draw()).collect();
        let each = || {
            let paths =
                cases.iter().flat_map(|(set, policies, paths)| paths.iter().map(move |path| (set, policies, path)));
            paths.flat_map(|path| OPERATIONS.map(|operation| (path, operation)))
        };
        let begin = Instant::now();
        let decided: Vec<bool> = each()
            .map(|((set, _, path), operation)| set.decide(path.as_str(), operation, &Map::new(), None).allowed)
            .collect();
        took += begin.elapsed();
        for (((_, policies, path), operation), allowed) in each().zip(&decided) {
            assert_eq!(*allowed, naive(policies, path, operation), "{operation:?} {path} of {policies:?}");
        }
        decisions += decided.len();
        granted += decided.iter().filter(|allowed| **allowed).count();
        drop((cases, decided));
        // The first two rounds are warm-up.
        if round == 1 {
            before = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    let each = took / u32::try_from(decisions).unwrap();
    println!("{decisions} decisions, {granted} of them grant; {each:?} each; memory grew by {} KiB", grown >> 10);
    assert!(decisions > 1_000_000 && granted > 50_000, "{decisions} {granted}");
    assert!(grown < SLACK, "{grown} bytes more after {decisions} decisions");
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}
