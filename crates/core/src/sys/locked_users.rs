//! `sys/locked-users`: who waits, and who need not wait any longer.

use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Read, Update},
    PathTable, Response,
};
use serde_json::json;

use super::row;
use crate::{
    Class, Error,
    call::{Call, Reply},
};

const ACCESSOR: Field = Field::new("mount_accessor", Kind::String, "Accessor of an auth mount.");
const ALIAS: Field = Field::new("alias_identifier", Kind::String, "The user as the listing names it.");

pub const ROWS: &PathTable = &[
    row("locked-users", &[Read], &[ACCESSOR], Auth::Token, "Users that failed to log in too often, by mount."),
    row(
        "locked-users/:mount_accessor/unlock/:alias_identifier",
        &[Update],
        &[ACCESSOR, ALIAS],
        Auth::Token,
        "Lets a user try again at once.",
    ),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (open, fields) = (&call.open, &call.request.fields);
    let (router, wanted) = (open.mounts.cached(), fields.string("mount_accessor").unwrap_or_default());
    let namespace = call.namespace();
    let mounts = || {
        let here = router.of(namespace, Class::Auth);
        here.filter(|mounted| wanted.is_empty() || mounted.record.accessor == wanted)
    };
    if !wanted.is_empty() && mounts().next().is_none() {
        return Err(Error::invalid(format!("mount accessor {wanted:?} is not valid: see sys/auth")));
    }
    if let Some(alias) = fields.string("alias_identifier") {
        for mounted in mounts() {
            open.lockout.unlock(mounted, alias).await?;
            open.lockout.unlock(mounted, &alias.to_lowercase()).await?;
        }
        return Ok(Reply::default());
    }
    let (mut rows, mut total) = (Vec::new(), 0);
    for mounted in mounts() {
        let aliases = open.lockout.locked(mounted).await?;
        if !aliases.is_empty() {
            total += aliases.len();
            rows.push(json!({
                "mount_accessor": mounted.record.accessor,
                "counts": aliases.len(),
                "alias_identifiers": aliases,
            }));
        }
    }
    let namespaces = match total {
        0 => json!([]),
        _ => {
            json!([{ "namespace_id": namespace.id, "namespace_path": namespace.path, "counts": total, "mount_accessors": rows }])
        }
    };
    Ok(Response::data(json!({ "by_namespace": namespaces, "total": total })).into())
}
