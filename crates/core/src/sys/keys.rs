//! Sealing, key rotation, replicas, and the check of the whole store.

use std::time::Duration;

use holdfast_api_types::VAULT_VERSION;
use holdfast_barrier::{Member, Mode, Status};
use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Read, Update},
    PathTable, Response,
};
use serde_json::{Value, json};

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
    lifecycle::rotation,
};

const ROTATION: &[Field] = &[
    Field::new("max_operations", Kind::Int, "Encryptions under one key; 1000000 to 3865470566."),
    Field::new("interval", Kind::Duration, "Longest time under one key; 0 (never) or at least 24h."),
    Field::new("enabled", Kind::Bool, "Does it happen at all? Default: yes."),
];

pub const ROWS: &PathTable = &[
    row(
        "seal",
        &[Update],
        &[Field::new("node", Kind::Bool, "Seal only the replica that answers, until it is restarted.")],
        Auth::Sudo,
        "Seals all replicas until somebody unseals.",
    ),
    row("step-down", &[Update], &[], Auth::Sudo, "Every replica serves: there is no leadership to give up."),
    row("rotate", &[Update], &[], Auth::Sudo, "Makes a new encryption key."),
    row("rotate/keyring", &[Update], &[], Auth::Sudo, "Makes a new encryption key."),
    row("rotate/config", &[Read, Update], ROTATION, Auth::Sudo, "When a new encryption key is made by itself."),
    row("rotate/keyring/config", &[Read, Update], ROTATION, Auth::Sudo, "The same as rotate/config."),
    row(
        "fsck",
        &[Read, Update],
        &[],
        Auth::Sudo,
        "Reads and decrypts everything that is stored, and checks what points to leases and tokens.",
    ),
    row("key-status", &[Read], &[], Auth::Token, "The key that encrypts now."),
    row("ha-status", &[Read], &[], Auth::Token, "The replicas."),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (open, config) = (&call.open, &call.open.config);
    match call.request.route {
        "seal" => {
            if let Some(core) = open.core.upgrade() {
                match call.request.fields.bool("node").unwrap_or(false) {
                    true => core.seal().await,
                    false => core.seal_all().await?,
                }
            }
            Ok(Reply::default())
        }
        "rotate/config" | "rotate/keyring/config" => rotation(&call).await,
        "step-down" => Ok(Reply::default()),
        "key-status" => {
            let status = rotation::key_status(open).await?;
            Ok(Response::data(json!({
                "term": status.term,
                "install_time": status.install_time.to_string(),
                "encryptions": status.encryptions,
            }))
            .into())
        }
        "ha-status" => {
            let members = config.barrier.members().await?;
            let status = config.barrier.status();
            let node = |member: &Member| replica(member, status.as_ref());
            Ok(Response::data(json!({
                "nodes": members.iter().map(node).collect::<Vec<_>>(),
                "feature_level": status.as_ref().map(|status| status.level),
            }))
            .into())
        }
        "rotate" | "rotate/keyring" => {
            let term = config.barrier.rotate().await?;
            tracing::info!(term, "rotated the encryption key");
            Ok(Reply::default())
        }
        _ => fsck(&call).await,
    }
}

/// A replica, in Vault's keys and with what the one that answers knows of it.
fn replica(member: &Member, status: Option<&Status>) -> Value {
    let label = |name: &str| member.labels.get(name).cloned().unwrap_or_default();
    let mut node = json!({
        "hostname": member.instance,
        "api_address": label("api_addr"),
        "cluster_address": label("cluster_addr"),
        "active_node": true,
        "last_echo": null,
        "version": VAULT_VERSION,
        "holdfast_version": label("version"),
        "feature_levels": member.levels,
        "peer_protocols": member.protocols,
    });
    let Some(status) = status else { return node };
    let more = if member.own {
        json!({
            "answers": true,
            "read_mode": status.mode.as_str(),
            "reads_memory": status.reads_memory,
            "applied_revision": status.applied,
            "confirmed_ms_ago": status.confirmed_ago.map(|ago| ago.as_millis()),
            "cache_bytes": status.cache_bytes,
            "demotions": status.demotions,
            "evictions": status.evictions,
            "rejoins": status.rejoins,
            "gate": {
                "waiting": status.gate_waiting,
                "waits": status.gate_waits,
                "waited_ms": status.gate_waited.as_millis(),
                "refused": status.gate_refused,
            },
        })
    } else if let Some(peer) = status.peers.iter().find(|peer| peer.id == member.id) {
        json!({
            "answers": false,
            "read_mode": peer.mode.as_str(),
            "reads_memory": peer.mode == Mode::Cached && !peer.demoted,
            "applied_revision": peer.applied,
            "lag_revisions": peer.applied.map(|applied| (status.applied - applied).max(0)),
            "reachable": peer.reachable,
            "silent_ms": peer.silent_for.map(|silent| silent.as_millis()),
        })
    } else {
        json!({})
    };
    if let (Value::Object(node), Value::Object(more)) = (&mut node, more) {
        node.extend(more);
    }
    node
}

async fn rotation(call: &Call) -> Result<Reply, Error> {
    let (open, fields) = (&call.open, &call.request.fields);
    let mut config = rotation::config(open).await?;
    if call.request.operation == Read {
        let interval = match config.interval {
            0 => json!(0),
            seconds => json!(holdfast_base::duration::format(Duration::from_secs(seconds))),
        };
        let data = json!({
            "max_operations": config.max_operations, "interval": interval, "enabled": config.enabled,
        });
        return Ok(Response::data(data).into());
    }
    if let Some(most) = fields.int("max_operations") {
        config.max_operations = u64::try_from(most).unwrap_or(0);
    }
    if let Some(interval) = fields.duration("interval") {
        config.interval = interval.as_secs();
    }
    if let Some(enabled) = fields.bool("enabled") {
        config.enabled = enabled;
    }
    rotation::configure(open, &config).await?;
    Ok(Reply::default())
}

async fn fsck(call: &Call) -> Result<Reply, Error> {
    let found = call.open.config.barrier.fsck().await?;
    let leases = call.open.leases.fsck().await.map_err(holdfast_logical::Error::from)?;
    let tokens = call.open.tokens.fsck().await?;
    let router = call.open.mounts.cached();
    let leaving = router.namespaces().all().filter(|known| known.record.leaving);
    let leaving: Vec<_> = leaving.map(|known| known.record.path.clone()).collect();
    Ok(Response::data(json!({
        "clean": found.is_clean() && leases.is_clean() && tokens.is_clean(),
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
        // What is on its way to a state that is clean, and is gone on with after a crash.
        "restore_running": call.open.config.barrier.restore_in_progress().await?.is_some(),
        "namespaces_being_deleted": leaving,
        "leases": leases.leases,
        "intents": leases.intents,
        "leases_unscheduled": leases.unscheduled,
        "leases_unlisted": leases.unlisted,
        "leases_dangling": leases.dangling,
        "leases_without_mount": leases.homeless,
        "tokens": tokens.tokens,
        "tokens_being_revoked": tokens.revoking,
        "tokens_unscheduled": tokens.unscheduled,
        "tokens_unlisted": tokens.unlisted,
        "tokens_without_parent": tokens.bereft,
        "tokens_dangling": tokens.dangling,
    }))
    .into())
}
