//! `auth`

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

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
    Enable(Box<Enable>),
    /// Disable a method: tokens that it gave are revoked.
    Disable {
        /// Path of the method.
        path: String,
    },
    /// Change settings of a method.
    Tune {
        #[command(flatten)]
        tuning: Box<Tuning>,
        #[command(flatten)]
        lockout: Lockout,
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

/// What failed logins of users lead to.
#[derive(Args)]
pub struct Lockout {
    /// Failed logins in a row that lock a user out.
    #[arg(long, value_name = "NUMBER")]
    user_lockout_threshold: Option<u64>,
    /// How long a user is locked out.
    #[arg(long, value_name = "DURATION")]
    user_lockout_duration: Option<String>,
    /// Failed logins are forgotten after this long.
    #[arg(long, value_name = "DURATION")]
    user_lockout_counter_reset_duration: Option<String>,
    /// Lock nobody out.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    user_lockout_disable: Option<bool>,
}

impl Lockout {
    /// `user_lockout_config`, if anything was said.
    fn config(self) -> Option<Value> {
        let said = [
            ("lockout_threshold", self.user_lockout_threshold.map(Value::from)),
            ("lockout_duration", self.user_lockout_duration.map(Value::from)),
            ("lockout_counter_reset_duration", self.user_lockout_counter_reset_duration.map(Value::from)),
            ("lockout_disable", self.user_lockout_disable.map(Value::from)),
        ];
        let config: Map<_, _> = said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        (!config.is_empty()).then_some(Value::Object(config))
    }
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
            Self::Enable(enable) => {
                let Enable { path, tuning, kind } = *enable;
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
            Self::Tune { tuning, lockout, path } => {
                let path = path.trim_matches('/');
                let mut body = tuning.tune()?;
                body.extend(lockout.config().map(|config| ("user_lockout_config".to_owned(), config)));
                let tuned = api.write(&format!("sys/auth/{path}/tune"), Value::Object(body)).await;
                tuned.during(format_args!("tuning auth method {path}/"))?;
                session.say(&format!("Success! Tuned the auth method at: {path}/"));
                Ok(())
            }
        }
    }
}
