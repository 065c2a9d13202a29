//! `sys/internal/ui/*`: what clients ask before they act, above all whether a kv mount is version 1 or 2.

use holdfast_logical::{Auth, Error as Logical, Field, Kind, Operation::Read, PathTable, Response, Row};
use serde_json::{Map, Value, json};

use super::row;
use crate::{
    Class, Error,
    call::{Call, Holder, Reply},
    cidr,
    mounts::Mounted,
};

pub const ROWS: &PathTable = &[
    // The caller's token decides what is shown, not a policy on this path.
    row("internal/ui/mounts", &[Read], &[], Auth::None, "The mounts that the token may touch."),
    Row {
        id: "internal/ui/mounts/:path",
        pattern: "internal/ui/mounts/*path",
        operations: &[Read],
        fields: &[Field::new("path", Kind::String, "A path within the mount.")],
        auth: Auth::None,
        help: "The mount that a path belongs to.",
    },
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let holder = holder(&call).await?;
    let router = call.open.mounts.cached();
    if call.request.route == "internal/ui/mounts" {
        let mut shown = Map::new();
        for (class, name) in [(Class::Auth, "auth"), (Class::Secret, "secret")] {
            let rows = router.of(class).filter(|mounted| {
                mounted.record.tuning.listing_visibility == "unauth"
                    || holder.as_ref().is_some_and(|holder| holder.policies.touches(&mounted.info.path))
            });
            let rows = rows.map(|mounted| (mounted.record.path.clone(), show(mounted, holder.is_some())));
            shown.insert(name.to_owned(), Value::Object(rows.collect()));
        }
        return Ok(Response::data(shown).into());
    }
    let path = call.request.fields.string("path").unwrap_or_default();
    let holder = holder.ok_or_else(Error::denied)?;
    let refused = || {
        Logical::Denied(format!(
            "preflight capability check returned 403, please ensure client's policies grant access to path {:?}",
            format!("{}/", path.trim_end_matches('/'))
        ))
    };
    let (mounted, _) = router.resolve(path).ok_or_else(refused)?;
    if !holder.policies.touches(&mounted.info.path) {
        return Err(refused().into());
    }
    let mut shown = show(mounted, true);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("path".to_owned(), json!(mounted.info.path));
    }
    Ok(Response::data(shown).into())
}

/// The path is open, so the pipeline did not look at the token; one that is sent must be good.
async fn holder(call: &Call) -> Result<Option<Holder>, Error> {
    let Some(id) = &call.presented else { return Ok(None) };
    let found = call.open.tokens.find(id).await?;
    let (hash, mut token, _) = found.ok_or_else(Error::invalid_token)?;
    if !cidr::allows(&token.bound_cidrs, call.request.connection.remote) {
        return Err(Error::denied());
    }
    if token.uses.is_some() {
        token = call.open.tokens.take_use(&hash).await?.ok_or_else(Error::invalid_token)?;
    }
    let rights = call.open.rights(call.namespace(), &token).await?;
    Ok(Some(Holder::new(id.duplicate(), hash, token, rights)))
}

fn show(mounted: &Mounted, known: bool) -> Value {
    let record = &mounted.record;
    if !known {
        return json!({ "type": record.kind, "description": record.description, "options": record.show_options() });
    }
    json!({
        "accessor": record.accessor,
        "config": {
            "default_lease_ttl": mounted.info.default_ttl.as_secs(),
            "max_lease_ttl": mounted.info.max_ttl.as_secs(),
            "force_no_cache": record.tuning.force_no_cache,
        },
        "description": record.description,
        "external_entropy_access": false,
        "local": record.local,
        "options": record.show_options(),
        "plugin_version": "",
        "running_plugin_version": "",
        "running_sha256": "",
        "seal_wrap": record.seal_wrap,
        "type": record.kind,
        "uuid": record.uuid,
    })
}
