//! `sys/bindings/*`: whose credentials are whose, and letting an owner go.

use holdfast_logical::{
    Auth, Error as Logical,
    Operation::{Delete, List, Read},
    PathTable, Response,
};
use serde_json::{Map, Value, json};

use super::row;
use crate::{
    Error, binding,
    call::{Call, Reply},
    token::seconds_up,
};

pub const ROWS: &PathTable = &[
    row("bindings", &[List], &[], Auth::Token, "Kinds of owners."),
    row("bindings/:kind", &[List], &[], Auth::Token, "Owners of a kind."),
    row("bindings/:kind/:uid", &[Read, Delete], &[], Auth::Token, "What an owner has; revokes all of it."),
    row("bindings/:kind/:uid/*item", &[Delete], &[], Auth::Token, "Revokes the credential of an item."),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (leases, fields) = (&call.open.leases, &call.request.fields);
    let (kind, uid) = (fields.string("kind").unwrap_or_default(), fields.string("uid").unwrap_or_default());
    let namespace = call.namespace();
    let owner = || binding::scoped(namespace, &format!("{kind}/{uid}")).map_err(Logical::from);
    match (call.request.route, call.request.operation) {
        ("bindings", _) => Ok(Response::keys(leases.owner_kinds(namespace).await.map_err(Logical::from)?)?.into()),
        ("bindings/:kind", _) => {
            binding::scoped(namespace, &format!("{kind}/x")).map_err(Logical::from)?;
            let owners = leases.owners(&binding::scoped_kind(namespace, kind)).await;
            Ok(Response::keys(owners.map_err(Logical::from)?)?.into())
        }
        ("bindings/:kind/:uid", Read) => {
            let mut items = Map::new();
            for (item, lease) in leases.bindings(&owner()?).await.map_err(Logical::from)? {
                let path = lease.id.rsplit_once('/').map_or("", |(path, _)| path);
                let shown = json!({
                    "lease_id": lease.id,
                    "path": path,
                    "expire_time": lease.expire_time.to_string(),
                    "ttl": seconds_up(lease.ttl),
                });
                items.insert(item, shown);
            }
            Ok(Response::data(json!({ "items": Value::Object(items) })).into())
        }
        (route, _) => {
            let item = fields.string("item").filter(|item| route.ends_with("*item") && !item.is_empty());
            let owner = owner()?;
            let released = leases.release(&owner, item).await.map_err(Logical::from)?;
            if released.queued > 0 {
                let error = released.error.as_deref().unwrap_or_default();
                tracing::warn!(owner, queued = released.queued, error, "revocations of a released owner are queued");
            }
            Ok(Reply::default())
        }
    }
}
