//! One task per member that can be reached.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::peer::{Endpoint, PeerLink};
use crate::session::Session;
use crate::session::pauses::Pauses;

/// A message at least so often, also without news.
const KEEP_ALIVE: Duration = Duration::from_millis(100);
/// A message must be answered within this, or the connection is given up.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);
/// The same of the first message on a new connection.
const RECONNECT_WITHIN: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Session {
    /// One talk for each member that can be reached.
    pub(super) fn mind_talks(self: &Arc<Self>) {
        let Some(link) = self.peers.link.clone() else { return };
        let wanted = self.roster.lock().endpoints();
        let mut talks = self.peers.talks.lock();
        self.digest.retain(|key| wanted.contains_key(key));
        talks.retain(|key, (endpoint, task)| {
            let keep = wanted.get(key) == Some(endpoint);
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, endpoint) in wanted {
            talks.entry(key.clone()).or_insert_with(|| {
                let talk = talk(self.clone(), link.clone(), key, endpoint.clone());
                (endpoint, tokio::spawn(talk))
            });
        }
    }
}

/// Tells a member the latest, for ever.
async fn talk(session: Arc<Session>, link: Arc<dyn PeerLink>, key: Bytes, endpoint: Endpoint) {
    let mut news = session.peers.news.subscribe();
    let mut pauses = Pauses::new(PAUSE, LONGEST_PAUSE);
    let mut connected = false;
    let mut told = 0;
    loop {
        news.borrow_and_update();
        let limit = if connected { ANSWER_WITHIN } else { RECONNECT_WITHIN };
        let note = session.peers.board.tell(told).map(|(number, note)| {
            told = number;
            note
        });
        let answer = tokio::time::timeout(limit, link.call(&endpoint, session.message(note))).await;
        connected = match answer {
            Ok(Ok(answer)) => {
                // It lives, even if it has not seen our record yet. But it may go on under another id: then nobody is there
                // under this one, of which a store that went back still has a record.
                session.receive(&endpoint.key, &answer).is_none_or(|from| from == key)
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a replica was not reached");
                false
            }
            Err(_) => {
                tracing::debug!(address = endpoint.address, "a replica did not answer in time");
                false
            }
        };
        let given_up = session.roster.lock().tried(&key, connected);
        if given_up {
            session.wake.notify_one();
        }
        if connected {
            pauses.begin_anew();
            // The first to come: news, or time.
            let _ = tokio::time::timeout(KEEP_ALIVE, news.changed()).await;
        } else {
            pauses.pause().await;
        }
    }
}
