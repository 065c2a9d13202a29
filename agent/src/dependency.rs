//! One path that templates read: polled if it has no lease; else renewed, and replaced near the end of its life.
//!
//! A failed renewal never makes a new credential: reads are bound to the pod and the path, so the server answers the
//! credential that is there, and only a replacement that names the old lease makes another one. A login without a pod has
//! nothing to bind to: its leases are its token's, as everywhere.

mod lease;
mod question;

use std::time::Duration;

use holdfast_api_types::Envelope;
use holdfast_base::{Clock, Timestamp};
use holdfast_client::{Client, Error as ClientError, certificate::good_until};
use holdfast_template::Call;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use self::{lease::Lease, question::Question};
use crate::{
    backoff::Jitter,
    failure::{Class, Failure, Who},
    status::State,
};

/// Part of a certificate's life after which another one is asked for.
const CERTIFICATE_FRACTION: f64 = 0.85;

/// Until another certificate is asked for, where one was over when it came: not as fast as they are made.
const OVER: Duration = Duration::from_secs(60);

/// What the template engine gets, and when to do what about it.
pub struct Dependency {
    question: Question,
    /// Name of the first item that uses it: for messages.
    item: String,
    /// How long its lease is to be.
    ttl: Option<Duration>,
    envelope: Option<Value>,
    lease: Option<Lease>,
    /// End of a certificate that has no lease.
    ends: Option<Timestamp>,
    due: Option<Instant>,
    failures: u32,
    failure: Option<Failure>,
}

/// What all dependencies share in one round.
#[derive(Clone, Copy)]
pub struct Round<'a> {
    /// With the current token.
    pub client: &'a Client,
    /// For messages.
    pub who: &'a Who,
    /// Wall time.
    pub clock: &'a dyn Clock,
    /// For waits.
    pub jitter: &'a Jitter,
    /// Between reads of paths without lease.
    pub refresh: Duration,
}

impl Dependency {
    /// Not read yet; due at once. Its lease is made to last `ttl`, if there is one.
    pub fn new(call: Call, item: &str, ttl: Option<Duration>) -> Self {
        Self {
            question: Question::new(call),
            item: item.to_owned(),
            ttl,
            envelope: None,
            lease: None,
            ends: None,
            due: Some(Instant::now()),
            failures: 0,
            failure: None,
        }
    }

    /// The answer in the API's shape, once there is one.
    pub fn envelope(&self) -> Option<&Value> {
        self.envelope.as_ref()
    }

    /// Is it read again and again?
    pub fn is_polled(&self) -> bool {
        self.lease.is_none() && !self.question.writes()
    }

    /// When [`Dependency::advance`] is to be called; `None` is never.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Makes it due now.
    pub fn hurry(&mut self) {
        self.due = Some(Instant::now());
    }

    /// Makes it due after `wait` at the latest, if it is one that is read again and again.
    pub fn no_later(&mut self, wait: Duration) {
        if self.is_polled() {
            let latest = Instant::now() + wait;
            self.due = self.due.map(|due| due.min(latest));
        }
    }

    /// Makes it due now; its lease is replaced by another one.
    pub fn rotate(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.last_leg = true;
        }
        self.hurry();
    }

    /// Is it one that a change at this path of the API is about? A lease has its own life.
    pub fn is_about(&self, changed: &str) -> bool {
        self.lease.is_none() && self.question.is_about(changed)
    }

    /// Name of the first item that uses it.
    pub fn item(&self) -> &str {
        &self.item
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Why the last attempt failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// How far its value can be trusted at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        match (&self.envelope, &self.lease) {
            (None, _) => State::Waiting,
            (_, Some(lease)) if lease.ends <= Instant::now() => State::Expired,
            (_, None) if self.ends.is_some_and(|ends| ends <= now) => State::Expired,
            _ if self.failure.is_some() => State::Stale,
            _ => State::Fresh,
        }
    }

    /// When its lease ends, or its certificate.
    pub fn expires(&self) -> Option<Timestamp> {
        self.lease.as_ref().map(|lease| lease.ends_wall).or(self.ends)
    }

    /// The lease id.
    pub fn lease_id(&self) -> Option<&str> {
        self.lease.as_ref().map(|lease| lease.id.as_str())
    }

    /// Reads, renews or replaces, whichever is due.
    pub async fn advance(&mut self, round: Round<'_>) {
        let now = Instant::now();
        let outcome = match &self.lease {
            Some(lease) if lease.lives(now) => {
                let id = lease.id.clone();
                if lease.prolongs() { self.renew(&id, round).await } else { self.read(Some(&id), round).await }
            }
            _ => self.read(None, round).await,
        };
        match outcome {
            Ok(()) => {
                if self.failures > 0 {
                    info!(item = self.item, path = self.question.path(), "works again");
                }
                self.failures = 0;
                self.failure = None;
            }
            Err(failure) => {
                let known = self.failure.as_ref().is_some_and(|known| known.text == failure.text);
                self.failures += 1;
                let wait = round.jitter.after_failures(self.failures);
                self.due = Some(Instant::now() + wait);
                if known {
                    debug!(reason = %failure, failures = self.failures, "still failing");
                } else {
                    warn!(reason = %failure, retry_in_seconds = wait.as_secs_f64(), "failed");
                }
                self.failure = Some(failure);
            }
        }
    }

    async fn read(&mut self, replace: Option<&str>, round: Round<'_>) -> Result<(), Failure> {
        let sent = Instant::now();
        let mut answer = self.question.ask(replace, round).await;
        let nothing = matches!(answer, Ok(None) | Err(ClientError::Status { status: 403 | 404, .. }));
        if nothing && self.envelope.is_none() && self.question.find_kv_data(round).await {
            answer = self.question.ask(replace, round).await;
        }
        match answer {
            Ok(Some(mut envelope)) => {
                if let Some(granted) = self.fit(&envelope, round).await {
                    envelope.lease_duration = granted;
                }
                self.accept(envelope, sent, round);
                Ok(())
            }
            Ok(None) => Err(Failure::absent(&self.item, self.question.path())),
            Err(error) => Err(Failure::read(&error, &self.item, self.question.path(), round.who)),
        }
    }

    /// Gives the lease of an answer the duration that is wanted: answers what it has now. What is left of an old lease is
    /// shorter by itself. If it fails, the next renewal does it.
    async fn fit(&self, envelope: &Envelope, round: Round<'_>) -> Option<u64> {
        let (id, granted) = (envelope.lease_id.as_str(), envelope.lease_duration);
        let ttl = self.ttl.filter(|_| !id.is_empty() && envelope.renewable)?;
        let new = self.lease.as_ref().is_none_or(|known| known.id != id);
        if granted <= ttl.as_secs() + 1 && !(new && granted + 1 < ttl.as_secs()) {
            return None;
        }
        match round.client.renew_lease(id, Some(ttl)).await {
            Ok(renewed) => Some(renewed.lease_duration),
            Err(error) => {
                let path = self.question.path();
                warn!(item = self.item, path, %error, "the lease does not have the wanted duration yet");
                None
            }
        }
    }

    fn accept(&mut self, envelope: Envelope, sent: Instant, round: Round<'_>) {
        if envelope.lease_id.is_empty() || envelope.lease_duration == 0 {
            self.accept_without_lease(&envelope, sent, round);
        } else {
            self.accept_lease(&envelope, sent, round);
        }
        self.envelope = Some(json!({
            "request_id": envelope.request_id,
            "lease_id": envelope.lease_id,
            "lease_duration": envelope.lease_duration,
            "renewable": envelope.renewable,
            "warnings": envelope.warnings,
            "data": envelope.data,
        }));
    }

    /// A write without lease is done once: to do it again would make another certificate each time. So it is done again
    /// near the end of what it made, if that has one.
    fn accept_without_lease(&mut self, envelope: &Envelope, sent: Instant, round: Round<'_>) {
        self.lease = None;
        let until = envelope.data.as_ref().filter(|_| self.question.writes()).and_then(good_until);
        self.ends = until.and_then(|until| Timestamp::from_second(until).ok());
        self.due = match self.ends {
            Some(ends) => {
                let left = u64::try_from(ends.as_second() - round.clock.now().as_second()).unwrap_or(0);
                let left = if left == 0 { OVER } else { Duration::from_secs(left) };
                Some(sent + round.jitter.around(left, CERTIFICATE_FRACTION))
            }
            None => self.is_polled().then(|| Instant::now() + round.refresh),
        };
    }

    fn accept_lease(&mut self, envelope: &Envelope, sent: Instant, round: Round<'_>) {
        let ttl = Duration::from_secs(envelope.lease_duration);
        let same = self.lease.as_ref().filter(|lease| lease.id == envelope.lease_id);
        if same.is_none() {
            let (path, ttl_seconds) = (self.question.path(), ttl.as_secs());
            info!(item = self.item, path, lease = envelope.lease_id, ttl_seconds, "leased");
        }
        let lease = Lease::of(envelope, same, sent, round);
        self.due = Some(sent + lease.due_in(ttl, round.jitter));
        self.lease = Some(lease);
        self.ends = None;
    }

    async fn renew(&mut self, id: &str, round: Round<'_>) -> Result<(), Failure> {
        let sent = Instant::now();
        let answer = round.client.renew_lease(id, self.ttl).await;
        let Some(lease) = &mut self.lease else { return Ok(()) };
        match answer {
            Ok(envelope) => {
                let ttl = Duration::from_secs(envelope.lease_duration);
                lease.renewed(ttl, self.ttl, sent, round);
                debug!(item = self.item, ttl_seconds = ttl.as_secs(), last_leg = lease.last_leg, "renewed");
                self.due = Some(sent + lease.due_in(ttl, round.jitter));
                Ok(())
            }
            Err(error) => {
                lease.refused(error.status());
                let class = if error.status() == Some(403) { Class::Denied } else { Class::Away };
                let (item, path) = (&self.item, self.question.path());
                Err(Failure::new(class, format!("{item}: cannot renew the lease of {path}: {error}")))
            }
        }
    }
}
