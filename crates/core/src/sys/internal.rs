//! `sys/internal/*`: what clients ask before they act, above all whether a kv mount is version 1 or 2, and the OpenAPI
//! document of it all.

use std::sync::Arc;

use holdfast_logical::{Auth, Error as Logical, Field, Kind, Operation::Read, PathTable, Response, Row};
use holdfast_policy::Place;
use serde_json::{Map, Value, json};

use super::row;
use crate::{
    Class, Error,
    call::{Call, Holder, Reply},
    cidr,
    mounts::Mounted,
    openapi::{self, Document},
    reference,
};

pub const ROWS: &PathTable = &[
    row("internal/ui/namespaces", &[Read], &[], Auth::None, "The namespaces below this one that the token may touch."),
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
    row("internal/ui/resultant-acl", &[Read], &[], Auth::Token, "What the policies of the token grant, by path."),
    row(
        "internal/specs/openapi",
        &[Read],
        &[
            Field::new("generic_mount_paths", Kind::Bool, "Parameters instead of the paths of mounts."),
            Field::new("context", Kind::String, "Ignored."),
        ],
        Auth::None,
        "The OpenAPI document of the mounts that the token may touch.",
    ),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    if call.request.route == "internal/ui/resultant-acl" {
        return resultant_acl(&call);
    }
    let holder = holder(&call).await?;
    if call.request.route == "internal/specs/openapi" {
        return Ok(specification(&call, holder.as_ref()));
    }
    let router = call.open.mounts.cached();
    if call.request.route == "internal/ui/namespaces" {
        let (holder, own) = (holder.ok_or_else(Error::denied)?, call.namespace());
        let below = router.namespaces().below(own, true).into_iter().filter(|known| {
            let path = known.record.path.as_str();
            !known.record.leaving && holder.policies.touches(Place { path, namespace: path })
        });
        let keys = below.map(|known| known.record.path[own.path.len()..].to_owned());
        return Ok(Response::data(json!({ "keys": keys.collect::<Vec<_>>() })).into());
    }
    if call.request.route == "internal/ui/mounts" {
        let mut shown = Map::new();
        for (class, name) in [(Class::Auth, "auth"), (Class::Secret, "secret")] {
            let rows = router.of(call.namespace(), class).filter(|mounted| known(mounted, holder.as_ref()));
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
    let full = call.namespace().full_path(path.trim_start_matches('/'));
    let (mounted, _) = router.resolve(&full).ok_or_else(refused)?;
    if mounted.record.namespace != call.namespace().id || !touches(&holder, mounted) {
        return Err(refused().into());
    }
    let mut shown = show(mounted, true);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("path".to_owned(), json!(mounted.info.path));
    }
    Ok(Response::data(shown).into())
}

/// May the caller know of the mount?
fn known(mounted: &Mounted, holder: Option<&Holder>) -> bool {
    mounted.record.tuning.listing_visibility == "unauth" || holder.is_some_and(|holder| touches(holder, mounted))
}

/// The path is open, so the pipeline did not look at the token; one that is sent must be good.
async fn holder(call: &Call) -> Result<Option<Holder>, Error> {
    let Some(id) = &call.presented else { return Ok(None) };
    let found = call.open.tokens.find(id).await?;
    let (hash, mut token, _) = found.ok_or_else(Error::invalid_token)?;
    let own = call.open.mounts.cached().namespaces().of_token(&token, call.namespace());
    let own = own.ok_or_else(Error::invalid_token)?;
    if !cidr::allows(&token.bound_cidrs, call.request.connection.remote) {
        return Err(Error::denied());
    }
    if token.uses.is_some() {
        token = Arc::new(call.open.tokens.take_use(&hash).await?.ok_or_else(Error::invalid_token)?);
    }
    let rights = call.open.rights(&own, &token).await?;
    Ok(Some(Holder::new(id.duplicate(), hash, token, rights)))
}

/// May anything be done at or below the mount?
fn touches(holder: &Holder, mounted: &Mounted) -> bool {
    holder.policies.touches(Place { path: &mounted.info.full_path(), namespace: &mounted.info.namespace.path })
}

fn show(mounted: &Mounted, known: bool) -> Value {
    let record = &mounted.record;
    if !known {
        return json!({ "type": record.kind, "description": record.description, "options": record.show_options() });
    }
    record.show()
}

/// The document of all mounts that the caller may know of.
fn specification(call: &Call, holder: Option<&Holder>) -> Reply {
    let generic = call.request.fields.bool("generic_mount_paths").unwrap_or(false);
    let mut document = Document::default();
    let router = call.open.mounts.cached();
    let here = router.all().filter(|mounted| mounted.record.namespace == call.namespace().id);
    for mounted in here.filter(|mounted| known(mounted, holder)) {
        let (kind, path) = (mounted.record.kind.as_str(), mounted.record.path.as_str());
        let fixed = matches!(kind, "system" | "cubbyhole" | "identity" | "token");
        let parameter = format!("{}_mount_path", kind.replace('-', "_"));
        let prefix = match (generic && !fixed, mounted.record.class) {
            (true, Class::Auth) => format!("auth/{{{parameter}}}/"),
            (true, Class::Secret) => format!("{{{parameter}}}/"),
            (false, _) => mounted.info.path.clone(),
        };
        let tag = match (kind, mounted.record.class) {
            ("system", _) => "system",
            ("identity", _) => "identity",
            (_, Class::Auth) => "auth",
            (_, Class::Secret) => "secrets",
        };
        let version = mounted.record.options.get("version").filter(|_| kind == "kv");
        let name = version.map_or_else(|| kind.to_owned(), |version| format!("{kind}-v{version}"));
        let default = path.trim_end_matches('/');
        let mount = (generic && !fixed).then_some((parameter.as_str(), default));
        document.add(&openapi::Place { prefix: &prefix, kind: &name, tag, mount }, reference::rows(mounted));
    }
    let response = Response::data(document.finish());
    Reply { response, bare: Some(200), ..Reply::default() }
}

fn resultant_acl(call: &Call) -> Result<Reply, Error> {
    let policies = &call.holder()?.policies;
    let namespace = call.namespace();
    let root = policies.is_root(Place { path: &namespace.path, namespace: &namespace.path });
    let (mut exact, mut globs) = (Map::new(), Map::new());
    for (pattern, capabilities) in policies.granted() {
        let shown = json!({ "capabilities": capabilities.names() });
        match pattern.strip_suffix('*') {
            Some(prefix) => globs.insert(prefix.to_owned(), shown),
            None => exact.insert(pattern, shown),
        };
    }
    let data = json!({ "root": root, "exact_paths": exact, "glob_paths": globs, "chroot_namespace": "" });
    Ok(Response::data(data).into())
}
