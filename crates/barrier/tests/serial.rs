//! Whatever is committed together equals some order one after the other, also when answers are lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_barrier::{Check, Store, StoreError, Txn, Write};
use proptest::prelude::*;

use crate::support::{Fault, Faulty, bytes, open};

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
struct Plan {
    checks: Vec<(usize, bool)>,
    writes: Vec<(usize, bool)>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let keys = proptest::collection::btree_map(0..KEYS.len(), any::<bool>(), 0..3);
    (keys.clone(), keys).prop_map(|(checks, writes)| Plan {
        checks: checks.into_iter().collect(),
        writes: writes.into_iter().collect(),
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![Just(Fault::LoseAnswer), Just(Fault::LoseRequest), Just(Fault::Delay), Just(Fault::TooLarge)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn a_history_with_faults_is_serial(
        plans in proptest::collection::vec(plan(), 1..9), faults in proptest::collection::vec(fault(), 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(plans, &faults));
    }
}

async fn check(plans: Vec<Plan>, faults: &[Fault]) {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    storage.plan(faults);
    let all = plans.iter().enumerate().map(|(number, plan)| {
        let mut txn = Txn::new();
        for (key, there) in &plan.checks {
            txn.check(KEYS[*key].to_owned(), if *there { Check::Exists } else { Check::Absent });
        }
        for (key, set) in &plan.writes {
            let write = if *set { Write::Put(bytes(&number.to_string())) } else { Write::Delete };
            txn.writes.push((KEYS[*key].to_owned(), write));
        }
        let barrier = barrier.clone();
        async move { barrier.commit(txn).await }
    });
    let outcomes = futures::future::join_all(all).await;

    // Committed ones in the order of their revisions; those of one revision in any order, as they do not meet.
    let mut committed: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (number, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(revision) => committed.entry(*revision).or_default().push(number),
            Err(StoreError::Conflict | StoreError::TooLarge { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let mut state: BTreeMap<usize, usize> = BTreeMap::new();
    for number in committed.into_values().flatten() {
        for (key, there) in &plans[number].checks {
            assert_eq!(state.contains_key(key), *there, "transaction {number} could not have succeeded");
        }
        for (key, set) in &plans[number].writes {
            if *set {
                state.insert(*key, number);
            } else {
                state.remove(key);
            }
        }
    }
    for (at, key) in KEYS.iter().enumerate() {
        let found = barrier.get(key).await.unwrap().map(|entry| entry.value);
        assert_eq!(found, state.get(&at).map(|number| bytes(&number.to_string())), "{key}");
    }
    barrier.seal().await;
}
