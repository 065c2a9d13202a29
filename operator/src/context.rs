//! What every controller holds: the two API servers, the clock, the memory of failures.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_base::{Clock, Entropy};
use kube::{
    Client,
    runtime::events::{Recorder, Reporter},
};
use parking_lot::Mutex;

use crate::{backoff::Backoff, keyed::HashKey, ledger::Ledger, metrics::Metrics, server::Server, settings::Settings};

/// Shared by all controllers.
pub struct Context {
    /// Flags.
    pub settings: Settings,
    /// The Kubernetes API server.
    pub kube: Client,
    /// The Holdfast server.
    pub server: Arc<Server>,
    /// Events.
    pub recorder: Recorder,
    /// Revocations for objects that are gone.
    pub ledger: Ledger,
    /// Objects that failed.
    pub backoff: Backoff,
    /// Keyed hashes of inputs.
    pub hash_key: HashKey,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Counters.
    pub metrics: Metrics,
    namespaces: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    deletions: Mutex<HashMap<String, Instant>>,
}

impl Context {
    /// Puts everything together.
    pub fn new(
        settings: Settings,
        kube: Client,
        hash_key: HashKey,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Metrics,
    ) -> Self {
        let reporter = Reporter { controller: "holdfast".to_owned(), instance: Some(settings.pod_name.clone()) };
        Self {
            server: Arc::new(Server::new(settings.clone())),
            recorder: Recorder::new(kube.clone(), reporter),
            ledger: Ledger::new(kube.clone(), &settings.namespace, &settings.ledger),
            settings,
            kube,
            backoff: Backoff::default(),
            hash_key,
            clock,
            entropy,
            metrics,
            namespaces: Mutex::default(),
            deletions: Mutex::default(),
        }
    }

    /// Held while the roles of a namespace are computed and written: two policies that name the same service account must
    /// not overwrite each other with what they saw before.
    pub fn namespace_lock(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.namespaces.lock().entry(namespace.to_owned()).or_default().clone()
    }

    /// When this process first tried to delete the object.
    pub fn deletion_began(&self, uid: &str) -> Instant {
        *self.deletions.lock().entry(uid.to_owned()).or_insert_with(Instant::now)
    }

    /// The object is gone.
    pub fn deletion_ended(&self, uid: &str) {
        self.deletions.lock().remove(uid);
    }

    /// A random byte, for jitter.
    pub fn jitter(&self) -> u8 {
        let mut byte = [0u8];
        self.entropy.fill(&mut byte);
        byte[0]
    }

    /// When an object that is ready is looked at again: about the resync time.
    pub fn resync(&self) -> Duration {
        crate::backoff::spread(self.settings.resync(), self.jitter())
    }
}
