//! A mounted volume and the task that keeps it fresh: polls, renews, replaces, shows what changed, says how it is.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use holdfast_base::{Timestamp, id};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    content::Content,
    mounter::client::Root,
    payload::{self, Payload},
    request::Publish,
    services::Services,
    source::{Freshness, Source, Tools},
    state::{StateDir, VolumeRecord},
    status::Failure,
    swap::{self, Ownership},
};

/// How often the state is written again although nothing is due.
const LONGEST: Duration = Duration::from_secs(30);
/// How soon to try again what could not be shown.
const AGAIN: Duration = Duration::from_secs(5);

/// How it is, in one line.
#[derive(Clone, Debug)]
pub struct Health {
    /// The worst of its sources; none while nobody looks after it.
    pub freshness: Option<Freshness>,
    /// For people.
    pub message: String,
}

/// A volume that is served.
pub struct Volume {
    /// Its request.
    pub request: Publish,
    /// Its file system.
    pub root: Root,
    /// Audience of the pod's token, where the plan says one.
    pub audience: Option<String>,
    /// What its sources are kept fresh with.
    pub tools: Tools,
    /// Stops the task.
    pub stop: CancellationToken,
    /// How it is.
    pub health: Mutex<Health>,
    /// When its leases and certificates end, by item: boottime.
    pub ends: Mutex<Vec<(String, Duration)>>,
    /// The paths that it reads again and again.
    polled: Mutex<BTreeSet<String>>,
    changed: Notify,
    state: StateDir,
}

impl Volume {
    /// A volume without a task.
    pub fn new(request: Publish, root: Root, tools: Tools, audience: Option<String>, state: StateDir) -> Self {
        let health = Health { freshness: Some(Freshness::Fresh), message: "fresh".to_owned() };
        Self {
            request,
            root,
            audience,
            tools,
            stop: CancellationToken::new(),
            health: Mutex::new(health),
            ends: Mutex::default(),
            polled: Mutex::default(),
            changed: Notify::new(),
            state,
        }
    }

    /// Something may have changed at `path`; `None`: anywhere.
    pub fn changed(&self, path: Option<&str>) {
        if path.is_none_or(|path| self.polled.lock().contains(path)) {
            self.changed.notify_one();
        }
    }

    fn ownership(&self) -> Ownership {
        Ownership { group: self.request.group }
    }

    /// Shows a payload. Blocking work, but on memory.
    pub fn show(&self, payload: &Payload) -> Result<bool, Failure> {
        let now = self.tools.clock.now();
        let name = format!("{}.{}", file_time(now), id::hex(&*self.tools.entropy, 4));
        swap::show(&self.root.path(), payload, self.ownership(), &name).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => Failure::Invalid(
                "the files do not fit into the volume twice, which a swap needs (--volume-size)".to_owned(),
            ),
            _ => Failure::Node(format!("writing the files into the volume: {error}")),
        })
    }

    /// What the driver will want to know after a restart.
    pub fn record(&self, content: &Content) -> VolumeRecord {
        let request = &self.request;
        VolumeRecord {
            volume_id: request.volume_id.clone(),
            volume: request.place.volume.clone(),
            target: request.target.clone(),
            pod: request.pod.clone(),
            paths: content.paths(),
            ttls: content.ttls(),
            leases: content.leases(),
        }
    }

    /// Keeps the content fresh until the volume is stopped. A call that could make a credential is always awaited, so
    /// that a release that follows finds all there is.
    /// `failed` says why the files that are shown are older ones, if they are.
    pub async fn keep(self: Arc<Self>, mut content: Content, mut failed: Option<String>, services: Arc<Services>) {
        let mut pending = false;
        let mut last_status = Value::Null;
        let mut leases = content.leases();
        loop {
            *self.polled.lock() = content.polled();
            if let Some(health) = self.report(&content, failed.as_deref(), &mut last_status) {
                services.announce(&self.request, health);
            }
            let now = self.tools.clock.boottime();
            let longest = if failed.is_some() { AGAIN } else { LONGEST };
            let due = content.sources.iter().map(|source| source.due).min().unwrap_or(now + longest);
            let wait = due.saturating_sub(now).min(longest);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => content.touch(self.tools.clock.boottime()),
                () = self.stop.cancelled() => return,
            }
            pending |= content.tend(&self.tools).await;
            if pending || failed.is_some() {
                failed = self.update(&mut content, &services).await.err().map(|failure| failure.to_string());
                pending = false;
            }
            let now = content.leases();
            if now != leases {
                leases = now;
                if let Err(error) = self.state.save_volume(&self.record(&content)) {
                    warn!(%error, volume = self.request.volume_id, "cannot write the volume's record");
                }
            }
        }
    }

    async fn update(&self, content: &mut Content, services: &Services) -> Result<(), Failure> {
        let payload = content.complete(&self.tools).await?;
        services.remember(&self.request, content, &payload);
        if self.show(&payload)? {
            self.tools.metrics.updates.inc();
            info!(
                pod = self.request.pod.name,
                namespace = self.request.pod.namespace,
                volume = self.request.place.volume,
                "updated"
            );
        }
        Ok(())
    }

    /// Writes the status where it differs from the last, and sets the health: answers it if it is another.
    pub fn report(&self, content: &Content, failed: Option<&str>, last: &mut Value) -> Option<Health> {
        let now = self.tools.clock.boottime();
        let mut freshness = if failed.is_some() { Freshness::Stale } else { Freshness::Fresh };
        let mut words: Vec<String> = failed.map(str::to_owned).into_iter().collect();
        let mut items = serde_json::Map::new();
        let mut ends = Vec::new();
        for source in &content.sources {
            let one = source.freshness(now);
            freshness = freshness.max(one);
            if one != Freshness::Fresh {
                let over = if source.lease.is_some() { "the lease has ended" } else { "the certificate has ended" };
                words.push(format!("{}: {}", one.as_str(), source.failure.as_deref().unwrap_or(over)));
            }
            items.insert(source.origin.name().to_owned(), self.describe(source, one));
            ends.extend(source.expires().map(|expires| (source.origin.name().to_owned(), expires)));
        }
        *self.ends.lock() = ends;
        let message = if words.is_empty() { "fresh".to_owned() } else { words.join("; ") };
        let health = Health { freshness: Some(freshness), message: message.clone() };
        let before = std::mem::replace(&mut *self.health.lock(), health.clone());
        let another = before.freshness != health.freshness;
        if another {
            let pod = &self.request.pod;
            let (state, volume) = (freshness.as_str(), &self.request.place.volume);
            if freshness == Freshness::Fresh {
                info!(pod = pod.name, namespace = pod.namespace, volume, state, "volume is fresh again");
            } else {
                warn!(
                    pod = pod.name,
                    namespace = pod.namespace,
                    volume,
                    state,
                    reason = message,
                    "volume is not fresh"
                );
            }
        }
        let status = json!({
            "volume": self.request.place.volume,
            "state": freshness.as_str(),
            "error": failed,
            "warning": payload::warning(&content.plan, self.request.group),
            "items": items,
        });
        if status != *last {
            *last = status.clone();
            if let Err(error) = self.write_status(status) {
                warn!(%error, volume = self.request.volume_id, "cannot write the volume's status");
            }
        }
        another.then_some(health)
    }

    fn describe(&self, source: &Source, freshness: Freshness) -> Value {
        let now = self.tools.clock.boottime();
        let mut item = json!({
            "state": freshness.as_str(),
            "path": source.path,
            "changed": seconds(source.changed),
            "error": source.failure,
        });
        let time = |moment: Duration| seconds(at(self.tools.clock.now(), now, moment));
        if let Some(expires) = source.expires() {
            item["expires"] = json!(time(expires));
        }
        if source.lease.is_some() || (source.certificate.is_some() && source.is_write()) {
            item["renewed"] = json!(source.renewed.map(seconds));
            item["renewBy"] = json!(time(source.due));
        }
        item
    }

    fn write_status(&self, mut status: Value) -> io::Result<()> {
        status["written"] = json!(seconds(self.tools.clock.now()));
        let bytes = serde_json::to_vec_pretty(&status)?;
        swap::write_status(&self.root.path(), &bytes, self.ownership())
    }
}

/// Whole seconds, so that a status that says the same is the same.
fn seconds(at: Timestamp) -> String {
    let half_up = i64::from(at.subsec_nanosecond() >= 500_000_000);
    Timestamp::from_second(at.as_second() + half_up).unwrap_or(at).to_string()
}

/// The wall time of a moment of boottime.
fn at(wall: Timestamp, boottime: Duration, moment: Duration) -> Timestamp {
    let by = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4);
    let millis = wall.as_millisecond() + by(moment) - by(boottime);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

/// A time that may stand in a file name.
fn file_time(at: Timestamp) -> String {
    let text = at.to_string();
    text.split('.').next().unwrap_or(&text).trim_end_matches('Z').replace(':', "-")
}
