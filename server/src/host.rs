//! The machine, from `/proc`: the answer of `sys/host-info`, in the shape that Vault's clients know.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Everything; what cannot be read is left out.
pub fn info() -> Map<String, Value> {
    let uname = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    let release: BTreeMap<String, String> = pairs("/etc/os-release", '=');
    let uptime = read("/proc/uptime").split('.').next().and_then(|seconds| seconds.parse::<u64>().ok());
    let uptime = uptime.unwrap_or_default();
    let boot = pairs("/proc/stat", ' ').get("btime").and_then(|time| time.trim().parse::<u64>().ok());
    let host = json!({
        "hostname": text(uname.nodename()),
        "os": "linux",
        "platform": release.get("ID").cloned().unwrap_or_default(),
        "platformVersion": release.get("VERSION_ID").cloned().unwrap_or_default(),
        "kernelVersion": text(uname.release()),
        "kernelArch": text(uname.machine()),
        "uptime": uptime,
        "bootTime": boot.unwrap_or_default(),
    });
    let shown = json!({
        "timestamp": now(),
        "host": host,
        "memory": memory(),
        "cpu": processors(),
        "cpu_times": times(),
        "disk": [],
    });
    match shown {
        Value::Object(shown) => shown,
        _ => Map::new(),
    }
}

fn now() -> String {
    use holdfast_base::Clock;
    holdfast_base::SystemClock.now().to_string()
}

fn memory() -> Value {
    let sizes = pairs("/proc/meminfo", ':');
    let bytes = |name: &str| {
        let size = sizes.get(name).and_then(|size| size.trim().split(' ').next()?.parse::<u64>().ok());
        size.unwrap_or_default() << 10
    };
    let (total, available) = (bytes("MemTotal"), bytes("MemAvailable"));
    let used = total.saturating_sub(available);
    json!({
        "total": total,
        "available": available,
        "used": used,
        "usedPercent": if total > 0 { used as f64 * 100.0 / total as f64 } else { 0.0 },
        "free": bytes("MemFree"),
        "buffers": bytes("Buffers"),
        "cached": bytes("Cached"),
    })
}

fn processors() -> Vec<Value> {
    let text = read("/proc/cpuinfo");
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks
        .enumerate()
        .map(|(index, block)| {
            let value = |key: &str| {
                let line = block.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key));
                line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
            };
            json!({
                "cpu": index,
                "vendorId": value("vendor_id"),
                "modelName": value("model name"),
                "mhz": value("cpu MHz").parse::<f64>().unwrap_or_default(),
                "cores": 1,
            })
        })
        .collect()
}

fn times() -> Vec<Value> {
    const NAMES: &[&str] = &["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
    let text = read("/proc/stat");
    let lines = text.lines().filter(|line| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    });
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut shown = Map::from_iter([("cpu".to_owned(), json!(words.next().unwrap_or_default()))]);
            // Hundredths of a second.
            let ticks = words.filter_map(|ticks| ticks.parse::<f64>().ok());
            shown.extend(NAMES.iter().zip(ticks).map(|(name, ticks)| ((*name).to_owned(), json!(ticks / 100.0))));
            Value::Object(shown)
        })
        .collect()
}

/// Lines `name<separator>value` of a file.
fn pairs(file: &str, separator: char) -> BTreeMap<String, String> {
    let text = read(file);
    let lines = text.lines().filter_map(|line| line.split_once(separator));
    lines.map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches('"').to_owned())).collect()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_processors() {
        let info = info();
        assert!(info["memory"]["total"].as_u64().unwrap() > 0);
        assert!(!info["cpu"].as_array().unwrap().is_empty());
        assert!(info["cpu_times"][0]["user"].as_f64().is_some());
        assert!(info["host"]["bootTime"].as_u64().unwrap() > 0);
    }
}
