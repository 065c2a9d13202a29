//! Keys that were fetched, kept for a while.

use std::{fmt::Display, future::Future, sync::Arc, time::Duration};

use holdfast_base::Clock;
use parking_lot::Mutex;

use crate::KeySet;

/// Fetched keys are used this long without asking again.
const FRESH: Duration = Duration::from_secs(3600);

/// The source is asked at most once in this time, however many unknown keys come.
const PAUSE: Duration = Duration::from_secs(10);

/// After a failure it is asked again earlier.
const PAUSE_FAILED: Duration = Duration::from_secs(2);

/// Keys of one source at a time. An unknown key id makes it ask again, at most every ten seconds; a source that does
/// not answer is left alone for two.
pub struct KeyCache {
    clock: Arc<dyn Clock>,
    kept: Mutex<Option<Kept>>,
    /// Held while fetching: all who wait take what the first one got.
    fetching: tokio::sync::Mutex<()>,
}

/// Why there are no keys.
#[derive(Debug)]
pub enum Unfetched<E> {
    /// The source did not give them now.
    Failed(E),
    /// It did not a moment ago, and was not asked again.
    Paused,
}

#[derive(Clone)]
struct Kept {
    source: String,
    keys: Arc<KeySet>,
    /// When they came; `None`: they never did.
    fetched: Option<Duration>,
    asked: Duration,
}

impl KeyCache {
    /// Nothing is kept yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// Drops what was fetched.
    pub fn forget(&self) {
        *self.kept.lock() = None;
    }

    /// The keys of `source` (all that they follow from: URL and CA), fetched when there are none, when they are old, or
    /// when `id` is not among them. What was fetched once is used on when the source fails.
    pub async fn keys<E: Display>(
        &self,
        source: &str,
        id: Option<&str>,
        fetch: impl Future<Output = Result<KeySet, E>>,
    ) -> Result<Arc<KeySet>, Unfetched<E>> {
        if let Some(keys) = self.good(source, id) {
            return Ok(keys);
        }
        let _fetching = self.fetching.lock().await;
        if let Some(keys) = self.good(source, id) {
            return Ok(keys);
        }
        let now = self.clock.boottime();
        let before = self.kept.lock().clone().filter(|kept| kept.source == source);
        if let Some(kept) = &before {
            let since = now.saturating_sub(kept.asked);
            match kept.fetched {
                Some(_) if since < PAUSE => return Ok(kept.keys.clone()),
                None if since < PAUSE_FAILED => return Err(Unfetched::Paused),
                _ => {}
            }
        }
        let answer = fetch.await;
        // The pause begins when the answer came, or did not: those who wait here must not wait for it one after another.
        let now = self.clock.boottime();
        let kept = |keys: Arc<KeySet>, fetched| Kept { source: source.to_owned(), keys, fetched, asked: now };
        let (kept, outcome) = match (answer, before) {
            (Ok(keys), _) => (kept(Arc::new(keys), Some(now)), Ok(())),
            (Err(error), Some(before)) if before.fetched.is_some() => {
                tracing::warn!(%error, "signing keys could not be fetched anew; the known ones are used");
                (kept(before.keys, before.fetched), Ok(()))
            }
            (Err(error), _) => (kept(Arc::default(), None), Err(Unfetched::Failed(error))),
        };
        let keys = kept.keys.clone();
        *self.kept.lock() = Some(kept);
        outcome.map(|()| keys)
    }

    fn good(&self, source: &str, id: Option<&str>) -> Option<Arc<KeySet>> {
        let kept = self.kept.lock();
        let kept = kept.as_ref().filter(|kept| kept.source == source)?;
        let fresh = self.clock.boottime().saturating_sub(kept.fetched?) < FRESH;
        (fresh && kept.keys.knows(id)).then(|| kept.keys.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use holdfast_base::{ManualClock, Timestamp};

    use super::*;
    use crate::Key;

    struct Source(AtomicU32);

    impl Source {
        async fn ask(&self, answer: Result<(), &'static str>) -> Result<KeySet, &'static str> {
            self.0.fetch_add(1, Ordering::SeqCst);
            answer.map(|()| {
                let pem = rcgen::KeyPair::generate().unwrap().public_key_pem();
                KeySet::from(vec![Key::from_pem(&pem).unwrap().with_id("a")])
            })
        }

        fn asked(&self) -> u32 {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn a_source_is_asked_rarely() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(0).unwrap()));
        let (cache, source) = (KeyCache::new(clock.clone()), Source(AtomicU32::new(0)));
        assert!(matches!(cache.keys("s", None, source.ask(Err("x"))).await, Err(Unfetched::Failed("x"))));
        assert!(matches!(cache.keys("s", None, source.ask(Ok(()))).await, Err(Unfetched::Paused)));
        clock.advance(PAUSE_FAILED);
        assert!(cache.keys("s", Some("a"), source.ask(Ok(()))).await.is_ok());
        for _ in 0..5 {
            assert!(cache.keys("s", Some("a"), source.ask(Ok(()))).await.is_ok());
            assert!(!cache.keys("s", Some("stranger"), source.ask(Ok(()))).await.unwrap().knows(Some("stranger")));
        }
        assert_eq!(source.asked(), 2);
        clock.advance(PAUSE);
        cache.keys("s", Some("stranger"), source.ask(Err("x"))).await.unwrap();
        assert_eq!(source.asked(), 3);
        clock.advance(FRESH);
        assert!(cache.keys("s", Some("a"), source.ask(Err("x"))).await.is_ok(), "the known ones are used on");
        assert!(cache.keys("other", Some("a"), source.ask(Err("x"))).await.is_err(), "but not for another source");
        cache.forget();
        assert!(cache.keys("s", Some("a"), source.ask(Err("x"))).await.is_err());
    }
}
