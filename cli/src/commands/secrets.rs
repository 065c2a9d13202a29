//! `secrets`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::mounts::{self, Columns, Tuning};
use crate::{
    failure::{During, Failure},
    session::Session,
};

/// Secret engines.
#[derive(Subcommand)]
pub enum Secrets {
    /// Show the engines that are enabled.
    List(List),
    /// Enable an engine.
    Enable(Enable),
    /// Disable an engine: its leases are revoked, its data is deleted.
    Disable {
        /// Path of the engine.
        path: String,
    },
    /// Change settings of an engine.
    Tune {
        #[command(flatten)]
        tuning: Tuning,
        /// Path of the engine.
        path: String,
    },
    /// Move an engine to another path; its leases are revoked.
    Move {
        /// From.
        source: String,
        /// To.
        destination: String,
    },
}

/// Show the engines that are enabled.
#[derive(Args)]
pub struct List {
    /// With TTLs, options and ids.
    #[arg(long)]
    detailed: bool,
}

/// Enable an engine.
#[derive(Args)]
pub struct Enable {
    /// Where; the type by default.
    #[arg(long)]
    path: Option<String>,
    #[command(flatten)]
    tuning: Tuning,
    /// Type: kv, kv-v2, database …
    kind: String,
}

impl Secrets {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        match self {
            Self::List(List { detailed }) => {
                let columns = if detailed { Columns::Detailed } else { Columns::Secrets };
                mounts::list(session, "sys/mounts", columns).await
            }
            Self::Enable(Enable { path, tuning, kind }) => {
                let path = path.unwrap_or_else(|| kind.clone());
                let path = path.trim_matches('/');
                let body = Value::Object(tuning.enable(&kind)?);
                api.write(&format!("sys/mounts/{path}"), body).await.during("enabling")?;
                session.say(&format!("Success! Enabled the {kind} secrets engine at: {path}/"));
                Ok(())
            }
            Self::Disable { path } => {
                let path = path.trim_matches('/');
                let disabled = api.delete(&format!("sys/mounts/{path}")).await;
                disabled.during(format_args!("disabling secrets engine at {path}/"))?;
                session.say(&format!("Success! Disabled the secrets engine (if it existed) at: {path}/"));
                Ok(())
            }
            Self::Tune { tuning, path } => {
                let path = path.trim_matches('/');
                let tuned = api.write(&format!("sys/mounts/{path}/tune"), Value::Object(tuning.tune()?)).await;
                tuned.during(format_args!("tuning secrets engine {path}/"))?;
                session.say(&format!("Success! Tuned the secrets engine at: {path}/"));
                Ok(())
            }
            Self::Move { source, destination } => {
                let (from, to) = (source.trim_matches('/'), destination.trim_matches('/'));
                let moved = api.write("sys/remount", json!({ "from": from, "to": to })).await;
                moved.during(format_args!("moving secrets engine {from}/ to {to}/"))?;
                session.say(&format!("Success! Finished moving secrets engine {from}/ to {to}/"));
                Ok(())
            }
        }
    }
}
