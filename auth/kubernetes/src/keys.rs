//! The keys that tokens are signed with: given, or fetched from the cluster and kept.

use std::{sync::Arc, time::Duration};

use holdfast_logical::{Clock, Error};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, JwkSet},
};
use parking_lot::Mutex;
use serde_json::Value;

use crate::{
    api::Api,
    claims::Claims,
    config::{Cluster, Config},
};

/// Fetched keys are used this long without asking again.
const FRESH: Duration = Duration::from_secs(3600);

/// The cluster is asked at most once in this time, however many unknown keys come.
const PAUSE: Duration = Duration::from_secs(10);

/// After a failure it is asked again earlier.
const PAUSE_FAILED: Duration = Duration::from_secs(2);

/// Keys of one cluster.
pub(crate) struct Keys {
    clock: Arc<dyn Clock>,
    kept: Mutex<Option<Kept>>,
    /// Held while fetching: all who wait take what the first one got.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Kept {
    host: String,
    ca: String,
    keys: Arc<Vec<Key>>,
    /// When they came; `None`: they never did.
    fetched: Option<Duration>,
    asked: Duration,
}

/// One key, with its id if it has one.
struct Key {
    id: Option<String>,
    key: DecodingKey,
}

/// A public key, or the one of a certificate, in PEM.
pub(crate) fn from_pem(pem: &str) -> Option<DecodingKey> {
    DecodingKey::from_rsa_pem(pem.as_bytes()).or_else(|_| DecodingKey::from_ec_pem(pem.as_bytes())).ok()
}

fn refused(reason: &str) -> Error {
    Error::Denied(format!("the service account token was refused: {reason}"))
}

fn unfetched(host: &str) -> Error {
    Error::Unavailable(format!("the Kubernetes API server at {host} did not answer a moment ago; try again"))
}

impl Kept {
    fn new(cluster: &Cluster, keys: Vec<Key>, fetched: Option<Duration>, asked: Duration) -> Self {
        Self { host: cluster.host.clone(), ca: cluster.ca.clone(), keys: Arc::new(keys), fetched, asked }
    }

    /// Are these the keys of this cluster? Its token may be another one by now.
    fn of(&self, cluster: &Cluster) -> bool {
        self.host == cluster.host && self.ca == cluster.ca
    }
}

impl Keys {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// Drops what was fetched.
    pub fn forget(&self) {
        *self.kept.lock() = None;
    }

    /// The facts of a token whose signature is good. Its times and audience are not checked yet.
    pub async fn verify(&self, token: &str, config: &Config, cluster: &Cluster, api: &Api) -> Result<Claims, Error> {
        let header = decode_header(token).map_err(|_| refused("it is not a JWT"))?;
        if matches!(header.alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            return Err(refused("it is not signed with a public key algorithm"));
        }
        if !config.pem_keys.is_empty() {
            let keys: Vec<DecodingKey> = config.pem_keys.iter().filter_map(|pem| from_pem(pem)).collect();
            return check(token, header.alg, keys.iter());
        }
        let keys = self.keys(cluster, api, header.kid.as_deref()).await?;
        let named = |key: &&Key| header.kid.is_none() || key.id == header.kid;
        check(token, header.alg, keys.iter().filter(named).map(|key| &key.key))
    }

    /// The cluster's keys, fetched when there are none, when they are old, or when `id` is not among them.
    async fn keys(&self, cluster: &Cluster, api: &Api, id: Option<&str>) -> Result<Arc<Vec<Key>>, Error> {
        if let Some(keys) = self.good(cluster, id) {
            return Ok(keys);
        }
        let _fetching = self.fetching.lock().await;
        if let Some(keys) = self.good(cluster, id) {
            return Ok(keys);
        }
        let now = self.clock.boottime();
        let before = self.kept.lock().clone().filter(|kept| kept.of(cluster));
        if let Some(kept) = &before {
            let since = now.saturating_sub(kept.asked);
            match kept.fetched {
                Some(_) if since < PAUSE => return Ok(kept.keys.clone()),
                None if since < PAUSE_FAILED => return Err(unfetched(&cluster.host)),
                _ => {}
            }
        }
        let answer = api.signing_keys(cluster).await;
        // The pause begins when the answer came, or did not: those who wait here must not wait for it one after another.
        let now = self.clock.boottime();
        let (kept, outcome) = match (answer, before) {
            (Ok(set), _) => (Kept::new(cluster, usable(&set), Some(now), now), Ok(())),
            (Err(error), Some(kept)) if kept.fetched.is_some() => {
                tracing::warn!(%error, "the cluster's keys could not be fetched anew; the known ones are used");
                (Kept { asked: now, ..kept }, Ok(()))
            }
            (Err(error), _) => (Kept::new(cluster, Vec::new(), None, now), Err(error)),
        };
        let keys = kept.keys.clone();
        *self.kept.lock() = Some(kept);
        outcome.map(|()| keys)
    }

    fn good(&self, cluster: &Cluster, id: Option<&str>) -> Option<Arc<Vec<Key>>> {
        let kept = self.kept.lock();
        let kept = kept.as_ref().filter(|kept| kept.of(cluster))?;
        let fresh = self.clock.boottime().saturating_sub(kept.fetched?) < FRESH;
        let known = id.is_none_or(|id| kept.keys.iter().any(|key| key.id.as_deref() == Some(id)));
        (fresh && known).then(|| kept.keys.clone())
    }
}

/// The keys of a set that signatures can be checked with; never a symmetric one.
fn usable(set: &JwkSet) -> Vec<Key> {
    let asymmetric = set.keys.iter().filter(|jwk| !matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)));
    asymmetric
        .filter_map(|jwk| Some(Key { id: jwk.common.key_id.clone(), key: DecodingKey::from_jwk(jwk).ok()? }))
        .collect()
}

fn check<'k>(token: &str, algorithm: Algorithm, keys: impl Iterator<Item = &'k DecodingKey>) -> Result<Claims, Error> {
    let mut validation = Validation::new(algorithm);
    // Times are checked with the clock that is given; audience and issuer with the role and the configuration.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let mut reason = "it is signed with a key that the cluster does not have";
    for key in keys {
        match decode::<Value>(token, key, &validation) {
            Ok(token) => {
                return Claims::read(token.claims).ok_or_else(|| refused("it is not one of a service account"));
            }
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => reason = "its signature is wrong",
            Err(_) => {}
        }
    }
    Err(refused(reason))
}
