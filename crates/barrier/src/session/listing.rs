//! Names below a folder.
//!
//! Keys at the folder's own level are one range. Folders are found by skipping: a page of keys, and if it ends within a folder, on
//! behind that folder.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_storage::{Error, Page, Range, after_prefix};
use tokio::time::Instant;

use super::Session;
use super::reading::{PATIENCE, RETRY, by, retry};
use crate::lists::List;
use crate::names::{Level, Names};
use crate::view::{Revision, StoreError};

/// Keys read at once.
const PAGE: usize = 1000;

impl Session {
    /// See [`crate::Store::list`].
    pub async fn list(&self, folder: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.readable().await?;
        let list = self.fetch_list(folder).await?;
        self.see_read(list.at).await?;
        let rest = list.names.range::<str, _>((Bound::Excluded(after), Bound::Unbounded)).cloned();
        Ok(if limit == 0 { rest.collect() } else { rest.take(limit).collect() })
    }

    /// All names below a folder, read from the store as of what is applied if they must be.
    async fn fetch_list(&self, folder: &str) -> Result<List, StoreError> {
        let names = self.names.clone();
        let prefix = names.folder(folder);
        let deadline = Instant::now() + PATIENCE;
        loop {
            // All pages are of one revision.
            let at = match self.cache.look_up_list(&prefix) {
                Ok(list) => {
                    self.counting.listed(None);
                    return Ok(list);
                }
                Err(at) => at,
            };
            let mut fill = Fill { session: self, prefix: &prefix, read: None };
            let begin = Instant::now();
            match self.names_at(&names, folder, at).await {
                Ok(found) => {
                    self.counting.listed(Some(begin));
                    let list = List { names: Arc::new(found), at };
                    fill.read = Some(list.clone());
                    return Ok(list);
                }
                Err(Failure::Store(error)) => retry(error, deadline)?,
                Err(Failure::Damaged) => {
                    let reason = "a name does not decrypt".to_owned();
                    return Err(StoreError::Corrupt { path: folder.to_owned(), reason });
                }
            }
            drop(fill);
            tokio::time::sleep(RETRY).await;
        }
    }

    /// See [`crate::Store::count`].
    pub async fn count(&self, folder: &str) -> Result<u64, StoreError> {
        self.readable().await?;
        let prefix = self.names.folder(folder);
        let deadline = Instant::now() + PATIENCE;
        let (count, at) = loop {
            let at = self.cache.applied();
            match by(deadline, self.storage.count(Range::prefix(prefix.clone()).at(at))).await {
                Ok(count) => break (count, at),
                Err(error) => retry(error, deadline)?,
            }
            tokio::time::sleep(RETRY).await;
        };
        self.see_read(at).await?;
        Ok(count)
    }

    async fn names_at(&self, names: &Names, folder: &str, at: Revision) -> Result<BTreeSet<String>, Failure> {
        let prefix = names.folder(folder);
        let mut found = BTreeSet::new();

        let leaves = [&prefix[..], b"!"].concat();
        let mut next = Bytes::from(leaves.clone());
        loop {
            let range = Range::between(next, after_prefix(&leaves)).limit(PAGE).keys_only().at(at);
            let page = self.page(range).await?;
            for item in &page.items {
                found.insert(names.segment(folder, &item.key[leaves.len()..], Level::Leaf)?);
            }
            match page.items.last() {
                Some(last) if page.more => next = [&last.key[..], &[0]].concat().into(),
                _ => break,
            }
        }

        let end = after_prefix(&prefix);
        let mut next = after_prefix(&leaves);
        loop {
            let page = self.page(Range::between(next, end.clone()).limit(PAGE).keys_only().at(at)).await?;
            let mut last = Bytes::new();
            for item in &page.items {
                let rest = &item.key[prefix.len()..];
                let length = rest.iter().position(|byte| *byte == b'/').ok_or(Failure::Damaged)?;
                let below = item.key.slice(..=prefix.len() + length);
                if below != last {
                    found.insert(names.segment(folder, &rest[..length], Level::Folder)? + "/");
                    last = below;
                }
            }
            if !page.more {
                return Ok(found);
            }
            next = after_prefix(&last);
        }
    }

    /// A page has as long as any read; all of a long list may take longer.
    async fn page(&self, range: Range) -> Result<Page, Error> {
        by(Instant::now() + PATIENCE, self.storage.range(range)).await
    }
}

/// Ends what was looked up also when the reader is dropped half way.
struct Fill<'a> {
    session: &'a Session,
    prefix: &'a Bytes,
    read: Option<List>,
}

impl Drop for Fill<'_> {
    fn drop(&mut self) {
        self.session.cache.finish_list(self.prefix, self.read.take());
    }
}

enum Failure {
    Store(Error),
    Damaged,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<crate::names::BadName> for Failure {
    fn from(_: crate::names::BadName) -> Self {
        Self::Damaged
    }
}
