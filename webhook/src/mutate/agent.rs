//! The agent's configuration and container.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

use holdfast_agent::{
    config::{self, Address, Auth, Config, Item, Listener, Proxy, Server, UseToken},
    file,
};
use holdfast_template::{Options, Template};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{CONTAINER, Settings};
use crate::{
    annotations::{Choices, Error, Findings, HOLDFAST, Plan, Planned, SourceRef, VAULT},
    cluster::Located,
};

/// The kernel takes 128 KiB for one environment variable.
const MAX_CONFIG: usize = 120 << 10;

/// User and group of the agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: i64,
    pub(super) gid: i64,
}

pub(super) fn config(
    plan: &Plan,
    located: &BTreeMap<String, Located>,
    settings: &Settings,
    metrics: Option<u16>,
    findings: &mut Findings,
) -> Result<Config, Error> {
    let (choices, base) = (&plan.choices, PathBuf::from(plan.choices.mount_path(plan.vault)));
    let items = plan.items.iter().map(|item| self::item(item, plan, located)).collect::<Result<Vec<_>, _>>()?;
    Ok(Config {
        server: Server {
            address: settings.server.clone(),
            ca_pem: settings.server_ca.clone(),
            tls_server_name: settings.tls_server_name.clone(),
            namespace: choices.namespace.clone().or_else(|| settings.namespace.clone()),
            timeout: choices.client_timeout,
            ..Server::default()
        },
        auth: auth(plan, settings, findings)?,
        items,
        status_dir: base.join(".holdfast"),
        refresh: choices.refresh.unwrap_or(settings.refresh),
        refresh_always: choices.refresh.is_some(),
        init_timeout: choices.init_timeout.unwrap_or(settings.init_timeout),
        token_file: choices.token.unwrap_or_default().then(|| base.join("token")),
        revoke_on_exit: choices.revoke_on_exit.unwrap_or_default(),
        metrics: metrics.map(|port| (Ipv4Addr::UNSPECIFIED, port).into()),
        listeners: choices.listens().map(|port| listener(port, choices)).into_iter().collect(),
        proxy: match (choices.listens(), choices.proxy) {
            (Some(_), Some(true)) => Proxy { use_token: choices.proxy_token.unwrap_or(UseToken::Missing), cache: true },
            _ => Proxy::default(),
        },
        log_level: choices.log_level.clone().unwrap_or_default(),
        log_format: choices.log_format.clone().unwrap_or_default(),
        ..Config::default()
    })
}

/// How the agent logs in: by the pod's token, or as a file would say it.
fn auth(plan: &Plan, settings: &Settings, findings: &mut Findings) -> Result<Auth, Error> {
    let choices = &plan.choices;
    let role = choices.role.clone().unwrap_or_default();
    let said = |key: &str| plan.said.get(key).cloned().unwrap_or_else(|| format!("{HOLDFAST}{key}"));
    let kind = choices.auth_type.as_deref().unwrap_or("kubernetes");
    let mut parameters = choices.auth_config.clone().unwrap_or_default();
    if kind == "kubernetes" {
        if !parameters.is_empty() {
            findings.notes.push(format!("{}: has no effect: the agent has a token of its own", said("auth-config")));
        }
        return Ok(Auth {
            mount: choices.auth_mount.clone().unwrap_or_else(|| settings.auth_mount.clone()),
            role,
            token_path: PathBuf::from(config::TOKEN_PATH),
            ..Auth::default()
        });
    }
    let mut default = |name: &str, value: &str| {
        parameters.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    };
    match kind {
        "jwt" => {
            default("path", config::TOKEN_PATH);
            // What a Secret gives cannot be removed.
            default("remove_jwt_after_reading", "false");
        }
        "approle" => default("remove_secret_id_file_after_reading", "false"),
        _ => {}
    }
    let (mut auth, strange) = file::method(kind, &parameters)
        .map_err(|error| Error { annotation: said("auth-type"), reason: error.to_string() })?;
    findings.mistakes.extend(strange.iter().map(|text| format!("{}: {text}", said("auth-type"))));
    if let Some(mount) = &choices.auth_mount {
        auth.mount.clone_from(mount);
    }
    if auth.role.is_empty() && kind != "approle" {
        auth.role = role;
    }
    Ok(auth)
}

/// Where the pod's containers, and nobody else, reach the agent.
fn listener(port: u16, choices: &Choices) -> Listener {
    Listener {
        address: Address::Tcp((Ipv4Addr::LOCALHOST, port).into()),
        tls: None,
        require_request_header: false,
        enable_quit: choices.quit.unwrap_or_default(),
        metrics_only: false,
    }
}

fn item(planned: &Planned, plan: &Plan, located: &BTreeMap<String, Located>) -> Result<Item, Error> {
    let (path, ttl) = match &planned.source {
        None => (None, None),
        Some(SourceRef::Path(path)) => (Some(path.clone()), None),
        Some(SourceRef::Credential(name)) => {
            let Located { path, ttl } = located.get(name).cloned().ok_or_else(|| Error {
                annotation: planned.annotation.clone(),
                reason: format!("DynamicCredential {name:?} was not resolved"),
            })?;
            (Some(path), ttl)
        }
    };
    let options = match &planned.delimiters {
        Some((left, right)) => Options { left: left.clone(), right: right.clone(), ..Options::default() },
        None => Options::default(),
    };
    Template::parse_with(&planned.template, options).map_err(|error| Error {
        annotation: if plan.vault {
            format!("{VAULT}agent-inject-template-{}", planned.name)
        } else {
            format!("{HOLDFAST}template.{}", planned.name)
        },
        reason: error.to_string(),
    })?;
    let mount = planned.mount_path.as_deref().unwrap_or(plan.choices.mount_path(plan.vault));
    Ok(Item {
        name: planned.name.clone(),
        path,
        ttl,
        template: planned.template.clone(),
        template_file: planned.template_file.clone().map(PathBuf::from),
        delimiters: planned.delimiters.clone(),
        error_on_missing_key: planned.error_on_missing_key,
        file: PathBuf::from(format!("{mount}/{}", planned.file)),
        mode: planned.mode.clone().unwrap_or_else(|| "0644".to_owned()),
        on_change: planned.on_change.clone(),
        ..Item::default()
    })
}

/// The document as the value of an environment variable. Kubernetes expands `$(NAME)` in such values and knows no
/// quotes, so no `$` stays in it.
pub(super) fn env_text(plan: &Plan, config: &Config) -> Result<String, Error> {
    let prefix = if plan.vault { VAULT } else { HOLDFAST };
    let text = serde_json::to_string(config)
        .map_err(|error| Error { annotation: format!("{prefix}*"), reason: error.to_string() })?
        .replace('$', "\\u0024");
    if text.len() > MAX_CONFIG {
        return Err(Error {
            annotation: format!("{prefix}*"),
            reason: format!("all templates together are {} bytes, at most {MAX_CONFIG} fit; shorten them", text.len()),
        });
    }
    Ok(text)
}

pub(super) fn container(
    plan: &Plan,
    config: &Config,
    env: String,
    user: &User,
    mounts: Vec<Value>,
    settings: &Settings,
) -> Value {
    let mut container = json!({
        "name": CONTAINER,
        "image": settings.image,
        "command": ["/holdfast-agent"],
        "args": [if plan.choices.is_once() { "init" } else { "run" }],
        "env": [{ "name": config::ENV, "value": env }],
        "resources": resources(plan, settings),
        "securityContext": {
            "runAsUser": user.uid,
            "runAsGroup": user.gid,
            "runAsNonRoot": user.uid != 0,
            "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if !settings.image_pull_policy.is_empty() {
        container["imagePullPolicy"] = json!(settings.image_pull_policy);
    }
    if !plan.choices.is_once() {
        container["restartPolicy"] = json!("Always");
        if !plan.choices.ungated.unwrap_or_default() {
            container["startupProbe"] = json!({
                "exec": { "command": ["/holdfast-agent", "ready"] },
                "periodSeconds": 1,
                "timeoutSeconds": 5,
                // The agent gives up first, and says why.
                "failureThreshold": config.init_timeout.as_secs() + 60,
            });
        }
    }
    container
}

pub(super) fn hash(container: &Value) -> String {
    hex::encode(&Sha256::digest(container.to_string())[..6])
}

/// Where the pod's token is.
pub(super) fn token_dir() -> String {
    let path = PathBuf::from(config::TOKEN_PATH);
    path.parent().map(|dir| dir.display().to_string()).unwrap_or_default()
}

fn resources(plan: &Plan, settings: &Settings) -> Value {
    let mut all = settings.resources.clone();
    all.extend(plan.choices.resources.clone());
    let mut resources = Map::new();
    for (name, amount) in all.iter().filter(|(_, amount)| !amount.is_empty()) {
        if let Some((kind, resource)) = name.split_once('.') {
            resources.entry(kind).or_insert_with(|| json!({}))[resource] = json!(amount);
        }
    }
    Value::Object(resources)
}
