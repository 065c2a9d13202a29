//! Ports of the agent in the pod: for the application on the loopback, and for who reads metrics.

use serde_json::{Value, json};

use super::pod::containers;
use crate::annotations::{Error, Findings, HOLDFAST, Plan};

/// Name of the port with the metrics, by which a PodMonitor finds it.
const NAME: &str = "agent-metrics";
/// Annotations by which Prometheus finds pods.
const PROMETHEUS: &str = "prometheus.io/";

/// May the agent listen in this pod? Answers the port of its metrics, if it has some.
pub(super) fn check(pod: &Value, plan: &Plan, findings: &mut Findings) -> Result<Option<u16>, Error> {
    let choices = &plan.choices;
    let key = if choices.proxy == Some(true) { "proxy" } else { "quit" };
    if choices.is_once() {
        let asked = [("proxy", choices.proxy == Some(true)), ("metrics-port", choices.metrics_port.is_some())];
        for (key, _) in asked.into_iter().filter(|(_, asked)| *asked) {
            findings
                .notes
                .push(format!("{}: has no effect: after the first render there is no agent", said(plan, key)));
        }
        return Ok(None);
    }
    if let Some(port) = choices.listens() {
        // What it answers there is for the pod's own containers.
        check_port(pod, plan, key, port, "every process of the node could use its token")?;
    }
    let Some(port) = choices.metrics_port else { return Ok(None) };
    if choices.listens() == Some(port) {
        let reason = format!("{port} is the port of {} already; choose another one", said(plan, key));
        return Err(Error { annotation: said(plan, "metrics-port"), reason });
    }
    match check_port(pod, plan, "metrics-port", port, "the port would be the node's") {
        // A default is not the fault of a pod that it does not fit.
        Err(error) if !plan.said.contains_key("metrics-port") => {
            findings.notes.push(format!("no metrics of the agent: {}", error.reason));
            Ok(None)
        }
        checked => checked.map(|()| Some(port)),
    }
}

fn check_port(pod: &Value, plan: &Plan, key: &str, port: u16, node: &str) -> Result<(), Error> {
    let wrong = |reason: String| Err(Error { annotation: said(plan, key), reason });
    if pod["spec"]["hostNetwork"] == json!(true) {
        return wrong(format!("the pod has hostNetwork, so {node}; remove it"));
    }
    let listens = |container: &&Value| {
        let ports = container["ports"].as_array().into_iter().flatten();
        ports.into_iter().any(|declared| declared["containerPort"] == json!(port))
    };
    match containers(pod, "containers").find(listens) {
        Some(container) => {
            wrong(format!("container {} has port {port} already; choose another one", container["name"]))
        }
        None => Ok(()),
    }
}

/// Tells who reads metrics where they are: by the port's name, and by the annotations of Prometheus, unless those are the
/// application's.
pub(super) fn announce(pod: &mut Value, container: &mut Value, port: u16, plan: &Plan, findings: &mut Findings) {
    container["ports"] = json!([{ "name": NAME, "containerPort": port, "protocol": "TCP" }]);
    let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() else { return };
    if annotations.keys().any(|key| key.starts_with(PROMETHEUS)) {
        findings.notes.push(format!(
            "{}: the annotations {PROMETHEUS}* are the application's; the agent's metrics are at port {NAME}",
            said(plan, "metrics-port")
        ));
        return;
    }
    for (key, value) in [("scrape", "true"), ("port", &port.to_string()), ("path", "/metrics")] {
        annotations.insert(format!("{PROMETHEUS}{key}"), json!(value));
    }
}

fn said(plan: &Plan, key: &str) -> String {
    plan.said.get(key).cloned().unwrap_or_else(|| format!("{HOLDFAST}{key}"))
}
