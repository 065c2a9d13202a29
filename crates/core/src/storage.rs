//! Removing whole folders.

use futures::future::BoxFuture;
use holdfast_logical::{StoreError, Txn, View};

/// Names that are removed in one transaction.
const PAGE: usize = 64;

/// Removes everything below a window.
pub async fn wipe(view: &View) -> Result<(), StoreError> {
    wipe_folder(view, String::new()).await
}

/// Removes everything below a folder of a window; the folder ends in `/` or is empty.
pub fn wipe_folder(view: &View, folder: String) -> BoxFuture<'_, Result<(), StoreError>> {
    Box::pin(async move {
        let mut after = String::new();
        loop {
            let names = view.list(&folder, &after, PAGE).await?;
            let Some(last) = names.last() else { return Ok(()) };
            after.clone_from(last);
            let (folders, leaves): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.ends_with('/'));
            if !leaves.is_empty() {
                let mut txn = Txn::new();
                for name in leaves {
                    txn.delete(view.path(&format!("{folder}{name}")));
                }
                view.commit(txn).await?;
            }
            for name in folders {
                wipe_folder(view, format!("{folder}{name}")).await?;
            }
        }
    })
}
