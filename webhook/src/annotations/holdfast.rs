//! `holdfast.dev/*`.

use holdfast_crd_types::names;

use super::{
    Annotations, Error, HOLDFAST, Plan, Planned, SourceRef, absolute, boolean, duration, level, log_format,
    names as list, number, octal, quantity, refresh, relative, spelling, wrong,
};

const KEYS: &[&str] = &[
    "auth-path",
    "containers",
    "init-timeout",
    "inject",
    "log-format",
    "log-level",
    "mode",
    "mount-path",
    "namespace",
    "order",
    "refresh",
    "resources",
    "revoke-on-exit",
    "role",
    "run-as-group",
    "run-as-user",
    "server",
    "share-process-namespace",
    "tls-server-name",
    "tls-skip-verify",
    "token",
];
const NAMED: &[&str] =
    &["delimiters.", "error-on-missing-key.", "file.", "format.", "mode.", "on-change.", "secret.", "template."];
/// Written by ourselves, not by people who ask for injection.
const FOREIGN: &[&str] = &[
    super::INJECTED,
    names::ANNOTATION_STATUS,
    names::ANNOTATION_RESTARTED,
    names::ANNOTATION_PAUSE,
    names::ANNOTATION_ROTATE,
];

/// `key=value` lines, sorted by key.
const LINES: &str = "{{ range $k, $v := . }}{{ $k }}={{ $v }}\n{{ end }}";
const MAP: &str = "{{ range $k, $v := . }}{{ $k }}: {{ $v }}\n{{ end }}";
const JSON: &str = "{{ . | toUnescapedJSON }}";

pub(super) fn plan(annotations: &Annotations, warnings: &mut Vec<String>) -> Result<Plan, Error> {
    let mut plan = Plan { mount_path: "/holdfast/secrets".to_owned(), first: true, ..Plan::default() };
    let mut item_names = std::collections::BTreeSet::new();
    for (annotation, value) in annotations {
        let Some(key) = annotation.strip_prefix(HOLDFAST) else {
            if annotation.starts_with(super::VAULT) {
                warnings.push(format!("{annotation}: has no effect beside {HOLDFAST}inject"));
            }
            continue;
        };
        let value = value.as_str();
        match key {
            "inject" => {}
            "role" => value.trim().clone_into(&mut plan.role),
            "server" => plan.server = Some(value.to_owned()),
            "auth-path" => plan.auth_mount = Some(auth_mount(value)),
            "namespace" => plan.namespace = Some(value.to_owned()),
            "tls-skip-verify" => plan.tls_skip_verify = boolean(annotation, value)?,
            "tls-server-name" => plan.tls_server_name = Some(value.to_owned()),
            "mode" => match value {
                "sidecar" | "auto" => plan.once = false,
                "init" => plan.once = true,
                _ => return Err(wrong(annotation, format!("{value:?}: use sidecar, init or auto"))),
            },
            "order" => match value {
                "first" => plan.first = true,
                "last" => plan.first = false,
                _ => return Err(wrong(annotation, format!("{value:?}: use first or last"))),
            },
            "containers" => plan.containers = Some(list(value)),
            "mount-path" => plan.mount_path = absolute(annotation, value)?,
            "refresh" => plan.refresh = Some(refresh(annotation, value)?),
            "init-timeout" => plan.init_timeout = Some(duration(annotation, value)?),
            "resources" => resources(annotation, value, &mut plan)?,
            "run-as-user" => plan.run_as_user = Some(number(annotation, value)?),
            "run-as-group" => plan.run_as_group = Some(number(annotation, value)?),
            "share-process-namespace" => plan.share_processes = boolean(annotation, value)?,
            "token" => plan.token = boolean(annotation, value)?,
            "revoke-on-exit" => plan.revoke_on_exit = boolean(annotation, value)?,
            "log-level" => plan.log_level = Some(level(annotation, value)?),
            "log-format" => plan.log_format = Some(log_format(annotation, value)?),
            _ => match key.split_once('.') {
                Some((stem, name)) if NAMED.contains(&format!("{stem}.").as_str()) && !name.is_empty() => {
                    item_names.insert(name);
                }
                _ if FOREIGN.contains(&annotation.as_str()) => {}
                _ => {
                    let meant = spelling::meant(key, KEYS, NAMED);
                    let meant = meant.map_or(String::new(), |key| format!("; did you mean {HOLDFAST}{key}?"));
                    warnings.push(format!("{annotation}: unknown annotation{meant}"));
                }
            },
        }
    }
    for name in item_names {
        plan.items.extend(item(annotations, name, warnings)?);
    }
    Ok(plan)
}

fn item(annotations: &Annotations, name: &str, warnings: &mut Vec<String>) -> Result<Option<Planned>, Error> {
    let key = |stem: &str| format!("{HOLDFAST}{stem}.{name}");
    let get = |stem: &str| annotations.get(&key(stem)).map(String::as_str);
    let source = get("secret").map(|value| source(&key("secret"), value)).transpose()?;
    let template = get("template");
    if source.is_none() && template.is_none() {
        warnings.push(format!("{name}: has no effect without {} or {}", key("secret"), key("template")));
        return Ok(None);
    }
    let template = match (template, get("format")) {
        (Some(_), Some(_)) => {
            return Err(wrong(&key("format"), format!("{} is there too; remove one of them", key("template"))));
        }
        (Some(text), None) => text,
        (None, None | Some("lines")) => LINES,
        (None, Some("map")) => MAP,
        (None, Some("json")) => JSON,
        (None, Some(other)) => return Err(wrong(&key("format"), format!("{other:?}: use lines, map or json"))),
    };
    let delimiters = get("delimiters").map(|value| match value.split_whitespace().collect::<Vec<_>>().as_slice() {
        [left, right] => Ok(((*left).to_owned(), (*right).to_owned())),
        _ => Err(wrong(&key("delimiters"), format!("{value:?}: use two texts with a space between, \"<< >>\""))),
    });
    Ok(Some(Planned {
        name: name.to_owned(),
        annotation: key(if source.is_some() { "secret" } else { "template" }),
        source,
        template: template.to_owned(),
        delimiters: delimiters.transpose()?,
        // A file with "<no value>" for a password helps nobody; existing pods keep what they are used to.
        error_on_missing_key: get("error-on-missing-key")
            .map_or(Ok(true), |value| boolean(&key("error-on-missing-key"), value))?,
        file: get("file").map_or(Ok(name.to_owned()), |value| relative(&key("file"), value))?,
        mount_path: None,
        mode: get("mode").map(|value| octal(&key("mode"), value)).transpose()?,
        on_change: on_change(annotations, name)?,
    }))
}

/// `on-change.NAME`, which pods of the other vocabulary may carry too.
pub(super) fn on_change(annotations: &Annotations, name: &str) -> Result<Vec<holdfast_agent::action::Action>, Error> {
    let annotation = format!("{HOLDFAST}on-change.{name}");
    let Some(value) = annotations.get(&annotation) else { return Ok(Vec::new()) };
    let actions = list(value).into_iter().filter(|action| action != "none");
    actions.map(|action| action.parse().map_err(|reason| wrong(&annotation, reason))).collect()
}

/// `auth/kubernetes` and `kubernetes` are the same.
pub(super) fn auth_mount(value: &str) -> String {
    let value = value.trim_matches('/');
    value.strip_prefix("auth/").unwrap_or(value).to_owned()
}

fn source(annotation: &str, value: &str) -> Result<SourceRef, Error> {
    let value = value.trim().trim_start_matches('/');
    if let Some(name) = value.strip_prefix("credential/") {
        if name.is_empty() || name.contains('/') {
            return Err(wrong(annotation, format!("{value:?}: use credential/<name of a DynamicCredential>")));
        }
        return Ok(SourceRef::Credential(name.to_owned()));
    }
    let value = value.trim_end_matches('/');
    if value.is_empty() {
        return Err(wrong(annotation, "is empty; use a path or credential/<name of a DynamicCredential>".to_owned()));
    }
    Ok(SourceRef::Path(value.to_owned()))
}

/// `small`, or `requests.cpu=5m,limits.memory=64Mi`.
fn resources(annotation: &str, value: &str, plan: &mut Plan) -> Result<(), Error> {
    if value == "small" {
        return Ok(());
    }
    for pair in list(value) {
        let known = |name: &&str| {
            ["cpu", "memory", "ephemeral-storage"]
                .iter()
                .any(|resource| *name == format!("requests.{resource}") || *name == format!("limits.{resource}"))
        };
        let (name, amount) = pair.split_once('=').filter(|(name, _)| known(name)).ok_or_else(|| {
            wrong(
                annotation,
                format!("{pair:?}: use small, or requests.cpu=5m,requests.memory=16Mi,limits.memory=64Mi"),
            )
        })?;
        plan.resources.insert(name.to_owned(), quantity(annotation, amount)?);
    }
    Ok(())
}
