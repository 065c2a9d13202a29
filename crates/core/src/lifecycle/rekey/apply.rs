//! Puts a new key in force, in one transaction.

use std::time::Duration;

use holdfast_barrier::{Barrier, InitError};
use holdfast_logical::StoreError;
use holdfast_seal::ShareConfig;
use holdfast_secret::SecretBytes;

use super::Target;
use crate::{
    Error,
    lifecycle::{ROOT_KEY, SEAL_CONFIG, keyholders, migrate},
    open::Open,
};

/// How long the old unseal shares open the store beside the new ones: the answer must reach people, and other replicas
/// must follow.
const HANDOVER: Duration = Duration::from_secs(30);
/// Tries of a change that meets a rotation.
const TRIES: usize = 5;

/// Done again after a crash it does nothing.
pub(super) async fn apply(open: &Open, target: Target, key: &SecretBytes, shares: ShareConfig) -> Result<(), Error> {
    match target {
        Target::Recovery => keyholders::keep_recovery(open, key, shares).await?,
        Target::Root if open.config.barrier.is_root_key(key)? && !open.config.barrier.opened_by_predecessor() => {}
        Target::Root => root(open, key, shares).await?,
    }
    tracing::warn!(?target, "rekeyed");
    Ok(())
}

async fn root(open: &Open, key: &SecretBytes, shares: ShareConfig) -> Result<(), Error> {
    let (barrier, seal) = (&open.config.barrier, &open.config.seal);
    let (mut config, _) = keyholders::config(open).await?;
    if config.keeps_key() != seal.stored_keys() {
        return Err(Error::invalid("another replica changed the seal: restart this one with the new configuration"));
    }
    let record = match seal.stored_keys() {
        true => (ROOT_KEY.to_owned(), migrate::wrap(seal.as_ref(), key).await?),
        false => {
            (config.shares, config.threshold) = (shares.shares(), shares.threshold());
            (SEAL_CONFIG.to_owned(), config.encode()?)
        }
    };
    replace_root_key(barrier, key, vec![record]).await?;
    forget_predecessor_soon(open);
    Ok(())
}

/// In one transaction with these records outside the barrier.
pub(in crate::lifecycle) async fn replace_root_key(
    barrier: &Barrier,
    key: &SecretBytes,
    records: Vec<(String, Vec<u8>)>,
) -> Result<(), Error> {
    for _ in 0..TRIES {
        match barrier.rekey(key, records.clone()).await {
            Ok(()) => return Ok(()),
            Err(InitError::Store(StoreError::Conflict)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(InitError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(Error::internal(error.to_string())),
        }
    }
    Err(StoreError::Conflict.into())
}

/// After an unseal: the root key that opened the store is in somebody's hands, so the one before it may go.
pub(crate) async fn settle(open: &Open) -> Result<(), Error> {
    let barrier = &open.config.barrier;
    if barrier.opened_by_predecessor() {
        tracing::warn!(
            "unsealed with the shares from before the last rekey: if the new ones reached nobody, rekey again"
        );
        return Ok(());
    }
    match barrier.is_alone().await? {
        true => barrier.forget_predecessor().await?,
        false => forget_predecessor_soon(open),
    }
    Ok(())
}

/// Ends the time of the old key, unless this process dies before: then the shares that it was about to hand out may have
/// reached nobody.
fn forget_predecessor_soon(open: &Open) {
    let (barrier, shutdown) = (open.config.barrier.clone(), open.shutdown.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(HANDOVER) => {}
        }
        if let Err(error) = barrier.forget_predecessor().await {
            tracing::warn!(%error, "the root key before the present one is not forgotten yet; the next unseal does it");
        }
    });
}
