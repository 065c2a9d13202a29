//! `lease`

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    failure::{During, Failure},
    session::Session,
};

/// Leases.
#[derive(Subcommand)]
pub enum Lease {
    /// Show a lease.
    Lookup {
        /// Id of the lease.
        id: String,
    },
    /// Show the ids below a prefix.
    List {
        /// Path, such as database/creds/reader.
        prefix: String,
    },
    /// Renew a lease.
    Renew {
        /// How much longer, from now on.
        #[arg(long, value_name = "DURATION")]
        increment: Option<String>,
        /// Id of the lease.
        id: String,
    },
    /// Revoke a lease, or all below a prefix.
    Revoke(Revoke),
}

/// Revoke a lease, or all below a prefix.
#[derive(Args)]
pub struct Revoke {
    /// Everything below the given path.
    #[arg(long)]
    prefix: bool,
    /// Forget the lease even if the outside system does not answer. Needs -prefix.
    #[arg(long, alias = "f")]
    force: bool,
    /// Wait until it is done.
    #[arg(long)]
    sync: bool,
    /// Id of the lease, or path.
    id: String,
}

impl Lease {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let api = session.api();
        match self {
            Self::Lookup { id } => {
                let envelope = api.write("sys/leases/lookup", json!({ "lease_id": id })).await;
                let envelope = envelope.during(format_args!("looking up lease id {id}"))?;
                session.secret(&envelope.unwrap_or_default())
            }
            Self::List { prefix } => {
                let prefix = prefix.trim_matches('/');
                let envelope = api.list(&format!("sys/leases/lookup/{prefix}")).await;
                super::list::print(session, envelope.during(format_args!("listing leases below {prefix}"))?, prefix)
            }
            Self::Renew { increment, id } => {
                let mut body = json!({ "lease_id": id });
                if let Some(increment) = increment {
                    body["increment"] = increment.into();
                }
                let envelope = api.write("sys/leases/renew", body).await;
                session.secret(&envelope.during(format_args!("renewing {id}"))?.unwrap_or_default())
            }
            Self::Revoke(revoke) => revoke.run(session).await,
        }
    }
}

impl Revoke {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let (api, id) = (session.api(), self.id.trim_start_matches('/').to_owned());
        let (what, result, done) = match (self.force, self.prefix) {
            (true, false) => return Err(Failure::local("Must specify -prefix along with -force")),
            (true, true) => {
                session.warn("Warning! Force-removing leases can leave credentials alive that nothing revokes later!");
                let path = format!("sys/leases/revoke-force/{}", id.trim_end_matches('/'));
                let done = format!("Success! Force revoked any leases with prefix: {id}");
                (format!("force revoking leases with prefix {id}"), api.write(&path, json!({})).await, done)
            }
            (false, true) => {
                let path = format!("sys/leases/revoke-prefix/{}", id.trim_end_matches('/'));
                let done = match self.sync {
                    true => format!("Success! Revoked any leases with prefix: {id}"),
                    false => "All revocation operations queued successfully!".to_owned(),
                };
                let body = json!({ "sync": self.sync });
                (format!("revoking leases with prefix {id}"), api.write(&path, body).await, done)
            }
            (false, false) => {
                let body = json!({ "lease_id": id, "sync": self.sync });
                let done = match self.sync {
                    true => format!("Success! Revoked lease: {id}"),
                    false => "All revocation operations queued successfully!".to_owned(),
                };
                (format!("revoking lease {id}"), api.write("sys/leases/revoke", body).await, done)
            }
        };
        result.during(what)?;
        session.say(&done);
        Ok(())
    }
}
