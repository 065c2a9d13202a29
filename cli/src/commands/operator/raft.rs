//! `operator raft`: Vault's name for what concerns the stored data as a whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Subcommand;
use holdfast_snapshot::{Entry, Meta, Reader};
use serde_json::json;

use crate::{failure::Failure, format, session::Session};

/// Bytes that are read and sent at once.
const PIECE: usize = 64 << 10;

/// Snapshots of everything that is stored.
#[derive(Subcommand)]
pub enum Raft {
    /// Snapshots of everything that is stored, encrypted.
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Show the replicas.
    ListPeers,
}

/// Snapshots of everything that is stored, encrypted.
#[derive(Subcommand)]
pub enum Snapshot {
    /// Write a snapshot into a file, and check it.
    Save {
        /// The file; it must not be there yet.
        file: PathBuf,
    },
    /// Put a snapshot in the place of everything that is stored.
    Restore {
        /// Also a snapshot of another cluster, or of keys that this one does not have; its own unseal keys are needed then.
        #[arg(long)]
        force: bool,
        /// The file.
        file: PathBuf,
    },
    /// Check the checksums of a snapshot and show what it says of itself.
    Inspect {
        /// The file.
        file: PathBuf,
    },
}

impl Raft {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::ListPeers => super::members(session).await,
            Self::Snapshot(Snapshot::Save { file }) => save(session, &file).await,
            Self::Snapshot(Snapshot::Restore { force, file }) => {
                inspect(&file)?;
                let pieces = Pieces(File::open(&file).map_err(|error| local(&file, &error))?);
                let path = if force { "sys/storage/raft/snapshot-force" } else { "sys/storage/raft/snapshot" };
                let sent = session.api().stream()?.upload(path, pieces).await;
                sent.map_err(|error| Failure::local(format!("Error installing the snapshot: {error}")))?;
                session.say(
                    "Success! Restored the snapshot. Revocations are held back until\n\
                     holdfast delete sys/leases/hold",
                );
                Ok(())
            }
            Self::Snapshot(Snapshot::Inspect { file }) => {
                let (meta, chunks) = inspect(&file)?;
                let mut shown = serde_json::to_value(&meta).unwrap_or_default();
                shown["chunks"] = json!(chunks);
                session.value(&shown, || {
                    let rows = shown.as_object().into_iter().flatten();
                    let rows: Vec<_> = rows.map(|(key, value)| (key.clone(), format::plain(value))).collect();
                    format::key_value(&rows)
                })
            }
        }
    }
}

/// Into a file beside the wanted one, which takes its name only when it is whole.
async fn save(session: &Session, file: &Path) -> Result<(), Failure> {
    if file.exists() {
        return Err(Failure::local(format!("{} exists already", file.display())));
    }
    let partial = file.with_extension("partial");
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    let mut target: File = open.open(&partial).map_err(|error| local(&partial, &error))?;
    let client = session.api().stream()?;
    let taken = client.download("sys/storage/raft/snapshot", &mut |piece| target.write_all(piece)).await;
    let checked = match taken {
        Ok(()) => target.sync_all().map_err(|error| local(&partial, &error)).and_then(|()| inspect(&partial)),
        Err(error) => Err(Failure::local(format!("Error taking the snapshot: {error}"))),
    };
    let (meta, _) = match checked {
        Ok(checked) => checked,
        Err(failure) => {
            // What is not whole is of no use.
            let _ = fs::remove_file(&partial);
            return Err(failure);
        }
    };
    fs::rename(&partial, file).map_err(|error| local(file, &error))?;
    session.say(&format!("Success! Saved and checked {} (revision {})", file.display(), meta.index));
    Ok(())
}

fn inspect(file: &Path) -> Result<(Meta, usize), Failure> {
    let bad = |error: holdfast_snapshot::Error| Failure::local(format!("{}: {error}", file.display()));
    let mut source = File::open(file).map_err(|error| local(file, &error))?;
    let (mut reader, mut meta, mut chunks) = (Reader::new(), None, 0);
    let mut buffer = vec![0; PIECE];
    loop {
        let count = source.read(&mut buffer).map_err(|error| local(file, &error))?;
        if count == 0 {
            break;
        }
        for entry in reader.push(&buffer[..count]).map_err(bad)? {
            match entry {
                Entry::Meta(found) => meta = Some(found),
                Entry::Chunk(_) => chunks += 1,
                Entry::End { .. } => {}
            }
        }
    }
    reader.finish().map_err(bad)?;
    meta.map(|meta| (meta, chunks)).ok_or_else(|| Failure::local(format!("{}: no snapshot", file.display())))
}

/// A file as it is sent.
struct Pieces(File);

impl Iterator for Pieces {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = vec![0; PIECE];
        match self.0.read(&mut piece) {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some(Ok(piece.into()))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

fn local(file: &Path, error: &io::Error) -> Failure {
    Failure::local(format!("{}: {error}", file.display()))
}
