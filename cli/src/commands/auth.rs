//! `auth`

use clap::{Args, Subcommand};
use serde_json::Value;

use super::mounts::{self, Columns, Tuning};
use crate::{
    failure::{During, Failure},
    session::Session,
};

/// Auth methods.
#[derive(Subcommand)]
pub enum Auth {
    /// Show the methods that are enabled.
    List(List),
    /// Enable a method.
    Enable(Enable),
    /// Disable a method: tokens that it gave are revoked.
    Disable {
        /// Path of the method.
        path: String,
    },
    /// Change settings of a method.
    Tune {
        #[command(flatten)]
        tuning: Tuning,
        /// Path of the method.
        path: String,
    },
}

/// Show the methods that are enabled.
#[derive(Args)]
pub struct List {
    /// With TTLs, options and ids.
    #[arg(long)]
    detailed: bool,
}

/// Enable a method.
#[derive(Args)]
pub struct Enable {
    /// Where; the type by default.
    #[arg(long)]
    path: Option<String>,
    #[command(flatten)]
    tuning: Tuning,
    /// Type: kubernetes, approle, userpass.
    kind: String,
}

impl Auth {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        match self {
            Self::List(List { detailed }) => {
                let columns = if detailed { Columns::Detailed } else { Columns::Auth };
                mounts::list(session, "sys/auth", columns).await
            }
            Self::Enable(Enable { path, tuning, kind }) => {
                let path = path.unwrap_or_else(|| kind.clone());
                let path = path.trim_matches('/');
                let body = Value::Object(tuning.enable(&kind)?);
                let enabled = api.write(&format!("sys/auth/{path}"), body).await;
                enabled.during(format_args!("enabling {kind} auth"))?;
                session.say(&format!("Success! Enabled {kind} auth method at: {path}/"));
                Ok(())
            }
            Self::Disable { path } => {
                let path = path.trim_matches('/');
                let disabled = api.delete(&format!("sys/auth/{path}")).await;
                disabled.during(format_args!("disabling auth method at {path}/"))?;
                session.say(&format!("Success! Disabled the auth method (if it existed) at: {path}/"));
                Ok(())
            }
            Self::Tune { tuning, path } => {
                let path = path.trim_matches('/');
                let tuned = api.write(&format!("sys/auth/{path}/tune"), Value::Object(tuning.tune()?)).await;
                tuned.during(format_args!("tuning auth method {path}/"))?;
                session.say(&format!("Success! Tuned the auth method at: {path}/"));
                Ok(())
            }
        }
    }
}
