//! `sys/quotas`: rate limits, lease counts, and what holds for all rate limits.

use holdfast_logical::{
    Auth, Data, Field, Fields, Kind,
    Operation::{Delete, List, Read, Update},
    PathTable, Response,
};
use serde_json::{Map, Value, json};

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
    front::Settings,
    quota::{LeaseCount, RateLimit, Scope},
};

const NAME: Field = Field::new("name", Kind::String, "Name of the quota.");
const PATH: Field = Field::new(
    "path",
    Kind::String,
    "What it covers: empty for everything, a namespace, a mount, a path, or a path with * at the end.",
);
const ROLE: Field = Field::new("role", Kind::String, "Only logins with this role; path is an auth mount then.");
const INHERITABLE: Field =
    Field::new("inheritable", Kind::Bool, "Does the quota of a namespace cover those within it?");
const TYPE: Field = Field::new("type", Kind::String, "Ignored: the path says it.");

const RATE_LIMIT: &[Field] = &[
    NAME,
    PATH,
    ROLE,
    INHERITABLE,
    TYPE,
    Field::new("rate", Kind::Any, "Requests of one client in an interval; more than 0."),
    Field::new("interval", Kind::Duration, "Length of an interval; 1s."),
    Field::new(
        "block_interval",
        Kind::Duration,
        "How long a client that asked too often is refused; 0: until the interval ends.",
    ),
    Field::new("group_by", Kind::String, "ip: each address has its own count; none: all share one."),
];
const LEASE_COUNT: &[Field] = &[
    NAME,
    PATH,
    ROLE,
    INHERITABLE,
    TYPE,
    Field::new("max_leases", Kind::Int, "How many leases of secrets there may be; more than 0."),
];
const CONFIG: &[Field] = &[
    Field::new("rate_limit_exempt_paths", Kind::StringList, "Paths without rate limit; * at the end for all below."),
    Field::new("enable_rate_limit_audit_logging", Kind::Bool, "Write refused requests to the audit devices."),
    Field::new("enable_rate_limit_response_headers", Kind::Bool, "Send X-Ratelimit-* headers."),
];

pub const ROWS: &PathTable = &[
    row("quotas/config", &[Read, Update], CONFIG, Auth::Token, "What holds for all rate limits."),
    row("quotas/rate-limit", &[List], &[], Auth::Token, "Names of the rate limits."),
    row("quotas/rate-limit/:name", &[Read, Update, Delete], RATE_LIMIT, Auth::Token, "How often may be asked."),
    row("quotas/lease-count", &[List], &[], Auth::Token, "Names of the lease counts."),
    row("quotas/lease-count/:name", &[Read, Update, Delete], LEASE_COUNT, Auth::Token, "How many leases there may be."),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (front, fields) = (&call.open.front, &call.request.fields);
    let settings = front.fresh().await;
    let name = fields.string("name").unwrap_or_default().to_owned();
    let limits = call.request.route.starts_with("quotas/rate-limit");
    match (call.request.route, call.request.operation) {
        ("quotas/config", Read) => Ok(Response::data(show_config(&settings)).into()),
        ("quotas/config", _) => {
            front.edit(|settings| configure(settings, fields)).await?;
            Ok(Reply::default())
        }
        (_, List) => {
            let names = match limits {
                true => settings.quotas.rate_limits.keys().cloned().collect(),
                false => settings.quotas.lease_counts.keys().cloned().collect(),
            };
            Ok(Response::keys(names)?.into())
        }
        (_, Read) => {
            let quotas = &settings.quotas;
            let shown = match limits {
                true => quotas.rate_limits.get(&name).map(|limit| show_rate_limit(&name, limit)),
                false => quotas.lease_counts.get(&name).map(|count| show_lease_count(&name, count)),
            };
            Ok(Response::data(shown.ok_or_else(Error::not_found)?).into())
        }
        (_, Delete) => {
            front
                .edit(|settings| match limits {
                    true => drop(settings.quotas.rate_limits.remove(&name)),
                    false => drop(settings.quotas.lease_counts.remove(&name)),
                })
                .await?;
            Ok(Reply::default())
        }
        _ => {
            write(&call, &name, limits).await?;
            Ok(Reply::default())
        }
    }
}

/// Makes or changes a quota. What is not sent stays as it is.
async fn write(call: &Call, name: &str, limits: bool) -> Result<(), Error> {
    let fields = &call.request.fields;
    let given = fields.string("path").map(|path| path_of(call, path)).transpose()?;
    call.open
        .front
        .try_edit(|settings| {
            let quotas = &mut settings.quotas;
            match limits {
                true => {
                    let old = quotas.rate_limits.get(name);
                    let scope = scope(old.map(|old| &old.scope), given.as_deref(), fields);
                    unique(quotas.rate_limits.iter().map(|(other, limit)| (other, &limit.scope)), name, &scope)?;
                    let limit = rate_limit(old, scope, fields)?;
                    quotas.rate_limits.insert(name.to_owned(), limit);
                }
                false => {
                    let old = quotas.lease_counts.get(name);
                    let scope = scope(old.map(|old| &old.scope), given.as_deref(), fields);
                    unique(quotas.lease_counts.iter().map(|(other, count)| (other, &count.scope)), name, &scope)?;
                    let count = lease_count(old, scope, fields)?;
                    quotas.lease_counts.insert(name.to_owned(), count);
                }
            }
            Ok(())
        })
        .await
}

/// The path of a quota in its one form: mounts end in a slash. Something must be mounted there.
fn path_of(call: &Call, path: &str) -> Result<String, Error> {
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    let unknown = || Error::invalid(format!("invalid mount path {path:?}: nothing is mounted there"));
    let router = call.open.mounts.cached();
    match router.resolve(path.trim_end_matches('*')) {
        Some((mounted, rest)) => {
            Ok(if rest.is_empty() && !path.ends_with('*') { mounted.info.full_path() } else { path.to_owned() })
        }
        None => {
            let folder = format!("{}/", path.trim_end_matches('/'));
            let namespace = router.all().any(|mounted| mounted.info.namespace.path == folder);
            namespace.then_some(folder).ok_or_else(unknown)
        }
    }
}

fn scope(old: Option<&Scope>, path: Option<&str>, fields: &Fields) -> Scope {
    let old = old.cloned().unwrap_or_default();
    Scope {
        path: path.map_or(old.path, str::to_owned),
        role: fields.string("role").map_or(old.role, str::to_owned),
        inheritable: fields.bool("inheritable").or(old.inheritable),
    }
}

/// Two quotas of a kind for the same would make it a matter of luck which one counts.
fn unique<'a>(
    mut others: impl Iterator<Item = (&'a String, &'a Scope)>,
    name: &str,
    scope: &Scope,
) -> Result<(), Error> {
    match others.find(|(other, of)| other.as_str() != name && of.path == scope.path && of.role == scope.role) {
        Some((other, _)) => Err(Error::invalid(format!("quota {other:?} covers the same path and role"))),
        None => Ok(()),
    }
}

fn rate_limit(old: Option<&RateLimit>, scope: Scope, fields: &Fields) -> Result<RateLimit, Error> {
    let rate = match fields.get("rate") {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_f64(),
        None => old.map(|old| old.rate),
    };
    let rate = rate.filter(|rate: &f64| rate.is_finite() && *rate > 0.0 && *rate < 1e15);
    let seconds = |name: &str, old: u64| fields.duration(name).map_or(old, |given| given.as_secs());
    let interval = seconds("interval", old.map_or(1, |old| old.interval));
    if interval == 0 {
        return Err(Error::invalid("'interval' must be at least one second"));
    }
    let shared = match fields.string("group_by") {
        None => old.is_some_and(|old| old.shared),
        Some("" | "ip") => false,
        Some("none") => true,
        Some(other) => return Err(Error::invalid(format!("'group_by' is {other:?}; use \"ip\" or \"none\""))),
    };
    Ok(RateLimit {
        scope,
        rate: rate.ok_or_else(|| Error::invalid("'rate' must be a number greater than zero"))?,
        interval,
        block_interval: seconds("block_interval", old.map_or(0, |old| old.block_interval)),
        shared,
    })
}

fn lease_count(old: Option<&LeaseCount>, scope: Scope, fields: &Fields) -> Result<LeaseCount, Error> {
    if !scope.role.is_empty() {
        return Err(Error::invalid("'role' is not served for lease counts"));
    }
    let given = fields.int("max_leases").map(u64::try_from);
    match given.unwrap_or(Ok(old.map_or(0, |old| old.max_leases))) {
        Ok(max_leases) if max_leases > 0 => Ok(LeaseCount { scope, max_leases }),
        _ => Err(Error::invalid("'max_leases' must be greater than zero")),
    }
}

fn configure(settings: &mut Settings, fields: &Fields) {
    let config = &mut settings.quotas.config;
    if let Some(paths) = fields.list("rate_limit_exempt_paths") {
        config.rate_limit_exempt_paths = paths;
    }
    if let Some(on) = fields.bool("enable_rate_limit_audit_logging") {
        config.enable_rate_limit_audit_logging = on;
    }
    if let Some(on) = fields.bool("enable_rate_limit_response_headers") {
        config.enable_rate_limit_response_headers = on;
    }
}

fn show_config(settings: &Settings) -> Data {
    let config = &settings.quotas.config;
    Data::from(json!({
        "enable_rate_limit_audit_logging": config.enable_rate_limit_audit_logging,
        "enable_rate_limit_response_headers": config.enable_rate_limit_response_headers,
        "rate_limit_exempt_paths": config.rate_limit_exempt_paths,
    }))
}

/// `inheritable` and `group_by` are shown when they were set: older servers do not have them.
fn show_rate_limit(name: &str, limit: &RateLimit) -> Map<String, Value> {
    let mut shown = show_scope(name, "rate-limit", &limit.scope);
    shown.insert("rate".to_owned(), number(limit.rate));
    shown.insert("interval".to_owned(), json!(limit.interval));
    shown.insert("block_interval".to_owned(), json!(limit.block_interval));
    if limit.shared {
        shown.insert("group_by".to_owned(), json!("none"));
    }
    shown
}

fn show_lease_count(name: &str, count: &LeaseCount) -> Map<String, Value> {
    let mut shown = show_scope(name, "lease-count", &count.scope);
    shown.insert("max_leases".to_owned(), json!(count.max_leases));
    shown
}

fn show_scope(name: &str, kind: &str, scope: &Scope) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("name".to_owned(), json!(name));
    shown.insert("type".to_owned(), json!(kind));
    shown.insert("path".to_owned(), json!(scope.path));
    shown.insert("role".to_owned(), json!(scope.role));
    if let Some(inheritable) = scope.inheritable {
        shown.insert("inheritable".to_owned(), json!(inheritable));
    }
    shown
}

/// Whole numbers without a point.
fn number(rate: f64) -> Value {
    if rate.fract() == 0.0 { json!(rate as u64) } else { json!(rate) }
}
