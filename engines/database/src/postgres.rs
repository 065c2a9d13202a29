//! PostgreSQL: what is said to it, and what its answers mean.

mod pool;
mod session;
mod tls;
mod url;

use std::time::Duration;

use holdfast_logical::{Error, Timestamp};

pub(crate) use self::{
    pool::{Pool, Pools},
    session::Session,
    url::without_password,
};
use crate::{
    config::Config,
    statements::{SplitError, fill, identifier, literal, split_all},
};

/// Milliseconds between looks at sessions that are ending.
const ENDING: [u64; 7] = [10, 20, 50, 100, 300, 1_000, 3_000];

/// Why PostgreSQL did not do it. No text has a password in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There was no connection; nothing was begun.
    #[error("cannot connect to {host}: {cause}")]
    Unreachable { host: String, cause: String },
    /// The connection broke; what was begun may still happen.
    #[error("the connection to {host} broke: {cause}")]
    Broken { host: String, cause: String },
    /// The login was refused; nothing was begun.
    #[error("{host} refused the login of {user:?}: {cause}")]
    Login { host: String, user: String, cause: String },
    /// A statement was refused; its transaction is undone.
    #[error("{what} failed: {cause} (SQLSTATE {state})")]
    Sql { what: String, cause: String, state: String },
    /// This replica may have been taken for dead; nothing was begun.
    #[error("the store has not confirmed lately that this replica takes part; try again")]
    Doubtful,
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        match failure {
            // With 503 the leases know that nothing was begun; see `Outside`.
            Failure::Unreachable { .. } | Failure::Login { .. } | Failure::Doubtful => {
                Self::Status { code: 503, message }
            }
            Failure::Broken { .. } => Self::Unavailable(message),
            Failure::Sql { .. } => Self::Internal(message),
            Failure::Config(_) => Self::Invalid(message),
        }
    }
}

impl From<SplitError> for Failure {
    fn from(error: SplitError) -> Self {
        Self::Config(format!("a statement cannot be split: {error}"))
    }
}

/// A user that is made, extended or dropped.
pub(crate) struct User<'a> {
    pub name: &'a str,
    pub password: &'a str,
    pub expiration: Option<Timestamp>,
}

impl User<'_> {
    fn fill(&self, texts: &[String]) -> Result<Vec<String>, Failure> {
        let expiration = self.expiration.map(date).unwrap_or_default();
        let values = [
            ("name", self.name),
            ("username", self.name),
            ("password", self.password),
            ("expiration", expiration.as_str()),
        ];
        Ok(split_all(texts)?.iter().map(|statement| fill(statement, &values)).collect())
    }
}

/// Does the configuration make sense? Nothing is connected.
pub(crate) fn check(config: &Config) -> Result<(), Error> {
    Ok(Pool::new(config).map(drop)?)
}

fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S+0000").to_string()
}

impl Session {
    /// Makes a user: all statements or none.
    pub async fn create(&self, user: &User<'_>, creation: &[String]) -> Result<(), Failure> {
        self.transaction("creating the user", &user.fill(creation)?).await
    }

    /// Runs what the role wants to be run after a creation that failed, whether the user is there or not.
    pub async fn roll_back(&self, user: &User<'_>, rollback: &[String]) -> Result<(), Failure> {
        self.transaction("rolling back", &user.fill(rollback)?).await
    }

    /// Extends a user.
    pub async fn renew(&self, user: &User<'_>, renewal: &[String]) -> Result<(), Failure> {
        let statements = if renewal.is_empty() {
            let expiration = user.expiration.map(date).unwrap_or_default();
            vec![format!("ALTER ROLE {} VALID UNTIL {}", identifier(user.name), literal(&expiration))]
        } else {
            user.fill(renewal)?
        };
        self.transaction("renewing the user", &statements).await
    }

    /// Takes a user away: by the role's statements, or its sessions, what it owns, its grants and itself. A user that is
    /// not there is done.
    pub async fn revoke(&self, user: &User<'_>, revocation: &[String]) -> Result<(), Failure> {
        if !self.has_user(user.name).await? {
            return Ok(());
        }
        if !revocation.is_empty() {
            return self.transaction("revoking the user", &user.fill(revocation)?).await;
        }
        let (name, text) = (identifier(user.name), literal(user.name));
        // First no new sessions, then no old ones: they could hold locks and go on working.
        self.run(&format!("ALTER ROLE {name} NOLOGIN")).await?;
        // Membership is needed to end sessions and to take over what the user owns, unless we are superuser.
        if let Err(error) = self.run(&format!("GRANT {name} TO CURRENT_USER")).await {
            tracing::debug!(user = user.name, %error, "not a member of the user's role");
        }
        let terminate = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {text} AND pid <> pg_backend_pid()"
        );
        if let Err(error) = self.run(&terminate).await {
            tracing::warn!(user = user.name, %error, "the sessions of the user could not be ended");
        }
        let drop = [
            format!("REASSIGN OWNED BY {name} TO CURRENT_USER"),
            format!("DROP OWNED BY {name}"),
            format!("DROP ROLE IF EXISTS {name}"),
        ];
        match self.transaction("revoking the user", &drop).await {
            // Somebody else was faster.
            Err(Failure::Sql { .. }) if !self.has_user(user.name).await? => Ok(()),
            outcome => outcome,
        }
    }

    /// Ends the other sessions of this `application_name` and waits for that, as a statement of theirs may be at its end.
    /// One that may not be ended stays. Whether none is left.
    pub async fn end_sessions(&self, application_name: &str) -> Result<bool, Failure> {
        let find = format!(
            "SELECT pid FROM pg_catalog.pg_stat_activity WHERE application_name = {} AND pid <> pg_backend_pid()",
            literal(application_name)
        );
        for pid in self.ask(&find).await? {
            match self.run(&format!("SELECT pg_terminate_backend({pid})")).await {
                Ok(()) => tracing::warn!(pid, application_name, "ended a session of a replica that is gone"),
                Err(error @ Failure::Sql { .. }) => {
                    tracing::warn!(pid, application_name, %error, "a session of a replica that is gone goes on");
                }
                Err(error) => return Err(error),
            }
        }
        for pause in ENDING {
            if self.ask(&find).await?.is_empty() {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Ok(false)
    }

    /// Sets the password of the connection's own user. Setting it again is harmless.
    pub async fn rotate(&self, user: &User<'_>, rotation: &[String]) -> Result<(), Failure> {
        let statements = if rotation.is_empty() {
            vec![format!("ALTER ROLE {} WITH PASSWORD {}", identifier(user.name), literal(user.password))]
        } else {
            user.fill(rotation)?
        };
        self.transaction("rotating the password", &statements).await
    }
}
