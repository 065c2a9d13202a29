//! `namespace`

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::list;
use crate::{
    failure::{During, Failure},
    input,
    session::Session,
};

/// Namespaces below the one of the session.
#[derive(Subcommand)]
pub enum Namespace {
    /// Show the names.
    List(List),
    /// Show the names, at any depth.
    Scan,
    /// Make a namespace.
    Create(Create),
    /// Show a namespace.
    Lookup {
        /// Name.
        path: String,
    },
    /// Change the metadata of a namespace.
    Patch(Patch),
    /// Delete a namespace and all that is in it.
    Delete {
        /// Name.
        path: String,
    },
    /// Lock the namespace of the session or one below it; prints the key that unlocks it.
    Lock {
        /// Name.
        path: Option<String>,
    },
    /// Unlock a namespace.
    Unlock(Unlock),
}

/// Show the names.
#[derive(Args)]
pub struct List {
    /// With ids and metadata.
    #[arg(long)]
    detailed: bool,
}

/// Make a namespace.
#[derive(Args)]
pub struct Create {
    /// Metadata, key=value; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE")]
    custom_metadata: Vec<String>,
    /// Name.
    path: String,
}

/// Change the metadata of a namespace.
#[derive(Args)]
pub struct Patch {
    /// Metadata to set, key=value; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE")]
    custom_metadata: Vec<String>,
    /// Metadata to remove; may be given more than once.
    #[arg(long, value_name = "KEY")]
    remove_custom_metadata: Vec<String>,
    /// Name.
    path: String,
}

/// Unlock a namespace.
#[derive(Args)]
pub struct Unlock {
    /// Key that locking printed; not needed with sudo. - for standard input.
    #[arg(long, value_name = "KEY")]
    unlock_key: Option<String>,
    /// Name.
    path: Option<String>,
}

impl Namespace {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        match self {
            Self::List(List { detailed }) => {
                let envelope = api.list("sys/namespaces").await.during("listing namespaces")?;
                match envelope.as_ref().and_then(|envelope| envelope.data.as_ref()?.get("key_info")) {
                    Some(info) if detailed => session.value(info, || rows(info)),
                    _ => list::print(session, envelope, "sys/namespaces"),
                }
            }
            Self::Scan => {
                let envelope = api.read("sys/namespaces", "scan=true").await.during("scanning namespaces")?;
                list::print(session, envelope, "sys/namespaces")
            }
            Self::Create(Create { custom_metadata, path }) => {
                let body = json!({ "custom_metadata": texts(&custom_metadata)? });
                let envelope = api.write(&at(&path), body).await.during("creating namespace")?;
                session.secret_or(envelope.as_ref(), &format!("Success! Namespace created at: {}/", name(&path)))
            }
            Self::Lookup { path } => {
                let envelope = api.read(&at(&path), "").await.during("looking up namespace")?;
                let envelope = envelope.ok_or_else(|| Failure::Nothing(format!("Namespace not found: {path}")))?;
                session.secret(&envelope)
            }
            Self::Patch(Patch { custom_metadata, remove_custom_metadata, path }) => {
                let mut metadata = texts(&custom_metadata)?;
                metadata.extend(remove_custom_metadata.into_iter().map(|key| (key, Value::Null)));
                let body = json!({ "custom_metadata": metadata });
                let envelope = api.secret(Method::PATCH, &at(&path), "", Some(body)).await;
                session.secret_or(envelope.during("patching namespace")?.as_ref(), "Success! Namespace patched")
            }
            Self::Delete { path } => {
                let envelope = api.delete(&at(&path)).await.during("deleting namespace")?;
                let goes = envelope.as_ref().and_then(|envelope| envelope.data.as_ref()?.get("status")).is_some();
                if let Some(envelope) = &envelope {
                    session.warnings(envelope);
                }
                session.say(&match goes {
                    true => format!(
                        "Namespace {}/ serves nothing any more; what is left of it is being removed",
                        name(&path)
                    ),
                    false => format!("Success! Namespace deleted at: {}/", name(&path)),
                });
                Ok(())
            }
            Self::Lock { path } => {
                let envelope = api.write(&below("sys/namespaces/api-lock/lock", path), json!({})).await;
                session.secret_or(envelope.during("locking namespace")?.as_ref(), "Success! Namespace locked")
            }
            Self::Unlock(Unlock { unlock_key, path }) => {
                let key = unlock_key.map(|key| input::text(&key)).transpose()?.unwrap_or_default();
                let body = json!({ "unlock_key": key.trim() });
                let envelope = api.write(&below("sys/namespaces/api-lock/unlock", path), body).await;
                if let Some(envelope) = envelope.during("unlocking namespace")? {
                    session.warnings(&envelope);
                }
                session.say("Success! Namespace unlocked");
                Ok(())
            }
        }
    }
}

fn name(path: &str) -> &str {
    path.trim_matches('/')
}

fn at(path: &str) -> String {
    format!("sys/namespaces/{}", name(path))
}

fn below(path: &str, child: Option<String>) -> String {
    match child {
        Some(child) => format!("{path}/{}", name(&child)),
        None => path.to_owned(),
    }
}

fn texts(pairs: &[String]) -> Result<Map<String, Value>, Failure> {
    Ok(input::texts(pairs)?.into_iter().map(|(key, value)| (key, Value::String(value))).collect())
}

/// One line for each: path, id, state, metadata.
fn rows(info: &Value) -> String {
    let row = |(path, info): (&String, &Value)| {
        let state = match (&info["tainted"], &info["locked"]) {
            (Value::Bool(true), _) => "being deleted",
            (_, Value::Bool(true)) => "locked",
            _ => "serving",
        };
        let id = info["id"].as_str().unwrap_or_default();
        format!("{path:<24}  {id:<8}  {state:<14}  {}", info["custom_metadata"])
    };
    let head = format!("{:<24}  {:<8}  {:<14}  {}", "Path", "ID", "State", "Metadata");
    let rows = info.as_object().into_iter().flatten().map(row);
    std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
}
