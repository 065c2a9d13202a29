//! `template`, `env_template`, `template_config` and `exec`.

use std::{collections::BTreeSet, path::Path, time::Duration};

use holdfast_hcl::{Stanza, Value};

use super::{Reading, auth::octal};
use crate::{
    action::{Action, words},
    config::{Error, Exec, Inherited, Item},
};

/// As Vault's agent.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

impl Reading {
    pub(super) fn templates(&mut self, top: &Stanza<'_>) -> Result<(), Error> {
        for (_, settings) in top.blocks("template_config", 0)? {
            self.exit_on_retry_failure = settings.bool("exit_on_retry_failure")?.unwrap_or(false);
            if let Some(interval) = settings.duration("static_secret_render_interval")?.filter(|time| !time.is_zero()) {
                self.config.refresh = interval;
                self.config.refresh_always = true;
            }
            // There is one connection or two.
            settings.ignore(&["max_connections_per_host"]);
            settings.not_yet(&["lease_renewal_threshold"], &mut self.warnings);
            settings.finish(&mut self.warnings);
        }
        for (_, template) in top.blocks("template", 0)? {
            let mut item = self.common(&template)?;
            item.file = template.path("destination")?.ok_or_else(|| template.wrong("destination", "missing"))?;
            // A relative file is one below the folder the agent runs in, as in Vault's agent.
            if let Ok(absolute) = std::path::absolute(&item.file) {
                item.file = absolute;
            }
            item.name = self.unused(&item.file);
            item.mode = octal(&template, "perms")?.unwrap_or_else(|| "0644".to_owned());
            let user = template.string("user")?.or(template.string("uid")?);
            let group = template.string("group")?.or(template.string("gid")?);
            item.owner = match (user, group) {
                (None, None) => None,
                (user, group) => Some((user.unwrap_or_default(), group.unwrap_or_default())),
            };
            item.backup = template.bool("backup")?.unwrap_or(false);
            item.folder_must_exist = !template.bool("create_dest_dirs")?.unwrap_or(true);
            item.on_change = actions(&template, &mut self.warnings)?;
            template.not_yet(&["wait", "splay"], &mut self.warnings);
            template.finish(&mut self.warnings);
            self.config.items.push(item);
        }
        for (labels, template) in top.blocks("env_template", 1)? {
            let mut item = self.common(&template)?;
            template.not_yet(&["wait", "splay"], &mut self.warnings);
            item.name = labels.into_iter().next().unwrap_or_default();
            if item.name.is_empty() || item.name.contains(['=', '\0']) {
                return Err(template.wrong("", "the name is that of an environment variable").into());
            }
            item.variable = Some(item.name.clone());
            item.mode = "0644".to_owned();
            for key in ["destination", "create_dest_dirs", "perms", "backup", "exec", "command", "user", "group"] {
                if template.body().keys().any(|(found, _)| found == key) {
                    return Err(template.wrong(key, "is for files, not for variables").into());
                }
            }
            template.finish(&mut self.warnings);
            self.config.items.push(item);
        }
        Ok(())
    }

    fn common(&mut self, template: &Stanza<'_>) -> Result<Item, Error> {
        let text = match (template.string("contents")?, template.path("source")?) {
            (Some(text), None) => text,
            (None, Some(path)) => {
                std::fs::read_to_string(&path).map_err(|source| Error::Unreadable { path, source })?
            }
            (None, None) => return Err(template.wrong("contents", "missing; or give a source").into()),
            (Some(_), Some(_)) => {
                return Err(template.wrong("contents", "contents and source exclude each other").into());
            }
        };
        let (left, right) = (template.string("left_delimiter")?, template.string("right_delimiter")?);
        template.not_yet(&["error_fatal", "map_to_environment_variable"], &mut self.warnings);
        let mut denied_functions = template.list("function_denylist")?;
        denied_functions.extend(template.list("function_blacklist")?);
        Ok(Item {
            template: text,
            delimiters: match (left, right) {
                (None, None) => None,
                (left, right) => {
                    let usual = holdfast_template::Options::default();
                    Some((left.unwrap_or(usual.left), right.unwrap_or(usual.right)))
                }
            },
            error_on_missing_key: template.bool("error_on_missing_key")?.unwrap_or(false),
            sandbox: template.path("sandbox_path")?,
            denied_functions,
            ..Item::default()
        })
    }

    /// The file's name, with a number if there is one of that name: it stands in messages, metrics and the status.
    fn unused(&self, file: &Path) -> String {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let taken: BTreeSet<&str> = self.config.items.iter().map(|item| item.name.as_str()).collect();
        let mut candidates = std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
        candidates.find(|candidate| !taken.contains(candidate.as_str())).unwrap_or(name)
    }

    pub(super) fn exec(&mut self, top: &Stanza<'_>) -> Result<(), Error> {
        for (_, exec) in top.blocks("exec", 0)? {
            let restart = match exec.string("restart_on_secret_changes")?.as_deref() {
                None | Some("" | "always") => true,
                Some("never") => false,
                Some(other) => {
                    let reason = format!("{other:?} is not known; use always or never");
                    return Err(exec.wrong("restart_on_secret_changes", reason).into());
                }
            };
            let signal = exec.string("restart_stop_signal")?.unwrap_or_else(|| "TERM".to_owned()).to_ascii_uppercase();
            let stop_signal = signal.strip_prefix("SIG").unwrap_or(&signal).to_owned();
            if crate::action::signal_by_name(&stop_signal).is_none() {
                return Err(exec.wrong("restart_stop_signal", format!("{signal:?} is not known")).into());
            }
            let command = command(&exec)?.ok_or_else(|| exec.wrong("command", "missing"))?;
            let grace = exec.duration("stop_timeout")?.unwrap_or(Duration::from_secs(30));
            let inherited = inherited(&exec, &mut self.warnings)?;
            self.config.exec = Some(Exec { command, restart, stop_signal, grace, inherited });
            exec.finish(&mut self.warnings);
        }
        Ok(())
    }
}

/// What a template runs after it was written: `exec { command … }`, or the older `command`.
fn actions(template: &Stanza<'_>, warnings: &mut Vec<String>) -> Result<Vec<Action>, Error> {
    let mut made = Vec::new();
    if let Some(command) = command(template)? {
        let timeout = template.duration("command_timeout")?.unwrap_or(COMMAND_TIMEOUT);
        made.push(Action::Exec { command, timeout, inherited: Inherited::default() });
    }
    for (_, exec) in template.blocks("exec", 0)? {
        let inherited = inherited(&exec, warnings)?;
        let enabled = exec.bool("enabled")?.unwrap_or(true);
        if let (Some(command), true) = (command(&exec)?, enabled) {
            let timeout = exec.duration("timeout")?.unwrap_or(COMMAND_TIMEOUT);
            made.push(Action::Exec { command, timeout, inherited });
        }
        exec.not_yet(&["kill_signal", "kill_timeout", "reload_signal", "splay"], warnings);
        exec.finish(warnings);
    }
    Ok(made)
}

/// `env { pristine, custom, allowlist, denylist }`.
fn inherited(exec: &Stanza<'_>, warnings: &mut Vec<String>) -> Result<Inherited, Error> {
    let mut made = Inherited::default();
    for (_, env) in exec.blocks("env", 0)? {
        let patterns = |key, older| -> Result<Vec<String>, Error> {
            let all = [env.list(key)?, env.list(older)?].concat();
            match all.iter().find(|pattern| pattern.contains(['?', '[', '\\'])) {
                Some(pattern) => Err(env.wrong(key, format!("{pattern:?}: only * stands for other text")).into()),
                None => Ok(all),
            }
        };
        made.pristine |= env.bool("pristine")?.unwrap_or(false);
        made.allow.extend(patterns("allowlist", "whitelist")?);
        made.deny.extend(patterns("denylist", "blacklist")?);
        for pair in env.list("custom")? {
            let named = pair.split_once('=').filter(|(name, _)| !name.is_empty());
            let (name, value) = named.ok_or_else(|| env.wrong("custom", format!("{pair:?} is no NAME=value")))?;
            made.custom.push((name.to_owned(), value.to_owned()));
        }
        env.finish(warnings);
    }
    Ok(made)
}

/// A list of words; or a text, which a shell reads, if there is one.
fn command(stanza: &Stanza<'_>) -> Result<Option<Vec<String>>, Error> {
    match stanza.value("command") {
        None => Ok(None),
        Some(Value::List(_)) => Ok(Some(stanza.list("command")?).filter(|words| !words.is_empty())),
        Some(_) => {
            let text = stanza.string("command")?.unwrap_or_default();
            Ok(Some(words(&text)).filter(|words| !words.is_empty()))
        }
    }
}
