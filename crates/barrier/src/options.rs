//! What may be set of a barrier.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_storage::Storage;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};

use crate::level::Levels;
use crate::peer::PeerNet;

/// How a barrier behaves. [`Options::default`] fits a single server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the place this process runs at, of which there is one at a time: the pod's name, the machine's. A member that
    /// bears it in the store is taken for a dead predecessor. Default: the host's name.
    pub instance: String,
    /// Bytes for cached entries.
    pub cache_bytes: usize,
    /// What others see of this replica in [`crate::Barrier::members`]: address, version.
    pub labels: BTreeMap<String, String>,
    /// Never read from memory without asking the store first, whatever the clocks say.
    pub always_ask: bool,
    /// The store is an etcd with faults that were mended later: it gets each transaction by itself, and what it says of a watch's
    /// progress is believed only when its events must be out (etcd issue 15220).
    pub old_etcd: bool,
    /// Feature levels that it serves. Only tests have others than their version's.
    pub levels: Levels,
    /// The way to other replicas. Without one this replica reads from memory only when it is alone.
    pub peers: Option<Arc<dyn PeerNet>>,
    /// Where heartbeats run. Default: beside everything else.
    pub pulse: Option<Pulse>,
}

/// A thread of its own for heartbeats, with a connection of its own to the store: they wait neither behind much data nor for
/// tasks that keep the processor.
#[derive(Clone)]
pub struct Pulse {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) runtime: Handle,
    /// The thread ends with the last of these.
    _end: Arc<watch::Sender<()>>,
}

impl Pulse {
    /// Starts the thread. `open` connects to the store on it.
    pub async fn start<F, E>(open: F) -> Result<Self, E>
    where
        F: Future<Output = Result<Arc<dyn Storage>, E>> + Send + 'static,
        E: From<std::io::Error> + Send + 'static,
    {
        let (end, mut ended) = watch::channel(());
        let (tell, told) = oneshot::channel();
        let beat = move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error.into()))),
            };
            runtime.block_on(async {
                // Who does not wait for it any more has dropped both ends.
                let _ = tell.send(open.await.map(|storage| (storage, Handle::current())));
                let _ = ended.changed().await;
            });
        };
        std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat)?;
        let started =
            told.await.unwrap_or_else(|_| Err(std::io::Error::other("the thread of heartbeats ended").into()));
        let (storage, runtime) = started?;
        Ok(Self { storage, runtime, _end: Arc::new(end) })
    }
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.storage.kind())
    }
}

impl Default for Options {
    fn default() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            instance: host.trim().to_owned(),
            cache_bytes: 16 * 1024 * 1024,
            labels: BTreeMap::new(),
            always_ask: false,
            old_etcd: false,
            levels: Levels::default(),
            peers: None,
            pulse: None,
        }
    }
}
