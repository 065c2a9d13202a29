//! What happens around a restore: every replica seals, one puts the snapshot in place (after a crash the next one that starts
//! goes on), then they open again by themselves, with revocations held back.

use holdfast_barrier::{HOLD, Restore, Stored, UnsealError};
use holdfast_logical::StoreError;
use serde_json::Value;

use crate::{Core, Error, open::Open};

impl Core {
    /// Goes on with a restore that is being carried out, if there is one, and opens again afterwards where people brought
    /// the key before. Nothing happens else.
    pub(crate) async fn finish_restore(&self) -> Result<(), Error> {
        let barrier = &self.config().barrier;
        if self.is_unsealed() {
            return Ok(());
        }
        match barrier.carry_out_restore(decode).await {
            Ok(None) => {}
            Ok(Some(Restore { id, foreign, .. })) => tracing::warn!(id, foreign, "the snapshot is restored"),
            // Another replica was faster.
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(key) = self.kept.lock().await.take() else { return Ok(()) };
        let _ceremony = self.ceremony.lock().await;
        match barrier.unseal(key).await {
            Ok(()) => {
                self.activate().await?;
                Ok(())
            }
            Err(UnsealError::WrongKey) => {
                tracing::warn!("the restored store is of another cluster: unseal it with the keys of that one");
                Ok(())
            }
            Err(error) => Err(super::unseal::error(error)),
        }
    }
}

fn decode(chunk: &[u8]) -> Option<Vec<Stored>> {
    holdfast_snapshot::decode(chunk).ok()
}

/// What holds revocations back, if anything does.
pub(crate) async fn hold(open: &Open) -> Result<Option<Value>, StoreError> {
    let stored = open.config.barrier.read_clear(HOLD).await?;
    Ok(stored.map(|(bytes, _)| serde_json::from_slice(&bytes).unwrap_or_default()))
}

/// Tells the leases whether they are held back.
pub(crate) async fn look_at_hold(open: &Open) -> Result<(), StoreError> {
    let held = hold(open).await?.is_some();
    if held && !open.leases.is_held() {
        tracing::warn!("revocations are held back since a restore, until DELETE sys/leases/hold");
    }
    open.leases.hold(held);
    Ok(())
}

/// Lets revocations happen again; other replicas follow within a minute.
pub(crate) async fn release_hold(open: &Open) -> Result<(), StoreError> {
    open.config.barrier.write_clear(HOLD, None, None).await?;
    look_at_hold(open).await
}
