//! How long tokens live: at creation, at login and at renewal, by one rule.

use std::time::Duration;

use holdfast_api_types::AuthInfo;
use holdfast_base::duration;
use holdfast_logical::{Connection, Grant, StoreError, Timestamp, Txn};
use holdfast_secret::SecretString;

use super::{Token, Tokens};
use crate::{
    Error,
    lease::limits::{Capped, capped},
    mounts::{Router, Target},
    rights::all_policies,
};

/// What a token's TTL follows from.
#[derive(Debug, Default)]
pub struct Lifetime {
    /// What was asked for.
    pub wanted: Option<Duration>,
    /// What is given when nothing was.
    pub default: Duration,
    /// The role's maximum.
    pub max: Option<Duration>,
    /// The mount's maximum.
    pub mount_max: Duration,
    /// Given anew with every renewal, whatever the maximum.
    pub period: Option<Duration>,
    /// Hard end, periodic or not.
    pub explicit_max: Option<Duration>,
    /// Time since creation.
    pub age: Duration,
}

impl Lifetime {
    /// The TTL from now; none when the token is past its maximum.
    pub fn ttl(&self) -> Option<Capped> {
        let mut capped = match self.period.filter(|period| !period.is_zero()) {
            Some(period) => Capped { ttl: period.min(self.mount_max), warnings: Vec::new() },
            None => capped(self.wanted, self.default, self.max, self.mount_max, self.age)?,
        };
        if let Some(explicit) = self.explicit_max.filter(|explicit| !explicit.is_zero()) {
            let left = explicit.checked_sub(self.age).filter(|left| !left.is_zero())?;
            if capped.ttl > left {
                capped.warnings.push(format!(
                    "TTL of \"{}\" exceeded the effective max_ttl of \"{}\"; TTL value is capped accordingly",
                    duration::format(capped.ttl),
                    duration::format(left)
                ));
                capped.ttl = left;
            }
        }
        Some(capped)
    }
}

/// A token after its renewal.
pub struct Renewed {
    /// As it is stored now.
    pub token: Token,
    /// About caps.
    pub warnings: Vec<String>,
}

impl Tokens {
    /// Extends a token. `router` tells the limits of the mount that made it; its method sees the `connection`.
    pub async fn renew(
        &self,
        hash: &str,
        increment: Option<Duration>,
        router: &Router,
        connection: &Connection,
    ) -> Result<Renewed, Error> {
        loop {
            let Some((mut token, revision)) = self.get(hash).await? else { return Err(Error::denied()) };
            let Some(previous) = token.expires.filter(|_| token.renewable) else {
                return Err(Error::invalid("lease is not renewable"));
            };
            let now = self.now();
            let (lifetime, grant) = limits(&token, increment, now, router, connection).await?;
            let Some(capped) = lifetime.ttl() else { return Err(Error::invalid("past the max TTL, cannot renew")) };
            let expires = now.checked_add(capped.ttl).unwrap_or(Timestamp::MAX);
            token.expires = Some(expires);
            token.renewed = Some(now);
            if grant.is_some() {
                token.grant = grant;
            }
            let txn: Txn = self.leases.schedule_token(hash, expires, Some(previous))?;
            match self.replace(hash, &token, revision, txn).await {
                Ok(_) => return Ok(Renewed { token, warnings: capped.warnings }),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

async fn limits(
    token: &Token,
    increment: Option<Duration>,
    now: Timestamp,
    router: &Router,
    connection: &Connection,
) -> Result<(Lifetime, Option<Grant>), Error> {
    let seconds = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
    let mut lifetime = Lifetime {
        wanted: increment.filter(|increment| !increment.is_zero()).or(seconds(token.creation_ttl)),
        period: seconds(token.period),
        explicit_max: seconds(token.explicit_max_ttl),
        age: Duration::try_from(now.duration_since(token.created)).unwrap_or_default(),
        ..Lifetime::default()
    };
    let mounted = router.by_uuid(&token.mount).ok_or_else(|| Error::invalid("lease is not renewable"))?;
    lifetime.default = mounted.info.default_ttl;
    lifetime.mount_max = mounted.info.max_ttl;
    let (Some(grant), Target::Engine(backend)) = (&token.grant, &mounted.target) else { return Ok((lifetime, None)) };
    let grant = backend.renew_grant(grant.clone(), connection).await?;
    lifetime.max = grant.max_ttl;
    lifetime.period = grant.period.or(lifetime.period);
    if increment.is_none_or(|increment| increment.is_zero()) {
        lifetime.wanted = grant.ttl;
    }
    Ok((lifetime, Some(grant)))
}

/// `auth` of the envelope. `identity` are the policies that the token has by its entity.
pub fn auth_info(id: &SecretString, token: &Token, identity: &[String], now: Timestamp) -> AuthInfo {
    AuthInfo {
        client_token: id.expose().to_owned(),
        accessor: token.accessor.clone(),
        policies: all_policies(&token.policies, identity),
        token_policies: token.policies.clone(),
        identity_policies: identity.to_vec(),
        metadata: token.metadata.clone(),
        lease_duration: token.ttl_seconds(now),
        renewable: token.renewable,
        entity_id: token.entity_id.clone(),
        token_type: token.kind().to_owned(),
        orphan: token.parent.is_none(),
        mfa_requirement: None,
        num_uses: token.uses.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn lifetime() -> Lifetime {
        Lifetime { default: HOUR, mount_max: 10 * HOUR, ..Lifetime::default() }
    }

    proptest! {
        #[test]
        fn cve_2021_32923_no_token_passes_its_limits_and_none_is_given_for_ever(
            wanted in prop::option::of(0u64..9_000_000), max in prop::option::of(0u64..9_000_000), mount_max in 1u64..9_000_000,
            period in prop::option::of(0u64..9_000_000), explicit in prop::option::of(0u64..9_000_000), age_ms in 0u64..10_000_000_000,
        ) {
            let (seconds, set) = (Duration::from_secs, |value: Option<u64>| value.filter(|value| *value > 0).map(Duration::from_secs));
            let age = Duration::from_millis(age_ms);
            let lifetime = Lifetime {
                wanted: wanted.map(seconds), default: HOUR, max: max.map(seconds), mount_max: seconds(mount_max),
                period: period.map(seconds), explicit_max: explicit.map(seconds), age,
            };
            let Some(Capped { ttl, .. }) = lifetime.ttl() else {
                let ends = set(explicit).is_some_and(|explicit| age >= explicit)
                    || (set(period).is_none() && age >= set(max).map_or(seconds(mount_max), |max| max.min(seconds(mount_max))));
                prop_assert!(ends);
                return Ok(());
            };
            prop_assert!(!ttl.is_zero() && ttl <= seconds(mount_max));
            if let Some(explicit) = set(explicit) {
                prop_assert!(age + ttl <= explicit);
            }
            match set(period) {
                Some(period) => prop_assert!(ttl <= period),
                None => {
                    prop_assert!(age + ttl <= seconds(mount_max));
                    prop_assert!(set(max).is_none_or(|max| age + ttl <= max));
                }
            }
        }
    }

    #[test]
    fn a_periodic_token_outlives_the_maximum_but_not_the_explicit_one() {
        let old = Lifetime { period: Some(HOUR), age: 100 * HOUR, ..lifetime() };
        assert_eq!(old.ttl().unwrap().ttl, HOUR);
        let bounded = Lifetime { explicit_max: Some(100 * HOUR + HOUR / 2), ..old };
        assert_eq!(bounded.ttl().unwrap().ttl, HOUR / 2);
        assert!(Lifetime { explicit_max: Some(100 * HOUR), ..bounded }.ttl().is_none());
    }

    #[test]
    fn the_explicit_maximum_caps_the_ttl_and_says_so() {
        let capped = Lifetime { wanted: Some(HOUR / 2), explicit_max: Some(HOUR / 12), ..lifetime() }.ttl().unwrap();
        assert_eq!(capped.ttl, HOUR / 12);
        assert_eq!(capped.warnings.len(), 1);
    }
}
