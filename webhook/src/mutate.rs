//! A pod and its [`Plan`] into the pod with the agent. Pure: the same input always gives the same patch.

mod agent;
mod pod;
mod ports;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    annotations::{self, Annotations, Error, Findings, INJECTED, Plan, SourceRef, VAULT_STATUS},
    cluster::Located,
};

/// Name of the container that is added.
pub const CONTAINER: &str = "holdfast-agent";
/// Name of the volume that is added.
pub const VOLUME: &str = "holdfast-secrets";
/// Name of the volume with the pod's token.
pub const TOKEN_VOLUME: &str = "holdfast-token";
/// Name of the volume of the Secret that the pod gives to the agent.
pub const EXTRA_VOLUME: &str = "holdfast-extra";
/// Kubernetes' annotation of pods that only show what a kubelet runs by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What the release says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Image of the agent.
    pub image: String,
    /// `Always`, `IfNotPresent`, `Never`; empty leaves it to Kubernetes.
    pub image_pull_policy: String,
    /// Address of the server as pods see it.
    pub server: String,
    /// Certificate authorities of the server, PEM.
    pub server_ca: Option<String>,
    /// Name to expect in its certificate, if not that of the address.
    pub tls_server_name: Option<String>,
    /// Namespace of the server, where the pod names none.
    pub namespace: Option<String>,
    /// Mount of the kubernetes auth method, without `auth/`.
    pub auth_mount: String,
    /// Default of `refresh`.
    pub refresh: Duration,
    /// Default of `init-timeout`.
    pub init_timeout: Duration,
    /// `requests.cpu`, `limits.memory` … of the agent.
    pub resources: BTreeMap<String, String>,
}

/// The result for a pod that asked for injection.
#[derive(Debug)]
pub struct Injection {
    /// RFC 6902.
    pub patch: json_patch::Patch,
    /// For the person who made the pod.
    pub findings: Findings,
}

/// What the pod asks for; `None` when it does not ask or has it already, from us or from another injector.
pub fn wanted(pod: &Value) -> Result<Option<(Plan, Findings)>, Error> {
    let annotations = annotations_of(pod);
    let both = ["initContainers", "containers"].into_iter().flat_map(|list| pod::containers(pod, list));
    let names: BTreeSet<&str> = both.filter_map(|container| container["name"].as_str()).collect();
    let done = annotations.contains_key(INJECTED) && names.contains(CONTAINER);
    let elsewhere = annotations.get(VAULT_STATUS).is_some_and(|status| status == "injected");
    // What kubelet runs from a file of its node is only mirrored here.
    if done || elsewhere || annotations.contains_key(MIRROR) || annotations::of_another(&names).is_some() {
        return Ok(None);
    }
    let planned = annotations::plan(&annotations)?;
    if planned.is_some() {
        pod::has_shape(pod)?;
    }
    Ok(planned)
}

/// The DynamicCredentials that the plan names.
pub fn credentials(plan: &Plan) -> Vec<(&str, &str)> {
    let named = plan.items.iter().filter_map(|item| match &item.source {
        Some(SourceRef::Credential(name)) => Some((item.annotation.as_str(), name.as_str())),
        _ => None,
    });
    named.collect()
}

/// Adds the agent. `located` holds what each DynamicCredential of the plan says.
pub fn inject(
    pod: &Value,
    plan: &Plan,
    located: &BTreeMap<String, Located>,
    settings: &Settings,
) -> Result<Injection, Error> {
    let mut findings = Findings::default();
    let user = pod::user(pod, plan, &mut findings)?;
    let metrics = ports::check(pod, plan, &mut findings)?;
    let config = agent::config(plan, located, settings, metrics, &mut findings)?;
    let text = agent::env_text(plan, &config)?;
    let mounts = pod::agent_mounts(pod, plan)?;
    let mut container = agent::container(plan, &config, text, &user, mounts, settings);
    let mut patched = pod.clone();
    if let Some(port) = metrics {
        ports::announce(&mut patched, &mut container, port, plan, &mut findings);
    }
    let hash = agent::hash(&container);
    pod::add_volumes(&mut patched, plan)?;
    pod::mount(&mut patched, plan)?;
    pod::mark_containers(&mut patched, plan);
    pod::add_init_container(&mut patched, container, plan)?;
    let metadata = &mut patched["metadata"];
    metadata["labels"][holdfast_crd_types::names::LABEL_INJECTED] = json!("true");
    metadata["annotations"][INJECTED] = json!(format!("{}/{hash}", env!("CARGO_PKG_VERSION")));
    if plan.vault {
        metadata["annotations"][VAULT_STATUS] = json!("injected");
    }
    Ok(Injection { patch: json_patch::diff(pod, &patched), findings })
}

fn annotations_of(pod: &Value) -> Annotations {
    let annotations = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    annotations.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
