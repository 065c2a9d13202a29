//! Events of the server: a change is read at once rather than at the next interval. Where events cannot be had (an older
//! server, a policy without them, a connection that breaks) the interval is all there is.

use std::time::Duration;

use holdfast_client::{Client, Error};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

use crate::{backoff::Jitter, metrics::Metrics};

/// Types of events that change what a path answers.
const KINDS: &str = "kv*";
/// Between attempts where the server says that there will be no events.
const REFUSED: Duration = Duration::from_secs(300);

/// What is to be read again.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// This path has changed.
    Path(String),
    /// The connection is new: something may have been missed.
    Anything,
    /// There is no connection (any more): changes are not told of.
    Nothing,
}

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
        if heard.send(Heard::Nothing).await.is_err() {
            return;
        }
        failures = if before.elapsed() > Duration::from_secs(60) { 1 } else { failures + 1 };
        let wait = match error.status() {
            Some(400..500) => REFUSED,
            _ => jitter.after_failures(failures),
        };
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
    let mut events = match client.subscribe(KINDS, "").await {
        Ok(events) => events,
        Err(error) => return error,
    };
    debug!("listening to events");
    metrics.listening(true);
    let mut news = Heard::Anything;
    loop {
        if heard.send(news).await.is_err() {
            return Error::Config("nobody listens".to_owned());
        }
        news = match events.next().await {
            Ok(event) => Heard::Path(path_of(&event)),
            Err(over) => return Error::Config(over.to_string()),
        };
    }
}

/// The path of the API that an event is about; empty if it says none. Versions of a kv value are deleted and brought back
/// by other paths than the one that it is read by.
fn path_of(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let text = |name: &str| event.pointer(&format!("/data/event/metadata/{name}")).and_then(Value::as_str);
    let path = text("data_path").filter(|path| !path.is_empty()).or_else(|| text("path")).unwrap_or_default();
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
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
        let event =
            |name: &str, path: &str| serde_json::json!({"data": {"event": {"metadata": {name: path}}}}).to_string();
        assert_eq!(path_of(&event("data_path", "kv/data/a/b")), "kv/data/a/b");
        assert_eq!(path_of(&event("path", "kv/destroy/delete")), "kv/data/delete");
        assert_eq!(path_of("{}"), "");
    }
}
