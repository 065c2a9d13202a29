//! `sys/storage/raft/*` as Vault has it, by our own means: the whole store out at one revision and in again, still encrypted;
//! and the hold of revocations that a restore begins.

use bytes::Bytes;
use holdfast_barrier::Restore;
use holdfast_base::id;
use holdfast_failpoint::failpoint;
use holdfast_logical::{
    Auth,
    Operation::{Delete, Read, Update},
    PathTable, Response,
};
use holdfast_secret::same;
use holdfast_snapshot::{Entry, Meta, Reader, VERSION, Writer, encode};
use serde_json::json;
use std::{io, sync::Arc};
use tokio::sync::mpsc;

use super::row;
use crate::{
    BodyStream, Error,
    call::{Call, Reply},
    lifecycle::restore,
    open::Open,
};

pub const ROWS: &PathTable = &[
    row(
        "storage/raft/snapshot",
        &[Read, Update],
        &[],
        Auth::Sudo,
        "The whole store as an encrypted archive; or puts one back.",
    ),
    row("storage/raft/snapshot-force", &[Update], &[], Auth::Sudo, "Puts back an archive of another cluster."),
    row(
        "storage/raft/configuration",
        &[Read],
        &[],
        Auth::Sudo,
        "The replicas, as Vault names the members of its storage.",
    ),
    row(
        "leases/hold",
        &[Read, Delete],
        &[],
        Auth::Sudo,
        "Are revocations held back since a restore? Delete lets them happen.",
    ),
];

/// Pieces that wait for a slow client.
const WAITING: usize = 4;

pub async fn handle(call: Call) -> Result<Reply, Error> {
    match (call.request.route, call.request.operation) {
        ("storage/raft/snapshot", Read) => save(&call.open).await,
        ("storage/raft/configuration", _) => configuration(&call.open).await,
        ("leases/hold", Read) => {
            let held = restore::hold(&call.open).await?;
            Ok(Response::data(json!({ "held": held.is_some(), "since": held })).into())
        }
        ("leases/hold", _) => {
            restore::release_hold(&call.open).await?;
            tracing::warn!("revocations are no longer held back");
            Ok(Reply::default())
        }
        (route, _) => {
            let stream = call.stream.ok_or_else(|| Error::invalid("the body must be a snapshot"))?;
            put_back(&call.open, stream, route.ends_with("force")).await
        }
    }
}

async fn configuration(open: &Open) -> Result<Reply, Error> {
    let members = open.config.barrier.members().await?;
    let server = |member: &holdfast_barrier::Member| {
        json!({
            "address": member.labels.get("api_addr"),
            "leader": true,
            "node_id": member.instance,
            "protocol_version": "3",
            "voter": true,
        })
    };
    let servers: Vec<_> = members.iter().map(server).collect();
    Ok(Response::data(json!({ "index": 0, "config": { "index": 0, "servers": servers } })).into())
}

async fn save(open: &Arc<Open>) -> Result<Reply, Error> {
    let (to, pieces) = mpsc::channel(WAITING);
    let open = open.clone();
    tokio::spawn(async move {
        if let Err(error) = send(&open, &to).await {
            tracing::error!(%error, "a snapshot was broken off");
            let _ = to.send(Err(io::Error::other("the snapshot was broken off"))).await;
        }
    });
    Ok(Reply { pieces: Some(("application/gzip".to_owned(), pieces)), ..Reply::default() })
}

/// Writes the archive into the channel. A client that is gone ends it.
async fn send(open: &Open, to: &mpsc::Sender<Result<Bytes, io::Error>>) -> Result<(), Error> {
    let (config, barrier) = (&open.config, &open.config.barrier);
    let mut dump = barrier.dump().await?;
    let meta = Meta {
        version: VERSION,
        id: id::uuid(config.entropy.as_ref()),
        cluster_id: open.cluster.id.clone(),
        cluster_name: open.cluster.name.clone(),
        index: dump.revision,
        term: barrier.key_status().ok_or(Error::Sealed)?.term,
        created: config.clock.now().to_string(),
        server: config.version.clone(),
        seal: config.seal.kind().to_owned(),
    };
    let mut writer = Writer::new(&meta);
    while let Some(records) = dump.page().await? {
        writer.chunk(&encode(&records));
        if to.send(Ok(writer.take().into())).await.is_err() {
            return Ok(());
        }
    }
    let seal = seal(open, &writer.sums())?;
    let _ = to.send(Ok(writer.finish(&seal).into())).await;
    Ok(())
}

/// What only this cluster can make of the checksums.
fn seal(open: &Open, sums: &str) -> Result<String, Error> {
    let key = open.config.barrier.derive_key("snapshot")?;
    Ok(hex::encode(crate::token::hmac(&key, sums.as_bytes())))
}

async fn put_back(open: &Open, stream: BodyStream, force: bool) -> Result<Reply, Error> {
    let core = open.core.upgrade().ok_or(Error::Sealed)?;
    let barrier = &open.config.barrier;
    if barrier.restore_in_progress().await?.is_some() {
        return Err(Error::invalid("a restore is being carried out"));
    }
    barrier.unstage().await?;
    let restore = match stage(open, stream, force).await {
        Ok(restore) => restore,
        Err(error) => {
            barrier.unstage().await?;
            return Err(error);
        }
    };
    failpoint!("restore.staged").await;
    barrier.commit_restore(&restore).await?;
    failpoint!("restore.committed").await;
    tracing::warn!(id = %restore.id, foreign = restore.foreign, "a snapshot is being restored");
    core.pause().await;
    core.wait_for_others().await;
    core.keep_open().await?;
    Ok(Reply::default())
}

/// Lays the archive beside what is there, and judges it.
async fn stage(open: &Open, mut stream: BodyStream, force: bool) -> Result<Restore, Error> {
    let (barrier, bad) = (&open.config.barrier, |error: holdfast_snapshot::Error| Error::invalid(error.to_string()));
    let id = id::hex(open.config.entropy.as_ref(), 16);
    let (mut reader, mut meta, mut chunks, mut end) = (Reader::new(), None, 0, None);
    while let Some(piece) = stream.recv().await {
        for entry in reader.push(&piece).map_err(bad)? {
            match entry {
                Entry::Meta(found) => meta = Some(found),
                Entry::Chunk(chunk) => {
                    holdfast_snapshot::decode(&chunk).map_err(bad)?;
                    barrier.stage(&id, chunks, chunk).await?;
                    chunks += 1;
                }
                Entry::End { sums, seal } => end = Some((sums, seal)),
            }
        }
    }
    reader.finish().map_err(bad)?;
    let (Some(meta), Some((sums, given))) = (meta, end) else {
        return Err(Error::invalid("this is not a snapshot"));
    };
    let ours = same(seal(open, &sums)?, given.trim());
    if !ours && !force {
        return Err(Error::invalid(
            "could not verify hash file, possibly the snapshot is using a different set of unseal keys; use the \
             snapshot-force API to bypass this check",
        ));
    }
    let term = barrier.key_status().ok_or(Error::Sealed)?.term;
    let foreign = !ours || meta.term > term;
    if foreign && !force {
        return Err(Error::invalid(format!(
            "the snapshot was made under encryption key {}, which this cluster does not have: use snapshot-force",
            meta.term
        )));
    }
    let hold = json!({ "time": open.config.clock.now().to_string(), "snapshot": meta.id, "made": meta.created });
    Ok(Restore { id, chunks, foreign, hold })
}
