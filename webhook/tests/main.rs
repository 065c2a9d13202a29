//! Pods before and after. `pods/*.json` go in; `golden/*.json` hold warnings, the pod with the patch applied, and the
//! agent's configuration. `UPDATE_GOLDEN=1` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests say what they expect")]

mod bench;
mod cluster;
mod denials;
mod golden;
mod profiles;
mod replica;
mod reviews;
mod rotation;
mod table;

use std::{collections::BTreeMap, time::Duration};

use holdfast_webhook::{
    cluster::Located,
    mutate::{Settings, inject, wanted},
    profile::{Document, Namespace, rule},
};
use serde_json::Value;

fn settings() -> Settings {
    let resources = [("requests.cpu", "5m"), ("requests.memory", "16Mi"), ("limits.memory", "64Mi")];
    Settings {
        image: "holdfast/agent:0.1.0".to_owned(),
        image_pull_policy: "IfNotPresent".to_owned(),
        server: "https://holdfast.holdfast.svc:8200".to_owned(),
        server_ca: Some("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned()),
        auth_mount: "kubernetes".to_owned(),
        refresh: Duration::from_secs(1),
        init_timeout: Duration::from_secs(120),
        resources: resources.iter().map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned())).collect(),
        ..Settings::default()
    }
}

fn located() -> BTreeMap<String, Located> {
    let path = "k8s/shop/orders-db/creds/readonly".to_owned();
    [("orders-ro".to_owned(), Located { path, ttl: None })].into()
}

/// Warnings and the pod with the patch applied; `None` when the pod is left alone.
fn mutated(pod: &Value) -> Result<Option<(Vec<String>, Value)>, String> {
    let Some((plan, mut findings)) = wanted(pod).map_err(|error| error.to_string())? else { return Ok(None) };
    let namespace = Namespace { name: "shop".to_owned(), ..Namespace::default() };
    let ruled = rule(&Document::default(), &settings(), &namespace, plan, &mut findings);
    let ruled = ruled.map_err(|error| error.to_string())?;
    let injection = inject(pod, &ruled.plan, &located(), &ruled.settings).map_err(|error| error.to_string())?;
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &injection.patch).unwrap();
    findings.append(injection.findings);
    Ok(Some((findings.warnings(), patched)))
}
