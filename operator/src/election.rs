//! One replica works, the others wait: a `coordination.k8s.io` Lease.
//!
//! Clocks of different machines are never compared. A replica that waits remembers when it *saw* the Lease change last,
//! on its own clock, and takes over when it did not change for the whole duration. A replica that leads ends itself when it
//! could not renew for two thirds of the duration. What two leaders could do at the same time for a moment is harmless:
//! credentials are bound to (owner, item) on the server, and all writes are idempotent.

use std::time::{Duration, Instant};

use holdfast_base::Clock;
use holdfast_runtime::Shutdown;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tracing::{debug, info, warn};

/// How long a leader that is silent stays leader.
const DURATION: Duration = Duration::from_secs(15);
/// Between two renewals, and between two looks.
const PERIOD: Duration = Duration::from_secs(3);
/// For one request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The Lease, and who we are.
pub struct Election<C> {
    api: Api<Lease>,
    name: String,
    identity: String,
    clock: C,
}

/// What a replica knows of the Lease: which version it saw last, and since when.
#[derive(Debug, Default)]
struct Seen(Option<(String, Instant)>);

impl Seen {
    /// Has the Lease not changed for the whole duration? Remembers what is there.
    fn stale(&mut self, version: &str, now: Instant) -> bool {
        match &self.0 {
            Some((seen, since)) if seen == version => now.duration_since(*since) >= DURATION,
            _ => {
                self.0 = Some((version.to_owned(), now));
                false
            }
        }
    }
}

impl<C: Clock> Election<C> {
    /// Takes part under the name `identity`.
    pub fn new(kube: Client, namespace: &str, name: &str, identity: &str, clock: C) -> Self {
        let api = Api::namespaced(kube, namespace);
        Self { api, name: name.to_owned(), identity: identity.to_owned(), clock }
    }

    /// Waits until this replica leads; `false` on shutdown.
    pub async fn win(&self, shutdown: &Shutdown) -> bool {
        let mut seen = Seen::default();
        let mut said = false;
        loop {
            match tokio::time::timeout(TIMEOUT, self.attempt(&mut seen)).await {
                Ok(Ok(true)) => {
                    info!(lease = self.name, identity = self.identity, "leading");
                    return true;
                }
                Ok(Ok(false)) if !said => {
                    info!(lease = self.name, "another replica leads; waiting");
                    said = true;
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => warn!(%error, "election"),
                Err(_) => warn!("election: no answer from the Kubernetes API server"),
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = shutdown.cancelled() => return false,
            }
        }
    }

    /// Renews until the shutdown, then lets go; an error when the leadership was lost.
    pub async fn hold(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = shutdown.cancelled() => {
                    self.release().await;
                    return Ok(());
                }
            }
            let asked = Instant::now();
            match tokio::time::timeout(TIMEOUT, self.renew()).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => anyhow::bail!("another replica took the leadership"),
                Ok(Err(error)) => debug!(%error, "leadership not renewed"),
                Err(_) => debug!("leadership not renewed: no answer"),
            }
            anyhow::ensure!(renewed.elapsed() < DURATION * 2 / 3, "leadership not renewed in time");
        }
    }

    async fn attempt(&self, seen: &mut Seen) -> Result<bool, kube::Error> {
        let Some(found) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(1)),
            };
            return lost_is_false(self.api.create(&PostParams::default(), &lease).await);
        };
        let holder = found.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        let version = found.metadata.resource_version.clone().unwrap_or_default();
        // A replica that comes back under its old name still waits: its former process may be alive somewhere.
        if !holder.is_empty() && !seen.stale(&version, Instant::now()) {
            return Ok(false);
        }
        self.replace(found, true).await
    }

    async fn renew(&self) -> Result<bool, kube::Error> {
        let found = self.api.get(&self.name).await?;
        if found.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) != Some(&self.identity) {
            return Ok(false);
        }
        self.replace(found, false).await
    }

    async fn replace(&self, mut lease: Lease, take: bool) -> Result<bool, kube::Error> {
        let before = lease.spec.take().unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or(0) + i32::from(take);
        let mut spec = self.spec(transitions);
        if !take {
            spec.acquire_time = before.acquire_time;
        }
        lease.spec = Some(spec);
        lease.metadata.managed_fields = None;
        // The resourceVersion in the metadata makes this a compare-and-swap.
        lost_is_false(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    async fn release(&self) {
        let done = async {
            let mut lease = self.api.get(&self.name).await?;
            if let Some(spec) =
                lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))
            {
                spec.holder_identity = None;
                lease.metadata.managed_fields = None;
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match tokio::time::timeout(TIMEOUT, done).await {
            Ok(Ok(())) => info!("leadership released"),
            Ok(Err(error)) => debug!(%error, "leadership not released; it runs out"),
            Err(_) => debug!("leadership not released; it runs out"),
        }
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(self.clock.now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// 409 says that somebody else was faster.
fn lost_is_false<T>(outcome: Result<T, kube::Error>) -> Result<bool, kube::Error> {
    match outcome {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_stale_when_it_did_not_change_for_the_whole_duration_here() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        assert!(!seen.stale("1", start));
        assert!(!seen.stale("1", start + DURATION - Duration::from_millis(1)));
        assert!(seen.stale("1", start + DURATION));
    }

    #[test]
    fn every_change_starts_the_wait_again() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        seen.stale("1", start);
        assert!(!seen.stale("2", start + DURATION));
        assert!(!seen.stale("2", start + DURATION * 2 - Duration::from_millis(1)));
        assert!(seen.stale("2", start + DURATION * 2));
    }
}
