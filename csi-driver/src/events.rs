//! Hears of changes: one subscription of the driver for all volumes of its node. It is told which path changed, never
//! what is there; each volume then reads as its pod. While there is no subscription, volumes poll.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use holdfast_base::Entropy;
use holdfast_client::changes::{Heard, refused};
use holdfast_runtime::Shutdown;
use tracing::{debug, info};

use crate::{
    lease::{backoff, jittered},
    session::{CallError, Session},
    volumes::Volumes,
};

/// How often values are read that changes would be heard of.
const QUIET: Duration = Duration::from_secs(60);

/// Whether changes are heard of at the moment.
#[derive(Clone, Debug, Default)]
pub struct Hearing(Arc<AtomicBool>);

impl Hearing {
    /// How often to read a value, where its owner did not say (`asked`).
    pub fn refresh(&self, asked: Option<Duration>, polling: Duration) -> Duration {
        match asked {
            Some(asked) => asked,
            None if self.0.load(Ordering::Relaxed) => QUIET,
            None => polling,
        }
    }
}

/// The subscription.
pub struct Subscription {
    /// The driver's own login.
    pub session: Arc<Session>,
    /// Whom to tell.
    pub volumes: Arc<Volumes>,
    /// What volumes see of it.
    pub hearing: Hearing,
    /// Jitter.
    pub entropy: Arc<dyn Entropy>,
}

impl Subscription {
    /// Subscribes, again and again, until the shutdown.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut failures = 0;
        loop {
            let wait = tokio::select! {
                heard = self.hear() => match heard {
                    Ok(()) => {
                        failures = 0;
                        jittered(Duration::from_secs(1), &*self.entropy)
                    }
                    Err(error) => {
                        failures += 1;
                        self.pause(&error).unwrap_or_else(|| backoff(failures, &*self.entropy))
                    }
                },
                () = shutdown.cancelled() => return Ok(()),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// How long to leave a server alone that tells nothing.
    fn pause(&self, error: &CallError) -> Option<Duration> {
        let CallError::Server(error) = error else { return None };
        let pause = refused(error)?;
        info!(%error, "the server does not tell of changes; volumes poll");
        Some(jittered(pause, &*self.entropy))
    }

    /// Until the subscription ends. What changed before it began, or after it ended, is found by reading all once.
    async fn hear(&self) -> Result<(), CallError> {
        let events = self.session.call(|client| async move { client.subscribe("*", "").await }).await?;
        let told = |news| {
            self.tell(&news);
            std::future::ready(true)
        };
        let over = events.changes(told).await;
        info!(ended = over.map(tracing::field::display), "no longer hearing of changes; volumes poll");
        Ok(())
    }

    fn tell(&self, news: &Heard) {
        if let Heard::Path(path) = news {
            debug!(path, "changed");
            return self.volumes.changed(Some(path));
        }
        let hearing = *news == Heard::Anything;
        if hearing {
            info!("hearing of changes");
        }
        self.hearing.0.store(hearing, Ordering::Relaxed);
        self.volumes.changed(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_rare_while_changes_are_heard_of_unless_the_owner_says_otherwise() {
        let (hearing, second) = (Hearing::default(), Duration::from_secs(1));
        assert_eq!(hearing.refresh(None, second), second);
        hearing.0.store(true, Ordering::Relaxed);
        assert_eq!((hearing.refresh(None, second), hearing.refresh(Some(second), second)), (QUIET, second));
    }
}
