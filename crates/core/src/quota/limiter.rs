//! Counts requests by quota and client, in windows that begin with a client's first request, at whichever replica.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    RateLimit,
    telling::{Telling, Told},
};

/// Clients that are counted one by one; more of them share a count.
const MOST_CLIENTS: usize = 65_536;

/// Time between two looks for windows that are over: a look goes through all of them, with everybody waiting.
const SWEEP: Duration = Duration::from_secs(1);

/// Who has asked how often.
#[derive(Default)]
pub struct Limiter(Mutex<Windows>);

#[derive(Default)]
struct Windows {
    by_client: HashMap<Key, Window>,
    /// When those that are over were last looked for.
    swept: Option<Duration>,
    telling: Telling,
}

/// Quota and client.
pub(super) type Key = (String, Client);

/// One count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// An address; of IPv6 the network of a host, which has 2⁶⁴ addresses for nothing.
    Address(IpAddr),
    /// All others together.
    Others,
}

#[derive(Default)]
struct Window {
    ends: Duration,
    asked: u64,
    blocked_until: Duration,
}

/// What the count says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    limit: u64,
    remaining: u64,
    reset: Duration,
    refused: bool,
}

impl Limiter {
    /// Counts one request at a time of the monotonic clock.
    pub fn ask(&self, quota: &str, limit: &RateLimit, address: Option<IpAddr>, now: Duration) -> Verdict {
        let mut windows = self.0.lock();
        let client = match address.filter(|_| !limit.shared) {
            Some(address) => Client::Address(network(address)),
            None => Client::Others,
        };
        let key = windows.place((quota.to_owned(), client), now);
        let Windows { by_client, telling, .. } = &mut *windows;
        let told = telling.is_heard(now).then(|| key.clone());
        let window = by_client.entry(key).or_default();
        if window.ends <= now {
            (window.ends, window.asked) = (now + limit.interval(), 0);
        }
        let (most, blocked) = (limit.whole(), window.blocked_until > now);
        let refused = blocked || window.asked >= most;
        if !refused {
            window.asked += 1;
            if let Some(key) = told {
                telling.count(key, window.ends);
            }
        } else if !blocked && limit.block_interval > 0 {
            window.blocked_until = now + Duration::from_secs(limit.block_interval);
        }
        let reset = window.ends.max(window.blocked_until).saturating_sub(now);
        Verdict { limit: most, remaining: if blocked { 0 } else { most.saturating_sub(window.asked) }, reset, refused }
    }

    /// What was counted here since the note of this number, with the number of the newest; `None`: nothing.
    pub(super) fn tell(&self, since: u64, now: Duration) -> Option<(u64, Vec<Told>)> {
        self.0.lock().telling.tell(since, now)
    }

    /// Counts what another replica has counted. Who has no window here gets the one that he has there.
    pub(super) fn hear(&self, told: &[Told], now: Duration) {
        let mut windows = self.0.lock();
        for told in told {
            let key = windows.place((told.quota.clone(), told.client.map_or(Client::Others, Client::Address)), now);
            let window = windows.by_client.entry(key).or_default();
            if window.ends <= now {
                (window.ends, window.asked) = (now + Duration::from_millis(told.left), 0);
            }
            window.asked = window.asked.saturating_add(told.requests);
        }
    }
}

impl Windows {
    /// The key that a client is counted under.
    fn place(&mut self, key: Key, now: Duration) -> Key {
        if self.has_room(now) || self.by_client.contains_key(&key) { key } else { (key.0, Client::Others) }
    }

    /// Is there room for one more client? Makes some, if that was not tried just now.
    fn has_room(&mut self, now: Duration) -> bool {
        if self.by_client.len() >= MOST_CLIENTS && self.swept.is_none_or(|swept| now >= swept + SWEEP) {
            self.by_client.retain(|_, window| window.ends > now || window.blocked_until > now);
            self.swept = Some(now);
        }
        self.by_client.len() < MOST_CLIENTS
    }
}

impl Client {
    /// Its address; `None`: all others together.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Others => None,
        }
    }
}

impl Verdict {
    /// Was it one too many?
    pub fn refused(self) -> bool {
        self.refused
    }

    /// The headers that tell clients.
    pub fn headers(self) -> Vec<(&'static str, String)> {
        let seconds = self.reset.as_secs() + u64::from(self.reset.subsec_nanos() > 0);
        let mut headers = vec![
            ("x-ratelimit-limit", self.limit.to_string()),
            ("x-ratelimit-remaining", self.remaining.to_string()),
            ("x-ratelimit-reset", seconds.to_string()),
        ];
        if self.refused {
            headers.push(("retry-after", seconds.to_string()));
        }
        headers
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Scope;

    fn limit(rate: f64, block_interval: u64) -> RateLimit {
        RateLimit { scope: Scope::default(), rate, interval: 10, block_interval, shared: false }
    }

    fn ask(limiter: &Limiter, limit: &RateLimit, address: &str, at: u64) -> bool {
        !limiter.ask("q", limit, Some(address.parse().unwrap()), Duration::from_secs(at)).refused()
    }

    #[test]
    fn the_rate_holds_at_the_limit_for_each_client_and_interval() {
        let (limiter, limit) = (Limiter::default(), limit(3.0, 0));
        let asked: Vec<bool> = [0, 0, 9, 9, 10, 11, 12, 13].map(|at| ask(&limiter, &limit, "10.0.0.1", at)).to_vec();
        assert_eq!(asked, [true, true, true, false, true, true, true, false]);
        assert!(ask(&limiter, &limit, "10.0.0.2", 13), "each client has its own count");
    }

    /// Two replicas that tell each other, as by messages that carry each note once.
    #[test]
    fn replicas_that_tell_each_other_hold_the_rate_together() {
        let (here, there, limit) = (Limiter::default(), Limiter::default(), limit(6.0, 0));
        let at = Duration::from_millis;
        let ask =
            |limiter: &Limiter, millis| !limiter.ask("q", &limit, Some([10, 0, 0, 1].into()), at(millis)).refused();
        assert_eq!(here.tell(0, at(0)), None, "nothing is counted, but somebody listens");
        assert!([10, 20, 30, 40].iter().all(|millis| ask(&here, *millis)));
        let (number, told) = here.tell(0, at(150)).unwrap();
        assert_eq!((told.len(), told[0].requests, told[0].left), (1, 4, 9860));
        assert_eq!(here.tell(number, at(300)), None, "it was told before");
        there.hear(&told, at(200));
        assert_eq!([210, 220, 230].map(|millis| ask(&there, millis)), [true, true, false]);
        assert_eq!([10_050, 10_070].map(|millis| ask(&there, millis)), [false, true], "its window is the one of here");
        assert!(ask(&here, 350));
        let (later, told) = here.tell(0, at(400)).unwrap();
        assert_eq!(told.iter().map(|told| told.requests).collect::<Vec<_>>(), [4, 1]);
        assert!(later > number);
    }

    /// Alone, nothing is put down.
    #[test]
    fn what_nobody_asks_for_is_not_kept() {
        let (limiter, limit) = (Limiter::default(), limit(6.0, 0));
        assert!(ask(&limiter, &limit, "10.0.0.1", 0));
        assert_eq!(limiter.tell(0, Duration::from_secs(1)), None);
        assert!(ask(&limiter, &limit, "10.0.0.1", 30));
        assert_eq!(limiter.tell(0, Duration::from_secs(31)), None);
    }

    #[test]
    fn who_asked_too_often_is_blocked() {
        let (limiter, limit) = (Limiter::default(), limit(1.0, 60));
        let asked: Vec<bool> = [0, 1, 15, 60, 61].map(|at| ask(&limiter, &limit, "10.0.0.1", at)).to_vec();
        assert_eq!(asked, [true, false, false, false, true]);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let (limiter, limit) = (Limiter::default(), limit(1.0, 0));
        assert!(ask(&limiter, &limit, "2001:db8::1", 0));
        assert!(!ask(&limiter, &limit, "2001:db8::2", 0));
        assert!(ask(&limiter, &limit, "2001:db8:0:1::1", 0));
    }

    #[test]
    fn a_flood_of_clients_does_not_fill_the_memory() {
        let (limiter, limit) = (Limiter::default(), limit(1.0, 0));
        for client in 0..u32::try_from(MOST_CLIENTS).unwrap() + 1000 {
            limiter.ask("q", &limit, Some(IpAddr::from(client.to_be_bytes())), Duration::ZERO);
        }
        assert!(limiter.0.lock().by_client.len() <= MOST_CLIENTS + 1);
        assert!(!ask(&limiter, &limit, "250.0.0.1", 0), "they share one count");
        assert!(ask(&limiter, &limit, "250.0.0.1", 11), "which is over with its interval");
    }

    #[test]
    fn a_full_table_is_swept_once_a_second() {
        let (limiter, limit) = (Limiter::default(), limit(5.0, 0));
        for client in 0..u32::try_from(MOST_CLIENTS).unwrap() {
            limiter.ask("q", &limit, Some(IpAddr::from(client.to_be_bytes())), Duration::ZERO);
        }
        let ask = |address: &str, at: u64| {
            limiter.ask("q", &limit, Some(address.parse().unwrap()), Duration::from_millis(at));
            limiter.0.lock().by_client.len()
        };
        assert_eq!(ask("250.0.0.1", 9500), MOST_CLIENTS + 1, "nothing is over yet");
        assert_eq!(ask("250.0.0.2", 10_100), MOST_CLIENTS + 1, "everything is, but it is too soon to look");
        assert_eq!(ask("250.0.0.3", 10_500), 2);
    }

    #[test]
    fn the_headers_tell_what_is_left() {
        let (limiter, limit) = (Limiter::default(), limit(2.0, 0));
        let verdict = limiter.ask("q", &limit, None, Duration::from_millis(1500));
        assert_eq!(
            verdict.headers(),
            [
                ("x-ratelimit-limit", "2".to_owned()),
                ("x-ratelimit-remaining", "1".to_owned()),
                ("x-ratelimit-reset", "10".to_owned()),
            ]
        );
        limiter.ask("q", &limit, None, Duration::from_secs(2));
        let verdict = limiter.ask("q", &limit, None, Duration::from_secs(3));
        assert!(verdict.refused() && verdict.headers().contains(&("retry-after", "9".to_owned())));
    }
}
