//! Events of the server: a change is read at once rather than at the next interval. Where events cannot be had (an older
//! server, a policy without them, a connection that breaks) the interval is all there is.

use std::time::Duration;

use holdfast_client::{
    Client, Error,
    changes::{Heard, refused},
};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

use crate::{backoff::Jitter, metrics::Metrics};

/// Types of events that change what a path answers.
const KINDS: &str = "kv*";

/// Listens until dropped. `client` has the connection with the current token, once there is one.
pub async fn listen(
    mut client: watch::Receiver<Option<Client>>,
    heard: mpsc::Sender<Heard>,
    jitter: Jitter,
    metrics: Metrics,
) {
    let mut failures = 0;
    loop {
        let current = client.borrow_and_update().clone();
        let Some(current) = current else {
            if client.changed().await.is_err() {
                return;
            }
            continue;
        };
        let before = tokio::time::Instant::now();
        let error = hear(&current, &heard, &metrics).await;
        metrics.listening(false);
        if heard.is_closed() {
            return;
        }
        failures = if before.elapsed() > Duration::from_secs(60) { 1 } else { failures + 1 };
        let wait = refused(&error).unwrap_or_else(|| jitter.after_failures(failures));
        if error.status().is_some() && failures == 1 {
            info!(reason = %error, "no events from the server: paths are read at intervals only");
        } else {
            debug!(reason = %error, "no events for now");
        }
        // A new token may be allowed what the old one was not.
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = client.changed() => if changed.is_err() { return },
        }
    }
}

async fn hear(client: &Client, heard: &mpsc::Sender<Heard>, metrics: &Metrics) -> Error {
    let events = match client.subscribe(KINDS, "").await {
        Ok(events) => events,
        Err(error) => return error,
    };
    debug!("listening to events");
    metrics.listening(true);
    let over = events.changes(|news| async move { heard.send(news).await.is_ok() }).await;
    Error::Config(over.map_or_else(|| "nobody listens".to_owned(), |over| over.to_string()))
}
