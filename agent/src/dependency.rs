//! One path that templates read: polled if it has no lease; else renewed, and replaced near the end of its life.
//!
//! A failed renewal never makes a new credential: reads are bound to the pod and the path, so the server answers the
//! credential that is there, and only a replacement that names the old lease makes another one. A login without a pod has
//! nothing to bind to: its leases are its token's, as everywhere.

use std::time::Duration;

use holdfast_api_types::{Envelope, header};
use holdfast_base::{Clock, Timestamp};
use holdfast_client::{Call as Request, Client, Error as ClientError, certificate::good_until};
use holdfast_template::{Call, Kind};
use http::Method;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{
    backoff::Jitter,
    failure::{Class, Failure, Who},
    status::State,
};

/// Refused renewals in a row after which the lease is replaced instead.
const REFUSALS: u32 = 2;
/// Part of a certificate's life after which another one is asked for.
const CERTIFICATE_FRACTION: f64 = 0.85;

/// Until another certificate is asked for, where one was over when it came: not as fast as they are made.
const OVER: Duration = Duration::from_secs(60);

/// What the template engine gets, and when to do what about it.
pub struct Dependency {
    call: Call,
    /// Name of the first item that uses it: for messages.
    item: String,
    /// Path that is read; has `data/` in it where the template left that out.
    path: String,
    looked_for_kv: bool,
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

struct Lease {
    id: String,
    renewable: bool,
    /// Longest duration seen.
    whole: Duration,
    ends: Instant,
    ends_wall: Timestamp,
    /// Renewal no longer prolongs it.
    last_leg: bool,
    /// The server does not know it any more.
    gone: bool,
    refusals: u32,
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
            item: item.to_owned(),
            path: call.path.clone(),
            call,
            looked_for_kv: false,
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

    /// Is it a request that makes something?
    fn writes(&self) -> bool {
        !self.call.args.is_empty() || self.call.kind == Kind::Certificate
    }

    /// Is it read again and again?
    pub fn is_polled(&self) -> bool {
        self.lease.is_none() && !self.writes()
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
        let path = self.path.split('?').next().unwrap_or_default();
        match self.call.kind {
            _ if self.lease.is_some() || self.writes() => false,
            Kind::List => path.split('/').next() == changed.split('/').next(),
            _ => path.trim_matches('/') == changed.trim_matches('/'),
        }
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
            Some(lease) if lease.ends > now && !lease.gone => {
                let id = lease.id.clone();
                if lease.renewable && !lease.last_leg {
                    self.renew(&id, round).await
                } else {
                    self.replace(&id, round).await
                }
            }
            _ => self.read(None, round).await,
        };
        match outcome {
            Ok(()) => {
                if self.failures > 0 {
                    info!(item = self.item, path = self.path, "works again");
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
        let mut answer = self.request(replace, round).await;
        let nothing = matches!(answer, Ok(None) | Err(ClientError::Status { status: 403 | 404, .. }));
        if nothing && self.envelope.is_none() && self.find_kv_data(round).await {
            answer = self.request(replace, round).await;
        }
        match answer {
            Ok(Some(mut envelope)) => {
                if let Some(granted) = self.fit(&envelope, round).await {
                    envelope.lease_duration = granted;
                }
                self.accept(envelope, sent, round);
                Ok(())
            }
            Ok(None) => Err(Failure::absent(&self.item, &self.path)),
            Err(error) => Err(Failure::read(&error, &self.item, &self.path, round.who)),
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
                warn!(item = self.item, path = self.path, %error, "the lease does not have the wanted duration yet");
                None
            }
        }
    }

    async fn request(&self, replace: Option<&str>, round: Round<'_>) -> Result<Option<Envelope>, ClientError> {
        let (path, mut query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        if self.call.kind == Kind::List {
            query = "list=true";
        }
        let mut headers = Vec::new();
        if round.who.pod {
            headers.push((header::ITEM, binding_item(&self.call)));
            headers.extend(replace.map(|lease| (header::REPLACE, lease.to_owned())));
        }
        let mut request = Request { path: path.to_owned(), query: query.to_owned(), headers, ..Request::default() };
        if self.writes() {
            let body: Map<String, Value> =
                self.call.args.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
            request.method = Method::PUT;
            request.body = Some(Value::Object(body));
        }
        match round.client.envelope(request).await {
            Err(ClientError::Status { status: 404, ref errors, .. }) if errors.is_empty() => Ok(None),
            other => other,
        }
    }

    /// `secret/app` of a kv version 2 mount is `secret/data/app`. True if the path has changed.
    async fn find_kv_data(&mut self, round: Round<'_>) -> bool {
        if std::mem::replace(&mut self.looked_for_kv, true) || self.writes() {
            return false;
        }
        let folder = if self.call.kind == Kind::List { "metadata/" } else { "data/" };
        let path = self.path.split('?').next().unwrap_or_default();
        let Ok(Some(envelope)) = round.client.read(&format!("sys/internal/ui/mounts/{path}")).await else {
            return false;
        };
        let data = Value::Object(envelope.data.unwrap_or_default());
        let version = data.pointer("/options/version").and_then(Value::as_str);
        let mount = data["path"].as_str().unwrap_or_default();
        // The root of a mount is listed without a slash.
        let whole = if self.call.kind == Kind::List { format!("{path}/") } else { self.path.clone() };
        match whole.strip_prefix(mount) {
            Some(rest) if version == Some("2") && !mount.is_empty() && !rest.starts_with(folder) => {
                self.path = format!("{mount}{folder}{rest}");
                true
            }
            _ => false,
        }
    }

    fn accept(&mut self, envelope: Envelope, sent: Instant, round: Round<'_>) {
        let ttl = Duration::from_secs(envelope.lease_duration);
        if envelope.lease_id.is_empty() || ttl.is_zero() {
            self.lease = None;
            // A write without lease is done once: to do it again would make another certificate each time. So it is done
            // again near the end of what it made, if that has one.
            let until = envelope.data.as_ref().filter(|_| self.writes()).and_then(good_until);
            self.ends = until.and_then(|until| Timestamp::from_second(until).ok());
            self.due = match self.ends {
                Some(ends) => {
                    let left = u64::try_from(ends.as_second() - round.clock.now().as_second()).unwrap_or(0);
                    let left = if left == 0 { OVER } else { Duration::from_secs(left) };
                    Some(sent + round.jitter.around(left, CERTIFICATE_FRACTION))
                }
                None => self.is_polled().then(|| Instant::now() + round.refresh),
            };
        } else {
            let same = self.lease.as_ref().filter(|lease| lease.id == envelope.lease_id);
            if same.is_none() {
                info!(
                    item = self.item,
                    path = self.path,
                    lease = envelope.lease_id,
                    ttl_seconds = ttl.as_secs(),
                    "leased"
                );
            }
            let lease = Lease {
                whole: same.map_or(ttl, |known| known.whole.max(ttl)),
                // The server knows it but did not renew it.
                last_leg: same.is_some_and(|known| known.gone || known.last_leg),
                id: envelope.lease_id.clone(),
                renewable: envelope.renewable,
                ends: sent + ttl,
                ends_wall: round.clock.now() + ttl,
                gone: false,
                refusals: 0,
            };
            self.due = Some(sent + due_in(&lease, ttl, round.jitter));
            self.lease = Some(lease);
            self.ends = None;
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

    async fn renew(&mut self, id: &str, round: Round<'_>) -> Result<(), Failure> {
        let sent = Instant::now();
        let answer = round.client.renew_lease(id, self.ttl).await;
        let Some(lease) = &mut self.lease else { return Ok(()) };
        match answer {
            Ok(envelope) => {
                let ttl = Duration::from_secs(envelope.lease_duration);
                let ends = sent + ttl;
                // What is as long as it is wanted is no sign of an end, however long it was before.
                let wanted = self.ttl.is_some_and(|wanted| ttl + Duration::from_secs(1) >= wanted);
                let short = ttl < lease.whole.mul_f64(0.9) || ends <= lease.ends + Duration::from_secs(1);
                lease.last_leg = short && !wanted;
                lease.whole = if wanted { ttl } else { lease.whole.max(ttl) };
                lease.ends = ends;
                lease.ends_wall = round.clock.now() + ttl;
                lease.refusals = 0;
                debug!(item = self.item, ttl_seconds = ttl.as_secs(), last_leg = lease.last_leg, "renewed");
                self.due = Some(sent + due_in(lease, ttl, round.jitter));
                Ok(())
            }
            Err(error) => {
                match error.status() {
                    // Unknown or not renewable. The next read says which, and finds what is bound to the pod.
                    Some(400 | 404) => lease.gone = true,
                    Some(403) => {
                        lease.refusals += 1;
                        lease.last_leg |= lease.refusals >= REFUSALS;
                    }
                    _ => {}
                }
                let class = if error.status() == Some(403) { Class::Denied } else { Class::Away };
                Err(Failure::new(class, format!("{}: cannot renew the lease of {}: {error}", self.item, self.path)))
            }
        }
    }

    async fn replace(&mut self, id: &str, round: Round<'_>) -> Result<(), Failure> {
        self.read(Some(id), round).await
    }
}

/// Two thirds of what is left; 85 % where the lease cannot be renewed at all.
fn due_in(lease: &Lease, left: Duration, jitter: &Jitter) -> Duration {
    let fraction = if lease.renewable { 2.0 / 3.0 } else { 0.85 };
    jitter.around(left, fraction).max(Duration::from_millis(500))
}

/// Under this name the server keeps the credential of the pod: the same after a restart, a new login, and in the init
/// container. Items that read the same path share it, as templates of one agent always have.
pub fn binding_item(call: &Call) -> String {
    let mut item = format!("inject/{}", call.path);
    if !call.args.is_empty() {
        let mut hash = Sha256::new();
        for (key, value) in &call.args {
            hash.update(format!("{}:{key}{}:{value}", key.len(), value.len()));
        }
        item = format!("{item}#{}", hex::encode(&hash.finalize()[..8]));
    }
    let plain = |byte: u8| if byte.is_ascii_graphic() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    item.bytes().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_stable_and_tell_writes_apart_without_showing_arguments() {
        let call = |args: &[(&str, &str)]| Call {
            path: "pki/issue/web ü".to_owned(),
            args: args.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Call::default()
        };
        assert_eq!(binding_item(&call(&[])), "inject/pki/issue/web%20%C3%BC");
        let (one, two) = (binding_item(&call(&[("cn", "a")])), binding_item(&call(&[("cn", "b")])));
        assert_ne!(one, two);
        assert!(one.starts_with("inject/pki/issue/web%20%C3%BC#"));
    }
}
