//! Policies: what is read decides the same twice, grants nothing that a deny on the same path forbids, and survives odd paths.
#![no_main]

use std::sync::Arc;

use holdfast_logical::{Namespace, Operation};
use holdfast_policy::{Place, Policy, PolicySet};

libfuzzer_sys::fuzz_target!(|input: (&str, &str)| {
    let (text, path) = input;
    let Ok(policy) = Policy::parse("fuzz", text) else { return };
    let deny = format!("path {path:?} {{ capabilities = [\"deny\"] }}");
    let alone = PolicySet::new(vec![Arc::new(policy.clone())]);
    let place = Place { path, namespace: &Namespace::root().path };
    for operation in [Operation::Read, Operation::Update, Operation::List, Operation::Delete] {
        let params = serde_json::Map::new();
        let first = alone.decide(place, operation, &params, None);
        assert_eq!(first, alone.decide(place, operation, &params, None));
        if !path.contains(['*', '+', '{', '\\'])
            && let Ok(deny) = Policy::parse("deny", &deny)
        {
            let both = PolicySet::new(vec![Arc::new(policy.clone()), Arc::new(deny)]);
            assert!(!both.decide(place, operation, &params, None).allowed || first.root);
        }
    }
});
