//! Go templates: any text is parsed or refused, and rendering ends, with every function that asks outside.
#![no_main]

use holdfast_base::Timestamp;
use holdfast_template::{Call, Kind, Lookup, Source, Template, Written};
use serde_json::json;

struct Everything;

impl Source for Everything {
    fn answer(&self, call: &Call) -> Option<Lookup> {
        Some(Lookup::Ready(match call.kind {
            Kind::Secret => json!({ "lease_id": "l", "lease_duration": 60, "data": { "a": 1, "b": ["x", { "y": null }] } }),
            Kind::List => json!({ "data": { "keys": ["a", "b/"] } }),
            Kind::Certificate => json!({ "data": { "certificate": "c", "ca_chain": [] } }),
        }))
    }

    fn file(&self, path: &str) -> Option<Result<String, String>> {
        Some(Ok(path.to_owned()))
    }

    fn write(&self, _file: Written) -> Option<Result<(), String>> {
        Some(Ok(()))
    }

    fn env(&self, name: &str) -> Option<Option<String>> {
        Some(Some(name.to_owned()))
    }

    fn now(&self) -> Option<Timestamp> {
        Timestamp::from_second(1_700_000_000).ok()
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(template) = Template::parse(text) {
        let data = json!({ "a": { "b": [1, "two", null] }, "c": "x" });
        let _ = template.render(&data, &Everything);
    }
});
