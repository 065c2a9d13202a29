//! Quotas: how often may be asked (`rate-limit`) and how many leases there may be (`lease-count`), of a path.
//!
//! Of all quotas of a kind that cover a request, the closest one counts: role, then path, then mount, then namespace,
//! then the global one. Replicas tell each other what they count of rates ([`telling`]); leases
//! are counted exactly ([`lease_count`]).

pub mod lease_count;
mod limiter;
mod telling;

use std::{collections::BTreeMap, time::Duration};

use holdfast_logical::fold;
use serde::{Deserialize, Serialize};

pub use self::{
    limiter::{Limiter, Verdict},
    telling::SharedLimiter,
};
use crate::Error;

/// All of them, by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Quotas {
    /// `sys/quotas/rate-limit/:name`
    pub rate_limits: BTreeMap<String, RateLimit>,
    /// `sys/quotas/lease-count/:name`
    pub lease_counts: BTreeMap<String, LeaseCount>,
    /// `sys/quotas/config`
    pub config: Config,
}

/// What holds for all rate limits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Paths, with `*` at the end for everything below, beside the ones that are always free.
    pub rate_limit_exempt_paths: Vec<String>,
    /// Write refused requests to the audit devices.
    pub enable_rate_limit_audit_logging: bool,
    /// Tell limit and remainder in headers.
    pub enable_rate_limit_response_headers: bool,
}

/// What a quota covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// Empty: everything; `ns/`: a namespace; `mount/`: a mount; `mount/a/b` a path; `mount/a/*` what is below it.
    pub path: String,
    /// Role of a login below the path; empty: whoever.
    pub role: String,
    /// Does the quota of a namespace cover those within it too?
    pub inheritable: Option<bool>,
}

/// At most so many requests in an interval, of each client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RateLimit {
    /// What it covers.
    pub scope: Scope,
    /// Requests in each interval.
    pub rate: f64,
    /// Seconds.
    pub interval: u64,
    /// Seconds for which a client that asked too often is refused; 0: until the interval is over.
    pub block_interval: u64,
    /// All clients share one count (`group_by` = `none`).
    #[serde(default)]
    pub shared: bool,
}

/// At most so many leases.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeaseCount {
    /// What it covers.
    pub scope: Scope,
    /// How many.
    pub max_leases: u64,
}

/// A request, as far as quotas look at it.
pub struct Asked<'a> {
    /// Full path.
    pub path: &'a str,
    /// Path of its mount; empty: there is none.
    pub mount: &'a str,
    /// Role that logs in, once that is known.
    pub role: Option<&'a str>,
}

/// Paths that no rate limit covers: without them nobody could open or look at the server.
const FREE: &[&str] = &[
    "sys/generate-root/attempt",
    "sys/generate-root/update",
    "sys/generate-recovery-token/attempt",
    "sys/generate-recovery-token/update",
    "sys/health",
    "sys/seal-status",
    "sys/unseal",
];

// === impl Quotas ===

impl Quotas {
    /// Does no rate limit cover the path?
    pub fn exempt(&self, path: &str) -> bool {
        FREE.contains(&path)
            || self.config.rate_limit_exempt_paths.iter().any(|exempt| match exempt.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix.trim_start_matches('/')),
                None => path == exempt.trim_matches('/'),
            })
    }

    /// The closest rate limit.
    pub fn rate_limit(&self, asked: &Asked<'_>) -> Option<(&str, &RateLimit)> {
        closest(&self.rate_limits, asked, |limit| &limit.scope)
    }

    /// The closest lease count.
    pub fn lease_count(&self, asked: &Asked<'_>) -> Option<(&str, &LeaseCount)> {
        closest(&self.lease_counts, asked, |limit| &limit.scope)
    }
}

fn closest<'q, Q>(
    quotas: &'q BTreeMap<String, Q>,
    asked: &Asked<'_>,
    scope: fn(&Q) -> &Scope,
) -> Option<(&'q str, &'q Q)> {
    let ranked = quotas.iter().filter_map(|(name, quota)| Some((scope(quota).rank(asked)?, name, quota)));
    let (_, name, quota) = ranked.max_by_key(|(rank, _, _)| *rank)?;
    Some((name, quota))
}

// === impl Scope ===

impl Scope {
    /// How close it is; `None`: it does not cover the request. A quota of a role counts only where the role is known,
    /// and then it is the only kind that does.
    pub fn rank(&self, asked: &Asked<'_>) -> Option<(u8, usize)> {
        if self.role.is_empty() == asked.role.is_some() || asked.role.is_some_and(|role| fold(role) != fold(&self.role))
        {
            return None;
        }
        let (own, length) = (self.path.as_str(), self.path.len());
        if own.is_empty() {
            return Some((0, 0));
        }
        if let Some(prefix) = own.strip_suffix('*') {
            return asked.path.starts_with(prefix).then_some((3, length));
        }
        if asked.is_of(own) && own != asked.mount {
            return Some((4, length));
        }
        if own == asked.mount {
            return Some((2, length));
        }
        // A namespace: its mounts are below it, those of namespaces within it further down.
        let below = asked.mount.strip_prefix(own)?;
        let near =
            self.inheritable == Some(true) || !below.trim_start_matches("auth/").trim_end_matches('/').contains('/');
        (own.ends_with('/') && near).then_some((1, length))
    }
}

// === impl Asked ===

impl Asked<'_> {
    /// Is this its path? Methods take the name behind `login/` in any case.
    fn is_of(&self, path: &str) -> bool {
        let (own, path) = (self.path.trim_end_matches('/'), path.trim_end_matches('/'));
        let logs_in = || own.strip_prefix(self.mount).is_some_and(|rest| rest.starts_with("login/"));
        own == path || logs_in() && fold(own) == fold(path)
    }
}

// === impl RateLimit ===

impl RateLimit {
    /// Whole requests in an interval.
    pub fn whole(&self) -> u64 {
        // Saturates: a rate that is not finite or negative is refused when it is set.
        self.rate.ceil() as u64
    }

    /// Length of an interval.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval.max(1))
    }
}

/// 429.
pub fn refusal(path: &str) -> Error {
    let message = format!("request path {path:?}: rate limit quota exceeded");
    Error::Logical(holdfast_logical::Error::Status { code: 429, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(path: &str, role: &str) -> RateLimit {
        let scope = Scope { path: path.to_owned(), role: role.to_owned(), inheritable: None };
        RateLimit { scope, rate: 1.0, interval: 1, block_interval: 0, shared: false }
    }

    #[test]
    fn the_closest_quota_counts() {
        let mut quotas = Quotas::default();
        for (name, path, role) in [
            ("global", "", ""),
            ("mount", "kv/", ""),
            ("below", "kv/data/*", ""),
            ("deeper", "kv/data/a/*", ""),
            ("path", "kv/data/a/b", ""),
            ("namespace", "team/", ""),
            ("role", "auth/approle/", "web"),
            ("user", "auth/userpass/login/bob", ""),
        ] {
            quotas.rate_limits.insert(name.to_owned(), limit(path, role));
        }
        for (path, mount, role, expected) in [
            ("sys/mounts", "sys/", None, Some("global")),
            ("kv/metadata/a", "kv/", None, Some("mount")),
            ("kv/data/x", "kv/", None, Some("below")),
            ("kv/data/a/x", "kv/", None, Some("deeper")),
            ("kv/data/a/b", "kv/", None, Some("path")),
            ("team/kv/data/a", "team/kv/", None, Some("namespace")),
            ("team/auth/x/login", "team/auth/x/", None, Some("namespace")),
            ("team/sub/kv/data/a", "team/sub/kv/", None, Some("global")),
            ("nowhere", "", None, Some("global")),
            ("auth/approle/login", "auth/approle/", Some("web"), Some("role")),
            ("auth/approle/login", "auth/approle/", Some("WEB"), Some("role")),
            ("auth/approle/login", "auth/approle/", Some("other"), None),
            ("auth/userpass/login/BOB", "auth/userpass/", None, Some("user")),
            ("kv/data/a/B", "kv/", None, Some("deeper")),
        ] {
            let found = quotas.rate_limit(&Asked { path, mount, role });
            assert_eq!(found.map(|(name, _)| name), expected, "{path} {role:?}");
        }
    }

    #[test]
    fn some_paths_are_free() {
        let mut quotas = Quotas::default();
        quotas.config.rate_limit_exempt_paths = vec!["sys/in-flight-req".to_owned(), "pub/*".to_owned()];
        for (path, free) in [
            ("sys/health", true),
            ("sys/unseal", true),
            ("sys/in-flight-req", true),
            ("pub/a/b", true),
            ("sys/healthy", false),
            ("public/a", false),
        ] {
            assert_eq!(quotas.exempt(path), free, "{path}");
        }
    }
}
