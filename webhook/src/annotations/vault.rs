//! `vault.hashicorp.com/*`, so that existing pods work unchanged.

mod table;

use std::collections::BTreeSet;

use holdfast_agent::{action::Action, config::UseToken};

use self::table::{Effect, KEYS, NAMED, PREFIXES};
use super::{
    Annotations, Choices, Error, Findings, HOLDFAST, Order, Plan, Planned, VAULT, command,
    holdfast::{auth_mount, auth_parameter, on_change},
    spelling,
    value::{
        absolute, boolean, duration, level, log_format, name as object, names, number, octal, port, quantity, refresh,
        relative, wrong,
    },
};

pub(super) fn plan(annotations: &Annotations, findings: &mut Findings) -> Result<Plan, Error> {
    let mut plan = Plan { vault: true, ..Plan::default() };
    let mut secrets = BTreeSet::new();
    for (annotation, value) in annotations {
        let Some(key) = annotation.strip_prefix(VAULT) else { continue };
        let named = named(key);
        match exact(key).or_else(|| named.map(|(_, effect, _)| effect)).or_else(|| parameter(key)) {
            Some(Effect::Works(own)) => {
                if own != "inject" {
                    plan.said.insert(own, annotation.clone());
                }
                match named {
                    Some((
                        "agent-inject-secret-" | "agent-inject-template-" | "agent-inject-template-file-",
                        _,
                        name,
                    )) if exact(key).is_none() => {
                        secrets.insert(name);
                    }
                    Some(_) if exact(key).is_none() => {}
                    _ => choose(&mut plan.choices, annotation, key, value, findings)?,
                }
            }
            Some(Effect::Moot(why)) => findings.note(format!("{annotation}: has no effect: {why}")),
            Some(Effect::Refused(_)) if asks_for_nothing(key, value) => {}
            Some(Effect::Refused(why)) => findings.mistake(format!("{annotation}: refused: {why}")),
            Some(Effect::Unsupported(why)) => return Err(wrong(annotation, why)),
            None => {
                let exact: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
                let stems: Vec<&str> = NAMED.iter().map(|(stem, _)| *stem).collect();
                let meant = spelling::meant(key, &exact, &stems);
                let meant = meant.map_or(String::new(), |key| format!("; did you mean {VAULT}{key}?"));
                findings.mistake(format!("{annotation}: unknown annotation{meant}"));
            }
        }
    }
    for annotation in annotations.keys().filter(|key| key.starts_with(HOLDFAST)) {
        let ours = [super::INJECTED, "holdfast.dev/inject", holdfast_crd_types::names::ANNOTATION_RESTARTED];
        match annotation.strip_prefix("holdfast.dev/on-change.") {
            Some(name) if secrets.contains(name) => drop(plan.said.insert("on-change", annotation.clone())),
            _ if ours.contains(&annotation.as_str()) => {}
            _ => findings.mistake(format!("{annotation}: has no effect beside {VAULT}agent-inject")),
        }
    }
    let json = default_is_json(annotations)?;
    for name in secrets {
        plan.items.push(item(annotations, name, json, plan.choices.mount_path(true), findings)?);
    }
    Ok(plan)
}

/// One key of a pod that works here.
fn choose(
    choices: &mut Choices,
    annotation: &str,
    key: &str,
    value: &str,
    findings: &mut Findings,
) -> Result<(), Error> {
    let filled = || Some(value.trim().to_owned()).filter(|value| !value.is_empty());
    match key {
        "role" => choices.role = filled(),
        "service" => choices.server = filled(),
        "auth-path" => choices.auth_mount = Some(auth_mount(value)),
        "auth-type" => choices.auth_type = filled(),
        "namespace" => choices.namespace = filled(),
        "client-timeout" => choices.client_timeout = Some(duration(annotation, value)?),
        "agent-pre-populate-only" => choices.once = Some(boolean(annotation, value)?),
        "agent-pre-populate" => choices.ungated = Some(!boolean(annotation, value)?),
        "agent-init-first" if boolean(annotation, value)? => choices.order = Some(Order::First),
        "agent-inject-containers" => choices.containers = Some(names(value)).filter(|names| !names.is_empty()),
        "agent-inject-token" => choices.token = Some(boolean(annotation, value)?),
        "secret-volume-path" => choices.mount_path = Some(absolute(annotation, value)?),
        "agent-run-as-user" => choices.run_as_user = Some(number(annotation, value)?),
        "agent-run-as-group" => choices.run_as_group = Some(number(annotation, value)?),
        "agent-run-as-same-user" => choices.run_as_same_user = Some(boolean(annotation, value)?),
        "agent-set-security-context" if !boolean(annotation, value)? => {
            findings.mistake(format!("{annotation}: refused: the agent always has the most restricted one"));
        }
        "agent-share-process-namespace" => choices.share_processes = Some(boolean(annotation, value)?),
        "agent-revoke-on-shutdown" => choices.revoke_on_exit = Some(boolean(annotation, value)?),
        "agent-extra-secret" => choices.extra_secret = Some(object(annotation, value)?),
        "agent-copy-volume-mounts" => choices.copy_mounts = Some(object(annotation, value)?),
        "agent-cache-enable" => choices.proxy = Some(boolean(annotation, value)?),
        "agent-cache-listener-port" => choices.proxy_port = Some(port(annotation, value)?),
        "agent-cache-use-auto-auth-token" => {
            choices.proxy_token = Some(match value.trim() {
                "force" => UseToken::Always,
                value if boolean(annotation, value)? => UseToken::Missing,
                _ => UseToken::Never,
            });
        }
        "agent-enable-quit" => choices.quit = Some(boolean(annotation, value)?),
        "template-static-secret-render-interval" => choices.refresh = Some(refresh(annotation, value)?),
        "log-level" => choices.log_level = Some(level(annotation, value)?),
        "log-format" => choices.log_format = Some(log_format(annotation, value)?),
        _ => {
            if let Some(name) = key.strip_prefix("auth-config-") {
                auth_parameter(choices, name, value);
            }
            if let Some(resource) = resource(key) {
                let amount = if value.is_empty() { String::new() } else { quantity(annotation, value)? };
                choices.resources.insert(resource, amount);
            }
        }
    }
    Ok(())
}

fn item(
    annotations: &Annotations,
    name: &str,
    json: Option<bool>,
    mount_path: &str,
    findings: &mut Findings,
) -> Result<Planned, Error> {
    let key = |stem: &str| format!("{VAULT}{stem}{name}");
    let get = |stem: &str| annotations.get(&key(stem)).map(String::as_str);
    let flag = |stem: &str| get(stem).map(|value| boolean(&key(stem), value)).transpose();
    let path = get("agent-inject-secret-").map(str::trim).filter(|path| !path.is_empty());
    let own = get("agent-inject-template-").filter(|text| !text.is_empty());
    let file = get("agent-inject-template-file-").filter(|path| !path.trim().is_empty());
    let file = file.map(|path| absolute(&key("agent-inject-template-file-"), path)).transpose()?;
    // As Vault has it.
    if let (Some(_), Some(_)) = (own, &file) {
        let (file, text) = (key("agent-inject-template-file-"), key("agent-inject-template-"));
        findings.note(format!("{file}: has no effect beside {text}"));
    }
    let file = file.filter(|_| own.is_none());
    let template = match (own, path) {
        _ if file.is_some() => String::new(),
        (Some(text), _) => text.to_owned(),
        (None, Some(path)) => default_template(path, json == Some(true)),
        (None, None) => {
            return Err(wrong(&key("agent-inject-secret-"), "is empty; use the path of a secret"));
        }
    };
    let delimiters = match (get("agent-template-left-delim-"), get("agent-template-right-delim-")) {
        (None, None) => None,
        _ if own.is_none() && file.is_none() => None,
        (left, right) => Some((left.unwrap_or("{{").to_owned(), right.unwrap_or("}}").to_owned())),
    };
    let all = annotations.get(&format!("{VAULT}preserve-secret-case"));
    let all = all.map_or(Ok(false), |value| boolean(&format!("{VAULT}preserve-secret-case"), value))?;
    let keep_case = flag("preserve-secret-case-")?.unwrap_or(all);
    let file_name = if keep_case { name.to_owned() } else { name.to_lowercase() };
    let mount = get("secret-volume-path-").map(|value| absolute(&key("secret-volume-path-"), value)).transpose()?;
    let mut actions = on_change(annotations, name)?;
    if let (true, Some(line)) =
        (actions.is_empty(), get("agent-inject-command-").filter(|line| !line.trim().is_empty()))
    {
        actions.extend(meaning(
            &key("agent-inject-command-"),
            line,
            name,
            mount.as_deref().unwrap_or(mount_path),
            findings,
        ));
    }
    Ok(Planned {
        name: name.to_owned(),
        annotation: key(match (path, &file) {
            (Some(_), _) => "agent-inject-secret-",
            (None, Some(_)) => "agent-inject-template-file-",
            (None, None) => "agent-inject-template-",
        }),
        source: None,
        unformatted: path.filter(|_| own.is_none() && file.is_none() && json.is_none()).map(str::to_owned),
        template,
        template_file: file,
        delimiters,
        error_on_missing_key: flag("error-on-missing-key-")?.unwrap_or(false),
        file: get("agent-inject-file-").map_or(Ok(file_name), |value| relative(&key("agent-inject-file-"), value))?,
        mount_path: mount,
        mode: get("agent-inject-perms-").map(|value| octal(&key("agent-inject-perms-"), value)).transpose()?,
        on_change: actions,
    })
}

fn meaning(annotation: &str, line: &str, name: &str, mount_path: &str, findings: &mut Findings) -> Option<Action> {
    let action = command::action(line, mount_path);
    if action.is_none() {
        findings.mistake(format!(
            "{annotation}: has no effect, there is no shell beside the secret; see {HOLDFAST}on-change.{name}"
        ));
    }
    action
}

fn default_is_json(annotations: &Annotations) -> Result<Option<bool>, Error> {
    let annotation = format!("{VAULT}agent-inject-default-template");
    match annotations.get(&annotation).map(|value| value.to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("map") => Ok(Some(false)),
        Some("json") => Ok(Some(true)),
        Some(other) => Err(wrong(&annotation, format!("{other:?}: use map or json"))),
    }
}

/// What existing pods get without a template of their own.
pub(super) fn default_template(path: &str, json: bool) -> String {
    let path = path.replace('\\', "\\\\").replace('"', "\\\"");
    if json {
        return format!("{{{{ with secret \"{path}\" }}}}{{{{ .Data | toJSON }}}}{{{{ end }}}}");
    }
    format!(
        "{{{{ with secret \"{path}\" }}}}{{{{ range $k, $v := .Data }}}}{{{{ $k }}}}: {{{{ $v }}}}\n{{{{ end }}}}{{{{ end }}}}"
    )
}

/// A refused key whose value asks for what is so anyway: `tls-skip-verify: "false"`.
fn asks_for_nothing(key: &str, value: &str) -> bool {
    value.trim().is_empty() || (key == "tls-skip-verify" && boolean(key, value) == Ok(false))
}

fn exact(key: &str) -> Option<Effect> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, effect)| *effect)
}

fn named(key: &str) -> Option<(&'static str, Effect, &str)> {
    let mut found = NAMED.iter().filter_map(|(stem, effect)| Some((*stem, *effect, key.strip_prefix(stem)?)));
    found.find(|(_, _, name)| !name.is_empty())
}

fn parameter(key: &str) -> Option<Effect> {
    PREFIXES.iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, effect)| *effect)
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
