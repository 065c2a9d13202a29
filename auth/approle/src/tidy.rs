//! `tidy/secret-id`: what has expired or lost its role is removed.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use holdfast_logical::{Check, Error, Response, Services, StoreError, Txn};

use crate::{
    engine::AppRole,
    role::Role,
    secret_id::{SecretId, accessor_path, secret_path},
};

/// Names that are read at once.
const PAGE: usize = 500;
/// Removals of one commit.
const BATCH: usize = 32;

/// Held while a tidy runs: there is one at a time.
pub(crate) struct Running(Arc<AtomicBool>);

impl Running {
    /// None when one runs already.
    pub fn begin(flag: &Arc<AtomicBool>) -> Option<Self> {
        (!flag.swap(true, Ordering::AcqRel)).then(|| Self(flag.clone()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl AppRole {
    /// Starts a tidy and answers 202 at once.
    pub fn start_tidy(&self) -> Response {
        let text = match Running::begin(&self.tidying) {
            None => "Tidy operation already in progress.",
            Some(running) => {
                let services = self.services.clone();
                tokio::spawn(async move {
                    let _running = running;
                    match tidy(&services).await {
                        Ok(removed) => tracing::info!(removed, "secret ids tidied"),
                        Err(error) => tracing::warn!(%error, "secret ids could not be tidied"),
                    }
                });
                "Tidy operation successfully started. Any information from the operation will be printed to the \
                 server's logs."
            }
        };
        Response { status: Some(202), ..Response::empty() }.warn(text)
    }
}

/// Removes expired secret ids, accessors without one, and all that belongs to roles that are gone. Returns how many
/// records were removed.
pub(crate) async fn tidy(services: &Services) -> Result<usize, Error> {
    let view = &services.view;
    // The folders first: a role is there before its folder, so that every living folder finds its role.
    let mut folders = BTreeSet::new();
    for kind in ["secret/", "accessor/"] {
        folders.extend(view.list(kind, "", 0).await?.into_iter().map(|name| name.trim_end_matches('/').to_owned()));
    }
    let mut living = BTreeSet::new();
    for name in view.list("role/", "", 0).await? {
        if let Some((role, _)) = view.get_json::<Role>(&format!("role/{name}")).await? {
            living.insert(role.number);
        }
    }
    let mut removed = 0;
    for number in folders {
        removed += if living.contains(&number) {
            expired(services, &number).await? + stray(services, &number).await?
        } else {
            purge_counted(services, &number).await?
        };
    }
    Ok(removed)
}

/// Removes all secret ids of a role that is gone.
pub(crate) async fn purge(services: &Services, number: &str) -> Result<(), Error> {
    purge_counted(services, number).await.map(|_| ())
}

async fn purge_counted(services: &Services, number: &str) -> Result<usize, Error> {
    let view = &services.view;
    let mut removed = 0;
    for folder in [format!("secret/{number}/"), format!("accessor/{number}/")] {
        loop {
            let names = view.list(&folder, "", BATCH).await?;
            if names.is_empty() {
                break;
            }
            let mut txn = Txn::new();
            for name in &names {
                txn.delete(view.path(&format!("{folder}{name}")));
            }
            view.commit(txn).await?;
            removed += names.len();
        }
    }
    Ok(removed)
}

/// Removes the expired secret ids of a role that is there.
async fn expired(services: &Services, number: &str) -> Result<usize, Error> {
    let (view, now) = (&services.view, services.clock.now());
    let (mut removed, mut after) = (0, String::new());
    loop {
        let names = view.list(&format!("secret/{number}/"), &after, PAGE).await?;
        let Some(last) = names.last() else { return Ok(removed) };
        after.clone_from(last);
        for hash in &names {
            let path = secret_path(number, hash);
            let Some((record, revision)) = view.get_json::<SecretId>(&path).await? else { continue };
            if !record.expired(now) {
                continue;
            }
            let mut txn = Txn::new();
            txn.check(view.path(&path), Check::At(revision)).delete(view.path(&path));
            txn.delete(view.path(&accessor_path(number, &record.accessor)));
            removed += committed(services, txn).await?;
        }
    }
}

/// Removes accessors whose secret id is not there.
async fn stray(services: &Services, number: &str) -> Result<usize, Error> {
    let view = &services.view;
    let (mut removed, mut after) = (0, String::new());
    loop {
        let names = view.list(&format!("accessor/{number}/"), &after, PAGE).await?;
        let Some(last) = names.last() else { return Ok(removed) };
        after.clone_from(last);
        for accessor in &names {
            let path = accessor_path(number, accessor);
            let Some((hash, _)) = view.get_json::<String>(&path).await? else { continue };
            let secret = secret_path(number, &hash);
            if view.get(&secret).await?.is_some() {
                continue;
            }
            let mut txn = Txn::new();
            txn.check(view.path(&secret), Check::Absent).delete(view.path(&path));
            removed += committed(services, txn).await?;
        }
    }
}

/// 1 if it was done, 0 if somebody else changed something in between: the next tidy looks again.
async fn committed(services: &Services, txn: Txn) -> Result<usize, Error> {
    match services.view.commit(txn).await {
        Ok(_) => Ok(1),
        Err(StoreError::Conflict) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
