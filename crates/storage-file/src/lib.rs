//! [`FileStorage`]: `Storage` in one local file (redb), for a single server.
//!
//! Live keys are in the file, each commit is on the disk before it is answered. The recent past, for watches and reads of an
//! older revision, is in memory only: it starts anew with the process, as nobody else can watch.

mod rows;

use std::{
    fs::{OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use holdfast_storage::{Change, Error, History, Page, Range, Revision, Storage, Txn, TxnReply, Watch, check, evaluate};
use parking_lot::Mutex;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, backends::FileBackend};

use crate::rows::{LIVE, META, REVISION, Reading, Writing, failed};

/// Revisions kept for watches and old reads.
const HISTORY: usize = 10_000;

/// Largest transaction, in bytes of keys and values, as etcd's default.
const MAX_REQUEST_BYTES: usize = 1_536 * 1024;

/// Why the file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{path} is in use by another process ({owner}): one file serves one server", path = .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// What that process said of itself.
        owner: String,
    },
    /// Others may write to it.
    #[error(
        "{path} may be written by others (mode {mode:04o}): make sure that nobody has, then chmod 600 {path}",
        path = .path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It cannot be read or written, or is not ours.
    #[error("cannot open {path}: {reason}", path = .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A store in one file. Clones share it.
#[derive(Clone)]
pub struct FileStorage {
    file: Arc<File>,
}

struct File {
    database: Database,
    /// Held from the begin of a write to the publication of its changes, so that history has no gaps.
    writer: Mutex<()>,
    history: History,
    owner: PathBuf,
}

impl FileStorage {
    /// Opens or makes the file, for its owner alone (CVE-2021-38553, CVE-2020-15113): one that others may write to is
    /// refused, one that they may only read is closed to them. Its folder must exist. Blocks for the time of some disk
    /// accesses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let unusable = |reason: String| OpenError::Unusable { path: path.to_owned(), reason };
        let owner = owner_file(path);
        let wrong = |error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.to_owned(), owner: read_owner(&owner) },
            other => unusable(other.to_string()),
        };
        let backend = FileBackend::new(private(path)?).map_err(wrong)?;
        let database = Database::builder().create_with_backend(backend).map_err(wrong)?;
        let revision = prepare(&database).map_err(|error| unusable(error.to_string()))?;
        // Only for the message above; the lock is redb's.
        let _ = std::fs::write(&owner, format!("pid {}", std::process::id()));
        let history = History::new(revision, HISTORY);
        Ok(Self { file: Arc::new(File { database, writer: Mutex::new(()), history, owner }) })
    }

    /// Forgets history up to and including `revision`.
    pub fn compact(&self, revision: Revision) {
        self.file.history.compact(revision);
    }

    /// Runs blocking work where it holds up nobody.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&File) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let file = self.file.clone();
        let done = tokio::task::spawn_blocking(move || work(&file)).await;
        done.unwrap_or_else(|_| Err(Error::Unknown("the storage task ended early".to_owned())))
    }
}

#[async_trait]
impl Storage for FileStorage {
    async fn range(&self, range: Range) -> Result<Page, Error> {
        self.blocking(move |file| file.range(&range)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply, Error> {
        check(&txn)?;
        let bytes = txn.bytes();
        if bytes > MAX_REQUEST_BYTES {
            return Err(Error::TooLarge(format!("request of {bytes} bytes, the limit is {MAX_REQUEST_BYTES}")));
        }
        self.blocking(move |file| file.txn(&txn)).await
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
        self.file.history.watch(prefix, from)
    }

    fn kind(&self) -> &'static str {
        "file"
    }

    fn exclusive(&self) -> bool {
        true
    }
}

impl File {
    fn range(&self, range: &Range) -> Result<Page, Error> {
        let snapshot = self.database.begin_read().map_err(failed)?;
        let revision = rows::revision(&snapshot.open_table(META).map_err(failed)?)?;
        if range.at.is_some() && self.history.revision() < revision {
            // Committed, and published in a moment by who holds the lock.
            drop(self.writer.lock());
        }
        let reading = Reading(snapshot.open_table(LIVE).map_err(failed)?);
        let (items, more) = self.history.read(&reading, revision, range)?;
        Ok(Page { revision, items, more })
    }

    fn txn(&self, txn: &Txn) -> Result<TxnReply, Error> {
        let _writer = self.writer.lock();
        let write = self.database.begin_write().map_err(failed)?;
        let now = rows::revision(&write.open_table(META).map_err(failed)?)?;
        let mut changes: Vec<Change> = Vec::new();
        let evaluated = {
            let mut writing = Writing(write.open_table(LIVE).map_err(failed)?);
            evaluate(&mut writing, txn, now + 1, &mut changes)
        };
        let mut reply = match evaluated {
            Ok(reply) if !changes.is_empty() => reply,
            other => {
                write.abort().map_err(failed)?;
                return other.map(|reply| TxnReply { revision: now, ..reply });
            }
        };
        write.open_table(META).map_err(failed)?.insert(REVISION, now + 1).map_err(failed)?;
        write.commit().map_err(|error| match failed(error) {
            Error::NoSpace => Error::NoSpace,
            other => Error::Unknown(other.to_string()),
        })?;
        self.history.publish(now + 1, changes);
        reply.revision = now + 1;
        Ok(reply)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It only names who has the file open; one left behind is overwritten.
        let _ = std::fs::remove_file(&self.owner);
    }
}

/// The file, opened or made, with the mode 0600.
fn private(path: &Path) -> Result<std::fs::File, OpenError> {
    let unusable = |error: std::io::Error| OpenError::Unusable { path: path.to_owned(), reason: error.to_string() };
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(unusable)?;
    let mode = file.metadata().map_err(unusable)?.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(OpenError::Open { path: path.to_owned(), mode });
    }
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(unusable)?;
    }
    Ok(file)
}

/// Makes the tables; returns the revision.
fn prepare(database: &Database) -> Result<Revision, redb::Error> {
    let write = database.begin_write()?;
    let revision = {
        write.open_table(LIVE)?;
        let mut meta = write.open_table(META)?;
        let known = meta.get(REVISION)?.map(|revision| revision.value());
        match known {
            Some(revision) => revision,
            None => {
                meta.insert(REVISION, 1)?;
                1
            }
        }
    };
    write.commit()?;
    Ok(revision)
}

fn owner_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".owner");
    name.into()
}

fn read_owner(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|_| "unknown".to_owned())
}
