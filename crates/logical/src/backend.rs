//! The trait of every plug-in, and what it is given.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::{Clock, Connection, Entropy, Error, Grant, Namespace, Passwords, PathTable, Request, Response, View};

/// Work in an outside system that the core runs when the intent is stored. Its error tells what is to be undone:
/// `Status` 503 says that nothing was begun, `Unavailable` that what was begun may go on, all others that it has ended.
pub type Outside = Box<dyn FnOnce() -> BoxFuture<'static, Result<(), Error>> + Send>;

/// Makes the backend of one mount.
pub type Factory = fn(Arc<MountInfo>, Services) -> Result<Arc<dyn Backend>, Error>;

/// What a mount is, as its backend may know. Remade when the mount is tuned.
#[derive(Clone, Debug)]
pub struct MountInfo {
    /// Type name: `kv`, `database`, `kubernetes`.
    pub kind: String,
    /// Path within its namespace, with trailing slash, for auth methods with `auth/` in front: `secret/`,
    /// `auth/kubernetes/`.
    pub path: String,
    /// Where it is mounted.
    pub namespace: Arc<Namespace>,
    /// `<type>_<8 hex>`.
    pub accessor: String,
    /// Never reused; storage lives below it.
    pub uuid: String,
    /// Options, values as strings: `{"version": "2"}`.
    pub options: BTreeMap<String, String>,
    /// Effective default TTL: the mount's own or the system's.
    pub default_ttl: Duration,
    /// Effective maximum TTL: the mount's own or the system's.
    pub max_ttl: Duration,
}

impl MountInfo {
    /// Path with that of the namespace in front.
    pub fn full_path(&self) -> String {
        self.namespace.full_path(&self.path)
    }

    /// What names of logins begin with: the path without `auth/` and slashes, as in `kubernetes` or `team-jwt`.
    pub fn name(&self) -> String {
        self.path.trim_start_matches("auth/").trim_matches('/').replace('/', "-")
    }
}

/// All that a backend gets. Narrow on purpose: there is no handle to the core in it.
#[derive(Clone)]
pub struct Services {
    /// The mount's own storage.
    pub view: View,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Passwords by policy.
    pub passwords: Arc<dyn Passwords>,
}

/// A secret engine or an auth method.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The paths it answers.
    fn paths(&self) -> &'static PathTable;

    /// Serves a request that matched a row of the table. `request.route` says which.
    async fn handle(&self, request: Request) -> Result<Response, Error>;

    /// Is there something at the path? Tells create from update; `None`: every write is an update.
    async fn exists(&self, _request: &Request) -> Result<Option<bool>, Error> {
        Ok(None)
    }

    /// Extends a credential in the outside system until `ttl` from now. `internal` is what `Issue` carried.
    async fn renew(&self, _internal: &Map<String, Value>, _ttl: Duration) -> Result<(), Error> {
        Ok(())
    }

    /// Removes a credential from the outside system. Idempotent: what is not there is done.
    async fn revoke(&self, _internal: &Map<String, Value>) -> Result<(), Error> {
        Ok(())
    }

    /// Ends what a member of the cluster that is gone (`View::member`) may still have under way where the credential was
    /// being made: it may have been paused rather than dead. Called before the revocation. Whether it is sure that nothing
    /// of it goes on.
    async fn cut_off(&self, _internal: &Map<String, Value>, _member: &str) -> Result<bool, Error> {
        Ok(false)
    }

    /// Limits for a renewal, read anew from the role: (default ttl, max ttl). `None`: those of the mount.
    async fn lease_limits(
        &self,
        _internal: &Map<String, Value>,
    ) -> Result<(Option<Duration>, Option<Duration>), Error> {
        Ok((None, None))
    }

    /// Whose login this request is, in the one form that the method looks its users up by; `None` for what is no login
    /// or is not counted. Failures of the same user are counted together, however the name was spelt.
    async fn login_alias(&self, _request: &Request) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// Is there a user of this login alias? Methods that name any alias that is sent know; made-up ones are remembered
    /// only up to a limit.
    async fn knows_alias(&self, _alias: &str) -> Result<bool, Error> {
        Ok(true)
    }

    /// May a token from this method be renewed, and with which limits now? An error refuses the renewal. `connection` is
    /// the one that the renewal came over: it may have to show the same certificate as the login.
    async fn renew_grant(&self, grant: Grant, _connection: &Connection) -> Result<Grant, Error> {
        Ok(grant)
    }

    /// Periodic work, about once a minute.
    async fn tick(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The mount's configuration was changed.
    async fn tuned(&self, _mount: Arc<MountInfo>) {}
}
