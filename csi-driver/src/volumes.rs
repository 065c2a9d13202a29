//! All volumes of the node: what publish and unpublish do.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use holdfast_runtime::Shutdown;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::{
    content::Content,
    lease::backoff,
    metrics::{OfItem, outcome},
    mounter::{client::Root, place::Place, wire::MountOptions},
    payload,
    proto::csi::NodePublishVolumeRequest,
    request::{Pod, Publish, check_ids, place_of, pod_token},
    services::Services,
    source::{Freshness, Tools},
    state::VolumeRecord,
    status::Failure,
    swap::is_delivered,
    volume::{Health, Volume},
};

/// How long a first publish tries while the server is away; kubelet asks again afterwards.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same where there are older files to show instead.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);
/// Most files of a volume.
const INODES: u64 = 4096;
/// How often volumes without a pod are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// All volumes of the node.
pub struct Volumes {
    services: Arc<Services>,
    live: Mutex<HashMap<String, Live>>,
    /// Mounted, and nobody looks after them: since a restart kubelet has not repeated its request.
    waiting: Mutex<HashSet<String>>,
    /// One thing at a time for each volume.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

struct Live {
    volume: Arc<Volume>,
    task: JoinHandle<()>,
}

impl Volumes {
    /// No volumes are served yet: each is taken up again when kubelet repeats its publish.
    pub fn new(services: Arc<Services>) -> Arc<Self> {
        Arc::new(Self { services, live: Mutex::default(), waiting: Mutex::default(), locks: Mutex::default() })
    }

    /// Serves a volume. For one that is mounted this is cheap and always succeeds: kubelet would tear down the mount of a
    /// running pod otherwise.
    pub async fn publish(&self, request: &NodePublishVolumeRequest) -> Result<(), Failure> {
        let (volume_id, target) = check_ids(&request.volume_id, &request.target_path)?;
        let lock = self.lock_of(volume_id);
        let _one = lock.lock().await;
        if let Some(volume) = self.live(volume_id) {
            if volume.request.target != target {
                let at = volume.request.target.display();
                return Err(Failure::Conflict(format!("volume {volume_id} is published at {at} already")));
            }
            if self.is_mounted(&volume.request.place).await {
                self.republish(&volume, request);
                return Ok(());
            }
            warn!(volume = volume_id, "the mount is gone; publishing the volume again");
            self.stop(volume_id).await;
        }
        let place = place_of(target, &self.services.kubelet_root)?;
        let delivered = match self.services.mounter.open(&place).await {
            Ok(root) => root.is_some_and(|root| is_delivered(&root.path())),
            // Kubelet must not take down what may be there.
            Err(_) => self.services.state.volume(volume_id).is_some_and(|record| !record.leases.is_empty()),
        };
        let done = self.begin(request).await;
        let result = done.as_ref().map_or_else(Failure::label, |()| "ok");
        self.services.metrics.publishes.get_or_create(&outcome(result)).inc();
        match done {
            Err(failure) if delivered => {
                warn!(volume = volume_id, %failure, "a mounted volume can't be taken up yet; its files stay as they are");
                Ok(())
            }
            other => other,
        }
    }

    fn republish(&self, volume: &Volume, request: &NodePublishVolumeRequest) {
        self.services.metrics.republishes.inc();
        let audiences = self.services.audiences(volume.audience.as_deref());
        let token = pod_token(&request.secrets, &request.volume_context, &audiences, &volume.request.pod);
        match token {
            Ok(token) => volume.tools.session.set_token(token),
            Err(failure) => warn!(volume = volume.request.volume_id, %failure, "republish without a usable token"),
        }
    }

    async fn begin(&self, raw: &NodePublishVolumeRequest) -> Result<(), Failure> {
        let services = &self.services;
        let start = services.clock.boottime();
        let request = Publish::parse(raw, &services.kubelet_root)?;
        let plan = services.plan(&request).await?;
        let audiences = services.audiences(plan.audience.as_deref());
        let token = pod_token(&raw.secrets, &raw.volume_context, &audiences, &request.pod)?;
        let node = |what: &str, error: io::Error| Failure::Node(format!("{what}: {error}"));
        services.releases.cancel(&request.volume_id).await.map_err(|error| node("state folder", error))?;
        let earlier = services.state.volume(&request.volume_id).filter(|record| record.pod.uid == request.pod.uid);
        let earlier = earlier.unwrap_or_else(|| VolumeRecord {
            volume_id: request.volume_id.clone(),
            volume: request.place.volume.clone(),
            target: request.target.clone(),
            pod: request.pod.clone(),
            paths: Default::default(),
            ttls: Default::default(),
            leases: Default::default(),
        });
        // Before anything is made, so that whatever is made can be found and given back.
        services.state.save_volume(&earlier).map_err(|error| node("state folder", error))?;
        let tools = services.tools(&request.pod, &plan, services.server.clone());
        let audience = plan.audience.clone();
        tools.session.set_token(token);
        let mut content = Content::new(plan, &request.place.volume, request.group, &earlier);
        let recalled = services.recall(&request);
        let patience = if recalled.is_some() { SHORT_PATIENCE } else { PATIENCE };
        let mut old = None;
        let payload = match self.first_payload(&mut content, &tools, &request.pod, patience).await {
            Ok(payload) => {
                services.remember(&request, &content, &payload);
                payload
            }
            Err(failure) if failure.is_transient() => {
                let Some((payload, since)) = recalled else { return Err(failure) };
                old = Some(format!("these are the files of {since}, since {failure}"));
                payload
            }
            Err(failure) => return Err(failure),
        };
        let root = self.mount(&request).await.map_err(|error| node("mounting the volume", error))?;
        let volume = Arc::new(Volume::new(request, root, tools, audience, services.state.clone()));
        volume.show(&payload)?;
        if let Some(health) = volume.report(&content, old.as_deref(), &mut Value::Null) {
            services.announce(&volume.request, health);
        }
        services.state.save_volume(&volume.record(&content)).map_err(|error| node("state folder", error))?;
        let Publish { pod, place: Place { volume: name, .. }, volume_id, .. } = &volume.request;
        let took_ms = u64::try_from((services.clock.boottime() - start).as_millis()).unwrap_or(u64::MAX);
        info!(pod = pod.name, namespace = pod.namespace, volume = name, files = payload.len(), took_ms, "published");
        if let Some(warning) = payload::warning(&content.plan, volume.request.group) {
            warn!(pod = pod.name, namespace = pod.namespace, volume = name, warning, "files that the pod may not read");
        }
        let volume_id = volume_id.clone();
        let task = tokio::spawn(volume.clone().keep(content, old, self.services.clone()));
        self.live.lock().insert(volume_id, Live { volume, task });
        Ok(())
    }

    /// Tries again while the server is away, as long as kubelet can be expected to wait.
    async fn first_payload(
        &self,
        content: &mut Content,
        tools: &Tools,
        pod: &Pod,
        patience: Duration,
    ) -> Result<crate::payload::Payload, Failure> {
        let start = self.services.clock.boottime();
        for failures in 1.. {
            let attempt = async {
                content.locate(&*self.services.credentials, pod).await?;
                content.complete(tools).await
            };
            let failure = match attempt.await {
                Ok(payload) => return Ok(payload),
                Err(failure) if failure.is_transient() => failure,
                Err(failure) => return Err(failure),
            };
            let wait = backoff(failures, &*self.services.entropy);
            if self.services.clock.boottime() + wait > start + patience {
                return Err(failure);
            }
            tokio::time::sleep(wait).await;
        }
        Err(Failure::Unavailable("the server does not answer".to_owned()))
    }

    async fn mount(&self, request: &Publish) -> io::Result<Root> {
        let options = MountOptions {
            size: self.services.size,
            inodes: INODES,
            group: request.group,
            selinux: request.selinux.clone(),
        };
        self.services.mounter.mount(&request.place, options).await
    }

    /// Takes a volume away and gives back what it had. Unknown volumes are no error.
    pub async fn unpublish(&self, volume_id: &str, target: &str) -> Result<(), Failure> {
        let (volume_id, target) = check_ids(volume_id, target)?;
        let place = place_of(target, &self.services.kubelet_root)?;
        let lock = self.lock_of(volume_id);
        let _one = lock.lock().await;
        self.stop(volume_id).await;
        let node = |what: &str, error: io::Error| Failure::Node(format!("{what}: {error}"));
        if let Some(record) = self.record_of(volume_id, target, &place).await {
            self.services.releases.owe(&record).map_err(|error| node("state folder", error))?;
        }
        self.services.mounter.unmount(&place).await.map_err(|error| node("unmounting the volume", error))?;
        self.services.state.remove_volume(volume_id).map_err(|error| node("state folder", error))?;
        self.services.releases.kick();
        Ok(())
    }

    /// What is known of a volume; what the target tells, if the record is lost.
    async fn record_of(&self, volume_id: &str, target: &Path, place: &Place) -> Option<VolumeRecord> {
        let known = self.services.state.volume(volume_id);
        if known.is_some() || !self.is_mounted(place).await {
            return known;
        }
        let Place { pod: uid, volume } = place.clone();
        let pod = Pod { name: String::new(), namespace: String::new(), uid, service_account: String::new() };
        let (volume_id, target) = (volume_id.to_owned(), target.to_owned());
        let (paths, ttls, leases) = Default::default();
        Some(VolumeRecord { volume_id, volume, target, pod, paths, ttls, leases })
    }

    /// Something may have changed at `path`; `None`: anywhere.
    pub fn changed(&self, path: Option<&str>) {
        for live in self.live.lock().values() {
            live.volume.changed(path);
        }
    }

    /// How a volume is, and its file system: `None` if it is not here.
    pub async fn health(&self, volume_id: &str, path: &Path) -> Option<(Health, Root)> {
        if let Some(volume) = self.live(volume_id) {
            let health = volume.health.lock().clone();
            return (volume.request.target == path).then(|| (health, volume.root.clone()));
        }
        let record = self.services.state.volume(volume_id).filter(|record| record.target == path)?;
        let root = self.services.mounter.open(&record.place()).await.ok()??;
        let message = "unknown: the driver has restarted and waits for kubelet to send the pod's token".to_owned();
        Some((Health { freshness: None, message }, root))
    }

    /// Until the shutdown: counts, and gives back what belonged to pods that went while nobody looked.
    pub async fn watch(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut since_sweep = SWEEP;
        let tick = Duration::from_secs(5);
        loop {
            if since_sweep >= SWEEP {
                since_sweep = Duration::ZERO;
                self.sweep().await;
            }
            self.count();
            tokio::select! {
                () = tokio::time::sleep(tick) => since_sweep += tick,
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    fn count(&self) {
        let live = self.live.lock();
        let stale = live.values().filter(|live| live.volume.health.lock().freshness != Some(Freshness::Fresh)).count();
        self.services.metrics.volumes.set(i64::try_from(live.len()).unwrap_or(i64::MAX));
        self.services.metrics.stale.set(i64::try_from(stale).unwrap_or(i64::MAX));
        let mut waiting = self.waiting.lock();
        waiting.retain(|volume_id| !live.contains_key(volume_id));
        self.services.metrics.unknown.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        drop(live);
        self.locks.lock().retain(|_, lock| Arc::strong_count(lock) > 1);
    }

    /// Records of volumes that are not mounted and whose pod's folder is gone.
    async fn sweep(&self) {
        let mut waiting = HashSet::new();
        for record in self.services.state.volumes() {
            let lock = self.lock_of(&record.volume_id);
            let _one = lock.lock().await;
            let wanted = self.live(&record.volume_id).is_some()
                || self.is_mounted(&record.place()).await
                || self.services.mounter.has_pod(&record.pod.uid).await.unwrap_or(true);
            if wanted || self.services.state.volume(&record.volume_id).is_none() {
                waiting.insert(record.volume_id);
                continue;
            }
            info!(pod = record.pod.name, namespace = record.pod.namespace, "the pod went while the driver was away");
            let done = self.services.releases.owe(&record);
            match done.and_then(|()| self.services.state.remove_volume(&record.volume_id)) {
                Ok(()) => self.services.releases.kick(),
                Err(error) => warn!(%error, "state folder"),
            }
        }
        *self.waiting.lock() = waiting;
    }

    /// Every lease and certificate with its volume and the seconds until its end; less than none after it.
    pub fn leases_left(&self) -> Vec<(OfItem, f64)> {
        let now = self.services.clock.boottime().as_secs_f64();
        let mut all = Vec::new();
        for live in self.live.lock().values() {
            let Publish { pod, place, .. } = &live.volume.request;
            all.extend(live.volume.ends.lock().iter().map(|(item, end)| {
                let (namespace, pod) = (pod.namespace.clone(), pod.name.clone());
                let of = OfItem { namespace, pod, volume: place.volume.clone(), item: item.clone() };
                (of, end.as_secs_f64() - now)
            }));
        }
        all
    }

    async fn stop(&self, volume_id: &str) {
        let live = self.live.lock().remove(volume_id);
        if let Some(live) = live {
            live.volume.stop.cancel();
            // A panic of the task has been logged; there is nothing left to wait for.
            let _ = live.task.await;
        }
    }

    fn live(&self, volume_id: &str) -> Option<Arc<Volume>> {
        self.live.lock().get(volume_id).map(|live| live.volume.clone())
    }

    fn lock_of(&self, volume_id: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.locks.lock().entry(volume_id.to_owned()).or_default().clone()
    }

    /// What can't be looked up counts as mounted: nothing is mounted or deleted on a guess.
    async fn is_mounted(&self, place: &Place) -> bool {
        match self.services.mounter.open(place).await {
            Ok(root) => root.is_some(),
            Err(error) => {
                warn!(%error, "the mounter does not say whether a volume is mounted");
                true
            }
        }
    }
}
