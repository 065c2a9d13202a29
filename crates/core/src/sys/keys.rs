//! Sealing, key rotation, replicas, and the check of the whole store.

use holdfast_logical::{
    Auth,
    Operation::{Read, Update},
    PathTable, Response,
};
use serde_json::json;

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
};

pub const ROWS: &PathTable = &[
    row("seal", &[Update], &[], Auth::Sudo, "Seals this replica."),
    row("step-down", &[Update], &[], Auth::Sudo, "Every replica serves: there is no leadership to give up."),
    row("rotate", &[Update], &[], Auth::Sudo, "Makes a new encryption key."),
    row("rotate/keyring", &[Update], &[], Auth::Sudo, "Makes a new encryption key."),
    row("fsck", &[Read, Update], &[], Auth::Sudo, "Reads and decrypts everything that is stored."),
    row("key-status", &[Read], &[], Auth::Token, "The key that encrypts now."),
    row("ha-status", &[Read], &[], Auth::Token, "The replicas."),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (open, config) = (&call.open, &call.open.config);
    match call.request.route {
        "seal" => {
            if let Some(core) = open.core.upgrade() {
                core.seal().await;
            }
            Ok(Reply::default())
        }
        "step-down" => Ok(Reply::default()),
        "key-status" => {
            let status = config.barrier.key_status().ok_or(Error::Sealed)?;
            Ok(Response::data(json!({
                "term": status.term,
                "install_time": status.install_time.to_string(),
                "encryptions": status.encryptions,
            }))
            .into())
        }
        "ha-status" => Ok(Response::data(json!({ "nodes": [{
            "hostname": config.hostname,
            "api_address": config.api_addr,
            "cluster_address": config.api_addr,
            "active_node": true,
            "last_echo": null,
            "version": config.version,
        }] }))
        .into()),
        "rotate" | "rotate/keyring" => {
            let term = config.barrier.rotate().await?;
            tracing::info!(term, "rotated the encryption key");
            Ok(Reply::default())
        }
        _ => fsck(&call).await,
    }
}

async fn fsck(call: &Call) -> Result<Reply, Error> {
    let found = call.open.config.barrier.fsck().await?;
    let leases = call.open.leases.all_ids().await.map_err(holdfast_logical::Error::from)?.len();
    Ok(Response::data(json!({
        "clean": found.is_clean(),
        "keys": found.keys,
        "bytes": found.bytes,
        "values_by_term": found.terms,
        "bad_names": found.bad_names,
        "bad_headers": found.bad_headers,
        "undecryptable": found.undecryptable,
        "damaged_paths": found.damaged_paths,
        "members": found.members,
        "bad_records": found.bad_records,
        "orphan_lanes": found.orphan_lanes,
        "leases": leases,
    }))
    .into())
}
