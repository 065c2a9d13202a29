//! `holdfast.dev/*`.

use std::collections::BTreeSet;

use holdfast_agent::config::UseToken;
use holdfast_crd_types::names as crd;

use super::{
    Annotations, Choices, Error, Findings, HOLDFAST, Order, Plan, Planned, SourceRef, format, spelling,
    value::{
        absolute, boolean, duration, level, log_format, name as object, names, number, octal, port, quantity, refresh,
        relative, wrong,
    },
};

/// Said once for a pod.
pub(super) const KEYS: &[&str] = &[
    "audience",
    "auth-config",
    "auth-path",
    "auth-type",
    "client-timeout",
    "containers",
    "copy-mounts",
    "extra-secret",
    "format",
    "image",
    "init-containers",
    "init-timeout",
    "inject",
    "log-format",
    "log-level",
    "metrics-port",
    "mode",
    "mount-path",
    "mount-read-only",
    "namespace",
    "order",
    "proxy",
    "proxy-token",
    "quit",
    "refresh",
    "resources",
    "revoke-on-exit",
    "role",
    "run-as-group",
    "run-as-same-user",
    "run-as-user",
    "server",
    "share-process-namespace",
    "token",
    "wait",
];
/// Followed by the name of an item.
pub(super) const NAMED: &[&str] = &[
    "delimiters.",
    "error-on-missing-key.",
    "file.",
    "format.",
    "mode.",
    "mount-path.",
    "on-change.",
    "secret.",
    "template-file.",
    "template.",
];
/// Nobody may say these: each was a hole in another injector.
const REFUSED: &[(&str, &str)] = &[
    ("tls-skip-verify", "the agent always checks the server's certificate"),
    ("tls-server-name", "it belongs to a server of the administrator's list"),
    ("json-patch", "a patch could add any privilege"),
    ("security-context", "the agent always has the most restricted one"),
];
/// Written by ourselves, not by people who ask for injection.
const FOREIGN: &[&str] = &[
    super::INJECTED,
    crd::ANNOTATION_STATUS,
    crd::ANNOTATION_RESTARTED,
    crd::ANNOTATION_PAUSE,
    crd::ANNOTATION_ROTATE,
];

/// Enough for most pods, whatever larger defaults there are.
const SMALL: &[(&str, &str)] = &[("requests.cpu", "5m"), ("requests.memory", "16Mi"), ("limits.memory", "64Mi")];

/// Whether a pod asks, and for which profile.
#[derive(Default)]
pub(super) struct Asks {
    pub(super) wanted: bool,
    pub(super) profile: Option<String>,
}

/// `inject`: true, false, or the name of a profile.
pub(super) fn asks(annotations: &Annotations) -> Result<Asks, Error> {
    let annotation = format!("{HOLDFAST}inject");
    let Some(value) = annotations.get(&annotation) else { return Ok(Asks::default()) };
    if let Ok(wanted) = boolean(&annotation, value) {
        return Ok(Asks { wanted, profile: None });
    }
    let profile = object(&annotation, value)
        .map_err(|_| wrong(&annotation, format!("{value:?} is neither \"true\" nor \"false\" nor a profile")))?;
    Ok(Asks { wanted: true, profile: Some(profile) })
}

pub(super) fn plan(annotations: &Annotations, findings: &mut Findings) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let mut items = BTreeSet::new();
    for (annotation, value) in annotations {
        let Some(key) = annotation.strip_prefix(HOLDFAST) else {
            if annotation.starts_with(super::VAULT) {
                findings.note(format!("{annotation}: has no effect beside {HOLDFAST}inject"));
            }
            continue;
        };
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
            findings.mistake(format!("{annotation}: refused: {why}"));
        } else if key == "inject" || FOREIGN.contains(&annotation.as_str()) {
        } else if choose(&mut plan.choices, annotation, key, value)? {
            plan.said.extend(KEYS.iter().find(|known| **known == key).map(|known| (*known, annotation.clone())));
        } else if let Some((stem, name)) = named(key) {
            plan.said.insert(stem, annotation.clone());
            items.insert(name);
        } else {
            let meant = spelling::meant(key, KEYS, NAMED);
            let meant = meant.map_or(String::new(), |key| format!("; did you mean {HOLDFAST}{key}?"));
            findings.mistake(format!("{annotation}: unknown annotation{meant}"));
        }
    }
    for name in items {
        plan.items.extend(item(annotations, name, findings)?);
    }
    Ok(plan)
}

/// Takes one choice over; false when `key` is none.
pub(super) fn choose(choices: &mut Choices, annotation: &str, key: &str, value: &str) -> Result<bool, Error> {
    let text = || Some(value.trim().to_owned());
    match key {
        "role" => choices.role = text(),
        "server" => choices.server = text(),
        "auth-path" => choices.auth_mount = Some(auth_mount(value)),
        "auth-type" => choices.auth_type = text(),
        "auth-config" => {
            for pair in names(value) {
                let (name, value) = pair
                    .split_once('=')
                    .ok_or_else(|| wrong(annotation, format!("{pair:?}: use path=/vault/custom/jwt,other=value")))?;
                auth_parameter(choices, name, value);
            }
        }
        "audience" if value.trim().is_empty() => return Err(wrong(annotation, "is empty; use for example holdfast")),
        "audience" => choices.audience = text(),
        "namespace" => choices.namespace = text().filter(|name| !name.is_empty()),
        "client-timeout" => choices.client_timeout = Some(duration(annotation, value)?),
        "mode" => match value {
            "sidecar" | "native" | "auto" => choices.once = Some(false),
            "init" => choices.once = Some(true),
            _ => return Err(wrong(annotation, format!("{value:?}: use sidecar, init or auto"))),
        },
        "wait" => choices.ungated = Some(!boolean(annotation, value)?),
        "order" => choices.order = Some(order(annotation, value)?),
        "containers" => choices.containers = Some(names(value)).filter(|names| !names.is_empty()),
        "init-containers" if value.trim() == "none" => choices.init_containers = Some(Vec::new()),
        "init-containers" => choices.init_containers = Some(names(value)).filter(|names| !names.is_empty()),
        "copy-mounts" => choices.copy_mounts = Some(object(annotation, value)?),
        "extra-secret" => choices.extra_secret = Some(object(annotation, value)?),
        "format" => {
            format::template(annotation, value)?;
            choices.format = text();
        }
        "mount-path" => choices.mount_path = Some(absolute(annotation, value)?),
        "mount-read-only" => choices.mount_read_only = Some(boolean(annotation, value)?),
        "refresh" => choices.refresh = Some(refresh(annotation, value)?),
        "init-timeout" => choices.init_timeout = Some(duration(annotation, value)?),
        "proxy" => proxy(annotation, value, choices)?,
        "proxy-token" => choices.proxy_token = Some(proxy_token(annotation, value)?),
        "metrics-port" => choices.metrics_port = Some(port(annotation, value)?),
        "quit" => choices.quit = Some(boolean(annotation, value)?),
        "resources" => resources(annotation, value, choices)?,
        "run-as-user" => choices.run_as_user = Some(number(annotation, value)?),
        "run-as-group" => choices.run_as_group = Some(number(annotation, value)?),
        "run-as-same-user" => choices.run_as_same_user = Some(boolean(annotation, value)?),
        "share-process-namespace" => choices.share_processes = Some(boolean(annotation, value)?),
        "token" => choices.token = Some(boolean(annotation, value)?),
        "revoke-on-exit" => choices.revoke_on_exit = Some(boolean(annotation, value)?),
        "log-level" => choices.log_level = Some(level(annotation, value)?),
        "log-format" => choices.log_format = Some(log_format(annotation, value)?),
        "image" => choices.image = text(),
        _ => return Ok(false),
    }
    Ok(true)
}

/// `template.db` is an item's: its key without the name, and the name.
fn named(key: &str) -> Option<(&'static str, &str)> {
    let (stem, name) = NAMED.iter().find_map(|stem| Some((*stem, key.strip_prefix(stem)?)))?;
    (!name.is_empty()).then(|| (stem.trim_end_matches('.'), name))
}

fn order(annotation: &str, value: &str) -> Result<Order, Error> {
    match value.split_once('=') {
        None if value == "first" => Ok(Order::First),
        None if value == "last" => Ok(Order::Last),
        Some(("before", name)) => Ok(Order::Before(object(annotation, name)?)),
        _ => Err(wrong(annotation, format!("{value:?}: use first, last or before=NAME of an init container"))),
    }
}

fn item(annotations: &Annotations, name: &str, findings: &mut Findings) -> Result<Option<Planned>, Error> {
    let key = |stem: &str| format!("{HOLDFAST}{stem}.{name}");
    let get = |stem: &str| annotations.get(&key(stem)).map(String::as_str);
    let source = get("secret").map(|value| source(&key("secret"), value)).transpose()?;
    let template = get("template");
    let template_file = get("template-file").map(|value| absolute(&key("template-file"), value)).transpose()?;
    if source.is_none() && template.is_none() && template_file.is_none() {
        findings.mistake(format!("{name}: has no effect without {} or {}", key("secret"), key("template")));
        return Ok(None);
    }
    let other = [("template", template), ("format", get("format"))].into_iter().find(|(_, said)| said.is_some());
    if let (Some(_), Some((other, _))) = (&template_file, other) {
        return Err(wrong(&key("template-file"), format!("{} is there too; remove one of them", key(other))));
    }
    let template = match (template, get("format")) {
        _ if template_file.is_some() => String::new(),
        (Some(_), Some(_)) => {
            return Err(wrong(&key("format"), format!("{} is there too; remove one of them", key("template"))));
        }
        (Some(text), None) => text.to_owned(),
        (None, format) => format::template(&key("format"), format.unwrap_or("lines"))?,
    };
    let delimiters = get("delimiters").map(|value| match value.split_whitespace().collect::<Vec<_>>().as_slice() {
        [left, right] => Ok(((*left).to_owned(), (*right).to_owned())),
        _ => Err(wrong(&key("delimiters"), format!("{value:?}: use two texts with a space between, \"<< >>\""))),
    });
    Ok(Some(Planned {
        name: name.to_owned(),
        annotation: key(match (&source, &template_file) {
            (Some(_), _) => "secret",
            (None, Some(_)) => "template-file",
            (None, None) => "template",
        }),
        source,
        unformatted: (template_file.is_none() && get("template").or(get("format")).is_none()).then(String::new),
        template,
        template_file,
        delimiters: delimiters.transpose()?,
        // A file with "<no value>" for a password helps nobody; existing pods keep what they are used to.
        error_on_missing_key: get("error-on-missing-key")
            .map_or(Ok(true), |value| boolean(&key("error-on-missing-key"), value))?,
        file: get("file").map_or(Ok(name.to_owned()), |value| relative(&key("file"), value))?,
        mount_path: get("mount-path").map(|value| absolute(&key("mount-path"), value)).transpose()?,
        mode: get("mode").map(|value| octal(&key("mode"), value)).transpose()?,
        on_change: on_change(annotations, name)?,
    }))
}

/// `on-change.NAME`, which pods of the other vocabulary may carry too.
pub(super) fn on_change(annotations: &Annotations, name: &str) -> Result<Vec<holdfast_agent::action::Action>, Error> {
    let annotation = format!("{HOLDFAST}on-change.{name}");
    let Some(value) = annotations.get(&annotation) else { return Ok(Vec::new()) };
    let actions = names(value).into_iter().filter(|action| action != "none");
    actions.map(|action| action.parse().map_err(|reason: String| wrong(&annotation, reason))).collect()
}

/// `auth/kubernetes` and `kubernetes` are the same.
pub(super) fn auth_mount(value: &str) -> String {
    let value = value.trim_matches('/');
    value.strip_prefix("auth/").unwrap_or(value).to_owned()
}

/// With the names of files, which have no `-` in them.
pub(super) fn auth_parameter(choices: &mut Choices, name: &str, value: &str) {
    let name = name.trim().replace('-', "_");
    choices.auth_config.get_or_insert_default().insert(name, value.trim().to_owned());
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
        return Err(wrong(annotation, "is empty; use a path or credential/<name of a DynamicCredential>"));
    }
    Ok(SourceRef::Path(value.to_owned()))
}

/// A port; or whether at all, at the usual one.
fn proxy(annotation: &str, value: &str, choices: &mut Choices) -> Result<(), Error> {
    if let Ok(port) = value.trim().parse::<u16>()
        && port > 1
    {
        choices.proxy_port = Some(self::port(annotation, value)?);
        choices.proxy = Some(true);
        return Ok(());
    }
    let wanted = boolean(annotation, value)
        .map_err(|_| wrong(annotation, format!("{value:?}: use a port such as \"8200\", or \"false\"")))?;
    choices.proxy = Some(wanted);
    Ok(())
}

fn proxy_token(annotation: &str, value: &str) -> Result<UseToken, Error> {
    match value.trim() {
        "missing" => Ok(UseToken::Missing),
        "always" => Ok(UseToken::Always),
        "never" => Ok(UseToken::Never),
        _ => Err(wrong(annotation, format!("{value:?}: use missing, always or never"))),
    }
}

/// `small`, or `requests.cpu=5m,limits.memory=64Mi`, or both.
fn resources(annotation: &str, value: &str, choices: &mut Choices) -> Result<(), Error> {
    for pair in names(value) {
        if pair == "small" {
            choices.resources.extend(SMALL.iter().map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned())));
            continue;
        }
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
        choices.resources.insert(name.to_owned(), quantity(annotation, amount)?);
    }
    Ok(())
}
