//! AdmissionReview v1: request into response.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::{
    cluster::Cluster,
    mutate::{self, Injection},
    profile,
    rules::Rules,
};

/// The API server cuts longer warnings off.
const MAX_WARNING: usize = 256;

/// What became of a pod: for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It has the agent now.
    Injected,
    /// It did not ask, or has it already.
    Skipped,
    /// It asks for something that makes no sense.
    Denied,
    /// The cluster's API failed.
    Failed,
}

/// A review that was answered.
#[derive(Debug)]
pub struct Reviewed {
    /// The whole document.
    pub answer: Value,
    /// What became of the pod.
    pub outcome: Outcome,
    /// The pod's namespace, as the request says it.
    pub namespace: String,
}

enum Verdict {
    Skip,
    Inject(Injection),
    Deny(Outcome, String),
}

/// Answers one review. `Err` says what is wrong with the review itself.
pub async fn answer(body: &[u8], rules: &Rules, cluster: &dyn Cluster) -> Result<Reviewed, String> {
    let review: Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    let request = &review["request"];
    let Some(uid) = request["uid"].as_str() else { return Err("no AdmissionReview: request.uid is absent".to_owned()) };
    if review["apiVersion"] != "admission.k8s.io/v1" || review["kind"] != "AdmissionReview" {
        return Err("not an AdmissionReview of admission.k8s.io/v1".to_owned());
    }
    let namespace = request["namespace"].as_str().unwrap_or_default();
    let metadata = &request["object"]["metadata"];
    let pod = metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or_default();
    let mut response = json!({ "uid": uid, "allowed": true });
    let outcome = match decide(request, namespace, rules, cluster).await {
        Verdict::Skip => Outcome::Skipped,
        Verdict::Inject(Injection { patch, findings }) => {
            let warnings = findings.warnings();
            info!(namespace, pod, operations = patch.0.len(), warnings = warnings.len(), "injected");
            let patch = serde_json::to_vec(&patch).map_err(|error| error.to_string())?;
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(STANDARD.encode(patch));
            if !warnings.is_empty() {
                response["warnings"] = warnings.iter().map(|warning| shorten(warning)).collect();
            }
            Outcome::Injected
        }
        Verdict::Deny(outcome, reason) => {
            warn!(namespace, pod, reason, "denied");
            response["allowed"] = json!(false);
            let (code, name) = if outcome == Outcome::Failed { (500, "InternalError") } else { (400, "BadRequest") };
            response["status"] = json!({ "code": code, "reason": name, "message": format!("holdfast: {reason}") });
            outcome
        }
    };
    let answer = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    Ok(Reviewed { answer, outcome, namespace: namespace.to_owned() })
}

async fn decide(request: &Value, namespace: &str, rules: &Rules, cluster: &dyn Cluster) -> Verdict {
    let pod = &request["object"];
    // Containers cannot be added later, so an update is never ours.
    if request["operation"] != "CREATE"
        || request["resource"]["resource"] != "pods"
        || !request["subResource"].is_null()
    {
        return Verdict::Skip;
    }
    let (plan, mut findings) = match mutate::wanted(pod) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return Verdict::Skip,
        Err(error) => return Verdict::Deny(Outcome::Denied, error.to_string()),
    };
    let namespace = match cluster.namespace(namespace).await {
        Ok(namespace) => namespace,
        Err(error) => {
            return Verdict::Deny(Outcome::Failed, format!("cannot look at namespace {namespace}: {error:#}"));
        }
    };
    let ruled = match profile::rule(&rules.document, &rules.settings, &namespace, plan, &mut findings) {
        Ok(ruled) => ruled,
        Err(error) => return Verdict::Deny(Outcome::Denied, error.to_string()),
    };
    let (plan, namespace) = (ruled.plan, namespace.name.as_str());
    let mut located = BTreeMap::new();
    for (annotation, name) in mutate::credentials(&plan) {
        match cluster.locate(namespace, name).await {
            Ok(Some(found)) => {
                located.insert(name.to_owned(), found);
            }
            Ok(None) => {
                let reason =
                    format!("annotation {annotation}: there is no DynamicCredential {name:?} in namespace {namespace}");
                return Verdict::Deny(Outcome::Denied, reason);
            }
            Err(error) => {
                return Verdict::Deny(
                    Outcome::Failed,
                    format!("annotation {annotation}: cannot look up {name:?}: {error:#}"),
                );
            }
        }
    }
    let mut injection = match mutate::inject(pod, &plan, &located, &ruled.settings) {
        Ok(injection) => injection,
        Err(error) => return Verdict::Deny(Outcome::Denied, error.to_string()),
    };
    findings.append(injection.findings);
    match findings.mistakes.first() {
        Some(mistake) if ruled.strict => {
            let more = findings.mistakes.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            Verdict::Deny(Outcome::Denied, format!("{mistake}{more}; the profile is strict"))
        }
        _ => {
            injection.findings = findings;
            Verdict::Inject(injection)
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_WARNING).collect()
}
