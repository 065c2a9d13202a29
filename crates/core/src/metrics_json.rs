//! Metrics as JSON, in the shape of Vault's `sys/metrics` without `format=prometheus`: made from the Prometheus text, so
//! that both say the same.

use std::collections::BTreeMap;

use holdfast_base::Timestamp;
use serde_json::{Map, Value, json};

/// Reads the text and sorts what it says into gauges, counters and samples. Buckets of histograms are left out: only
/// their sum and count have a place in this shape.
pub fn of_text(text: &str, now: Timestamp) -> Value {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut gauges, mut counters) = (Vec::new(), Vec::new());
    let mut samples: BTreeMap<(String, String), (f64, f64)> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            kinds.extend(rest.split_once(' '));
            continue;
        }
        let Some((name, labels, value)) = sample(line) else { continue };
        let base = |suffix: &str| name.strip_suffix(suffix).filter(|base| kinds.contains_key(base));
        let shown = |name: &str| json!({ "Name": dotted(name), "Value": value, "Labels": labels });
        if kinds.get(name) == Some(&"gauge") {
            gauges.push(shown(name));
        } else if let Some(base) = base("_total") {
            counters.push(json!({
                "Name": dotted(base), "Count": value, "Rate": 0, "Sum": value, "Min": value, "Max": value,
                "Mean": value, "Stddev": 0, "Labels": labels,
            }));
        } else if let Some(base) = base("_sum") {
            samples.entry((base.to_owned(), Value::Object(labels).to_string())).or_default().0 = value;
        } else if let Some(base) = base("_count") {
            samples.entry((base.to_owned(), Value::Object(labels).to_string())).or_default().1 = value;
        }
    }
    let samples: Vec<Value> = samples
        .into_iter()
        .map(|((name, labels), (sum, count))| {
            let mean = if count > 0.0 { sum / count } else { 0.0 };
            let labels: Value = serde_json::from_str(&labels).unwrap_or_default();
            json!({ "Name": dotted(&name), "Count": count, "Sum": sum, "Mean": mean, "Labels": labels })
        })
        .collect();
    json!({
        "Timestamp": now.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        "Gauges": gauges,
        "Points": [],
        "Counters": counters,
        "Samples": samples,
    })
}

/// `vault.core.handle_request`, `vault.route.read.secret_`.
fn dotted(name: &str) -> String {
    name.replacen('_', ".", if name.starts_with("vault_route_") { 3 } else { 2 })
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> Option<(&str, Map<String, Value>, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (left, value) = line.rsplit_once(' ')?;
    let (name, labels) = match left.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (left, ""),
    };
    let labels = labels.split("\",").filter_map(|pair| {
        let (name, value) = pair.split_once("=\"")?;
        Some((name.to_owned(), json!(value.trim_end_matches('"'))))
    });
    Some((name, labels.collect(), value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_counters_and_samples_find_their_lists() {
        let text = "# HELP vault_core_unsealed x.\n# TYPE vault_core_unsealed gauge\nvault_core_unsealed 1\n\
                    # TYPE holdfast_core_requests counter\n\
                    holdfast_core_requests_total{operation=\"Read\",outcome=\"Ok\"} 3\n\
                    # TYPE t_s histogram\nt_s_sum{a=\"b\"} 4.0\nt_s_count{a=\"b\"} 2\nt_s_bucket{le=\"1\",a=\"b\"} 2\n# EOF\n";
        let shown = of_text(text, "2026-01-02T03:04:05Z".parse().unwrap());
        assert_eq!(shown["Timestamp"], "2026-01-02 03:04:05 +0000 UTC");
        assert_eq!(shown["Gauges"], json!([{"Name": "vault.core.unsealed", "Value": 1.0, "Labels": {}}]));
        assert_eq!(shown["Counters"][0]["Labels"], json!({"operation": "Read", "outcome": "Ok"}));
        assert_eq!(shown["Counters"][0]["Count"], 3.0);
        assert_eq!(
            shown["Samples"],
            json!([{"Name": "t.s", "Count": 2.0, "Sum": 4.0, "Mean": 2.0, "Labels": {"a": "b"}}])
        );
    }
}
