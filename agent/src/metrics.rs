//! What the agent counts, in the form of Prometheus.

use std::sync::atomic::AtomicU64;

use holdfast_base::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::status::{ItemStatus, State};

/// The item that a figure is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfItem {
    item: String,
}

/// How something went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

/// How something went for an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ItemResult {
    item: String,
    result: &'static str,
}

/// The figures; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    state: Family<OfItem, Gauge>,
    expires: Family<OfItem, Gauge<f64, AtomicU64>>,
    success: Family<OfItem, Gauge<f64, AtomicU64>>,
    changes: Family<OfItem, Counter>,
    requests: Family<ItemResult, Counter>,
    actions: Family<ItemResult, Counter>,
    logins: Family<Result, Counter>,
    events: Family<Result, Counter>,
    listening: Gauge,
    proxied: Family<Result, Counter>,
    cached: Family<Result, Counter>,
}

impl Metrics {
    /// With names for a scrape.
    pub fn register(&self, registry: &mut Registry) {
        let all = registry.sub_registry_with_prefix("holdfast_agent");
        all.register("item_state", "0 fresh, 1 stale, 2 expired, 3 not written yet", self.state.clone());
        all.register("item_expiry_timestamp_seconds", "End of the item's lease", self.expires.clone());
        all.register("item_success_timestamp_seconds", "When it was last as the server has it", self.success.clone());
        all.register("item_changes", "Contents written", self.changes.clone());
        all.register("requests", "Reads, renewals and replacements", self.requests.clone());
        all.register("actions", "What was done after changes", self.actions.clone());
        all.register("logins", "Logins and renewals of the token", self.logins.clone());
        all.register("events", "Events of the server that were about an item, or not", self.events.clone());
        all.register("events_connected", "Is the agent told of changes?", self.listening.clone());
        all.register("proxy_requests", "Requests through the agent", self.proxied.clone());
        all.register("cache", "Answers from the cache, and requests that it had none for", self.cached.clone());
    }

    /// The item as its status says.
    pub fn item(&self, name: &str, status: &ItemStatus, now: Timestamp) {
        let label = OfItem { item: name.to_owned() };
        self.state.get_or_create(&label).set(status.state as i64);
        if let Some(expires) = status.expires {
            self.expires.get_or_create(&label).set(seconds(expires));
        }
        if status.state == State::Fresh {
            self.success.get_or_create(&label).set(seconds(now));
        }
    }

    /// A content was written.
    pub fn changed(&self, name: &str) {
        self.changes.get_or_create(&OfItem { item: name.to_owned() }).inc();
    }

    /// A request for an item's path.
    pub fn request(&self, name: &str, worked: bool) {
        self.requests.get_or_create(&ItemResult { item: name.to_owned(), result: word(worked) }).inc();
    }

    /// An action after a change.
    pub fn action(&self, name: &str, worked: bool) {
        self.actions.get_or_create(&ItemResult { item: name.to_owned(), result: word(worked) }).inc();
    }

    /// A login, or a renewal of its token.
    pub fn login(&self, worked: bool) {
        self.logins.get_or_create(&Result { result: word(worked) }).inc();
    }

    /// An event of the server.
    pub fn event(&self, used: bool) {
        self.events.get_or_create(&Result { result: if used { "used" } else { "ignored" } }).inc();
    }

    /// Are events coming?
    pub fn listening(&self, yes: bool) {
        self.listening.set(i64::from(yes));
    }

    /// A request through the agent, with the status it was answered with; none: the server was not reached.
    pub fn proxied(&self, status: Option<u16>) {
        let result = match status {
            Some(..400) => "ok",
            Some(400..500) => "client_error",
            _ => "error",
        };
        self.proxied.get_or_create(&Result { result }).inc();
    }

    /// Was there an answer in the cache?
    pub fn cached(&self, hit: bool) {
        self.cached.get_or_create(&Result { result: if hit { "hit" } else { "miss" } }).inc();
    }
}

fn word(worked: bool) -> &'static str {
    if worked { "ok" } else { "error" }
}

#[expect(clippy::cast_precision_loss, reason = "a second is exact enough")]
fn seconds(time: Timestamp) -> f64 {
    time.as_second() as f64
}
