//! Deleting a namespace: it stops to serve with one commit, and what it has is taken away in an order that can be begun
//! again at any point. The row goes last, so whatever a crash leaves is found by the next tick of any replica.

use std::{sync::Arc, time::Duration};

use holdfast_failpoint::failpoint;
use holdfast_logical::{Error as Logical, Namespace, Txn};

use super::{Known, home, live_key};
use crate::{
    Class, Error,
    lease::Folder,
    mounts::{self, Table},
    open::Open,
    storage,
};

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Nothing is left of it.
    Done,
    /// It serves nothing any more; what is left of it goes as soon as outside systems let it.
    Goes,
}

/// A request waits this long for the end.
const PATIENCE: Duration = Duration::from_secs(20);

impl Open {
    /// Deletes a namespace that has no namespaces below it. One that is being deleted already is gone on with.
    pub async fn delete_namespace(self: &Arc<Self>, known: &Known) -> Result<Deletion, Error> {
        self.close_namespace(known).await?;
        failpoint!("namespace.closed").await;
        let (open, namespace) = (self.clone(), known.namespace.clone());
        let work = tokio::spawn(async move { open.finish_deletion(&namespace).await });
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(Ok(()))) => Ok(Deletion::Done),
            Ok(Ok(Err(error))) => {
                tracing::warn!(namespace = %known.record.path, %error, "a namespace is not deleted yet; trying again");
                Ok(Deletion::Goes)
            }
            _ => Ok(Deletion::Goes),
        }
    }

    /// Goes on with the deletions that are not finished.
    pub async fn finish_deletions(&self) {
        let router = self.mounts.cached();
        for known in router.namespaces().all().filter(|known| known.record.leaving) {
            if let Err(error) = self.finish_deletion(&known.namespace).await {
                tracing::warn!(namespace = %known.record.path, %error, "a namespace is not deleted yet; trying again");
            }
        }
    }

    /// From this commit on nothing is served and nothing more is made in it.
    async fn close_namespace(&self, known: &Known) -> Result<(), Error> {
        let namespace = &known.namespace;
        let _turn = self.mounts.turn.lock().await;
        loop {
            let tables = self.tables(namespace).await?;
            let done = self.try_edit_namespaces(|table, txn| {
                let path = &known.record.path;
                if table.namespaces.iter().any(|other| other.path != *path && other.path.starts_with(path.as_str())) {
                    let text = format!("cannot delete namespace ({path:?}) containing child namespaces");
                    return Err(Error::invalid(text));
                }
                let record = table.namespaces.iter_mut().find(|record| record.id == known.record.id);
                record.ok_or_else(super::not_found)?.leaving = true;
                txn.delete(live_key(namespace));
                for (class, (mounts, unchanged)) in tables {
                    txn.check(self.mounts.table_key(&namespace.id, class), unchanged);
                    for record in &mounts.mounts {
                        txn.delete(mounts::live_key(&record.uuid));
                    }
                }
                Ok(())
            });
            if done.await?.is_some() {
                return Ok(());
            }
        }
    }

    async fn tables(&self, namespace: &Namespace) -> Result<Vec<(Class, (Table, holdfast_logical::Check))>, Error> {
        let mut tables = Vec::new();
        for class in [Class::Auth, Class::Secret] {
            tables.push((class, self.mounts.table(&namespace.id, class).await?));
        }
        Ok(tables)
    }

    /// Tokens and leases, then what mounts keep, then the namespace's own, then tables and row. Each step finds nothing
    /// to do when it was done before.
    async fn finish_deletion(&self, namespace: &Namespace) -> Result<(), Error> {
        let tables = self.tables(namespace).await?;
        let mounts = || tables.iter().flat_map(|(_, (table, _))| &table.mounts);
        for record in mounts() {
            self.tokens.revoke_mount(&record.uuid).await?;
        }
        self.tokens.revoke_namespace(namespace).await?;
        failpoint!("namespace.tokens-revoked").await;
        self.empty_of_leases(namespace).await?;
        failpoint!("namespace.leases-revoked").await;
        for record in mounts() {
            self.lockout.wipe(&record.uuid).await?;
            // The cubbyholes of all namespaces are in one place; those of this one went with its tokens.
            if record.kind != "cubbyhole" {
                storage::wipe(&self.mounts.storage(record)).await?;
            }
        }
        for (class, (table, _)) in &tables {
            for uuid in &table.trash {
                storage::wipe(&self.mounts.storage_of(*class, uuid)).await?;
            }
        }
        let home = home(&self.root, &namespace.id);
        for name in home.list("", "", 0).await? {
            if name.ends_with('/') {
                storage::wipe_folder(&home, name).await?;
            }
        }
        failpoint!("namespace.storage-wiped").await;
        self.strike_out(namespace).await
    }

    async fn empty_of_leases(&self, namespace: &Namespace) -> Result<(), Error> {
        let folder = Folder { namespace: &namespace.id, path: "" };
        let done = self.leases.revoke_prefix(folder, false).await.map_err(Logical::from)?;
        if done.queued > 0 {
            let why = done.error.unwrap_or_default();
            return Err(Logical::Unavailable(format!("{} leases cannot be revoked yet ({why})", done.queued)).into());
        }
        self.leases.forget_namespace(namespace).await.map_err(Logical::from)?;
        Ok(())
    }

    /// The last commit: tables and row.
    async fn strike_out(&self, namespace: &Namespace) -> Result<(), Error> {
        let _turn = self.mounts.turn.lock().await;
        self.try_edit_namespaces(|table, txn: &mut Txn| {
            table.namespaces.retain(|record| record.id != namespace.id);
            for class in [Class::Auth, Class::Secret] {
                txn.delete(self.mounts.table_key(&namespace.id, class));
            }
            Ok(())
        })
        .await?
        .ok_or_else(|| Logical::Unavailable("the table of namespaces was changed meanwhile".to_owned()).into())
    }
}
