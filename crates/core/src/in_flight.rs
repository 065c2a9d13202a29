//! The requests that are being served now, for `sys/in-flight-req`.

use std::{net::IpAddr, ops::Deref, sync::Arc};

use holdfast_base::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Map, Value, json};
use slab::Slab;

use crate::{Raw, Verb};

/// All of them.
#[derive(Default)]
pub struct InFlight {
    entries: Mutex<Slab<Arc<Entry>>>,
    gauge: Gauge,
}

/// What is told of a request.
pub struct Entry {
    /// Request id.
    pub id: String,
    /// With the namespace of the header in front.
    pub path: String,
    since: Timestamp,
    remote: Option<IpAddr>,
    port: u16,
    verb: Verb,
}

/// One of them, as long as it lives.
pub struct Flying {
    all: Arc<InFlight>,
    place: usize,
    entry: Arc<Entry>,
}

impl InFlight {
    /// None yet; the gauge follows their number.
    pub fn new(gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { entries: Mutex::default(), gauge })
    }

    /// Adds a request.
    pub fn enter(self: &Arc<Self>, raw: &Raw, now: Timestamp) -> Flying {
        let (remote, port) = (raw.connection.remote, raw.connection.port);
        let (id, path) = (raw.id.clone(), raw.full_path());
        let entry = Arc::new(Entry { id, path, since: now, remote, port, verb: raw.verb });
        let place = self.entries.lock().insert(entry.clone());
        self.gauge.inc();
        Flying { all: self.clone(), place, entry }
    }

    /// As `sys/in-flight-req` shows them.
    pub fn show(&self, now: Timestamp) -> Map<String, Value> {
        let entries = self.entries.lock();
        let shown = entries.iter().map(|(_, entry)| {
            let shown = json!({
                "start_time": entry.since.to_string(),
                "client_remote_address": entry.remote.map(|remote| format!("{remote}:{}", entry.port)).unwrap_or_default(),
                "request_path": format!("/v1/{}", entry.path),
                "request_method": method(entry.verb),
                "client_id": "",
                "snapshot_duration_us": now.duration_since(entry.since).as_micros().to_string().parse::<i64>().unwrap_or(0),
            });
            (entry.id.clone(), shown)
        });
        shown.collect()
    }
}

impl Deref for Flying {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.all.entries.lock().try_remove(self.place);
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
