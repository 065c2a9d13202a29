//! Unsealing by token, where a seal keeps the key and somebody sealed the server by a request.
//!
//! Whether a token may do that stands behind the barrier, so each attempt opens it for a moment. What cannot be a token is
//! refused before that, one network has few attempts, and who fails waits for the answer.

use std::time::Duration;

use holdfast_logical::{Error as Logical, Namespace, Operation};
use holdfast_secret::SecretString;
use serde_json::Map;

use crate::{
    Core, Error, Raw,
    open::Open,
    pipeline::entitled,
    quota::{self, RateLimit, Scope},
    token,
};

/// How long the answer to a failure is held back.
const PAUSE: Duration = Duration::from_secs(1);

/// Attempts of one network. They are counted whether they fail or not: who succeeds needs no second one.
const ATTEMPTS: RateLimit = RateLimit {
    scope: Scope { path: String::new(), role: String::new(), inheritable: None },
    rate: 5.0,
    interval: 60,
    block_interval: 0,
    shared: false,
};

impl Core {
    /// The token of a request, if it is one to open the barrier for. 429 if its network has tried too often; a request that
    /// brings a share as well is taken for the share then.
    pub(super) fn token_to_try<'r>(&self, raw: &'r Raw, share: bool) -> Result<Option<&'r SecretString>, Error> {
        if !self.config().seal.stored_keys() || self.is_unsealed() {
            return Ok(None);
        }
        let Some(token) = raw.token.as_ref().filter(|token| token::is_formed(token)) else { return Ok(None) };
        let verdict = self.unseals.ask("token", &ATTEMPTS, raw.connection.remote, self.config().clock.boottime());
        match (verdict.refused(), share) {
            (false, _) => Ok(Some(token)),
            (true, true) => Ok(None),
            (true, false) => Err(quota::refusal("sys/unseal")),
        }
    }

    /// Opens the server for the holder of a token; `false`: it is none, or may not.
    pub(super) async fn unseal_by_token(&self, raw: &Raw, token: &SecretString) -> Result<bool, Error> {
        self.open_barrier().await?;
        let may = match Open::load(std::sync::Weak::new(), self.shared_config()).await {
            Ok(open) => may_unseal(&open, raw, token).await,
            Err(error) => Err(error.into()),
        };
        let used = match may {
            Ok(Some(used)) => used,
            refused => {
                self.config().barrier.seal().await;
                return refused.map(|_| false);
            }
        };
        let open = self.activate().await?;
        self.release().await?;
        if let Used::Up(hash) = used
            && let Err(error) = Box::pin(open.tokens.revoke(&hash)).await
        {
            tracing::warn!(%error, "a token that was used up is not revoked yet");
        }
        Ok(true)
    }

    /// Somebody had the barrier opened for nothing. Not to be called with the ceremony held: others go on.
    pub(super) async fn slow_down(&self, raw: &Raw) {
        self.metrics().unseal_failures.inc();
        let remote = raw.connection.remote.map(|address| address.to_string()).unwrap_or_default();
        tracing::warn!(remote, "an attempt to unseal had a token or recovery key that may not");
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is left of a token that may unseal.
enum Used {
    /// Something.
    More,
    /// Nothing: it is to be revoked.
    Up(String),
}

async fn may_unseal(open: &Open, raw: &Raw, token: &SecretString) -> Result<Option<Used>, Error> {
    let found = open.tokens.find(token).await?.map(|(hash, token, _)| (hash, token));
    let (root, router) = (Namespace::root(), open.mounts.cached());
    let entitled = entitled(open, &root, &router, raw.connection.remote, found, Error::invalid_token).await;
    let (hash, token, rights) = match entitled {
        Err(Error::Logical(Logical::Denied(_))) => return Ok(None),
        other => other?,
    };
    let decision = rights.policies.decide("sys/unseal", Operation::Update, &Map::new(), None);
    let used = if token.uses == Some(0) { Used::Up(hash) } else { Used::More };
    Ok((decision.allowed && decision.sudo).then_some(used))
}
