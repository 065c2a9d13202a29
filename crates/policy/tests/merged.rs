//! Stanzas of the same pattern in several policies, as one: capabilities, parameter lists and bounds of wrapping against a
//! slow reading of the rules.

use std::{sync::Arc, time::Duration};

use holdfast_logical::Operation;
use holdfast_policy::{Policy, PolicySet};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::reference::{Parameters, parameters};

/// One stanza of the pattern `p`.
#[derive(Clone, Debug)]
struct Part {
    capabilities: Vec<&'static str>,
    parameters: Parameters,
    /// Seconds; 0 and none are no bound.
    min: Option<u64>,
    max: Option<u64>,
}

impl Part {
    fn text(&self) -> String {
        let bound =
            |key: &str, seconds: Option<u64>| seconds.map(|s| format!("{key} = \"{s}s\"\n")).unwrap_or_default();
        format!(
            "path \"p\" {{\ncapabilities = {:?}\n{}{}{}}}\n",
            self.capabilities,
            self.parameters.text(),
            bound("min_wrapping_ttl", self.min),
            bound("max_wrapping_ttl", self.max)
        )
    }
}

fn part() -> impl Strategy<Value = Part> {
    let capability = prop::sample::select(vec!["read", "update", "create", "patch", "list", "sudo", "read", "update"]);
    let capabilities = prop_oneof![
        12 => prop::collection::vec(capability, 1..4),
        1 => Just(vec!["deny"]),
        1 => Just(vec!["read", "deny"]),
    ];
    let bound = || prop_oneof![4 => Just(None), 1 => prop::option::of(0u64..5)];
    (capabilities, parameters(), bound(), bound())
        .prop_filter("refused when it is written", |(_, _, min, max)| match (min.unwrap_or(0), max.unwrap_or(0)) {
            (_, 0) => true,
            (min, max) => min <= max,
        })
        .prop_map(|(capabilities, parameters, min, max)| Part { capabilities, parameters, min, max })
}

/// Rule by rule, straight from the description: deny wins; capabilities and lists add up; of bounds the smaller one counts.
fn naive(parts: &[Part], operation: Operation, given: &Map<String, Value>, wrap: Option<u64>) -> bool {
    let capabilities: Vec<_> = parts.iter().flat_map(|part| &part.capabilities).collect();
    if capabilities.contains(&&"deny") || !capabilities.contains(&&operation.as_str()) {
        return false;
    }
    let smallest = |bound: fn(&Part) -> Option<u64>| parts.iter().filter_map(bound).filter(|bound| *bound > 0).min();
    let (min, max) = (smallest(|part| part.min), smallest(|part| part.max));
    let within = match wrap {
        None => min.is_none() && max.is_none(),
        Some(ttl) => ttl >= min.unwrap_or(0) && ttl <= max.unwrap_or(u64::MAX),
    };
    let looked_at = !matches!(operation, Operation::List | Operation::Delete | Operation::Scan);
    let all = parts.iter().fold(Parameters::default(), |mut all, part| {
        all.join(&part.parameters);
        all
    });
    within && (!looked_at || all.allow(given))
}

fn given() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![
        "[xy]{1,2}".prop_map(Value::from),
        (0u64..3).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ];
    let name = prop::sample::select(vec!["a", "A", "b", "B", "c", "d"]);
    prop::collection::btree_map(name, value, 0..3)
        .prop_map(|given| given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn policies_of_one_pattern_add_up_as_the_rules_say(
        parts in prop::collection::vec(part(), 1..4), together in any::<bool>(), given in given(),
        wrap in prop::option::of(1u64..6),
    ) {
        // As several policies and as several stanzas of one.
        let texts: Vec<String> = parts.iter().map(Part::text).collect();
        let texts = if together { vec![texts.concat()] } else { texts };
        let policies = texts.iter().enumerate().map(|(n, text)| Arc::new(Policy::parse(&format!("p{n}"), text).unwrap()));
        let set = PolicySet::new(policies.collect());
        let wrapped = wrap.map(Duration::from_secs);
        for operation in [
            Operation::Create, Operation::Read, Operation::Update, Operation::Patch, Operation::Delete, Operation::List,
            Operation::Scan,
        ] {
            let decided = set.decide("p", operation, &given, wrapped);
            prop_assert_eq!(decided.allowed, naive(&parts, operation, &given, wrap), "{:?} {:?}", operation, texts);
        }
    }

    /// The order of policies means nothing.
    #[test]
    fn the_order_of_policies_means_nothing(parts in prop::collection::vec(part(), 2..4), given in given(), wrap in prop::option::of(1u64..6)) {
        let set = |parts: &mut dyn Iterator<Item = &Part>| {
            PolicySet::new(parts.map(|part| Arc::new(Policy::parse("p", &part.text()).unwrap())).collect())
        };
        let (one, other) = (set(&mut parts.iter()), set(&mut parts.iter().rev()));
        for operation in [Operation::Read, Operation::Update, Operation::List] {
            let wrap = wrap.map(Duration::from_secs);
            prop_assert_eq!(
                one.decide("p", operation, &given, wrap).allowed, other.decide("p", operation, &given, wrap).allowed
            );
        }
        prop_assert_eq!(one.capabilities("p"), other.capabilities("p"));
    }
}

#[test]
fn a_number_is_its_text() {
    let text = "path \"p\" { capabilities = [\"update\"] denied_parameters = { a = [\"1\"] } }";
    let set = PolicySet::new(vec![Arc::new(Policy::parse("p", text).unwrap())]);
    for (value, allowed) in [(json!(1), false), (json!("1"), false), (json!(2), true)] {
        let given = Map::from_iter([("A".to_owned(), value)]);
        assert_eq!(set.decide("p", Operation::Update, &given, None).allowed, allowed, "{given:?}");
    }
}
