//! The keys that tokens are signed with: given, or fetched from the cluster and kept.

use std::sync::Arc;

use holdfast_jose::{Key, KeyCache, KeySet, Refusal, Token, Unfetched};
use holdfast_logical::{Clock, Error};
use serde_json::Value;

use crate::{
    api::Api,
    claims::Claims,
    config::{Cluster, Config},
};

/// Keys of one cluster.
pub(crate) struct Keys(KeyCache);

fn refused(reason: &str) -> Error {
    Error::Denied(format!("the service account token was refused: {reason}"))
}

impl Keys {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(KeyCache::new(clock))
    }

    /// Drops what was fetched.
    pub fn forget(&self) {
        self.0.forget();
    }

    /// The facts of a token whose signature is good. Its times and audience are not checked yet.
    pub async fn verify(&self, token: &str, config: &Config, cluster: &Cluster, api: &Api) -> Result<Claims, Error> {
        let told = |refusal: Refusal| match refusal {
            Refusal::UnknownKey => refused("it is signed with a key that the cluster does not have"),
            other => refused(&other.to_string()),
        };
        let token = Token::read(token).map_err(told)?;
        let keys = if config.pem_keys.is_empty() {
            self.fetched(cluster, api, token.key_id()).await?
        } else {
            let given: Vec<Key> = config.pem_keys.iter().filter_map(|pem| Key::from_pem(pem)).collect();
            Arc::new(KeySet::from(given))
        };
        let claims = token.verify(keys.iter()).map_err(told)?;
        Claims::read(Value::Object(claims)).ok_or_else(|| refused("it is not one of a service account"))
    }

    /// The cluster's keys. Its token may be another one by now; host and CA say whose keys they are.
    async fn fetched(&self, cluster: &Cluster, api: &Api, id: Option<&str>) -> Result<Arc<KeySet>, Error> {
        let source = format!("{}\n{}", cluster.host, cluster.ca);
        let keys = self.0.keys(&source, id, api.signing_keys(cluster)).await;
        keys.map_err(|unfetched| match unfetched {
            Unfetched::Failed(error) => error,
            Unfetched::Paused => Error::Unavailable(format!(
                "the Kubernetes API server at {} did not answer a moment ago; try again",
                cluster.host
            )),
        })
    }
}
