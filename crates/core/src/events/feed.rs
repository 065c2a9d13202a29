//! From the watch feed of the store to the subscribers of this replica.

use std::{collections::HashMap, sync::Arc};

use holdfast_barrier::Changed;
use holdfast_logical::StoreError;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{Events, Told, WANTED};

/// Events that wait for a subscriber; one that is behind by more is ended.
const BEHIND: usize = 512;

/// Reads the ring while somebody subscribes.
pub struct Feed {
    sender: broadcast::Sender<Arc<Told>>,
    stop: CancellationToken,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Events {
    /// Hears all events that are told from now on, by any replica.
    pub(super) async fn listen(self: &Arc<Self>) -> Result<(Arc<Feed>, broadcast::Receiver<Arc<Told>>), StoreError> {
        let (feed, new) = {
            let mut current = self.feed.lock();
            match current.upgrade() {
                Some(feed) => (feed, false),
                None => {
                    let (sender, stop) = (broadcast::Sender::new(BEHIND), self.shutdown.child_token());
                    let feed = Arc::new(Feed { sender, stop });
                    *current = Arc::downgrade(&feed);
                    (feed, true)
                }
            }
        };
        let receiver = feed.sender.subscribe();
        if new {
            let changes = self.barrier.changes();
            tokio::spawn(self.clone().follow(changes, feed.sender.clone(), feed.stop.clone()));
        }
        // Also when the feed is there: whoever began it may not have come so far.
        self.want().await?;
        Ok((feed, receiver))
    }

    async fn follow(
        self: Arc<Self>,
        mut changes: broadcast::Receiver<Changed>,
        sender: broadcast::Sender<Arc<Told>>,
        stop: CancellationToken,
    ) {
        let mut seen = HashMap::new();
        let mut again = tokio::time::interval(WANTED / 3);
        loop {
            let changed = tokio::select! {
                () = stop.cancelled() => return,
                _ = again.tick() => {
                    if let Err(error) = self.want().await {
                        tracing::warn!(%error, "cannot say that events are wanted; trying again");
                    }
                    continue;
                }
                changed = changes.recv() => changed,
            };
            match changed {
                Ok(Changed::Path(path)) => {
                    if let Some(slot) = path.strip_prefix("events/ring/") {
                        self.read(slot, &mut seen, &sender).await;
                    }
                }
                Ok(Changed::Everything | Changed::Clear(_)) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "changes were missed, and perhaps events with them");
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Hands on what is in a slot, unless that was done.
    async fn read(&self, slot: &str, seen: &mut HashMap<String, u64>, sender: &broadcast::Sender<Arc<Told>>) {
        match self.view.get_json::<Vec<Told>>(&format!("ring/{slot}")).await {
            Ok(Some((batch, revision))) => {
                let revision = u64::try_from(revision).unwrap_or_default();
                if seen.insert(slot.to_owned(), revision) == Some(revision) {
                    return;
                }
                for told in batch {
                    // Nobody may be there any more.
                    let _ = sender.send(Arc::new(told));
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "events cannot be read and are lost"),
        }
    }
}
