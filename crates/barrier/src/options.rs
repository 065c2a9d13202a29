//! What may be set of a barrier.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_storage::Storage;

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
    /// The same store over a connection of its own, for heartbeats: they must not wait behind much data. Default: the one of
    /// everything else.
    pub pulse: Option<Pulse>,
}

/// See [`Options::pulse`].
#[derive(Clone)]
pub struct Pulse(pub Arc<dyn Storage>);

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.kind())
    }
}

impl Default for Options {
    fn default() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            instance: host.trim().to_owned(),
            cache_bytes: 24 * 1024 * 1024,
            labels: BTreeMap::new(),
            always_ask: false,
            old_etcd: false,
            levels: Levels::default(),
            peers: None,
            pulse: None,
        }
    }
}
