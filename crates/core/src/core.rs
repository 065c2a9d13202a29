//! [`Core`]: the server behind the listener, sealed or open.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};
use holdfast_failpoint::failpoint;
use holdfast_secret::SecretBytes;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::{
    CoreConfig, Error, Metrics, admission::Admission, audit::Early, in_flight::InFlight, lifecycle::Ceremony,
    open::Open, quota::Limiter,
};

/// The server. One per process.
pub struct Core {
    config: Arc<CoreConfig>,
    this: Weak<Self>,
    open: ArcSwapOption<Open>,
    /// Held by whoever initialises, unseals or seals; holds what people have given so far.
    pub(crate) ceremony: Mutex<Ceremony>,
    /// How often each network has tried to unseal with a token.
    pub(crate) unseals: Limiter,
    /// Sealed by a request: it stays so until somebody unseals it.
    held: AtomicBool,
    /// Why [`Core::run`] could not open it at its last attempt.
    pub(crate) trouble: ArcSwapOption<String>,
    /// The audit of what happens while it is sealed.
    pub(crate) early: Arc<Early>,
    wake: Notify,
    /// The root key over a restore, where people would have to bring it again.
    pub(crate) kept: Mutex<Option<SecretBytes>>,
    in_flight: Arc<InFlight>,
    admission: Arc<Admission>,
}

/// Time between two looks at whether an order to seal was taken back, and how soon one is obeyed.
const SEALED_FOR_ALL: Duration = Duration::from_secs(2);
const OBEY: Duration = Duration::from_millis(100);
/// How long a request to seal all replicas waits for the others.
const OTHERS: Duration = Duration::from_secs(5);

/// Waits between attempts to unseal.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

impl Core {
    /// A sealed server. Nothing happens before [`Core::run`] or a request.
    pub fn new(config: CoreConfig) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            early: Arc::new(Early::new(&config)),
            in_flight: InFlight::new(config.metrics.in_flight.clone()),
            admission: Admission::new(
                config.limits,
                config.clock.clone(),
                config.entropy.clone(),
                config.metrics.shed.clone(),
            ),
            config: Arc::new(config),
            this: this.clone(),
            open: ArcSwapOption::empty(),
            ceremony: Mutex::default(),
            unseals: Limiter::default(),
            held: AtomicBool::new(false),
            trouble: ArcSwapOption::empty(),
            wake: Notify::new(),
            kept: Mutex::default(),
        })
    }

    /// What it was made of.
    pub fn config(&self) -> &CoreConfig {
        &self.config
    }

    /// The same, to be kept.
    pub(crate) fn shared_config(&self) -> Arc<CoreConfig> {
        self.config.clone()
    }

    /// What it is serving now.
    pub(crate) fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    /// How much it serves at a time.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Its counters.
    pub fn metrics(&self) -> &Metrics {
        &self.config.metrics
    }

    /// Does it serve?
    pub fn is_unsealed(&self) -> bool {
        self.open().is_some()
    }

    /// Is the store initialised? Asks the store unless the server is open.
    pub async fn is_initialized(&self) -> Result<bool, Error> {
        Ok(self.is_unsealed() || self.config.barrier.initialized().await?)
    }

    /// Opens the files of the audit devices again, after a rotation.
    pub async fn reopen_audit(&self) {
        match self.open() {
            Some(open) => open.audit.reopen().await,
            None => self.early.reopen().await,
        }
    }

    /// The unsealed server, if it is one.
    pub(crate) fn open(&self) -> Option<Arc<Open>> {
        self.open.load_full().filter(|_| !self.config.barrier.is_sealed())
    }

    /// The same for a look that is over soon, also when it was ordered to seal a moment ago. All requests look: this touches no
    /// counter that cores would hand to and fro.
    pub(crate) fn glance(&self) -> Guard<Option<Arc<Open>>> {
        self.open.load()
    }

    /// Starts to serve: the barrier is open.
    pub(crate) async fn activate(&self) -> Result<Arc<Open>, Error> {
        self.deactivate();
        let open = match Open::load(self.this.clone(), self.config.clone()).await {
            Ok(open) => open,
            Err(error) => {
                self.config.barrier.seal().await;
                return Err(error.into());
            }
        };
        failpoint!("unseal.loaded").await;
        self.early.close().await;
        if let Err(error) = open.open_audit().await {
            self.config.barrier.seal().await;
            return Err(error);
        }
        if let Err(error) = crate::lifecycle::rekey::settle(&open).await {
            tracing::warn!(%error, "the root key before the present one is not forgotten yet; the next unseal does it");
        }
        crate::lifecycle::restore::look_at_hold(&open).await?;
        failpoint!("unseal.before-start").await;
        open.start();
        self.open.store(Some(open.clone()));
        failpoint!("unseal.started").await;
        self.held.store(false, Ordering::Relaxed);
        self.config.metrics.unsealed.set(1);
        tracing::info!(cluster = %open.cluster.name, "unsealed");
        Ok(open)
    }

    /// Stops to serve, and seals; the root key is kept for after the restore.
    pub(crate) async fn pause(&self) {
        let _ceremony = self.ceremony.lock().await;
        self.keep_root_key().await;
        self.deactivate();
        self.config.barrier.seal().await;
    }

    async fn keep_root_key(&self) {
        if !self.config.seal.stored_keys() {
            *self.kept.lock().await = self.config.barrier.root_key().ok();
        }
    }

    pub(crate) fn deactivate(&self) {
        self.config.metrics.unsealed.set(0);
        if let Some(open) = self.open.swap(None) {
            open.shutdown.cancel();
        }
    }

    /// Forgets all keys and stays sealed until somebody unseals.
    pub async fn seal(&self) {
        let _ceremony = self.ceremony.lock().await;
        self.held.store(true, Ordering::Relaxed);
        self.end_of_log().await;
        self.deactivate();
        self.config.barrier.seal().await;
        tracing::info!("sealed");
    }

    /// Seals all replicas: the order is in the store when this returns, so no request is served after it, and within
    /// seconds no replica has the keys. It stays so, over restarts too, until somebody unseals.
    pub async fn seal_all(&self) -> Result<(), Error> {
        let _ceremony = self.ceremony.lock().await;
        let note = serde_json::json!({ "time": self.config.clock.now().to_string(), "by": self.config.hostname });
        // After the order nobody writes into the store.
        self.end_of_log().await;
        self.config.barrier.order_seal(note.to_string().into_bytes()).await?;
        failpoint!("seal.ordered").await;
        self.deactivate();
        self.config.barrier.seal().await;
        tracing::warn!("all replicas are sealed by a request");
        self.wait_for_others().await;
        Ok(())
    }

    /// Waits a little until no replica is unsealed any more.
    pub(crate) async fn wait_for_others(&self) {
        let others = async {
            while !self.config.barrier.is_alone().await.unwrap_or(false) {
                tokio::time::sleep(OBEY).await;
            }
        };
        if tokio::time::timeout(OTHERS, others).await.is_err() {
            tracing::warn!("a replica has not said that it is sealed; it can neither read nor write");
        }
    }

    /// Ends when this replica serves although all were told to seal.
    async fn ordered_to_seal(&self) {
        while self.open.load().is_none() || !self.config.barrier.is_sealed() {
            tokio::time::sleep(OBEY).await;
        }
    }

    /// Drops the keys, as another replica was told to make all do.
    async fn obey(&self) {
        let _ceremony = self.ceremony.lock().await;
        if self.config.barrier.is_sealed() {
            if self.config.barrier.restore_in_progress().await.is_ok_and(|restore| restore.is_some()) {
                self.keep_root_key().await;
            }
            self.deactivate();
            self.config.barrier.seal().await;
            tracing::warn!("sealed: a request to another replica sealed all of them");
        }
    }

    /// Is there an order to seal that nobody has taken back?
    pub(crate) async fn is_sealed_for_all(&self) -> Result<bool, Error> {
        Ok(self.config.barrier.read_clear(holdfast_barrier::SEALED).await?.is_some())
    }

    /// Was it sealed by a request?
    pub(crate) async fn is_held(&self) -> Result<bool, Error> {
        Ok(self.held.load(Ordering::Relaxed) || self.is_sealed_for_all().await?)
    }

    /// Lets [`Core::run`] unseal again after [`Core::seal`], and the other replicas after [`Core::seal_all`].
    pub(crate) async fn release(&self) -> Result<(), Error> {
        self.held.store(false, Ordering::Relaxed);
        if self.is_sealed_for_all().await? {
            self.config.barrier.write_clear(holdfast_barrier::SEALED, None, None).await?;
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Unseals at the start and again whenever the barrier was sealed by something other than a request, initialises a
    /// new server that has `initialize` steps, and runs what is left of these. Needs a seal with stored keys; with
    /// another it only waits for the end. Returns after `shutdown`, when the
    /// server has left the cluster.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut wait = RETRY.0;
        while !shutdown.is_cancelled() {
            let next = match self.keep_open().await {
                Ok(()) => {
                    wait = RETRY.0;
                    // Another replica may be unsealed, which is for all of them.
                    if self.is_unsealed() { RETRY.1 } else { SEALED_FOR_ALL }
                }
                Err(error) => {
                    tracing::warn!(%error, retry_in = ?wait, "not serving yet");
                    wait = (wait * 2).min(RETRY.1);
                    wait / 2
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.wake.notified() => {}
                () = self.ordered_to_seal() => self.obey().await,
                () = tokio::time::sleep(next) => {}
            }
        }
        self.end_of_log().await;
        self.deactivate();
        self.config.barrier.seal().await;
    }

    /// Says in the audit log how far the store has come, and in the store how far the log has, as long as there are keys.
    async fn end_of_log(&self) {
        if let Some(open) = self.open() {
            open.milestone().await;
        }
    }

    /// One round of [`Core::run`]. Nothing happens when all is well; what is not is told by the seal status too.
    pub async fn keep_open(self: &Arc<Self>) -> Result<(), Error> {
        let outcome = self.try_open().await;
        self.trouble.store(outcome.as_ref().err().map(|error| Arc::new(error.to_string())));
        outcome
    }

    async fn try_open(self: &Arc<Self>) -> Result<(), Error> {
        self.finish_restore().await?;
        if !self.is_unsealed()
            && let Some(stored) = self.seal_config().await?
            && self.migration(&stored).await?.is_some()
        {
            return Err(Error::invalid(
                "the configuration names another seal than the store has: unseal with the old shares and migrate = true \
                 (operator unseal -migrate)",
            ));
        }
        if !self.config.seal.stored_keys() {
            if !self.config.initialize.is_empty() && !self.is_initialized().await? {
                return Err(Error::internal("initialize steps need a seal with stored keys, such as static"));
            }
            return Ok(());
        }
        if self.held.load(Ordering::Relaxed) || self.is_sealed_for_all().await? {
            return Ok(());
        }
        if self.open().is_none() {
            if !self.is_initialized().await? {
                if self.config.initialize.is_empty() {
                    return Ok(());
                }
                self.initialize_itself().await?;
            }
            self.unseal_with_stored_key().await?;
        }
        self.run_initial_steps().await
    }
}
