//! The requests that are being served now, for `sys/in-flight-req`.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use holdfast_base::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Map, Value, json};

use crate::{Raw, Verb};

/// All of them, by request id.
#[derive(Default)]
pub struct InFlight {
    entries: Mutex<HashMap<String, Entry>>,
    gauge: Gauge,
}

struct Entry {
    since: Timestamp,
    remote: Option<IpAddr>,
    port: u16,
    path: String,
    verb: Verb,
}

/// One of them, as long as it lives.
pub struct Flying {
    all: Arc<InFlight>,
    id: String,
}

impl InFlight {
    /// None yet; the gauge follows their number.
    pub fn new(gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { entries: Mutex::default(), gauge })
    }

    /// Adds a request.
    pub fn enter(self: &Arc<Self>, raw: &Raw, now: Timestamp) -> Flying {
        let (remote, port) = (raw.connection.remote, raw.connection.port);
        let entry = Entry { since: now, remote, port, path: raw.full_path(), verb: raw.verb };
        self.entries.lock().insert(raw.id.clone(), entry);
        self.gauge.inc();
        Flying { all: self.clone(), id: raw.id.clone() }
    }

    /// As `sys/in-flight-req` shows them.
    pub fn show(&self, now: Timestamp) -> Map<String, Value> {
        let entries = self.entries.lock();
        let shown = entries.iter().map(|(id, entry)| {
            let shown = json!({
                "start_time": entry.since.to_string(),
                "client_remote_address": entry.remote.map(|remote| format!("{remote}:{}", entry.port)).unwrap_or_default(),
                "request_path": format!("/v1/{}", entry.path),
                "request_method": method(entry.verb),
                "client_id": "",
                "snapshot_duration_us": now.duration_since(entry.since).as_micros().to_string().parse::<i64>().unwrap_or(0),
            });
            (id.clone(), shown)
        });
        shown.collect()
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.all.entries.lock().remove(&self.id);
        self.all.gauge.dec();
    }
}

fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Read => "GET",
        Verb::List => "LIST",
        Verb::Scan => "SCAN",
        Verb::Write => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::Head => "HEAD",
        Verb::Help => "HELP",
    }
}
