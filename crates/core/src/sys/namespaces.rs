//! `sys/namespaces`: the namespaces below the one of the request.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Create, Delete, List, Patch, Read, Scan, Update},
    PathTable, Response, Row,
};
use serde_json::{Map, Value, json};

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
    namespaces::{self, Deletion, Known, Record, check_name},
};

const PATH: Field = Field::new("path", Kind::String, "Path of the namespace, below the one of the request.");
const UNLOCK_KEY: Field =
    Field::sensitive("unlock_key", Kind::String, "Key that locking answered; not needed with sudo.");
const METADATA: Field = Field::new("custom_metadata", Kind::Object, "Shown as given; values are texts.");

pub const ROWS: &PathTable = &[
    row("namespaces", &[List, Scan], &[], Auth::Token, "The namespaces below this one; scan: at any depth."),
    row("namespaces/api-lock/lock", &[Update], &[], Auth::Token, "Locks this namespace and those below it."),
    Row {
        id: "namespaces/api-lock/lock",
        pattern: "namespaces/api-lock/lock/*path",
        operations: &[Update],
        fields: &[PATH],
        auth: Auth::Token,
        help: "Locks a namespace and those below it: nothing is served there until it is unlocked.",
    },
    row("namespaces/api-lock/unlock", &[Update], &[UNLOCK_KEY], Auth::Token, "Unlocks this namespace."),
    Row {
        id: "namespaces/api-lock/unlock",
        pattern: "namespaces/api-lock/unlock/*path",
        operations: &[Update],
        fields: &[PATH, UNLOCK_KEY],
        auth: Auth::Token,
        help: "Unlocks a namespace.",
    },
    Row {
        id: "namespaces/:path",
        pattern: "namespaces/*path",
        operations: &[Create, Read, Update, Patch, Delete],
        fields: &[PATH, METADATA],
        auth: Auth::Token,
        help: "Makes, shows, changes or deletes a namespace.",
    },
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    match (call.request.route, call.request.operation) {
        ("namespaces", operation) => list(&call, operation == Scan),
        ("namespaces/api-lock/lock", _) => {
            let key = call.open.lock_namespace(&*lockable(&call)?).await?;
            Ok(Response::data(json!({ "unlock_key": key })).into())
        }
        ("namespaces/api-lock/unlock", _) => unlock(&call).await,
        (_, Read) => Ok(Response::data(child(&call)?.ok_or_else(Error::not_found)?.record.show()).into()),
        (_, Delete) => delete(&call).await,
        (_, Patch) => {
            let known = child(&call)?.ok_or_else(namespaces::not_found)?;
            shown(&call.open.patch_namespace(&known, &patch(&call)?).await?)
        }
        _ => {
            let name = call.request.fields.string("path").unwrap_or_default();
            let metadata = patch(&call)?.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            shown(&call.open.set_namespace(call.namespace(), name, metadata).await?)
        }
    }
}

fn shown(record: &Record) -> Result<Reply, Error> {
    Ok(Response::data(record.show()).into())
}

fn list(call: &Call, deep: bool) -> Result<Reply, Error> {
    let (router, own) = (call.open.mounts.cached(), call.namespace());
    let below = router.namespaces().below(own, deep);
    let name = |known: &Known| known.record.path[own.path.len()..].to_owned();
    let keys: Vec<_> = below.iter().map(|known| name(known)).collect();
    let info: Map<_, _> = below.iter().map(|known| (name(known), Value::Object(known.record.show()))).collect();
    if keys.is_empty() {
        return Err(Error::not_found());
    }
    Ok(Response::data(json!({ "keys": keys, "key_info": info })).into())
}

/// The child that the path names.
fn child(call: &Call) -> Result<Option<Arc<Known>>, Error> {
    let name = check_name(call.request.fields.string("path").unwrap_or_default())?;
    Ok(at(call, name))
}

fn at(call: &Call, path: &str) -> Option<Arc<Known>> {
    let full = format!("{}{}/", call.namespace().path, path.trim_matches('/'));
    call.open.mounts.cached().namespaces().at(&full).cloned()
}

/// The namespace that is to be locked or unlocked: that of the request, or one below it.
fn lockable(call: &Call) -> Result<Arc<Known>, Error> {
    let path = call.request.fields.string("path").unwrap_or_default().trim_matches('/');
    if path.is_empty() && call.namespace().is_root() {
        return Err(Error::invalid("the root namespace cannot be locked"));
    }
    let known = match path.is_empty() {
        true => call.open.mounts.cached().namespaces().at(&call.namespace().path).cloned(),
        false => at(call, path),
    };
    known.ok_or_else(namespaces::not_found)
}

async fn unlock(call: &Call) -> Result<Reply, Error> {
    let key = call.request.fields.string("unlock_key").filter(|key| !key.is_empty());
    if key.is_none() && !call.sudo {
        return Err(Error::invalid("provided empty key"));
    }
    call.open.unlock_namespace(&*lockable(call)?, key).await?;
    Ok(match key {
        Some(_) => Reply::default(),
        None => Response::empty().warn("Namespace unlocked using sudo capabilities").into(),
    })
}

async fn delete(call: &Call) -> Result<Reply, Error> {
    let Some(known) = child(call)? else {
        return Ok(Response::empty().warn("requested namespace does not exist").into());
    };
    Ok(match call.open.delete_namespace(&known).await? {
        Deletion::Done => Reply::default(),
        Deletion::Goes => Response::data(json!({ "status": "in-progress" })).into(),
    })
}

/// The metadata that was sent; null removes a key.
fn patch(call: &Call) -> Result<BTreeMap<String, Option<String>>, Error> {
    let Some(given) = call.request.fields.get("custom_metadata").and_then(Value::as_object) else {
        return Ok(BTreeMap::new());
    };
    let text = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Ok((key.clone(), Some(text.clone()))),
        Value::Null => Ok((key.clone(), None)),
        _ => Err(Error::invalid("custom_metadata values must be strings")),
    };
    given.iter().map(text).collect()
}
