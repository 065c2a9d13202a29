//! Events: what engines did, told to whoever subscribes to it (`sys/events/subscribe`).
//!
//! An event is a message and no record: it is told at most once, and only while somebody listens. Every replica serves
//! subscribers, and an event of one reaches the subscribers of all by way of the store: while there is a subscriber
//! anywhere, `events/wanted` says until when events are wanted, and whoever makes one writes it to a ring of slots below
//! `events/ring/`, many at a time. The watch feed hands them to every replica, in the order of the store. While nobody
//! listens, an event costs one look into the cache.

mod feed;
mod filter;
mod subscription;
mod told;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use holdfast_barrier::Barrier;
use holdfast_base::{Clock, Entropy, Timestamp, id};
use holdfast_logical::{Event, StoreError, View};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::feed::Feed;
pub use self::{
    filter::Filter,
    subscription::{Ended, Subscription, Wish},
    told::Told,
};
use crate::mounts::Mounted;

/// Slots of the ring. A slot is taken again when all others were.
const SLOTS: u8 = 64;

/// Events that wait to be written; more are lost.
const QUEUE: usize = 1024;

/// Events of one slot.
const BATCH: usize = 64;

/// So long events are wanted after a subscriber last said so; said again every third of it.
const WANTED: Duration = Duration::from_secs(90);

/// Where events are told and heard.
pub struct Events {
    view: View,
    barrier: Arc<Barrier>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    queue: mpsc::Sender<Told>,
    waiting: Mutex<Option<mpsc::Receiver<Told>>>,
    /// Lives as long as somebody subscribes here.
    feed: Mutex<Weak<Feed>>,
    shutdown: CancellationToken,
}

/// Until when somebody wants events.
#[derive(Serialize, Deserialize)]
struct Wanted {
    until: Timestamp,
}

impl Events {
    /// Of an unsealed server; `view` is its whole key space. Ends with `shutdown`.
    pub fn new(
        view: &View,
        barrier: Arc<Barrier>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Arc::new(Self {
            view: view.below("events"),
            barrier,
            clock,
            entropy,
            queue,
            waiting: Mutex::new(Some(waiting)),
            feed: Mutex::default(),
            shutdown,
        })
    }

    /// Tells what an engine did, if anybody wants to hear it. Never fails and never waits for the store's writes.
    pub async fn tell(&self, mounted: &Mounted, events: Vec<Event>) {
        if events.is_empty() || !self.wanted().await {
            return;
        }
        for event in events {
            let told =
                Told::new(id::uuid(&*self.entropy), self.clock.now(), &mounted.info, mounted.record.class, event);
            if self.queue.try_send(told).is_err() {
                tracing::warn!("an event is lost: more are made than the store takes");
                return;
            }
        }
    }

    async fn wanted(&self) -> bool {
        match self.view.get_json::<Wanted>("wanted").await {
            Ok(wanted) => wanted.is_some_and(|(wanted, _)| wanted.until > self.clock.now()),
            Err(_) => false,
        }
    }

    /// Says that events are wanted from now on.
    async fn want(&self) -> Result<(), StoreError> {
        let until = self.clock.now() + WANTED;
        self.view.put_json("wanted", &Wanted { until }).await.map(drop)
    }

    /// Writes what is told until the server is sealed.
    pub async fn run(self: Arc<Self>) {
        let Some(mut waiting) = self.waiting.lock().take() else { return };
        let mut first = [0];
        self.entropy.fill(&mut first);
        let mut slot = first[0];
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let many = tokio::select! {
                () = self.shutdown.cancelled() => return,
                many = waiting.recv_many(&mut batch, BATCH) => many,
            };
            if many == 0 {
                return;
            }
            slot = slot.wrapping_add(1);
            let path = format!("ring/{:02x}", slot % SLOTS);
            if let Err(error) = self.view.put_json(&path, &batch).await {
                tracing::warn!(%error, many, "events are lost: the store does not take them");
            }
            batch.clear();
        }
    }
}
