//! `sys/remount`: moves a mount to another path, at once.

use holdfast_base::id;
use holdfast_failpoint::failpoint;
use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Read, Update},
    PathTable, Response,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::row;
use crate::{
    Class, Error,
    call::{Call, Reply},
    namespaces,
};

pub const ROWS: &PathTable = &[
    row(
        "remount",
        &[Update],
        &[
            Field::new("from", Kind::String, "Path of the mount; auth/… for auth methods."),
            Field::new("to", Kind::String, "New path, of the same class."),
        ],
        Auth::Sudo,
        "Moves a mount. Its leases are revoked.",
    ),
    row("remount/status/:id", &[Read], &[], Auth::Token, "What became of a move."),
];

/// What is kept of a move that was made.
#[derive(Serialize, Deserialize)]
struct Moved {
    from: String,
    to: String,
}

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (fields, namespace) = (&call.request.fields, call.namespace());
    let home = match namespace.is_root() {
        true => call.open.root.below("core"),
        false => namespaces::home(&call.open.root, &namespace.id),
    };
    let view = home.below("remount");
    if call.request.route == "remount/status/:id" {
        let id = fields.required("id")?;
        let (moved, _): (Moved, _) = view.get_json(id).await?.ok_or_else(Error::not_found)?;
        let info = json!({"source_mount": moved.from, "target_mount": moved.to, "status": "success"});
        return Ok(Response::data(json!({ "migration_id": id, "migration_info": info })).into());
    }
    let (from, to) = (split(fields.required("from")?), split(fields.required("to")?));
    if from.0 != to.0 {
        return Err(Error::invalid("cannot move between secret engines and auth methods"));
    }
    let (class, from, to) = (from.0, from.1, to.1);
    let router = call.open.mounts.cached();
    let mounted =
        router.at(namespace, class, from).ok_or_else(|| Error::invalid(format!("no matching mount at \"{from}/\"")))?;
    if ["system", "cubbyhole", "token", "identity"].contains(&mounted.record.kind.as_str()) {
        return Err(Error::invalid(format!("cannot remount \"{from}/\"")));
    }
    call.open.empty_mount(&mounted.record).await?;
    failpoint!("remount.emptied").await;
    call.open.mounts.rename(namespace, class, from, to).await?;
    failpoint!("remount.renamed").await;
    let id = id::uuid(call.open.config.entropy.as_ref());
    view.put_json(&id, &Moved { from: format!("{from}/"), to: format!("{to}/") }).await?;
    Ok(Response::data(json!({ "migration_id": id })).into())
}

fn split(path: &str) -> (Class, &str) {
    let path = path.trim_matches('/');
    match path.strip_prefix("auth/") {
        Some(path) => (Class::Auth, path),
        None => (Class::Secret, path),
    }
}
