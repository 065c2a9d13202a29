//! `audit`

mod verify;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::mounts::{self, Columns};
use crate::{
    failure::{During, Failure},
    input,
    session::Session,
};

/// Audit devices.
#[derive(Subcommand)]
pub enum Audit {
    /// Show the devices that are enabled.
    List(List),
    /// Enable a device.
    Enable(Enable),
    /// Disable a device.
    Disable {
        /// Path of the device.
        path: String,
    },
    /// Check audit files: was anything changed, added, removed or moved?
    Verify(verify::Verify),
    /// Show how a device hashes a text, to search its log for it.
    Hash {
        /// Path of the device.
        path: String,
        /// The text; - for standard input.
        input: String,
    },
}

/// Show the devices that are enabled.
#[derive(Args)]
pub struct List {
    /// With their options.
    #[arg(long)]
    detailed: bool,
}

/// Enable a device.
#[derive(Args)]
pub struct Enable {
    /// Where; the type by default.
    #[arg(long)]
    path: Option<String>,
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// Accepted for Vault's sake.
    #[arg(long, hide = true)]
    local: bool,
    /// Type: file, socket or syslog.
    kind: String,
    /// Options, key=value: file_path=/var/log/holdfast/audit.log, address=…, required=true …
    options: Vec<String>,
}

impl Audit {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        match self {
            Self::List(List { detailed }) => {
                let columns = if detailed { Columns::Detailed } else { Columns::Audit };
                mounts::list(session, "sys/audit", columns).await
            }
            Self::Enable(Enable { path, description, local, kind, options }) => {
                let path = path.unwrap_or_else(|| kind.clone());
                let path = path.trim_matches('/');
                let options = input::data(&options)?;
                let body = json!({ "type": kind, "description": description.unwrap_or_default(), "options": options,
                    "local": local });
                api.write(&format!("sys/audit/{path}"), body)
                    .await
                    .during(format_args!("enabling audit device {path}/"))?;
                session.say(&format!("Success! Enabled the {kind} audit device at: {path}/"));
                Ok(())
            }
            Self::Disable { path } => {
                let path = path.trim_matches('/');
                api.delete(&format!("sys/audit/{path}"))
                    .await
                    .during(format_args!("disabling audit device {path}/"))?;
                session.say(&format!("Success! Disabled audit device (if it was enabled) at: {path}/"));
                Ok(())
            }
            Self::Verify(verify) => verify.run(session).await,
            Self::Hash { path, input } => {
                let body = json!({ "input": input::text(&input)? });
                let envelope = api.write(&format!("sys/audit-hash/{}", path.trim_matches('/')), body).await;
                let envelope = envelope.during("hashing")?.unwrap_or_default();
                let hash = envelope.data.and_then(|mut data| data.remove("hash")).unwrap_or(Value::Null);
                session.value(&json!({ "hash": hash }), || crate::format::plain(&hash))
            }
        }
    }
}
