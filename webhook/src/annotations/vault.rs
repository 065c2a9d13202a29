//! `vault.hashicorp.com/*`, so that existing pods work unchanged.

use std::collections::BTreeSet;

use super::{
    Annotations, Error, HOLDFAST, Plan, Planned, VAULT, absolute, boolean, duration,
    holdfast::{auth_mount, on_change},
    level, log_format, names, number, octal, quantity, refresh, relative, spelling, wrong,
};

/// With an effect.
const KEYS: &[&str] = &[
    "agent-init-first",
    "agent-inject",
    "agent-inject-containers",
    "agent-inject-default-template",
    "agent-inject-status",
    "agent-inject-token",
    "agent-limits-cpu",
    "agent-limits-ephemeral",
    "agent-limits-mem",
    "agent-pre-populate",
    "agent-pre-populate-only",
    "agent-requests-cpu",
    "agent-requests-ephemeral",
    "agent-requests-mem",
    "agent-revoke-on-shutdown",
    "agent-run-as-group",
    "agent-run-as-user",
    "agent-share-process-namespace",
    "auth-path",
    "auth-type",
    "client-timeout",
    "log-format",
    "log-level",
    "namespace",
    "preserve-secret-case",
    "role",
    "secret-volume-path",
    "service",
    "template-static-secret-render-interval",
    "tls-server-name",
    "tls-skip-verify",
];
/// With an effect, followed by the name of a secret. Longer ones first where one begins another.
const NAMED: &[&str] = &[
    "agent-inject-template-file-",
    "agent-inject-command-",
    "agent-inject-file-",
    "agent-inject-perms-",
    "agent-inject-secret-",
    "agent-inject-template-",
    "agent-template-left-delim-",
    "agent-template-right-delim-",
    "error-on-missing-key-",
    "preserve-secret-case-",
    "secret-volume-path-",
];
/// Without an effect here, and why, if that is not plain.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("agent-auto-auth-exit-on-err", "the agent ends with a reason when its first login fails"),
    ("agent-cache-enable", "a credential belongs to the pod, so init and sidecar share it without a cache"),
    ("agent-cache-exit-on-err", ""),
    ("agent-cache-listener-port", "there is no local listener"),
    ("agent-cache-use-auto-auth-token", "there is no local listener"),
    ("agent-copy-volume-mounts", ""),
    ("agent-disable-idle-connections", ""),
    ("agent-disable-keep-alives", ""),
    ("agent-enable-quit", "the sidecar does not keep a Job from ending"),
    ("agent-extra-secret", ""),
    ("agent-image", "the cluster's administrator chooses the image"),
    ("agent-init-json-patch", ""),
    ("agent-json-patch", ""),
    ("agent-request-namespace", ""),
    ("agent-revoke-grace", ""),
    ("agent-run-as-same-user", "the agent runs as the user of the containers wherever the pod says who that is"),
    ("agent-service-account-token-volume-name", "the agent has a token of its own with audience holdfast"),
    ("agent-set-security-context", "the agent always has one"),
    ("auth-max-backoff", ""),
    ("auth-min-backoff", ""),
    ("ca-cert", "the webhook delivers the server's CA"),
    ("ca-key", "the webhook delivers the server's CA"),
    ("client-cert", ""),
    ("client-key", ""),
    ("client-max-retries", ""),
    ("go-max-procs", ""),
    ("proxy-address", ""),
    ("template-config-exit-on-retry-failure", ""),
    ("template-lease-renewal-threshold", ""),
    ("template-max-connections-per-host", ""),
    ("tls-secret", "the webhook delivers the server's CA"),
];
const WITHOUT_EFFECT_PREFIXES: &[&str] = &["agent-telemetry-", "auth-config-"];

pub(super) fn plan(annotations: &Annotations, warnings: &mut Vec<String>) -> Result<Plan, Error> {
    let mut plan = Plan { vault: true, mount_path: "/vault/secrets".to_owned(), ..Plan::default() };
    let mut secrets = BTreeSet::new();
    let mut json = false;
    for (annotation, value) in annotations {
        let Some(key) = annotation.strip_prefix(VAULT) else { continue };
        let value = value.as_str();
        match key {
            "agent-inject" | "agent-inject-status" | "preserve-secret-case" => {}
            "role" => value.trim().clone_into(&mut plan.role),
            "service" => plan.server = Some(value.to_owned()),
            "auth-path" => plan.auth_mount = Some(auth_mount(value)),
            "auth-type" if value == "kubernetes" => {}
            "auth-type" => return Err(wrong(annotation, format!("{value:?} is not supported; use kubernetes"))),
            "namespace" => plan.namespace = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "tls-skip-verify" => plan.tls_skip_verify = boolean(annotation, value)?,
            "tls-server-name" => plan.tls_server_name = Some(value.to_owned()),
            "client-timeout" => plan.client_timeout = Some(duration(annotation, value)?),
            "agent-pre-populate-only" => plan.once = boolean(annotation, value)?,
            "agent-pre-populate" => plan.ungated = !boolean(annotation, value)?,
            "agent-init-first" => plan.first = boolean(annotation, value)?,
            "agent-inject-containers" => plan.containers = Some(names(value)),
            "agent-inject-token" => plan.token = boolean(annotation, value)?,
            "agent-inject-default-template" => match value.to_ascii_lowercase().as_str() {
                "map" => {}
                "json" => json = true,
                _ => return Err(wrong(annotation, format!("{value:?}: use map or json"))),
            },
            "secret-volume-path" => plan.mount_path = absolute(annotation, value)?,
            "agent-run-as-user" => plan.run_as_user = Some(number(annotation, value)?),
            "agent-run-as-group" => plan.run_as_group = Some(number(annotation, value)?),
            "agent-share-process-namespace" => plan.share_processes = boolean(annotation, value)?,
            "agent-revoke-on-shutdown" => plan.revoke_on_exit = boolean(annotation, value)?,
            "template-static-secret-render-interval" => plan.refresh = Some(refresh(annotation, value)?),
            "log-level" => plan.log_level = Some(level(annotation, value)?),
            "log-format" => plan.log_format = Some(log_format(annotation, value)?),
            "agent-configmap" => {
                return Err(wrong(
                    annotation,
                    "a configuration of one's own is not supported; say what it renders by agent-inject-secret-NAME \
                     and agent-inject-template-NAME"
                        .to_owned(),
                ));
            }
            _ => {
                if let Some(resource) = resource(key) {
                    if !value.is_empty() {
                        plan.resources.insert(resource, quantity(annotation, value)?);
                    }
                } else if let Some((stem, name)) = named(key) {
                    match stem {
                        "agent-inject-template-file-" => {
                            return Err(wrong(
                                annotation,
                                format!("files of the agent's image are not supported; use {VAULT}agent-inject-template-{name}"),
                            ));
                        }
                        "agent-inject-command-" => warnings.push(format!(
                            "{annotation}: has no effect, there is no shell beside the secret; see {HOLDFAST}on-change.{name}"
                        )),
                        "agent-inject-secret-" | "agent-inject-template-" => {
                            secrets.insert(name);
                        }
                        _ => {}
                    }
                } else if let Some(why) = without_effect(key) {
                    warnings
                        .push(format!("{annotation}: has no effect{}{why}", if why.is_empty() { "" } else { ": " }));
                } else {
                    let meant = spelling::meant(key, KEYS, NAMED);
                    let meant = meant.map_or(String::new(), |key| format!("; did you mean {VAULT}{key}?"));
                    warnings.push(format!("{annotation}: unknown annotation{meant}"));
                }
            }
        }
    }
    for annotation in annotations.keys().filter(|key| key.starts_with(HOLDFAST)) {
        let ours = [super::INJECTED, "holdfast.dev/inject", holdfast_crd_types::names::ANNOTATION_RESTARTED];
        let action = annotation.strip_prefix("holdfast.dev/on-change.");
        if !action.is_some_and(|name| secrets.contains(name)) && !ours.contains(&annotation.as_str()) {
            warnings.push(format!("{annotation}: has no effect beside {VAULT}agent-inject"));
        }
    }
    for name in secrets {
        plan.items.push(item(annotations, name, json)?);
    }
    Ok(plan)
}

fn item(annotations: &Annotations, name: &str, json: bool) -> Result<Planned, Error> {
    let key = |stem: &str| format!("{VAULT}{stem}{name}");
    let get = |stem: &str| annotations.get(&key(stem)).map(String::as_str);
    let flag = |stem: &str| get(stem).map(|value| boolean(&key(stem), value)).transpose();
    let path = get("agent-inject-secret-").map(str::trim).filter(|path| !path.is_empty());
    let own = get("agent-inject-template-").filter(|text| !text.is_empty());
    let template = match (own, path) {
        (Some(text), _) => text.to_owned(),
        (None, Some(path)) => default_template(path, json),
        (None, None) => {
            return Err(wrong(&key("agent-inject-secret-"), "is empty; use the path of a secret".to_owned()));
        }
    };
    let delimiters = match (get("agent-template-left-delim-"), get("agent-template-right-delim-")) {
        (None, None) => None,
        _ if own.is_none() => None,
        (left, right) => Some((left.unwrap_or("{{").to_owned(), right.unwrap_or("}}").to_owned())),
    };
    let all = annotations.get(&format!("{VAULT}preserve-secret-case"));
    let all = all.map_or(Ok(false), |value| boolean(&format!("{VAULT}preserve-secret-case"), value))?;
    let keep_case = flag("preserve-secret-case-")?.unwrap_or(all);
    let file_name = if keep_case { name.to_owned() } else { name.to_lowercase() };
    Ok(Planned {
        name: name.to_owned(),
        annotation: key(if path.is_some() { "agent-inject-secret-" } else { "agent-inject-template-" }),
        source: None,
        template,
        delimiters,
        error_on_missing_key: flag("error-on-missing-key-")?.unwrap_or(false),
        file: get("agent-inject-file-").map_or(Ok(file_name), |value| relative(&key("agent-inject-file-"), value))?,
        mount_path: get("secret-volume-path-").map(|value| absolute(&key("secret-volume-path-"), value)).transpose()?,
        mode: get("agent-inject-perms-").map(|value| octal(&key("agent-inject-perms-"), value)).transpose()?,
        on_change: on_change(annotations, name)?,
    })
}

/// What existing pods get without a template of their own.
fn default_template(path: &str, json: bool) -> String {
    let path = path.replace('\\', "\\\\").replace('"', "\\\"");
    if json {
        return format!("{{{{ with secret \"{path}\" }}}}{{{{ .Data | toJSON }}}}{{{{ end }}}}");
    }
    format!(
        "{{{{ with secret \"{path}\" }}}}{{{{ range $k, $v := .Data }}}}{{{{ $k }}}}: {{{{ $v }}}}\n{{{{ end }}}}{{{{ end }}}}"
    )
}

fn named(key: &str) -> Option<(&'static str, &str)> {
    NAMED.iter().find_map(|stem| key.strip_prefix(stem).filter(|name| !name.is_empty()).map(|name| (*stem, name)))
}

fn resource(key: &str) -> Option<String> {
    let (kind, rest) = match key.strip_prefix("agent-limits-") {
        Some(rest) => ("limits", rest),
        None => ("requests", key.strip_prefix("agent-requests-")?),
    };
    let resource = match rest {
        "cpu" => "cpu",
        "mem" => "memory",
        "ephemeral" => "ephemeral-storage",
        _ => return None,
    };
    Some(format!("{kind}.{resource}"))
}

fn without_effect(key: &str) -> Option<&'static str> {
    let exact = WITHOUT_EFFECT.iter().find(|(known, _)| *known == key).map(|(_, why)| *why);
    exact.or_else(|| WITHOUT_EFFECT_PREFIXES.iter().any(|prefix| key.starts_with(prefix)).then_some(""))
}
