//! What is decided about a request when only its head has arrived, and what is allowed to pages of other origins.
//!
//! All of it is one small record, `core/front`, changed by compare and read again when what is known of it is older than
//! a second: what another replica changed holds here by then, and a request costs no look at the store.

mod cors;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use holdfast_logical::{Check, Clock, Revision, StoreError, Txn, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::cors::Cors;
use crate::{Core, Error, Raw, admission::Permit, open::Open, pipeline, quota};

/// What the listener is told before it reads a body.
#[derive(Debug, Default)]
pub struct Greeting {
    /// Headers of the answer, whatever it will be.
    pub headers: Vec<(&'static str, String)>,
    /// The request is not to be served: this is the answer.
    pub refusal: Option<Error>,
    /// Its place among the requests that are worked on, to be put into the request.
    pub permit: Option<Permit>,
}

/// What is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `sys/config/cors`
    pub cors: Cors,
    /// `sys/config/ui/headers`
    pub ui_headers: std::collections::BTreeMap<String, Vec<String>>,
    /// `sys/quotas`
    pub quotas: quota::Quotas,
}

/// The settings as they were last read.
pub struct Front {
    view: View,
    clock: Arc<dyn Clock>,
    known: ArcSwap<Settings>,
    /// Boottime in nanoseconds.
    read_at: AtomicU64,
    /// Who has asked how often.
    pub limiter: Arc<quota::SharedLimiter>,
}

const KEY: &str = "front";

/// What is known may be this old.
const FRESH: Duration = Duration::from_secs(1);

/// Longest wait for newer ones: a request that finds the store away has its own wait before it.
const PATIENCE: Duration = Duration::from_millis(500);

impl Front {
    /// Reads the settings.
    pub async fn load(view: View, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let limiter = Arc::new(quota::SharedLimiter::new(clock.clone()));
        let front = Self { view, clock, known: ArcSwap::default(), read_at: AtomicU64::new(0), limiter };
        front.read().await?;
        Ok(front)
    }

    /// The settings as they were last read.
    pub fn known(&self) -> Guard<Arc<Settings>> {
        self.known.load()
    }

    /// The settings as they were a second ago at most. While the store is away, those that were read last.
    pub async fn fresh(&self) -> Guard<Arc<Settings>> {
        let stale = self.is_stale();
        if stale {
            match tokio::time::timeout(PATIENCE, self.read()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the settings of the front cannot be read; the old ones hold")
                }
                Err(_) => tracing::debug!("the settings of the front are not read in time; the old ones hold"),
            }
        }
        self.known()
    }

    /// Whether they are to be read, by whoever is told so: nobody else is for a second.
    fn is_stale(&self) -> bool {
        let now = u64::try_from(self.clock.boottime().as_nanos()).unwrap_or(u64::MAX);
        let read_at = self.read_at.load(Ordering::Relaxed);
        let fresh = Duration::from_nanos(now.saturating_sub(read_at)) < FRESH;
        !fresh && self.read_at.compare_exchange(read_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    async fn read(&self) -> Result<(Settings, Revision), StoreError> {
        let found: Option<(Settings, Revision)> = self.view.get_json(KEY).await?;
        let (settings, revision) = found.unwrap_or_default();
        self.known.store(Arc::new(settings.clone()));
        Ok((settings, revision))
    }

    /// Changes the settings; `change` runs again when another replica was faster.
    pub async fn edit(&self, change: impl Fn(&mut Settings)) -> Result<(), Error> {
        self.try_edit(|settings| {
            change(settings);
            Ok(())
        })
        .await
    }

    /// The same with a change that may be refused; then nothing is stored.
    pub async fn try_edit(&self, change: impl Fn(&mut Settings) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            let (mut settings, revision) = self.read().await?;
            change(&mut settings)?;
            let (mut txn, path) = (Txn::new(), self.view.path(KEY));
            txn.check(path.clone(), if revision == 0 { Check::Absent } else { Check::At(revision) });
            txn.put_json(path, &settings)?;
            match self.view.commit(txn).await {
                Ok(_) => {
                    self.known.store(Arc::new(settings));
                    return Ok(());
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Core {
    /// What is allowed to pages of other origins; nothing while sealed.
    pub fn cors(&self) -> Option<Cors> {
        let open = self.glance();
        let known = open.as_ref()?.front.known();
        known.cors.enabled.then(|| known.cors.clone())
    }

    /// May the body of this request be read? Asks how many are being served, then the rate limits.
    pub async fn greet(&self, raw: &Raw) -> Greeting {
        match self.admission().enter(raw) {
            Ok(permit) => Greeting { permit, ..self.greet_by_rate(raw).await },
            Err((seconds, error)) => {
                Greeting { headers: vec![("retry-after", seconds.to_string())], refusal: Some(error), permit: None }
            }
        }
    }

    async fn greet_by_rate(&self, raw: &Raw) -> Greeting {
        let open = self.glance();
        let Some(open) = open.as_ref().filter(|_| !self.config().barrier.is_sealed()) else {
            return Greeting::default();
        };
        let settings = open.front.fresh().await;
        if settings.quotas.rate_limits.is_empty() {
            return Greeting::default();
        }
        let greeting = open.limit(&settings.quotas, raw);
        if greeting.refusal.is_some() {
            self.metrics().rate_limit_violations.inc();
            if settings.quotas.config.enable_rate_limit_audit_logging {
                // In a box, as few are refused and all make room for it.
                Box::pin(pipeline::audit_refusal(open, raw, greeting.refusal.as_ref())).await;
            }
        }
        greeting
    }
}

impl Open {
    /// The refusal of a login by the rate limit of its role, which is known only when the body was read.
    pub(crate) async fn limit_role(self: &Arc<Self>, raw: &Raw) -> Option<Error> {
        let settings = self.front.known();
        if settings.quotas.rate_limits.values().all(|limit| limit.scope.role.is_empty()) {
            return None;
        }
        let path = raw.full_path();
        let router = self.mounts.cached();
        let (mounted, rest) = router.resolve(&path)?;
        let role = match rest.strip_prefix("login") {
            Some("") => raw.body.get("role").and_then(|role| match role {
                Value::String(name) => Some(name.clone()),
                // Methods take it as text.
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            }),
            Some(name) => name.strip_prefix('/').map(str::to_owned),
            None => None,
        };
        let role = role.filter(|role| !role.is_empty())?;
        let mount = mounted.info.full_path();
        let asked = quota::Asked { path: &path, mount: &mount, role: Some(&role) };
        let (name, limit) = settings.quotas.rate_limit(&asked)?;
        let verdict = self.front.limiter.ask(name, limit, raw.connection.remote);
        let refusal = verdict.refused().then(|| quota::refusal(&path))?;
        self.config.metrics.rate_limit_violations.inc();
        if settings.quotas.config.enable_rate_limit_audit_logging {
            Box::pin(pipeline::audit_refusal(self, raw, Some(&refusal))).await;
        }
        Some(refusal)
    }

    fn limit(&self, quotas: &quota::Quotas, raw: &Raw) -> Greeting {
        let path = raw.full_path();
        if quotas.exempt(&path) {
            return Greeting::default();
        }
        let router = self.mounts.cached();
        let mount = router.resolve(&path).map(|(mounted, _)| mounted.info.full_path()).unwrap_or_default();
        let asked = quota::Asked { path: &path, mount: &mount, role: None };
        let Some((name, limit)) = quotas.rate_limit(&asked) else { return Greeting::default() };
        let verdict = self.front.limiter.ask(name, limit, raw.connection.remote);
        Greeting {
            headers: match quotas.config.enable_rate_limit_response_headers {
                true => verdict.headers(),
                false => Vec::new(),
            },
            refusal: verdict.refused().then(|| quota::refusal(&path)),
            permit: None,
        }
    }
}
