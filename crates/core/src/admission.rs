//! How many requests are worked on at a time: what is more is refused when its head arrives, before it waits for anything.
//!
//! A refusal costs next to nothing, and says when to come back: after a time drawn for each from a span that grows with the
//! number of those who are sent away for each one that is served, so that they do not all come back together. Renewals and logins, of which clients of a whole cluster may send their own at the same moment, have limits of
//! their own below that of all requests; what takes credentials back is always let in.

use std::{net::IpAddr, sync::Arc};

use foldhash::HashMap;
use holdfast_base::{Clock, Entropy};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family},
};

use crate::{Error, Raw, raw::is_login};

/// Requests that are worked on at a time; 0 of anything: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of everybody together.
    pub all: usize,
    /// Of one client address.
    pub client: usize,
    /// Logins, of everybody together.
    pub logins: usize,
    /// Renewals of tokens and leases, of everybody together.
    pub renewals: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { all: 2_000, client: 500, logins: 512, renewals: 256 }
    }
}

/// Why a request was sent away.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
enum Reason {
    All,
    Client,
    Logins,
    Renewals,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    limit: Reason,
}

/// Requests that were sent away, by the limit that did it.
#[derive(Clone, Debug, Default)]
pub struct Shed(Family<Labels, Counter>);

impl Shed {
    /// Registers the counter.
    pub(crate) fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        registry.register("holdfast_core_shed_requests", "Requests sent away by a limit in flight", self.0.clone());
    }
}

/// What is worked on now.
pub struct Admission {
    limits: Limits,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    shed: Shed,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    all: usize,
    logins: usize,
    renewals: usize,
    clients: HashMap<IpAddr, usize>,
    pace: Pace,
}

/// A place among those that are worked on; given back when it is dropped.
pub struct Permit {
    admission: Arc<Admission>,
    kind: Kind,
    client: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Login,
    Renewal,
    Other,
}

/// How fast work is done, and how far those who are sent away are to be spread.
#[derive(Debug, Default)]
struct Pace {
    /// Second in which the next two are counted.
    second: u64,
    done: u64,
    sent_away: u64,
    /// Done in the last full second in which something was.
    rate: u64,
    /// Seconds of the span: it doubles while many are sent away again, and shrinks when few are.
    span: u64,
}

/// Longest time that somebody is sent away for, in seconds.
const LONGEST: u64 = 30;
/// A rate that is assumed where none is known.
const SLOWEST: u64 = 100;

/// Paths that are always let in: without them nobody could look at, open or relieve the server.
const FREE: &[&str] = &[
    "auth/token/revoke",
    "sys/generate-root/",
    "sys/health",
    "sys/in-flight-req",
    "sys/leader",
    "sys/leases/revoke",
    "sys/metrics",
    "sys/revoke",
    "sys/seal",
    "sys/step-down",
    "sys/unseal",
];

impl Admission {
    /// Nothing is worked on yet.
    pub fn new(limits: Limits, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, shed: Shed) -> Arc<Self> {
        Arc::new(Self { limits, clock, entropy, shed, state: Mutex::default() })
    }

    /// A place for the request, or the seconds after which to ask again and the error. `None`: it needs no place.
    pub fn enter(self: &Arc<Self>, raw: &Raw) -> Result<Option<Permit>, (u64, Error)> {
        let path = raw.path.trim_start_matches('/');
        if FREE.iter().any(|free| path.starts_with(free)) {
            return Ok(None);
        }
        let (kind, client) = (Kind::of(path), raw.connection.remote.map(|address| address.to_canonical()));
        let mut state = self.state.lock();
        match state.fault(&self.limits, kind, client) {
            None => {
                state.take(kind, client);
                Ok(Some(Permit { admission: self.clone(), kind, client }))
            }
            Some(reason) => {
                let spread = state.pace.send_away(self.clock.boottime().as_secs());
                drop(state);
                self.shed.0.get_or_create(&Labels { limit: reason }).inc();
                Err((1 + self.draw(spread), reason.error(&self.limits)))
            }
        }
    }

    /// A number from 0 to `most`.
    fn draw(&self, most: u64) -> u64 {
        let mut bytes = [0u8; 8];
        self.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes) % (most + 1)
    }
}

impl State {
    fn fault(&self, limits: &Limits, kind: Kind, client: Option<IpAddr>) -> Option<Reason> {
        let over = |used: usize, limit: usize| limit != 0 && used >= limit;
        let of_client = client.and_then(|client| self.clients.get(&client)).copied().unwrap_or(0);
        match kind {
            Kind::Login if over(self.logins, limits.logins) => Some(Reason::Logins),
            Kind::Renewal if over(self.renewals, limits.renewals) => Some(Reason::Renewals),
            _ if over(self.all, limits.all) => Some(Reason::All),
            _ if over(of_client, limits.client) => Some(Reason::Client),
            _ => None,
        }
    }

    fn take(&mut self, kind: Kind, client: Option<IpAddr>) {
        self.all += 1;
        match kind {
            Kind::Login => self.logins += 1,
            Kind::Renewal => self.renewals += 1,
            Kind::Other => {}
        }
        if let Some(client) = client {
            *self.clients.entry(client).or_default() += 1;
        }
    }

    fn give_back(&mut self, kind: Kind, client: Option<IpAddr>, second: u64) {
        self.all -= 1;
        match kind {
            Kind::Login => self.logins -= 1,
            Kind::Renewal => self.renewals -= 1,
            Kind::Other => {}
        }
        if let Some(client) = client
            && let Some(count) = self.clients.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&client);
            }
        }
        self.pace.done(second);
    }
}

impl Pace {
    fn turn(&mut self, second: u64) {
        if second == self.second {
            return;
        }
        if self.done > 0 {
            self.rate = self.done;
        }
        self.span = match () {
            () if second.saturating_sub(self.second) > LONGEST => 0,
            () if self.sent_away * 2 > self.done => (self.span * 2).clamp(1, LONGEST),
            () if self.sent_away * 10 <= self.done => self.span / 2,
            () => self.span,
        };
        (self.second, self.done, self.sent_away) = (second, 0, 0);
    }

    fn done(&mut self, second: u64) {
        self.turn(second);
        self.done += 1;
    }

    /// Seconds over which those outside are to be spread.
    fn send_away(&mut self, second: u64) -> u64 {
        self.turn(second);
        self.sent_away += 1;
        self.span.max(self.sent_away / self.rate.max(SLOWEST)).clamp(1, LONGEST)
    }
}

impl Kind {
    fn of(path: &str) -> Self {
        if ["auth/token/renew", "sys/leases/renew", "sys/renew"].iter().any(|renewal| path.starts_with(renewal)) {
            return Self::Renewal;
        }
        match is_login(path) {
            true => Self::Login,
            false => Self::Other,
        }
    }
}

impl Reason {
    /// Of one's own making it is a 429, of everybody's a 503; a storm of renewals or logins is a 429 as well, which clients
    /// wait for.
    fn error(self, limits: &Limits) -> Error {
        let (code, message) = match self {
            Self::All => (503, format!("{} requests are being served, which is the limit: try again", limits.all)),
            Self::Client => (429, format!("{} requests of this address are being served: try again", limits.client)),
            Self::Logins => (429, format!("{} logins are being served, which is the limit: try again", limits.logins)),
            Self::Renewals => {
                (429, format!("{} renewals are being served, which is the limit: try again", limits.renewals))
            }
        };
        Error::Logical(holdfast_logical::Error::Status { code, message })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let second = self.admission.clock.boottime().as_secs();
        self.admission.state.lock().give_back(self.kind, self.client, second);
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Permit({:?})", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use holdfast_base::{ManualClock, SeededEntropy};

    use super::*;
    use crate::Verb;

    fn admission(limits: Limits) -> (Arc<Admission>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(holdfast_base::Timestamp::UNIX_EPOCH));
        (Admission::new(limits, clock.clone(), Arc::new(SeededEntropy::new(1)), Shed::default()), clock)
    }

    fn raw(path: &str, address: &str) -> Raw {
        let mut raw = Raw::new("request", Verb::Write, path);
        raw.connection.remote = Some(address.parse().unwrap());
        raw
    }

    fn code(refused: Result<Option<Permit>, (u64, Error)>) -> u16 {
        match refused.unwrap_err().1 {
            Error::Logical(holdfast_logical::Error::Status { code, .. }) => code,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn each_limit_holds_and_places_come_back() {
        let (admission, _) = admission(Limits { all: 4, client: 2, logins: 1, renewals: 1 });
        let first = admission.enter(&raw("auth/userpass/login/bob", "10.0.0.1")).unwrap();
        assert_eq!(code(admission.enter(&raw("auth/userpass/login/eve", "10.0.0.2"))), 429);
        let second = admission.enter(&raw("sys/leases/renew", "10.0.0.1")).unwrap();
        assert_eq!(code(admission.enter(&raw("auth/token/renew-self", "10.0.0.2"))), 429);
        assert_eq!(code(admission.enter(&raw("kv/a", "10.0.0.1"))), 429, "this client has two");
        let more: Vec<_> = (0..2).map(|_| admission.enter(&raw("kv/a", "10.0.0.2")).unwrap()).collect();
        assert_eq!(code(admission.enter(&raw("kv/a", "10.0.0.3"))), 503, "there are four");
        for free in ["sys/health", "sys/leases/revoke", "auth/token/revoke-self", "sys/seal-status", "sys/metrics"] {
            assert!(admission.enter(&raw(free, "10.0.0.1")).unwrap().is_none(), "{free}");
        }
        drop((first, second, more));
        assert!(admission.enter(&raw("auth/userpass/login/eve", "10.0.0.1")).is_ok());
        assert!(admission.state.lock().clients.is_empty(), "nobody is kept who has nothing");
    }

    #[test]
    fn the_more_are_outside_the_later_they_come_back() {
        let (admission, clock) = admission(Limits { renewals: 1, ..Limits::default() });
        let held = admission.enter(&raw("sys/renew", "10.0.0.1")).unwrap();
        let waits = |count: u64| -> Vec<u64> {
            (0..count).map(|_| admission.enter(&raw("sys/renew", "10.0.0.1")).unwrap_err().0).collect()
        };
        assert!(waits(SLOWEST).iter().all(|wait| (1..=2).contains(wait)), "few");
        let many = waits(SLOWEST * LONGEST * 2);
        assert!(many.iter().all(|wait| (1..=LONGEST + 1).contains(wait)));
        let last = &many[many.len() - 1000..];
        assert!(last.iter().max() > Some(&25) && last.iter().min() < Some(&5), "spread over all the time");
        drop(held);
        clock.advance(Duration::from_secs(LONGEST + 1));
        let _held = admission.enter(&raw("sys/renew", "10.0.0.1")).unwrap();
        assert!(waits(1)[0] <= 2, "they are forgotten");
    }

    #[test]
    fn nothing_is_limited_by_nought() {
        let (admission, _) = admission(Limits { all: 0, client: 0, logins: 0, renewals: 0 });
        let held: Vec<_> = (0..3000).map(|_| admission.enter(&raw("sys/renew", "10.0.0.1")).unwrap()).collect();
        assert_eq!(held.len(), 3000);
    }
}
