//! What changes in the pod besides the added container: volumes, mounts, process namespace.

use std::collections::BTreeSet;

use holdfast_agent::{action::Action, config};
use serde_json::{Value, json};

use super::{EXTRA_VOLUME, TOKEN_VOLUME, VOLUME, agent, agent::User};
use crate::annotations::{Error, Findings, HOLDFAST, Order, Plan, Planned, VAULT};

/// User and group of the agent where the pod does not say which.
const NOBODY: i64 = 65_532;
/// Of each volume; counts as memory of the pod.
const SIZE_LIMIT: &str = "16Mi";
/// Where the agent sees the Secret that the pod gives it, as with Vault's injector.
const EXTRA_PATH: &str = "/vault/custom";

/// Containers of one of the pod's lists.
pub(super) fn containers<'p>(pod: &'p Value, list: &str) -> impl Iterator<Item = &'p Value> {
    pod["spec"][list].as_array().into_iter().flatten()
}

/// What an API server has checked before it asks: what is to be changed here is of the right kind. Anybody can call a
/// webhook.
pub(super) fn has_shape(pod: &Value) -> Result<(), Error> {
    let map = |value: &Value| value.is_null() || value.is_object();
    let objects = |value: &Value| {
        value.is_null() || value.as_array().is_some_and(|list| list.iter().all(serde_json::Value::is_object))
    };
    let lists = ["containers", "initContainers", "volumes"];
    let inner = |container: &Value| objects(&container["volumeMounts"]) && objects(&container["env"]);
    let good = pod["metadata"].is_object()
        && pod["spec"].is_object()
        && map(&pod["metadata"]["labels"])
        && lists.iter().all(|list| objects(&pod["spec"][*list]))
        && ["containers", "initContainers"].iter().all(|list| containers(pod, list).all(inner));
    if good {
        return Ok(());
    }
    Err(Error { annotation: format!("{HOLDFAST}inject"), reason: "this is no pod".to_owned() })
}

/// Volumes with their mount paths; the first holds status and token too.
pub(super) fn volumes(plan: &Plan) -> impl Iterator<Item = (String, String)> {
    let first = plan.choices.mount_path(plan.vault).to_owned();
    let more: BTreeSet<String> =
        plan.items.iter().filter_map(|item| item.mount_path.clone()).filter(|path| *path != first).collect();
    let more = more.into_iter().enumerate().map(|(index, path)| (format!("{VOLUME}-{}", index + 1), path));
    std::iter::once((VOLUME.to_owned(), first)).chain(more)
}

/// Whom the agent runs as: the annotation's, that of the containers it signals, the one that all containers share, or
/// nobody. Refuses what cannot work.
pub(super) fn user(pod: &Value, plan: &Plan, findings: &mut Findings) -> Result<User, Error> {
    if pod["spec"]["os"]["name"] == "windows" {
        return Err(wrong(plan, "inject", "there is no agent for Windows"));
    }
    let names: Vec<&str> = containers(pod, "containers").filter_map(|container| container["name"].as_str()).collect();
    known_containers(pod, plan, &names)?;
    let targets = targets(plan);
    if (!targets.is_empty() || plan.choices.share_processes == Some(true))
        && pod["spec"]["shareProcessNamespace"] == json!(false)
    {
        return Err(Error {
            annotation: targets
                .first()
                .map_or(format!("{HOLDFAST}share-process-namespace"), |(item, _)| on_change(plan, item)),
            reason: "a signal needs a shared process namespace, and the pod says shareProcessNamespace: false"
                .to_owned(),
        });
    }
    let id = |field: &str, name: &str| {
        let own = containers(pod, "containers").find(|container| container["name"] == name);
        let own = own.and_then(|container| container["securityContext"][field].as_i64());
        own.or_else(|| pod["spec"]["securityContext"][field].as_i64())
    };
    let mut uid = plan.choices.run_as_user.or(same_user(pod, plan)?);
    let mut by_process = None;
    for (item, target) in &targets {
        if !names.contains(target) {
            // The line of a shell means a process.
            if !plan.vault {
                findings.notes.push(format!(
                    "{}: {target:?} is no container of this pod, so it is taken for the name of a process",
                    on_change(plan, item)
                ));
            }
            by_process = Some(item);
            continue;
        }
        match (id("runAsUser", target), plan.choices.run_as_user) {
            (_, Some(_)) => {}
            (None, None) => {
                return Err(Error {
                    annotation: on_change(plan, item),
                    reason: format!(
                        "only the same user may send a signal, and nothing says who runs container {target}; set its \
                         securityContext.runAsUser, or {HOLDFAST}run-as-user, or use http:PORT/path or touch"
                    ),
                });
            }
            (Some(found), None) if uid.is_some_and(|uid| uid != found) => {
                return Err(Error {
                    annotation: on_change(plan, item),
                    reason: "the containers that get signals run as different users; use http:PORT/path or touch"
                        .to_owned(),
                });
            }
            (Some(found), None) => uid = Some(found),
        }
    }
    let chosen: Vec<&str> = match &plan.choices.containers {
        Some(chosen) => chosen.iter().map(String::as_str).collect(),
        None => names,
    };
    let common = |field: &str| {
        let ids: BTreeSet<Option<i64>> = chosen.iter().map(|name| id(field, name)).collect();
        if ids.len() == 1 { ids.into_iter().next().flatten().filter(|id| *id != 0) } else { None }
    };
    let known = uid.or_else(|| common("runAsUser"));
    if let (Some(item), None) = (by_process, known) {
        findings.notes.push(format!(
            "{}: only the same user may send a signal, and nothing says who runs the containers; set \
             securityContext.runAsUser in the pod",
            on_change(plan, item)
        ));
    }
    let uid = known.unwrap_or(NOBODY);
    // The kernel shows a process' environment, by which the agent finds the container, to the same group only.
    let signalled = targets.iter().find_map(|(_, target)| id("runAsGroup", target));
    let gid = plan.choices.run_as_group.or(signalled).or_else(|| common("runAsGroup")).unwrap_or(NOBODY);
    if uid == 0 {
        findings.mistakes.push("the agent runs as root, as the annotation or the signalled container says".to_owned());
    }
    let others = chosen.iter().any(|name| id("runAsUser", name) != Some(uid));
    if others && pod["spec"]["securityContext"]["fsGroup"].is_null() {
        for item in &plan.items {
            let mode = item.mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok());
            if mode.is_some_and(|mode| mode & 0o004 == 0) {
                findings.notes.push(format!(
                    "{}: mode {} lets only user {uid} read it; set securityContext.runAsUser or fsGroup in the pod",
                    item.annotation,
                    item.mode.as_deref().unwrap_or_default()
                ));
            }
        }
    }
    Ok(User { uid, gid })
}

pub(super) fn add_volumes(pod: &mut Value, plan: &Plan) -> Result<(), Error> {
    let added: Vec<String> = volumes(plan).map(|(volume, _)| volume).collect();
    let audience = plan.choices.audience.as_deref().unwrap_or(config::AUDIENCE);
    let list = list(&mut pod["spec"]["volumes"]);
    for volume in list.iter() {
        if let Some(name) = volume["name"]
            .as_str()
            .filter(|name| [TOKEN_VOLUME, EXTRA_VOLUME].contains(name) || added.iter().any(|own| own == name))
        {
            return Err(wrong(plan, "inject", &format!("the pod has a volume {name:?} already; give it another name")));
        }
    }
    list.push(json!({
        "name": TOKEN_VOLUME,
        "projected": {
            "sources": [{
                "serviceAccountToken": { "audience": audience, "expirationSeconds": 3600, "path": "token" },
            }],
        },
    }));
    if let Some(secret) = &plan.choices.extra_secret {
        list.push(json!({ "name": EXTRA_VOLUME, "secret": { "secretName": secret } }));
    }
    for volume in added {
        list.push(json!({ "name": volume, "emptyDir": { "medium": "Memory", "sizeLimit": SIZE_LIMIT } }));
    }
    Ok(())
}

/// Of the agent's container: token, files, and what the pod gives it besides.
pub(super) fn agent_mounts(pod: &Value, plan: &Plan) -> Result<Vec<Value>, Error> {
    let mut mounts = vec![json!({ "name": TOKEN_VOLUME, "mountPath": agent::token_dir(), "readOnly": true })];
    mounts.extend(volumes(plan).map(|(volume, path)| json!({ "name": volume, "mountPath": path })));
    if plan.choices.extra_secret.is_some() {
        mounts.push(json!({ "name": EXTRA_VOLUME, "mountPath": EXTRA_PATH, "readOnly": true }));
    }
    if let Some(name) = &plan.choices.copy_mounts {
        let key = if plan.vault { "agent-copy-volume-mounts" } else { "copy-mounts" };
        let from = containers(pod, "containers").find(|container| container["name"] == name.as_str());
        let from = from.ok_or_else(|| wrong(plan, key, &format!("there is no container {name:?}")))?;
        for mount in from["volumeMounts"].as_array().into_iter().flatten() {
            let path = mount["mountPath"].as_str().unwrap_or_default();
            let taken = mounts.iter().any(|mount| mount["mountPath"] == path);
            if !taken && !path.contains("serviceaccount") {
                mounts.push(mount.clone());
            }
        }
    }
    Ok(mounts)
}

/// Read-only unless told otherwise, into the chosen containers and init containers.
pub(super) fn mount(pod: &mut Value, plan: &Plan) -> Result<(), Error> {
    let volumes: Vec<(String, String)> = volumes(plan).collect();
    for kind in ["initContainers", "containers"] {
        let Some(containers) = pod["spec"][kind].as_array_mut() else { continue };
        for container in containers {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let choices = &plan.choices;
            let chosen = if kind == "containers" { &choices.containers } else { &choices.init_containers };
            if chosen.as_ref().is_some_and(|chosen| !chosen.contains(&name)) {
                continue;
            }
            let mounts = list(&mut container["volumeMounts"]);
            for (volume, path) in &volumes {
                if mounts
                    .iter()
                    .any(|mount| mount["mountPath"].as_str().map(|at| at.trim_end_matches('/')) == Some(path))
                {
                    let key = if plan.vault { "secret-volume-path" } else { "mount-path" };
                    return Err(wrong(
                        plan,
                        key,
                        &format!("container {name} mounts something at {path} already; choose another path"),
                    ));
                }
                let mut mount = json!({ "name": volume, "mountPath": path });
                if plan.choices.mount_read_only != Some(false) {
                    mount["readOnly"] = json!(true);
                }
                mounts.push(mount);
            }
        }
    }
    Ok(())
}

/// Shares the process namespace where signals need it, and makes containers that get some known to the agent.
pub(super) fn mark_containers(pod: &mut Value, plan: &Plan) {
    let targets: BTreeSet<String> = targets(plan).into_iter().map(|(_, target)| target.to_owned()).collect();
    if targets.is_empty() && plan.choices.share_processes != Some(true) {
        return;
    }
    pod["spec"]["shareProcessNamespace"] = json!(true);
    for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        if targets.contains(&name) {
            list(&mut container["env"]).push(json!({ "name": config::CONTAINER_ENV, "value": name }));
        }
    }
}

/// Puts the agent in its place.
pub(super) fn add_init_container(pod: &mut Value, container: Value, plan: &Plan) -> Result<(), Error> {
    let list = list(&mut pod["spec"]["initContainers"]);
    let at = match plan.choices.order(plan.vault) {
        Order::First => 0,
        Order::Last => list.len(),
        Order::Before(name) => list
            .iter()
            .position(|other| other["name"] == name.as_str())
            .ok_or_else(|| wrong(plan, "order", &format!("there is no init container {name:?}")))?,
    };
    list.insert(at, container);
    Ok(())
}

fn known_containers(pod: &Value, plan: &Plan, names: &[&str]) -> Result<(), Error> {
    let key = if plan.vault { "agent-inject-containers" } else { "containers" };
    let init: Vec<&str> = self::containers(pod, "initContainers").filter_map(|one| one["name"].as_str()).collect();
    for (key, chosen, names) in
        [(key, &plan.choices.containers, names), ("init-containers", &plan.choices.init_containers, &init)]
    {
        if let Some(unknown) = chosen.iter().flatten().find(|chosen| !names.contains(&chosen.as_str())) {
            let reason = format!("there is no container {unknown:?}; the pod has {}", names.join(", "));
            return Err(wrong(plan, key, &reason));
        }
    }
    Ok(())
}

/// `run-as-same-user`: the user of the first application container, which must say one, and not root.
fn same_user(pod: &Value, plan: &Plan) -> Result<Option<i64>, Error> {
    if plan.choices.run_as_same_user != Some(true) {
        return Ok(None);
    }
    let first = containers(pod, "containers").next();
    let uid = first.and_then(|container| container["securityContext"]["runAsUser"].as_i64());
    let uid = uid.or_else(|| pod["spec"]["securityContext"]["runAsUser"].as_i64());
    let key = if plan.vault { "agent-run-as-same-user" } else { "run-as-same-user" };
    match uid {
        Some(0) => Err(wrong(plan, key, "the first container runs as root; the agent does not")),
        None => Err(wrong(plan, key, "the first container has no securityContext.runAsUser; set one")),
        Some(uid) => Ok(Some(uid)),
    }
}

/// Items with the containers or processes they signal.
fn targets(plan: &Plan) -> Vec<(&Planned, &str)> {
    let signals = |item| {
        let item: &Planned = item;
        item.on_change.iter().filter_map(move |action| match action {
            Action::Signal { target, .. } => Some((item, target.as_str())),
            _ => None,
        })
    };
    plan.items.iter().flat_map(signals).collect()
}

fn list(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("made an array above"),
    }
}

/// The annotation that says what is done after a change.
fn on_change(plan: &Plan, item: &Planned) -> String {
    let by_command = plan.said.get("on-change").is_some_and(|annotation| annotation.starts_with(VAULT));
    if by_command {
        return format!("{VAULT}agent-inject-command-{}", item.name);
    }
    format!("{HOLDFAST}on-change.{}", item.name)
}

fn wrong(plan: &Plan, key: &str, reason: &str) -> Error {
    let (prefix, key) = if plan.vault && key == "inject" {
        (VAULT, "agent-inject")
    } else {
        (if plan.vault { VAULT } else { HOLDFAST }, key)
    };
    Error { annotation: format!("{prefix}{key}"), reason: reason.to_owned() }
}
