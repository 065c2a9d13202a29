//! `auth`

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

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
    /// Move a method to another path; its tokens are revoked.
    Move {
        /// From, auth/… or without.
        source: String,
        /// To.
        destination: String,
    },
    /// Show how to log in with a method.
    Help {
        /// Type, or path of an enabled method.
        method: String,
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
            Self::Move { source, destination } => {
                let full = |path: &str| format!("auth/{}", below_auth(path));
                let (from, to) = (full(&source), full(&destination));
                let moved = api.write("sys/remount", json!({ "from": from, "to": to })).await;
                moved.during(format_args!("moving auth method {from}/ to {to}/"))?;
                session.say(&format!("Success! Finished moving auth method {from}/ to {to}/"));
                Ok(())
            }
            Self::Help { method } => help(session, &method).await,
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

fn below_auth(path: &str) -> &str {
    let path = path.trim_matches('/');
    path.strip_prefix("auth/").unwrap_or(path)
}

/// How one logs in, by type. The server is asked only about a name that is no type.
async fn help(session: &Session, method: &str) -> Result<(), Failure> {
    let path = below_auth(method);
    if let Some(text) = login_with(path, path) {
        session.print(&text);
        return Ok(());
    }
    let data = session.api().data("sys/auth").await.during("listing auth methods")?;
    let mount = data.get(&format!("{path}/")).and_then(Value::as_object);
    let kind = mount.map(|mount| crate::format::cell(mount, "type"));
    let kind =
        kind.ok_or_else(|| Failure::local(format!("Error retrieving help: no auth method is enabled at \"{path}/\"")))?;
    let text =
        login_with(&kind, path).unwrap_or_else(|| format!("holdfast login -method={kind} -path={path} key=value…"));
    session.print(&text);
    Ok(())
}

fn login_with(kind: &str, path: &str) -> Option<String> {
    let (arguments, what) = match kind {
        "token" => return Some(
            "holdfast login [token]\n\nLogs in with a token that is given, typed, or read from standard input with -."
                .to_owned(),
        ),
        "userpass" => {
            ("username=<name>", "With name and password; the password is asked for, or given as password=@<file>.")
        }
        "approle" => ("role_id=<id> secret_id=@<file>", "For machines: with the id of a role and a secret id."),
        "kubernetes" => (
            "role=<role>",
            "With the token of the pod's service account, which is read from its usual place, or jwt=@<file>. Without a role, \
             the one of the service account is taken.",
        ),
        "jwt" | "oidc" => {
            ("role=<role> jwt=@<file>", "With a JSON Web Token. Logins through a browser are not supported yet.")
        }
        "cert" => (
            "-client-cert=<file> -client-key=<file> [name=<role>]",
            "With a TLS client certificate, which the connection presents.",
        ),
        _ => return None,
    };
    let path = if path == kind { String::new() } else { format!(" -path={path}") };
    Some(format!("holdfast login -method={kind}{path} {arguments}\n\n{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_the_path_where_it_is_not_the_type() {
        assert!(login_with("approle", "approle").unwrap().starts_with("holdfast login -method=approle role_id="));
        assert!(
            login_with("approle", "machines").unwrap().starts_with("holdfast login -method=approle -path=machines ")
        );
        assert_eq!(login_with("radius", "radius"), None);
        assert_eq!((below_auth("/auth/a/"), below_auth("a")), ("a", "a"));
    }
}
