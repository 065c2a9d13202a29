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
use holdfast_runtime::Shutdown;
use serde_json::Value;
use tracing::{debug, info};

use crate::{
    lease::{backoff, jittered},
    session::{CallError, Session},
    volumes::Volumes,
};

/// How often values are read that changes would be heard of.
const QUIET: Duration = Duration::from_secs(60);
/// How long to wait after a server that has no events, or not for us.
const REFUSED: Duration = Duration::from_secs(300);

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
                    Err(CallError::Server(error)) if matches!(error.status(), Some(400..500)) => {
                        info!(%error, "the server does not tell of changes; volumes poll");
                        jittered(REFUSED, &*self.entropy)
                    }
                    Err(_) => {
                        failures += 1;
                        backoff(failures, &*self.entropy)
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

    /// Until the subscription ends. What changed before it began, or after it ended, is found by reading all once.
    async fn hear(&self) -> Result<(), CallError> {
        let mut events = self.session.call(|client| async move { client.subscribe("*", "").await }).await?;
        info!("hearing of changes");
        self.hearing.0.store(true, Ordering::Relaxed);
        self.volumes.changed(None);
        let ended = loop {
            match events.next().await {
                Ok(text) => {
                    if let Some(path) = path_of(&text) {
                        debug!(path, "changed");
                        self.volumes.changed(Some(&path));
                    }
                }
                Err(over) => break over,
            }
        };
        info!(%ended, "no longer hearing of changes; volumes poll");
        self.hearing.0.store(false, Ordering::Relaxed);
        self.volumes.changed(None);
        Ok(())
    }
}

/// The path by which the changed value is read.
fn path_of(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).ok()?;
    let metadata = &event["data"]["event"]["metadata"];
    let path = metadata["data_path"].as_str().filter(|path| !path.is_empty()).or_else(|| metadata["path"].as_str())?;
    Some(data_path(path.trim_matches('/')))
}

/// Versions of a kv value are deleted and brought back by other paths than the one that it is read by.
fn data_path(path: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    if let Some(part) = parts.iter_mut().find(|part| matches!(**part, "metadata" | "delete" | "undelete" | "destroy")) {
        *part = "data";
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_the_path_that_is_read() {
        let event = |path: &str| serde_json::json!({"data": {"event": {"metadata": {"data_path": path}}}}).to_string();
        assert_eq!(path_of(&event("k8s/shop/kv/data/a/b")).unwrap(), "k8s/shop/kv/data/a/b");
        assert_eq!(path_of(&event("kv/metadata/a")).unwrap(), "kv/data/a");
        assert_eq!(path_of(&event("kv/destroy/delete")).unwrap(), "kv/data/delete");
        assert_eq!(path_of("{}"), None);
    }

    #[test]
    fn reading_is_rare_while_changes_are_heard_of_unless_the_owner_says_otherwise() {
        let (hearing, second) = (Hearing::default(), Duration::from_secs(1));
        assert_eq!(hearing.refresh(None, second), second);
        hearing.0.store(true, Ordering::Relaxed);
        assert_eq!((hearing.refresh(None, second), hearing.refresh(Some(second), second)), (QUIET, second));
    }
}
