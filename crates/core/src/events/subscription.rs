//! What one subscriber hears, and until when.

use std::{sync::Arc, time::Duration};

use holdfast_base::glob;
use holdfast_logical::Namespace;
use holdfast_policy::Place;
use holdfast_secret::SecretString;
use tokio::{sync::broadcast, time::Interval};

use super::{Filter, Told, feed::Feed};
use crate::{Error, open::Open};

/// Time between two looks at the token when nothing happens.
const LOOK: Duration = Duration::from_secs(2);

/// What a subscriber wants.
pub struct Wish {
    /// Namespace of the request: events are of it and of those below it.
    pub namespace: Arc<Namespace>,
    /// Glob over types.
    pub kind: String,
    /// Globs over namespaces below that of the request.
    pub namespaces: Vec<String>,
    /// What else.
    pub filter: Option<Filter>,
    /// Who asks.
    pub token: SecretString,
}

/// Events for one subscriber. Ends when it is dropped.
pub struct Subscription {
    open: Arc<Open>,
    wish: Wish,
    receiver: broadcast::Receiver<Arc<Told>>,
    look: Interval,
    _feed: Arc<Feed>,
}

/// Why a subscription is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The token is gone, or may not subscribe any more.
    #[error("the token may not subscribe any more")]
    Denied,
    /// It did not take events as fast as they came.
    #[error("too slow: events were lost")]
    Slow,
    /// The server is sealed or stops.
    #[error("the server is sealed")]
    Sealed,
}

impl Subscription {
    /// From now on.
    pub async fn new(open: Arc<Open>, wish: Wish) -> Result<Self, Error> {
        let (feed, receiver) = open.events.listen().await.map_err(holdfast_logical::Error::from)?;
        Ok(Self { open, wish, receiver, look: tokio::time::interval(LOOK), _feed: feed })
    }

    /// The next event as JSON. Must not be dropped half way: what it had in hand would be lost.
    pub async fn next(&mut self) -> Result<String, Ended> {
        let shutdown = self.open.shutdown.clone();
        loop {
            let told = tokio::select! {
                () = shutdown.cancelled() => return Err(Ended::Sealed),
                _ = self.look.tick() => {
                    self.admits(None).await?;
                    continue;
                }
                told = self.receiver.recv() => told,
            };
            match told {
                Ok(told) if self.wants(&told) => {
                    if self.admits(Some(&told)).await? {
                        return Ok(told.to_json().to_string());
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return Err(Ended::Slow),
                Err(broadcast::error::RecvError::Closed) => return Err(Ended::Sealed),
            }
        }
    }

    fn wants(&self, told: &Told) -> bool {
        let Wish { namespace, kind, namespaces, filter, .. } = &self.wish;
        let Some(below) = told.namespace.strip_prefix(&namespace.path) else { return false };
        let below = below.trim_end_matches('/');
        glob::matches(kind, &told.event.kind)
            && (below.is_empty() || namespaces.iter().any(|wanted| glob::matches(wanted.trim_matches('/'), below)))
            && filter.as_ref().is_none_or(|filter| filter.matches(told))
    }

    /// May the token, as it is now, still subscribe, and hear of this? Each event is asked about anew.
    async fn admits(&self, told: Option<&Told>) -> Result<bool, Ended> {
        let gone = |_| Ended::Denied;
        let (open, wish) = (&self.open, &self.wish);
        let found = open.tokens.find(&wish.token).await.map_err(|_| Ended::Sealed)?;
        let (_, token, _) = found.ok_or(Ended::Denied)?;
        let policies = open.rights(&wish.namespace, &token).await.map_err(gone)?.policies;
        let namespace = wish.namespace.path.as_str();
        let own = wish.namespace.full_path(&format!("sys/events/subscribe/{}", wish.kind));
        let read = holdfast_logical::Operation::Read;
        if !policies.decide(Place { path: &own, namespace }, read, &serde_json::Map::new(), None).allowed {
            return Err(Ended::Denied);
        }
        let Some(told) = told else { return Ok(true) };
        let path = format!("{}{}", told.namespace, told.data_path());
        Ok(policies.may_hear(Place { path: &path, namespace }, &told.event.kind))
    }
}
