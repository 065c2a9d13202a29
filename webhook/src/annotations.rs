//! Annotations of a pod into a [`Plan`]. Two vocabularies: our own, and the one that existing pods carry.
//!
//! What nobody knows is a warning with a proposal; a value that makes no sense is an error that names annotation and fix.

mod holdfast;
mod spelling;
mod vault;

use std::{collections::BTreeMap, time::Duration};

use holdfast_agent::action::Action;

/// Prefix of our own annotations.
pub const HOLDFAST: &str = "holdfast.dev/";
/// Prefix of those of existing pods.
pub const VAULT: &str = "vault.hashicorp.com/";
/// Set by the webhook: `<version>/<config hash>`.
pub const INJECTED: &str = "holdfast.dev/injected";
/// Set by the webhook on pods of the other vocabulary: `injected`.
pub const VAULT_STATUS: &str = "vault.hashicorp.com/agent-inject-status";

/// What a pod asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Asked for in the vocabulary of existing pods.
    pub vault: bool,
    /// Empty: the server chooses the role of the service account.
    pub role: String,
    /// Server address instead of the webhook's.
    pub server: Option<String>,
    /// Mount of the auth method, without `auth/`.
    pub auth_mount: Option<String>,
    /// Namespace of the server.
    pub namespace: Option<String>,
    /// Do not check the server's certificate.
    pub tls_skip_verify: bool,
    /// Name to expect in the certificate.
    pub tls_server_name: Option<String>,
    /// For one request.
    pub client_timeout: Option<Duration>,
    /// Render once, before the application starts, and nothing after.
    pub once: bool,
    /// Start the application without waiting for the first render.
    pub ungated: bool,
    /// Before the pod's own init containers.
    pub first: bool,
    /// Application containers that get the mount; `None` is all.
    pub containers: Option<Vec<String>>,
    /// Where the files are mounted.
    pub mount_path: String,
    /// Sorted by name.
    pub items: Vec<Planned>,
    /// Also write the login token.
    pub token: bool,
    /// Between reads of what has no lease.
    pub refresh: Option<Duration>,
    /// For the first render.
    pub init_timeout: Option<Duration>,
    /// User of the agent.
    pub run_as_user: Option<i64>,
    /// Group of the agent.
    pub run_as_group: Option<i64>,
    /// Asked for, beyond what signals need.
    pub share_processes: bool,
    /// `limits.cpu`, `requests.memory` … of the agent.
    pub resources: BTreeMap<String, String>,
    /// Of the agent.
    pub log_level: Option<String>,
    /// Of the agent.
    pub log_format: Option<String>,
    /// Revoke when the agent ends.
    pub revoke_on_exit: bool,
}

/// One file.
#[derive(Debug, PartialEq, Eq)]
pub struct Planned {
    /// As in the annotation.
    pub name: String,
    /// Annotation to name in messages.
    pub annotation: String,
    /// What `.` is; `None` when the template says what it reads.
    pub source: Option<SourceRef>,
    /// Its own text, or the default of the vocabulary.
    pub template: String,
    /// If not the usual ones.
    pub delimiters: Option<(String, String)>,
    /// Fail on a key that is not there.
    pub error_on_missing_key: bool,
    /// Below the mount path.
    pub file: String,
    /// Other than the plan's.
    pub mount_path: Option<String>,
    /// Octal; `None` is 0644.
    pub mode: Option<String>,
    /// After a change.
    pub on_change: Vec<Action>,
}

/// Where the fields of an item come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRef {
    /// API path.
    Path(String),
    /// A DynamicCredential of the pod's namespace.
    Credential(String),
}

/// A value that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("annotation {annotation}: {reason}")]
pub struct Error {
    /// Whole key.
    pub annotation: String,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

/// Annotations of a pod.
pub type Annotations = BTreeMap<String, String>;

/// What the pod asks for, with warnings; `None` when it does not ask.
pub fn plan(annotations: &Annotations) -> Result<Option<(Plan, Vec<String>)>, Error> {
    let mut warnings = Vec::new();
    let own = switch(annotations, HOLDFAST, "inject")?.unwrap_or(false);
    let vault = switch(annotations, VAULT, "agent-inject")?.unwrap_or(false);
    let mut plan = match (own, vault) {
        (false, false) => return Ok(None),
        (true, true) => {
            return Err(Error {
                annotation: format!("{VAULT}agent-inject"),
                reason: format!("{HOLDFAST}inject is there too; set one of them to \"false\""),
            });
        }
        (true, false) => holdfast::plan(annotations, &mut warnings)?,
        (false, true) => vault::plan(annotations, &mut warnings)?,
    };
    plan.items.sort_by(|a, b| a.name.cmp(&b.name));
    if plan.items.is_empty() && !plan.token {
        warnings.push(format!(
            "no secret is named; add {}",
            if own { "holdfast.dev/secret.NAME" } else { "vault.hashicorp.com/agent-inject-secret-NAME" }
        ));
    }
    Ok(Some((plan, warnings)))
}

/// `true` or `false`, as Go reads booleans.
fn switch(annotations: &Annotations, prefix: &str, name: &str) -> Result<Option<bool>, Error> {
    let annotation = format!("{prefix}{name}");
    annotations.get(&annotation).map(|value| boolean(&annotation, value)).transpose()
}

fn boolean(annotation: &str, value: &str) -> Result<bool, Error> {
    match value.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" | "" => Ok(false),
        _ => Err(wrong(annotation, format!("{value:?} is neither \"true\" nor \"false\""))),
    }
}

fn duration(annotation: &str, value: &str) -> Result<Duration, Error> {
    let duration = holdfast_base::duration::parse(value).map_err(|error| wrong(annotation, error.to_string()))?;
    if duration.is_zero() {
        return Err(wrong(annotation, "must be more than 0".to_owned()));
    }
    Ok(duration)
}

fn refresh(annotation: &str, value: &str) -> Result<Duration, Error> {
    let refresh = duration(annotation, value)?;
    if refresh < Duration::from_millis(100) {
        return Err(wrong(annotation, format!("{value:?} is too often; use 100ms or more (default 1s)")));
    }
    Ok(refresh)
}

fn octal(annotation: &str, value: &str) -> Result<String, Error> {
    match u32::from_str_radix(value, 8) {
        Ok(mode) if mode <= 0o777 => Ok(format!("{mode:04o}")),
        _ => Err(wrong(annotation, format!("{value:?} is no octal mode; use for example \"0640\""))),
    }
}

fn number(annotation: &str, value: &str) -> Result<i64, Error> {
    value
        .trim()
        .parse()
        .ok()
        .filter(|number| (0..=i64::from(i32::MAX)).contains(number))
        .ok_or_else(|| wrong(annotation, format!("{value:?} is no user or group id")))
}

fn absolute(annotation: &str, value: &str) -> Result<String, Error> {
    let path = value.trim_end_matches('/');
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains(':') {
        return Err(wrong(annotation, format!("{value:?} is no absolute path; use for example \"/holdfast/secrets\"")));
    }
    Ok(path.to_owned())
}

fn relative(annotation: &str, value: &str) -> Result<String, Error> {
    let path = value.trim_matches('/');
    let bad = |part: &str| part.is_empty() || part == "." || part == "..";
    if path.split('/').any(bad) || path == ".holdfast" || path.starts_with(".holdfast/") {
        return Err(wrong(annotation, format!("{value:?} is no file name below the mount path")));
    }
    Ok(path.to_owned())
}

fn quantity(annotation: &str, value: &str) -> Result<String, Error> {
    let digits = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let known = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&&value[digits..]);
    if digits == 0 || !known || value[..digits].parse::<f64>().is_err() {
        return Err(wrong(annotation, format!("{value:?} is no quantity; use for example \"10m\" or \"32Mi\"")));
    }
    Ok(value.to_owned())
}

fn level(annotation: &str, value: &str) -> Result<String, Error> {
    match value.to_ascii_lowercase().as_str() {
        "err" => Ok("error".to_owned()),
        level @ ("trace" | "debug" | "info" | "warn" | "error") => Ok(level.to_owned()),
        _ => Err(wrong(annotation, format!("{value:?}: use trace, debug, info, warn or error"))),
    }
}

fn log_format(annotation: &str, value: &str) -> Result<String, Error> {
    match value {
        "json" => Ok("json".to_owned()),
        "text" | "standard" => Ok("text".to_owned()),
        _ => Err(wrong(annotation, format!("{value:?}: use text or json"))),
    }
}

fn names(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn wrong(annotation: &str, reason: String) -> Error {
    Error { annotation: annotation.to_owned(), reason }
}
