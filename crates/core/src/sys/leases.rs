//! `sys/leases/*` and the older `sys/renew` and `sys/revoke*`.

use std::collections::BTreeMap;

use holdfast_logical::{
    Auth, Error as Logical, Field, Kind,
    Operation::{List, Read, Update},
    PathTable, Response, Timestamp,
};
use serde_json::{Value, json};

use super::row;
use crate::{
    Error,
    call::{Call, LeaseShown, Reply},
    lease::{self, Folder, LeaseInfo, Revocations, Revoked},
    token::{AUTH, TokenLease, seconds_up},
};

const LEASE_ID: Field = Field::new("lease_id", Kind::String, "Lease id.");
const INCREMENT: Field = Field::new("increment", Kind::Duration, "Wanted TTL from now.");
const SYNC: Field = Field::new("sync", Kind::Bool, "Wait for the revocation.");
const RENEW: &[Field] = &[LEASE_ID, INCREMENT];
const REVOKE: &[Field] = &[LEASE_ID, SYNC];
const PREFIX: &[Field] = &[Field::new("prefix", Kind::String, "Beginning of lease ids, up to a slash."), SYNC];

/// Leases that are listed unless more are asked for, as in Vault.
const SHOWN: usize = 10_000;

pub const ROWS: &PathTable = &[
    row("leases/lookup", &[Update, List], &[LEASE_ID], Auth::Token, "Shows a lease; LIST takes sudo."),
    row("leases/lookup/*prefix", &[List], PREFIX, Auth::Sudo, "Lists leases."),
    row("leases/renew", &[Update], RENEW, Auth::Token, "Extends a lease."),
    row("leases/renew/*lease_id", &[Update], RENEW, Auth::Token, "Extends a lease."),
    row("leases/revoke", &[Update], REVOKE, Auth::Token, "Revokes a lease."),
    row(
        "leases/revoke-prefix/*prefix",
        &[Update],
        PREFIX,
        Auth::Sudo,
        "Revokes the leases of a prefix; below auth/ the tokens, with all that is below them.",
    ),
    row("leases/revoke-force/*prefix", &[Update], PREFIX, Auth::Sudo, "Forgets the leases of a prefix."),
    row("leases/revoke/*lease_id", &[Update], REVOKE, Auth::Token, "Revokes a lease."),
    row("leases/tidy", &[Update], &[], Auth::Token, "Repairs what points to leases, in the background."),
    row("leases/count", &[Read], &[Field::new("type", Kind::String, "irrevocable")], Auth::Token, "Counts leases."),
    row(
        "leases",
        &[Read, List],
        &[
            Field::new("type", Kind::String, "irrevocable"),
            Field::new("limit", Kind::String, "At most this many (10000), or none."),
            Field::new("force", Kind::Bool, "The same as limit=none."),
        ],
        Auth::Sudo,
        "Leases whose revocation fails.",
    ),
    row("renew", &[Update], RENEW, Auth::Token, "Extends a lease."),
    row("renew/*lease_id", &[Update], RENEW, Auth::Token, "Extends a lease."),
    row("revoke", &[Update], REVOKE, Auth::Token, "Revokes a lease."),
    row(
        "revoke-prefix/*prefix",
        &[Update],
        PREFIX,
        Auth::Sudo,
        "Revokes the leases of a prefix; below auth/ the tokens, with all that is below them.",
    ),
    row("revoke-force/*prefix", &[Update], PREFIX, Auth::Sudo, "Forgets the leases of a prefix."),
    row("revoke/*lease_id", &[Update], REVOKE, Auth::Token, "Revokes a lease."),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (leases, fields, namespace) = (&call.open.leases, &call.request.fields, call.namespace());
    let folder = |path| Folder { namespace: &namespace.id, path };
    match call.request.route.trim_start_matches("leases/") {
        "lookup" if call.request.operation == List => match call.sudo {
            true => list(&call, "").await,
            false => Err(Error::denied_by_policy()),
        },
        "lookup" => {
            let id = fields.required("lease_id")?;
            if let Some(lease) = call.open.tokens.by_lease(namespace, id).await? {
                return Ok(Response::data(shown(&lease, call.open.tokens.now())).into());
            }
            if !leases.is_of(namespace, id) {
                return Err(Logical::from(lease::Error::Invalid).into());
            }
            let lease = leases.lookup(id).await.map_err(Logical::from)?;
            Ok(Response::data(json!({
                "id": lease.id,
                "issue_time": lease.issue_time.to_string(),
                "expire_time": lease.expire_time.to_string(),
                "last_renewal": lease.last_renewal.map(|at| at.to_string()),
                "renewable": lease.renewable,
                "ttl": seconds_up(lease.ttl),
                "owner": lease.owner,
                "item": lease.item,
                "revoke_attempts": lease.revoke_attempts,
                "revoke_error": lease.revoke_error,
            }))
            .into())
        }
        "lookup/*prefix" => list(&call, fields.string("prefix").unwrap_or_default()).await,
        "renew" | "renew/*lease_id" => renew(&call).await,
        "revoke" | "revoke/*lease_id" => revoke(&call).await,
        "revoke-prefix/*prefix" | "revoke-force/*prefix" => {
            let force = call.request.route.contains("force");
            let prefix = fields.required("prefix")?;
            if of_tokens(prefix) {
                let router = call.open.mounts.cached();
                call.open.tokens.revoke_below(&router, namespace, prefix).await?;
                return Ok(Reply::default());
            }
            revoked(leases.revoke_prefix(folder(prefix), force).await.map_err(Logical::from)?)
        }
        "tidy" => {
            let leases = leases.clone();
            let work = async move { Ok(format!("{:?}", leases.tidy().await.map_err(Logical::from)?)) };
            Ok(call.open.tidying.start("leases", work))
        }
        "count" => {
            let ids = match irrevocable(&call)? {
                true => stuck(&call, usize::MAX).await?.into_iter().map(|lease| lease.id).collect(),
                false => leases.ids_below(folder("")).await.map_err(Logical::from)?,
            };
            let router = call.open.mounts.cached();
            let mut counts = BTreeMap::<String, u64>::new();
            for id in &ids {
                if let Some((mounted, _)) = router.resolve(&namespace.full_path(id)) {
                    *counts.entry(mounted.record.accessor.clone()).or_default() += 1;
                }
            }
            Ok(Response::data(json!({ "lease_count": ids.len(), "counts": counts })).into())
        }
        "leases" => {
            irrevocable(&call)?;
            let limit = match fields.string("limit") {
                None | Some("") => SHOWN,
                Some("none" | "-1") => usize::MAX,
                Some(text) => {
                    text.parse().map_err(|_| Error::invalid("invalid 'limit': a number or \"none\" is needed"))?
                }
            };
            let limit = if fields.bool("force") == Some(true) { usize::MAX } else { limit };
            let stuck = stuck(&call, limit.saturating_add(1)).await?;
            let rows: Vec<_> = stuck
                .iter()
                .take(limit)
                .map(|lease| {
                    json!({ "lease_id": lease.id, "error": lease.revoke_error, "attempts": lease.revoke_attempts })
                })
                .collect();
            let response = Response::data(json!({ "lease_count": rows.len(), "leases": rows }));
            Ok(match stuck.len() > limit {
                true => response.warn(format!("more than {limit} leases: raise limit, or set it to \"none\"")).into(),
                false => response.into(),
            })
        }
        _ => Err(Error::not_found()),
    }
}

async fn list(call: &Call, prefix: &str) -> Result<Reply, Error> {
    let (open, namespace, router) = (&call.open, call.namespace(), call.open.mounts.cached());
    if of_tokens(prefix) {
        return Ok(Response::keys(open.tokens.list_leases(&router, namespace, prefix).await?)?.into());
    }
    let folder = Folder { namespace: &namespace.id, path: prefix };
    let mut names = open.leases.list(folder).await.map_err(Logical::from)?;
    if prefix.trim_matches('/').is_empty() && open.tokens.have_leases(&router, namespace).await? {
        names.push(AUTH.to_owned());
        names.sort();
    }
    Ok(Response::keys(names)?.into())
}

/// Is it a path of logins? Their leases are the tokens.
fn of_tokens(path: &str) -> bool {
    format!("{}/", path.trim_matches('/')).starts_with(AUTH)
}

/// A token, shown as the lease that it is.
fn shown(lease: &TokenLease, now: Timestamp) -> Value {
    let token = &lease.token;
    json!({
        "id": lease.id,
        "issue_time": token.created.to_string(),
        "expire_time": token.expires.map(|at| at.to_string()),
        "last_renewal": token.renewed.map(|at| at.to_string()),
        "renewable": token.renewable,
        "ttl": token.ttl_seconds(now),
    })
}

/// Are only those wanted whose revocation fails? They are retried for ever; there is no other type.
fn irrevocable(call: &Call) -> Result<bool, Error> {
    match call.request.fields.string("type") {
        None | Some("") => Ok(false),
        Some("irrevocable") => Ok(true),
        Some(other) => Err(Error::invalid(format!("unknown lease type {other:?}: only irrevocable is known"))),
    }
}

async fn stuck(call: &Call, limit: usize) -> Result<Vec<LeaseInfo>, Error> {
    Ok(call
        .open
        .leases
        .stuck(Folder { namespace: &call.namespace().id, path: "" }, limit)
        .await
        .map_err(Logical::from)?)
}

async fn renew(call: &Call) -> Result<Reply, Error> {
    let (leases, fields) = (&call.open.leases, &call.request.fields);
    let id = fields.required("lease_id")?;
    if call.open.tokens.by_lease(call.namespace(), id).await?.is_some() {
        return Err(Error::invalid("tokens cannot be renewed through this endpoint"));
    }
    if !leases.is_of(call.namespace(), id) {
        return Err(Logical::from(lease::Error::NotFound).into());
    }
    let renewed = leases.renew(id, fields.duration("increment")).await.map_err(Logical::from)?;
    Ok(Reply {
        response: Response { warnings: renewed.warnings, ..Response::default() },
        lease: Some(LeaseShown {
            id: renewed.lease_id,
            seconds: seconds_up(renewed.ttl),
            renewable: renewed.renewable,
        }),
        ..Reply::default()
    })
}

async fn revoke(call: &Call) -> Result<Reply, Error> {
    let (leases, fields) = (&call.open.leases, &call.request.fields);
    let sync = fields.bool("sync").unwrap_or(false);
    let id = fields.required("lease_id")?;
    // Who does not wait is told so, although it may be done.
    let accepted = || match sync {
        true => Reply::default(),
        false => Response { status: Some(202), ..Response::empty() }.into(),
    };
    if let Some(lease) = call.open.tokens.by_lease(call.namespace(), id).await? {
        call.open.tokens.revoke(&lease.hash).await?;
        return Ok(accepted());
    }
    if !leases.is_of(call.namespace(), id) {
        return Ok(accepted());
    }
    let outcome = leases.revoke(id, sync).await.map_err(Logical::from)?;
    match outcome {
        Revoked::Queued(Some(error)) if sync => {
            Err(Logical::Unavailable(format!("the lease is not revoked yet and is being retried: {error}")).into())
        }
        Revoked::Queued(_) => Ok(Response { status: Some(202), ..Response::empty() }.into()),
        Revoked::Done(_) | Revoked::Absent => Ok(accepted()),
    }
}

fn revoked(done: Revocations) -> Result<Reply, Error> {
    if done.queued > 0 {
        return Err(Logical::Unavailable(format!(
            "{} revoked, {} not yet and being retried: {}",
            done.done,
            done.queued,
            done.error.unwrap_or_default()
        ))
        .into());
    }
    Ok(Reply::default())
}
