//! One thing a volume is made of: a path that is read again and again, or a credential whose lease is kept alive.

use std::{sync::Arc, time::Duration};

use holdfast_api_types::{Envelope, header};
use holdfast_base::{Clock, Entropy, Timestamp};
use holdfast_client::Error;
use http::Method;
use tracing::warn;

use crate::{
    attributes::{Call, DEFAULT_REFRESH, Origin},
    events::Hearing,
    lease::{self, Lease, Next, backoff, jittered},
    metrics::{Metrics, outcome},
    payload::Reading,
    session::{CallError, Session},
    state::LeaseRecord,
    status::Failure,
};

/// What sources are kept fresh with.
pub struct Tools {
    /// The pod's login.
    pub session: Session,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Numbers.
    pub metrics: Metrics,
    /// How often unleased paths are to be read, where the volume says it.
    pub refresh: Option<Duration>,
    /// Whether changes are heard of.
    pub hearing: Hearing,
}

/// A source and what was read of it.
#[derive(Debug)]
pub struct Source {
    /// What the plan calls it.
    pub origin: Origin,
    /// Path on the server.
    pub path: String,
    /// Item of the binding.
    pub item: String,
    /// How long the lease is to be; the server's default otherwise.
    pub ttl: Option<Duration>,
    /// The lease; `None` for unleased paths.
    pub lease: Option<Lease>,
    /// When its certificate ends, boottime; `None` for what has a lease or no certificate.
    pub certificate: Option<Duration>,
    /// When to look after it, boottime.
    pub due: Duration,
    /// When it last became what it is.
    pub changed: Timestamp,
    /// When it was last renewed.
    pub renewed: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// The last of them.
    pub failure: Option<String>,
}

/// Where a source is on the server.
pub struct Place {
    /// Path.
    pub path: String,
    /// Item of the binding.
    pub item: String,
    /// How long the lease is to be.
    pub ttl: Option<Duration>,
}

/// How a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// As the server has it.
    Fresh,
    /// The server can't be asked; what is there is still good.
    Stale,
    /// The lease has ended, or the certificate.
    Expired,
}

impl Freshness {
    /// As the status says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Expired => "expired",
        }
    }
}

impl Tools {
    /// How often unleased paths are read now.
    fn refresh(&self) -> Duration {
        self.hearing.refresh(self.refresh, DEFAULT_REFRESH)
    }
}

// === impl Source ===

impl Source {
    /// Reads for the first time, or again after a restart: the server answers the item's credential if it has one.
    pub async fn open(
        tools: &Tools,
        origin: Origin,
        place: Place,
        known: Option<&LeaseRecord>,
    ) -> Result<(Self, Reading), Failure> {
        let Place { path, item, ttl } = place;
        let now = tools.clock.now();
        let mut source = Self {
            origin,
            path,
            item,
            ttl,
            lease: None,
            certificate: None,
            due: Duration::ZERO,
            changed: now,
            renewed: None,
            failures: 0,
            failure: None,
        };
        match source.read(tools, None, known).await {
            Ok(reading) => Ok((source, reading)),
            Err(error) => Err(source.explain(error, tools)),
        }
    }

    /// Is it made by a write? Such a source is asked again only when what it gave nears its end.
    pub fn is_write(&self) -> bool {
        matches!(&self.origin, Origin::Call(Call { body: Some(_), .. }))
    }

    /// Is it read again and again?
    pub fn is_polled(&self) -> bool {
        self.lease.is_none() && !self.is_write()
    }

    /// How it is at `now` (boottime).
    pub fn freshness(&self, now: Duration) -> Freshness {
        match self.expires() {
            Some(expires) if now >= expires => Freshness::Expired,
            _ if self.failures > 0 => Freshness::Stale,
            _ => Freshness::Fresh,
        }
    }

    /// When its lease ends, or its certificate: boottime.
    pub fn expires(&self) -> Option<Duration> {
        self.lease.as_ref().map(|lease| lease.expires).or(self.certificate)
    }

    /// Does what is due. Answers a reading if the values may have changed.
    pub async fn tend(&mut self, tools: &Tools) -> Option<Reading> {
        let now = tools.clock.boottime();
        let next = match &self.lease {
            None => Next::Reattach,
            Some(lease) if now >= lease.expires => Next::Reattach,
            Some(lease) => lease.next,
        };
        let done = match (next, self.lease.as_ref().map(|lease| lease.id.clone())) {
            (Next::Renew, Some(id)) => self.renew(tools, &id).await.map(|()| None),
            (Next::Replace, Some(id)) => {
                let done = self.replace(tools, &id).await;
                tools.metrics.rotations.get_or_create(&result(&done)).inc();
                done.map(Some)
            }
            _ => self.read(tools, None, None).await.map(Some),
        };
        match done {
            Ok(reading) => reading,
            Err(error) => {
                self.failures += 1;
                self.failure = Some(self.explain(error, tools).to_string());
                self.due = tools.clock.boottime() + backoff(self.failures, &*tools.entropy);
                None
            }
        }
    }

    async fn renew(&mut self, tools: &Tools, id: &str) -> Result<(), CallError> {
        let increment = self.ttl.or_else(|| self.lease.as_ref().map(|lease| lease.full));
        let done = tools.session.call(|client| async move { client.renew_lease(id, increment).await }).await;
        tools.metrics.renewals.get_or_create(&result(&done)).inc();
        let envelope = match done {
            Ok(envelope) => envelope,
            Err(error) => {
                // The server said no: what the item has now is its to say. That finds the same credential if it lives.
                if !error.is_transient()
                    && let Some(lease) = &mut self.lease
                {
                    lease.next = Next::Reattach;
                }
                return Err(error);
            }
        };
        let now = tools.clock.boottime();
        if let Some(lease) = &mut self.lease {
            lease.renewed(Duration::from_secs(envelope.lease_duration), envelope.renewable, now);
            self.due = lease.due(now, &*tools.entropy);
        }
        self.renewed = Some(tools.clock.now());
        self.succeeded();
        Ok(())
    }

    /// Another credential; the old one lives on until its end, so that nothing breaks while the pod reads the new one.
    async fn replace(&mut self, tools: &Tools, id: &str) -> Result<Reading, CallError> {
        match self.read(tools, Some(id), None).await {
            // Somebody else has replaced it: theirs is ours too.
            Err(CallError::Server(error)) if matches!(error.status(), Some(400 | 409 | 412)) => {
                self.read(tools, None, None).await
            }
            other => other,
        }
    }

    async fn read(
        &mut self,
        tools: &Tools,
        replace: Option<&str>,
        known: Option<&LeaseRecord>,
    ) -> Result<Reading, CallError> {
        let (path, item) = (self.path.as_str(), self.item.as_str());
        let origin = &self.origin;
        let read = |client: holdfast_client::Client| async move {
            match ask(&client, origin, path, item, replace).await {
                Ok(None) => {
                    Err(Error::Status { status: 404, path: path.to_owned(), errors: vec!["no value here".to_owned()] })
                }
                Ok(Some(envelope)) => Ok(envelope),
                Err(error) => Err(error),
            }
        };
        let mut envelope = tools.session.call(read).await?;
        let first = self.lease.as_ref().is_none_or(|lease| lease.id != envelope.lease_id)
            && known.is_none_or(|known| known.lease_id != envelope.lease_id);
        if let Some(ttl) = self.ttl
            && !envelope.lease_id.is_empty()
            && envelope.renewable
            && lease::differs(envelope.lease_duration, ttl, first)
        {
            let granted = self.fit(tools, &envelope.lease_id, ttl).await;
            envelope.lease_duration = granted.unwrap_or(envelope.lease_duration);
        }
        let now = tools.clock.boottime();
        let data = envelope.data.unwrap_or_default();
        let reading = Reading::new(&envelope.lease_id, envelope.lease_duration, envelope.renewable, data);
        self.certificate = None;
        if envelope.lease_id.is_empty() {
            self.lease = None;
            let left = reading.ends(self.is_write()).map(|ends| ends - tools.clock.now().as_second());
            self.certificate = left.map(|left| lease::moment(now, left));
            let again = if self.is_write() { lease::made_for(left) } else { tools.refresh() };
            self.due = now + jittered(again, &*tools.entropy);
        } else {
            let same = |id: &str| id == envelope.lease_id;
            let full = match (&self.lease, known) {
                (Some(lease), _) if same(&lease.id) => Some(lease.full),
                (_, Some(known)) if same(&known.lease_id) => Some(Duration::from_secs(known.ttl)),
                _ => None,
            };
            // What was the full time before the object said another.
            let full = full.map(|full| self.ttl.map_or(full, |ttl| full.min(ttl)));
            let granted = Duration::from_secs(envelope.lease_duration);
            let lease = Lease::new(envelope.lease_id.clone(), granted, envelope.renewable, full, now);
            self.due = lease.due(now, &*tools.entropy);
            self.lease = Some(lease);
        }
        self.succeeded();
        Ok(reading)
    }

    /// Gives the lease of an answer the duration that the object asks for. If that fails, the next renewal does it.
    async fn fit(&self, tools: &Tools, id: &str, ttl: Duration) -> Option<u64> {
        let done = tools.session.call(|client| async move { client.renew_lease(id, Some(ttl)).await }).await;
        tools.metrics.renewals.get_or_create(&result(&done)).inc();
        match done {
            Ok(renewed) => Some(renewed.lease_duration),
            Err(error) => {
                let failure = error.reading(&self.path, tools.session.who());
                warn!(item = self.item, %failure, "the lease does not have the duration of spec.ttl yet");
                None
            }
        }
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.failure = None;
    }

    fn explain(&self, error: CallError, tools: &Tools) -> Failure {
        let failure = error.reading(&self.path, tools.session.who());
        match &self.origin {
            Origin::Credential(name) => failure.context(&format!("credential {name}")),
            // What went wrong names the path; a login does not.
            Origin::Path(path) if failure.to_string().contains(path.as_str()) => failure,
            Origin::Path(path) => failure.context(&format!("item {path}")),
            Origin::Call(call) if failure.to_string().contains(call.path.as_str()) => failure,
            Origin::Call(call) => failure.context(&format!("object {}", call.path)),
        }
    }
}

async fn ask(
    client: &holdfast_client::Client,
    origin: &Origin,
    path: &str,
    item: &str,
    replace: Option<&str>,
) -> Result<Option<Envelope>, Error> {
    let Origin::Call(Call { query, body, .. }) = origin else {
        return client.read_bound(path, item, None, replace).await;
    };
    let mut headers = vec![(header::ITEM, item.to_owned())];
    headers.extend(replace.map(|lease| (header::REPLACE, lease.to_owned())));
    let (method, body) = match body {
        Some(text) => (Method::PUT, serde_json::from_str(text).ok()),
        None => (Method::GET, None),
    };
    let call = holdfast_client::Call { method, path: path.to_owned(), query: query.clone(), body, headers };
    client.envelope(call).await
}

fn result<T>(done: &Result<T, CallError>) -> crate::metrics::Outcome {
    match done {
        Ok(_) => outcome("ok"),
        Err(error) if error.is_transient() => outcome("unavailable"),
        Err(_) => outcome("refused"),
    }
}
