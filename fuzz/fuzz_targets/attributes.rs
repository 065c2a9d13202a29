//! Attributes of a CSI volume, and parameters of a class: any are refused or make a plan, and a plan makes files that stay
//! below the volume's root, or says what it lacks.
#![no_main]

use std::collections::BTreeMap;

use holdfast_csi::{
    attributes::{Plan, check_file_name, class},
    payload::{Incomplete, Reading, Readings, assemble, warning},
};
use serde_json::{Map, Value, json};

/// As often as the driver lets a template ask for more.
const ROUNDS: usize = 16;

// Lines of `key=value`; `\n` in a value is a line break. A first line `class` makes them parameters of a class.
libfuzzer_sys::fuzz_target!(|text: &str| {
    let (of_class, text) = match text.strip_prefix("class\n") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs: BTreeMap<String, String> =
        pairs.map(|(key, value)| (key.to_owned(), value.replace("\\n", "\n"))).collect();
    let plan = if of_class { class::parse(&pairs).map(|(plan, _)| plan) } else { Plan::parse(pairs.iter()) };
    let Ok(plan) = plan else { return };
    let mut readings = Readings::new();
    for _ in 0..ROUNDS {
        match assemble(&plan, &readings, Some(2000)) {
            Ok(payload) => {
                for (name, entry) in &payload {
                    check_file_name(name).expect("a name below the root");
                    assert_eq!(entry.mode & !0o777, 0, "{name}");
                }
                break;
            }
            Err(Incomplete::Failed(_)) => break,
            Err(Incomplete::Missing(missing)) => {
                assert!(!missing.is_empty(), "nothing to go on with");
                for origin in missing {
                    let before = readings.insert(origin, Reading::new("l/1", 60, true, data()));
                    assert!(before.is_none(), "asks for what it has");
                }
            }
        }
    }
    let _ = warning(&plan, None);
});

fn data() -> Map<String, Value> {
    let all = json!({
        "username": "u", "password": "p=\"\\\n", "number": 1e300, "list": ["a", null], "map": {"x": {"y": true}},
        "certificate": "c", "private_key": "k", "issuing_ca": "i", "ca_chain": ["i"], "ä b/../c": "odd",
    });
    all.as_object().cloned().unwrap_or_default()
}
