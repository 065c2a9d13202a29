//! A pod and its [`Plan`] into the pod with the agent. Pure: the same input always gives the same patch.

mod agent;
mod pod;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    annotations::{self, Annotations, Error, INJECTED, Plan, SourceRef, VAULT_STATUS},
    credential::Located,
};

/// Name of the container that is added.
pub const CONTAINER: &str = "holdfast-agent";
/// Name of the volume that is added.
pub const VOLUME: &str = "holdfast-secrets";
/// Name of the volume with the pod's token.
pub const TOKEN_VOLUME: &str = "holdfast-token";

/// What the administrator has decided.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the agent.
    pub image: String,
    /// `Always`, `IfNotPresent`, `Never`; empty leaves it to Kubernetes.
    pub image_pull_policy: String,
    /// Address of the server as pods see it.
    pub server: String,
    /// Certificate authorities of the server, PEM.
    pub server_ca: Option<String>,
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
    pub warnings: Vec<String>,
}

/// What the pod asks for; `None` when it does not ask or has it already.
pub fn wanted(pod: &Value) -> Result<Option<(Plan, Vec<String>)>, Error> {
    let annotations = annotations_of(pod);
    let present = pod::containers(pod, "initContainers").any(|container| container["name"] == CONTAINER);
    let done = annotations.contains_key(INJECTED) && present;
    if done || annotations.get(VAULT_STATUS).is_some_and(|status| status == "injected") {
        return Ok(None);
    }
    annotations::plan(&annotations)
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
    let mut warnings = Vec::new();
    let user = pod::user(pod, plan, &mut warnings)?;
    let config = agent::config(plan, located, settings)?;
    let text = agent::env_text(plan, &config)?;
    let container = agent::container(plan, &config, text, &user, settings);
    let hash = agent::hash(&container);

    let mut patched = pod.clone();
    pod::add_volumes(&mut patched, plan)?;
    pod::mount(&mut patched, plan)?;
    pod::mark_containers(&mut patched, plan);
    pod::add_init_container(&mut patched, container, plan.first);
    let metadata = &mut patched["metadata"];
    metadata["labels"][holdfast_crd_types::names::LABEL_INJECTED] = json!("true");
    metadata["annotations"][INJECTED] = json!(format!("{}/{hash}", env!("CARGO_PKG_VERSION")));
    if plan.vault {
        metadata["annotations"][VAULT_STATUS] = json!("injected");
    }
    if let Some(server) = plan.server.as_ref().filter(|server| **server != settings.server) {
        warnings.push(format!("the agent speaks to {server}, as the annotation says, and not to {}", settings.server));
    }
    if plan.tls_skip_verify {
        warnings.push("the agent does not check the server's certificate, as the annotation says".to_owned());
    }
    Ok(Injection { patch: json_patch::diff(pod, &patched), warnings })
}

fn annotations_of(pod: &Value) -> Annotations {
    let annotations = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    annotations.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
