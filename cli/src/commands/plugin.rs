//! `plugin`: what is compiled in. Nothing can be registered, and what is taken out of the list stays in the build.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::{
    failure::{During, Failure},
    format::{self, cell},
    session::Session,
};

/// Plug-ins of this build.
#[derive(Subcommand)]
pub enum Plugin {
    /// Show the plug-ins.
    List(List),
    /// Show one plug-in.
    Info(Named),
    /// Start plug-ins anew (accepted; there is nothing to reload).
    Reload(Reload),
    /// Show how a reload went.
    ReloadStatus {
        /// Id of the reload.
        id: String,
    },
    /// Add a plug-in (refused: they are compiled in).
    Register(Box<Register>),
    /// Remove a plug-in that was registered; those that are compiled in stay.
    Deregister(Named),
}

/// Show the plug-ins.
#[derive(Args)]
pub struct List {
    /// With their versions.
    #[arg(long)]
    detailed: bool,
    /// Only those of this type: auth, database or secret.
    kind: Option<String>,
}

/// A plug-in.
#[derive(Args)]
pub struct Named {
    /// Sent along, as Vault does.
    #[arg(long)]
    version: Option<String>,
    /// Type: auth, database or secret.
    kind: String,
    /// Name.
    name: String,
}

/// Start plug-ins anew.
#[derive(Args)]
pub struct Reload {
    /// Name of the plug-in.
    #[arg(long, value_name = "NAME", required_unless_present = "mounts", conflicts_with = "mounts")]
    plugin: Option<String>,
    /// Path of a mount; may be repeated.
    #[arg(long, value_name = "PATH")]
    mounts: Vec<String>,
    /// global: on all replicas.
    #[arg(long)]
    scope: Option<String>,
}

/// Add a plug-in.
#[derive(Args)]
pub struct Register {
    #[command(flatten)]
    named: Named,
    /// Checksum of the program.
    #[arg(long)]
    sha256: Option<String>,
    /// The program; the name of the plug-in by default.
    #[arg(long)]
    command: Option<String>,
    /// Argument of the program; may be repeated.
    #[arg(long, value_name = "ARGUMENT")]
    args: Vec<String>,
    /// Variable of its environment, key=value; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
}

impl Plugin {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        match self {
            Self::List(list) => list.run(session).await,
            Self::Info(named) => {
                let path = named.path();
                let info = api.data(&path).await.during(format_args!("reading plugin named {}", named.name))?;
                let rows: Vec<_> = info.iter().map(|(key, value)| (key.clone(), format::plain(value))).collect();
                session.value(&Value::Object(info), || format::key_value(&rows))
            }
            Self::Reload(reload) => reload.run(session).await,
            Self::ReloadStatus { id } => {
                let query = format!("reload_id={}", crate::api::escaped(&id));
                let read = api.read("sys/plugins/reload/backend/status", &query).await;
                let envelope = read.during("reading the status of the reload")?;
                session.secret_or(envelope.as_ref(), "No replica has reported.")
            }
            Self::Register(register) => {
                let Named { version, name, .. } = &register.named;
                let body = json!({
                    "sha256": register.sha256, "command": register.command.as_ref().unwrap_or(name),
                    "args": register.args, "env": register.env, "version": version,
                });
                let registered = api.write(&register.named.path(), body).await;
                registered.during(format_args!("registering plugin {name}"))?;
                session.say(&format!("Success! Registered plugin: {name}"));
                Ok(())
            }
            Self::Deregister(named) => {
                let removed = api.delete(&named.path()).await;
                removed.during(format_args!("deregistering plugin named {}", named.name))?;
                session.say(&format!("Success! Deregistered {} plugin: {}", named.kind, named.name));
                Ok(())
            }
        }
    }
}

impl Named {
    fn path(&self) -> String {
        format!("sys/plugins/catalog/{}/{}", self.kind, self.name)
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let data = session.api().data("sys/plugins/catalog").await.during("listing available plugins")?;
        let of_kind = |plugin: &&Map<String, Value>| {
            self.kind.as_deref().is_none_or(|kind| kind == "all" || kind == cell(plugin, "type"))
        };
        let detailed =
            data.get("detailed").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
        let plugins: Vec<&Map<String, Value>> = detailed.filter(of_kind).collect();
        if plugins.is_empty() {
            return Err(Failure::Nothing("No plugins found.".to_owned()));
        }
        let value = match self.detailed {
            true => json!(plugins),
            false => {
                let mut names: Map<String, Value> = Map::new();
                for plugin in &plugins {
                    let list = names.entry(cell(plugin, "type")).or_insert_with(|| json!([]));
                    list.as_array_mut().into_iter().for_each(|list| list.push(cell(plugin, "name").into()));
                }
                Value::Object(names)
            }
        };
        session.value(&value, || table(&plugins, self.detailed))
    }
}

fn table(plugins: &[&Map<String, Value>], detailed: bool) -> String {
    let head: &[&str] = match detailed {
        true => &["Name", "Type", "Version", "Deprecation Status"],
        false => &["Name", "Type", "Version"],
    };
    let row = |plugin: &&Map<String, Value>| {
        let cells = head.iter().map(|title| cell(plugin, &title.to_lowercase().replace(' ', "_")));
        cells.collect::<Vec<_>>()
    };
    format::columns(head, &plugins.iter().map(row).collect::<Vec<_>>())
}

impl Reload {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut body = Map::new();
        let what = match self.plugin {
            Some(plugin) => {
                let what = format!("plugin: {plugin}");
                body.insert("plugin".to_owned(), plugin.into());
                what
            }
            None => {
                let what = format!("mounts: [{}]", self.mounts.join(" "));
                body.insert("mounts".to_owned(), self.mounts.into());
                what
            }
        };
        let global = self.scope.is_some();
        body.extend(self.scope.map(|scope| ("scope".to_owned(), scope.into())));
        let reloaded = session.api().write("sys/plugins/reload/backend", Value::Object(body)).await;
        let envelope = reloaded.during("reloading plugin/mounts")?;
        let id = envelope.and_then(|envelope| envelope.data).map(|data| cell(&data, "reload_id")).unwrap_or_default();
        match global {
            true => session.say(&format!("Success! Reloading {what}, reload_id: {id}")),
            false => session.say(&format!("Success! Reloaded {what}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_in_columns() {
        let kv = json!({"name": "kv", "type": "secret", "version": "v1+builtin", "deprecation_status": "supported"});
        let kv = [kv.as_object().unwrap()];
        assert_eq!(
            table(&kv, false),
            "Name    Type      Version\n----    ----      -------\nkv      secret    v1+builtin"
        );
        assert!(table(&kv, true).ends_with("v1+builtin    supported"));
    }
}
