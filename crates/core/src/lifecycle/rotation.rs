//! The encryption key replaces itself: after so many encryptions of all replicas together, or after so much time.
//!
//! Each replica adds what it has encrypted to one stored number, about once a minute; a replica that dies takes at most that
//! minute with it. Whoever finds that it is time rotates; of several, one does ([`Barrier::rotate_from`]).

use std::time::Duration;

use holdfast_barrier::{Barrier, KeyStatus};
use holdfast_base::Timestamp;
use holdfast_logical::{Check, StoreError, Txn};
use serde::{Deserialize, Serialize};

use crate::{Core, Error, open::Open};

/// Most encryptions that may be asked for, and the default (Vault's: 2^32 less a margin of a tenth).
pub(crate) const MOST: u64 = 3_865_470_566;
/// Fewest that may be asked for.
pub(crate) const FEWEST: u64 = 1_000_000;
/// Shortest interval that may be asked for, but for 0.
pub(crate) const SHORTEST: Duration = Duration::from_secs(24 * 3600);
/// Fewer are not worth a write.
const WORTH: u64 = 100;
const TRIES: usize = 5;

/// `sys/rotate/config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RotationConfig {
    /// Encryptions under one key.
    pub max_operations: u64,
    /// Seconds; 0 is never.
    pub interval: u64,
    /// Does it happen at all?
    pub enabled: bool,
}

/// What all replicas have encrypted under a term.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Count {
    term: u32,
    encryptions: u64,
}

impl Default for RotationConfig {
    fn default() -> Self {
        Self { max_operations: MOST, interval: 0, enabled: true }
    }
}

/// As it is now.
pub(crate) async fn config(open: &Open) -> Result<RotationConfig, StoreError> {
    Ok(open.root.below("core").get_json("rotation").await?.map(|(config, _)| config).unwrap_or_default())
}

/// Changes it.
pub(crate) async fn configure(open: &Open, config: &RotationConfig) -> Result<(), Error> {
    if !(FEWEST..=MOST).contains(&config.max_operations) {
        return Err(Error::invalid(format!("max_operations must be between {FEWEST} and {MOST}")));
    }
    if config.interval != 0 && config.interval < SHORTEST.as_secs() {
        return Err(Error::invalid("interval must be 0 or at least 24h"));
    }
    open.root.below("core").put_json("rotation", config).await?;
    Ok(())
}

/// The key that encrypts now; its encryptions are those of all replicas, as far as they have told.
pub(crate) async fn key_status(open: &Open) -> Result<KeyStatus, Error> {
    let status = open.config.barrier.key_status().ok_or(Error::Sealed)?;
    let stored = open.root.below("core").get_json::<Count>("encryptions").await?;
    let told = stored.map_or(0, |(count, _)| if count.term == status.term { count.encryptions } else { 0 });
    Ok(KeyStatus { encryptions: told + status.encryptions, ..status })
}

/// Adds up, and rotates if it is time. The new term, if this replica made one.
pub(crate) async fn keep(open: &Open) -> Result<Option<u32>, StoreError> {
    let barrier = &open.config.barrier;
    let Some(status) = barrier.key_status() else { return Ok(None) };
    let count = add_up(open, barrier, status).await?;
    let config = config(open).await?;
    if !is_due(&config, status, count, open.config.clock.now()) {
        return Ok(None);
    }
    match barrier.rotate_from(status.term).await {
        Ok(term) => {
            tracing::info!(term, encryptions = count, "the encryption key was replaced by itself");
            Ok(Some(term))
        }
        // Another replica was faster.
        Err(StoreError::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn add_up(open: &Open, barrier: &Barrier, status: KeyStatus) -> Result<u64, StoreError> {
    let view = open.root.below("core");
    for _ in 0..TRIES {
        let stored = view.get_json::<Count>("encryptions").await?;
        let before = stored.filter(|(count, _)| count.term == status.term).map_or(0, |(count, _)| count.encryptions);
        if status.encryptions < WORTH {
            return Ok(before + status.encryptions);
        }
        let count = Count { term: status.term, encryptions: before + status.encryptions };
        let mut txn = Txn::new();
        txn.check(view.path("encryptions"), stored.map_or(Check::Absent, |(_, revision)| Check::At(revision)));
        txn.put_json(view.path("encryptions"), &count)?;
        match view.commit(txn).await {
            Ok(_) => {
                barrier.told_encryptions(status.encryptions);
                return Ok(count.encryptions);
            }
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(status.encryptions)
}

fn is_due(config: &RotationConfig, status: KeyStatus, encryptions: u64, now: Timestamp) -> bool {
    let age = now.duration_since(status.install_time).as_secs();
    let old = config.interval != 0 && u64::try_from(age).is_ok_and(|age| age >= config.interval);
    config.enabled && (old || encryptions >= config.max_operations)
}

impl Core {
    /// What happens about once a minute by itself: counts encryptions, and replaces the key if it is time. The new term, if
    /// this replica made one.
    pub async fn keep_rotated(&self) -> Result<Option<u32>, Error> {
        let open = self.open().ok_or(Error::Sealed)?;
        Ok(keep(&open).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_by_count_or_by_age_if_enabled() {
        let status = KeyStatus { term: 1, install_time: Timestamp::UNIX_EPOCH, encryptions: 0 };
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(86_400);
        let config = RotationConfig { max_operations: FEWEST, ..RotationConfig::default() };
        assert!(!is_due(&config, status, FEWEST - 1, now));
        assert!(is_due(&config, status, FEWEST, now));
        assert!(!is_due(&RotationConfig { enabled: false, ..config.clone() }, status, FEWEST, now));
        assert!(is_due(&RotationConfig { interval: 86_400, ..config.clone() }, status, 0, now));
        assert!(!is_due(&RotationConfig { interval: 86_401, ..config }, status, 0, now));
    }
}
