//! Giving back what belonged to a volume that is gone. The debt is on disk before the volume is unmounted, and is paid
//! with the driver's own identity as soon as the server can be reached; restarts don't forget it.

use std::{io, sync::Arc, time::Duration};

use holdfast_base::{Clock, Entropy};
use holdfast_runtime::Shutdown;
use serde_json::Value;
use tokio::sync::{Mutex, Notify};
use tracing::{info, warn};

use crate::{
    lease::backoff,
    metrics::Metrics,
    session::{CallError, Session},
    state::{ReleaseRecord, StateDir, VolumeRecord, item_prefix},
};

/// The debts.
pub struct Releases {
    state: StateDir,
    session: Arc<Session>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Metrics,
    wake: Notify,
    /// Held while one is paid, so that a volume that comes back does not lose its credential afterwards.
    paying: Mutex<()>,
}

impl Releases {
    /// The debts in `state`, paid as `session`.
    pub fn new(
        state: StateDir,
        session: Arc<Session>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Metrics,
    ) -> Self {
        Self { state, session, clock, entropy, metrics, wake: Notify::new(), paying: Mutex::new(()) }
    }

    /// Writes down that all of a volume is to be given back. Nothing is sent yet: see [`Releases::kick`].
    pub fn owe(&self, record: &VolumeRecord) -> io::Result<()> {
        self.state.save_release(&ReleaseRecord {
            volume_id: record.volume_id.clone(),
            volume: record.volume.clone(),
            pod_uid: record.pod.uid.clone(),
            items: record.leases.keys().cloned().collect(),
            since: self.clock.now(),
        })
    }

    /// Starts paying.
    pub fn kick(&self) {
        self.wake.notify_one();
    }

    /// The volume is wanted again: its debt is off. Waits for a payment that is under way.
    pub async fn cancel(&self, volume_id: &str) -> io::Result<()> {
        let _paying = self.paying.lock().await;
        self.state.remove_release(volume_id)
    }

    /// Pays until the shutdown.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut failures = 0;
        loop {
            let owed = self.pay_all().await;
            self.metrics.releases.set(i64::try_from(owed).unwrap_or(i64::MAX));
            failures = if owed == 0 { 0 } else { failures + 1 };
            let wait = if owed == 0 { Duration::from_secs(60) } else { backoff(failures, &*self.entropy) };
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// Tries each debt once; how many remain.
    async fn pay_all(&self) -> usize {
        let mut owed = 0;
        for record in self.state.releases() {
            let _paying = self.paying.lock().await;
            if self.state.release(&record.volume_id).is_none() {
                continue;
            }
            match self.pay(&record).await {
                Ok(()) => {
                    info!(
                        pod = record.pod_uid,
                        volume = record.volume,
                        "gave back the credentials of a volume that is gone"
                    );
                    if let Err(error) = self.state.remove_release(&record.volume_id) {
                        warn!(%error, "cannot remove a paid release");
                    }
                }
                Err(error) => {
                    owed += 1;
                    let failure = error.reading(&format!("sys/bindings/pod/{}", record.pod_uid), self.session.who());
                    warn!(pod = record.pod_uid, volume = record.volume, since = %record.since, %failure, "release is owed");
                }
            }
        }
        owed
    }

    async fn pay(&self, record: &ReleaseRecord) -> Result<(), CallError> {
        let owner = format!("sys/bindings/pod/{}", record.pod_uid);
        let mut items = record.items.clone();
        // What the record does not know: a credential that was made just before a crash.
        let owner = owner.as_str();
        let listed = match self.session.call(|client| async move { client.read(owner).await }).await {
            Err(CallError::Server(error)) if error.status() == Some(404) => None,
            other => other?,
        };
        let prefix = item_prefix(&record.volume);
        if let Some(Value::Object(bound)) = listed.and_then(|mut envelope| envelope.data.as_mut()?.remove("items")) {
            items.extend(bound.keys().filter(|item| item.starts_with(&prefix)).cloned());
        }
        items.sort();
        items.dedup();
        for item in &items {
            let path = format!("{owner}/{item}");
            let path = path.as_str();
            self.session.call(|client| async move { client.delete(path).await }).await?;
        }
        Ok(())
    }
}
