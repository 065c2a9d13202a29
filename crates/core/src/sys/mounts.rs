//! `sys/mounts` and `sys/auth`: the tables, mounting, unmounting and tuning.

use holdfast_failpoint::failpoint;
use holdfast_logical::{
    Auth, Field, Fields, Kind,
    Operation::{Create, Delete, Read, Update},
    PathTable, Response, Row,
};
use serde_json::{Map, Value, json};

use super::row;
use crate::{
    Class, Error,
    call::{Call, Reply},
    mounts::{Mounted, NewMount, Tuning, record::TUNING},
};

const MOUNT: &[Field] = &[
    Field::new("path", Kind::String, "Path of the mount."),
    Field::new("type", Kind::String, "Type name: kv, database, kubernetes …"),
    Field::new("description", Kind::String, "For people."),
    Field::new("config", Kind::Object, "TTLs and the rest of what tune changes."),
    Field::new("options", Kind::StringMap, "Options of the type: version=2."),
    Field::new("local", Kind::Bool, "Kept and shown."),
    Field::new("seal_wrap", Kind::Bool, "Kept and shown."),
    Field::new("external_entropy_access", Kind::Bool, "Ignored."),
    Field::new("plugin_name", Kind::String, "Ignored unless type is missing."),
    Field::new("plugin_version", Kind::String, "Ignored."),
];

/// The path of a mount may have several segments, so it is the rest, and `/tune` is looked for at its end.
pub const ROWS: &PathTable = &[
    row("mounts", &[Read], &[], Auth::Token, "The mounted secret engines."),
    Row {
        id: "mounts/tune",
        pattern: "mounts/*path",
        operations: &[Create, Read, Update, Delete],
        fields: ALL,
        auth: Auth::Token,
        help: "Mounts, shows, tunes (below /tune) or unmounts a secret engine.",
    },
    row("auth", &[Read], &[], Auth::Token, "The mounted auth methods."),
    Row {
        id: "auth/tune",
        pattern: "auth/*path",
        operations: &[Create, Read, Update, Delete],
        fields: ALL,
        auth: Auth::Sudo,
        help: "Mounts, shows, tunes (below /tune) or unmounts an auth method.",
    },
];

/// The fields of mounting and of tuning together: the path tells which are meant.
const ALL: &[Field] = &[
    MOUNT[0], MOUNT[1], MOUNT[2], MOUNT[3], MOUNT[4], MOUNT[5], MOUNT[6], MOUNT[7], MOUNT[8], MOUNT[9], TUNING[0],
    TUNING[1], TUNING[2], TUNING[3], TUNING[4], TUNING[5], TUNING[6], TUNING[7], TUNING[8], TUNING[9],
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let class = if call.request.route.starts_with("auth") { Class::Auth } else { Class::Secret };
    let path = call.request.fields.string("path").unwrap_or_default().trim_matches('/').to_owned();
    if path.is_empty() {
        return list(&call, class);
    }
    // Vault's Go client tunes auth methods here: sys/mounts/auth/<path>/tune.
    let (class, path) =
        match path.strip_prefix("auth/").filter(|auth| class == Class::Secret && auth.ends_with("/tune")) {
            Some(auth) => (Class::Auth, auth.to_owned()),
            None => (class, path),
        };
    match (path.strip_suffix("/tune"), call.request.operation) {
        (Some(path), Read) => show_tuning(&call, class, path),
        (Some(path), Create | Update) => tune(&call, class, path).await,
        (None, Read) => {
            let mounted = find(&call, class, &path)?;
            Ok(Response::data(mounted.record.show()).into())
        }
        (None, Create | Update) => mount(&call, class, path).await,
        (None, Delete) => unmount(&call, class, &path).await,
        _ => Err(holdfast_logical::Error::UnsupportedOperation.into()),
    }
}

fn list(call: &Call, class: Class) -> Result<Reply, Error> {
    if call.request.operation != Read {
        return Err(holdfast_logical::Error::UnsupportedOperation.into());
    }
    let router = call.open.mounts.cached();
    let rows = router.of(call.namespace(), class).map(|mounted| (mounted.record.path.clone(), mounted.record.show()));
    Ok(Response::data(rows.collect::<Map<String, Value>>()).into())
}

fn find(call: &Call, class: Class, path: &str) -> Result<std::sync::Arc<Mounted>, Error> {
    let what = match class {
        Class::Secret => "No secret engine mount at",
        Class::Auth => "No auth engine at",
    };
    let router = call.open.mounts.cached();
    router.at(call.namespace(), class, path).cloned().ok_or_else(|| Error::invalid(format!("{what} {path}/")))
}

async fn mount(call: &Call, class: Class, path: String) -> Result<Reply, Error> {
    let fields = &call.request.fields;
    let mut tuning = Tuning::default();
    if let Some(config) = fields.get("config").and_then(Value::as_object) {
        let config = Fields::coerce(TUNING, &Default::default(), config.clone())?;
        tuning.apply(&config, (&path, class))?;
    }
    if let Some(kind) = fields.string("token_type").filter(|kind| !kind.is_empty()) {
        let top = Map::from_iter([("token_type".to_owned(), json!(kind))]);
        tuning.apply(&Fields::coerce(TUNING, &Default::default(), top)?, (&path, class))?;
    }
    let kind = fields.string("type").filter(|kind| !kind.is_empty()).or_else(|| fields.string("plugin_name"));
    let new = NewMount {
        namespace: call.namespace().clone(),
        class,
        path,
        kind: kind.unwrap_or_default().to_lowercase(),
        description: fields.string("description").unwrap_or_default().to_owned(),
        options: fields.string_map("options").unwrap_or_default(),
        tuning,
        local: fields.bool("local").unwrap_or(false),
        seal_wrap: fields.bool("seal_wrap").unwrap_or(false),
    };
    call.open.mounts.mount(new).await?;
    failpoint!("mount.stored").await;
    Ok(Reply::default())
}

/// Tokens and leases first, then the row, then the storage. A lease that cannot be revoked keeps the mount.
async fn unmount(call: &Call, class: Class, path: &str) -> Result<Reply, Error> {
    let open = &call.open;
    let builtin = match class {
        Class::Secret => ["sys", "cubbyhole", "identity"].contains(&path),
        Class::Auth => path == "token",
    };
    if builtin {
        return Err(Error::invalid(format!("cannot unmount {path:?}")));
    }
    let Some(record) = open.mounts.close(call.namespace(), class, path).await? else { return Ok(Reply::default()) };
    failpoint!("unmount.closed").await;
    if let Err(error) = open.finish_unmount(&record).await {
        open.mounts.reopen(&record).await?;
        return Err(error);
    }
    Ok(Reply::default())
}

fn show_tuning(call: &Call, class: Class, path: &str) -> Result<Reply, Error> {
    let mounted = find(call, class, path)?;
    let record = &mounted.record;
    let mut shown = Map::new();
    shown.insert("default_lease_ttl".into(), json!(mounted.info.default_ttl.as_secs()));
    shown.insert("max_lease_ttl".into(), json!(mounted.info.max_ttl.as_secs()));
    shown.insert("description".into(), json!(record.description));
    shown.insert("force_no_cache".into(), json!(record.tuning.force_no_cache));
    if !record.options.is_empty() {
        shown.insert("options".into(), record.show_options());
    }
    if class == Class::Auth {
        shown.insert("token_type".into(), json!(record.token_type()));
    }
    record.tuning.show_set(&mut shown);
    if let Some(lockout) = &record.tuning.lockout {
        lockout.show_flat(&mut shown);
    }
    Ok(Response::data(shown).into())
}

/// A kv mount goes from version 1 to 2 and never back.
fn check_version(before: &str, wanted: &str) -> Result<(), Error> {
    match (before, wanted) {
        (_, "2") | ("1", "1") => Ok(()),
        (_, "1") => Err(Error::invalid("cannot downgrade a kv mount from version 2 to 1")),
        _ => Err(Error::invalid(format!("unsupported kv version {wanted:?}: use 1 or 2"))),
    }
}

async fn tune(call: &Call, class: Class, path: &str) -> Result<Reply, Error> {
    let fields = &call.request.fields;
    call.open
        .mounts
        .tune(call.namespace(), class, path, |record| {
            let of = (record.path.clone(), record.class);
            record.tuning.apply(fields, (&of.0, of.1))?;
            if let Some(description) = fields.string("description") {
                description.clone_into(&mut record.description);
            }
            for (name, value) in fields.string_map("options").unwrap_or_default() {
                if name == "version" && record.kind == "kv" {
                    check_version(record.options.get("version").map_or("1", String::as_str), &value)?;
                }
                record.options.insert(name, value);
            }
            Ok(())
        })
        .await?;
    Ok(Reply::default())
}
