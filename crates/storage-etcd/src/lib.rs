//! [`EtcdStorage`]: `Storage` on etcd v3, by a thin client of our own over gRPC.
//!
//! Thin on purpose: values stay `Bytes`, nested transactions are passed through as they are, and each failure is sorted into
//! "for certain not", "unknown" and "refused" at one place (`outcome`). Nothing here uses etcd's leases or locks.

mod choice;
mod config;
mod connection;
mod gather;
mod outcome;
mod version;
mod watch;
mod wire;

#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
mod proto {
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
}

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
pub use config::{Config, Credentials};
use holdfast_storage::{Error, Page, Range, Revision, Storage, Txn, TxnReply, Watch};

use crate::connection::Connection;
use crate::gather::Gather;
use crate::proto::etcdserverpb as pb;
use crate::wire::Wire;

/// Longest wait for an answer; after it the outcome is unknown.
const DEADLINE: Duration = Duration::from_secs(5);

/// Largest request that etcd takes by default, in bytes.
const MAX_REQUEST_BYTES: usize = 1_536 * 1024;

/// Why no connection was made. Each text names the endpoint and the cause.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration cannot be used.
    #[error("etcd configuration: {0}")]
    Config(String),
    /// No endpoint answered.
    #[error("no etcd endpoint answers: {}", .0.join("; "))]
    Unreachable(Vec<String>),
    /// etcd refused the user name or password.
    #[error("etcd refuses the user {user:?}: {reason}")]
    Refused {
        /// The user name.
        user: String,
        /// What etcd said.
        reason: String,
    },
    /// A version with known faults that break what Holdfast promises.
    #[error(
        "etcd {version} at {endpoint} is too old: stale reads, watch and nested-transaction faults are fixed in 3.5.33, 3.6.14 \
         and 3.7.1; upgrade etcd, or allow it explicitly (allow_old_etcd) and lose those guarantees"
    )]
    TooOld {
        /// Who answered.
        endpoint: String,
        /// The version it told.
        version: String,
    },
}

/// A store on an etcd cluster, below a prefix of its own.
pub struct EtcdStorage {
    connection: Arc<Connection>,
    gather: Arc<Gather>,
    wire: Wire,
}

impl EtcdStorage {
    /// Connects to at least one endpoint, checks TLS, credentials and the version of every endpoint that answers.
    pub async fn connect(config: Config) -> Result<Self, ConnectError> {
        let wire = Wire::new(&config.prefix);
        let allow_old = config.allow_old;
        let connection = Connection::new(config)?;
        connection.authenticate_first().await?;
        version::check(&connection, allow_old).await?;
        Ok(Self { connection: Arc::new(connection), gather: Arc::default(), wire })
    }

    /// Drops history up to and including this revision, for the whole etcd cluster. In production etcd does it by itself.
    pub async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let request = pb::CompactionRequest { revision };
        self.connection.write(|mut client| async move { client.kv().compact(client.request(request)).await }).await?;
        Ok(())
    }
}

#[async_trait]
impl Storage for EtcdStorage {
    async fn range(&self, range: Range) -> Result<Page, Error> {
        let request = self.wire.range(&range);
        let response = match range.end {
            None => self.gather.read(&self.connection, request).await?,
            Some(_) => self.connection.range(request).await?,
        };
        Ok(self.wire.page(response))
    }

    async fn count(&self, range: Range) -> Result<u64, Error> {
        let request = pb::RangeRequest { count_only: true, ..self.wire.range(&range) };
        let response = self.connection.range(request).await?;
        Ok(u64::try_from(response.count).unwrap_or(0))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply, Error> {
        let bytes = txn.bytes();
        if bytes > MAX_REQUEST_BYTES {
            return Err(Error::TooLarge(format!("request of {bytes} bytes, the limit is {MAX_REQUEST_BYTES}")));
        }
        let request = self.wire.txn(&txn);
        let response = self
            .connection
            .write(|mut client| {
                let request = request.clone();
                async move { client.kv().txn(client.request(request)).await }
            })
            .await?;
        Ok(self.wire.reply(response))
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
        watch::start(&self.connection, &self.wire, prefix, from).await
    }

    fn kind(&self) -> &'static str {
        "etcd"
    }
}
