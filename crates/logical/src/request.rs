//! A request as a plug-in sees it: parsed, routed, authorised.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{Fields, MountInfo};

/// What is asked of a path (Vault API: one per HTTP verb, with create and update told apart by existence).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// POST or PUT of something that is not there.
    Create,
    /// GET.
    Read,
    /// POST or PUT.
    Update,
    /// PATCH with a JSON merge patch (RFC 7396).
    Patch,
    /// DELETE.
    Delete,
    /// LIST, or GET with `list=true`.
    List,
    /// SCAN: recursive list.
    Scan,
    /// HELP, or GET with `help=1`.
    Help,
}

/// One request to one mount.
#[derive(Debug)]
pub struct Request {
    /// Request id, also in the envelope and in the audit log.
    pub id: String,
    /// What is asked. `Create` and `Update` are told apart by [`crate::Backend::exists`].
    pub operation: Operation,
    /// Path below the mount, without leading slash; ends in `/` for lists.
    pub path: String,
    /// `id` of the table row that matched.
    pub route: &'static str,
    /// Captures of the path, query string and body, coerced by the row's field table.
    pub fields: Fields,
    /// The mount that the request went to.
    pub mount: Arc<MountInfo>,
    /// Who asks; anonymous on login paths.
    pub caller: Caller,
    /// Where from.
    pub connection: Connection,
}

/// Who asks: what the token store knows of the token.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// For names of created users; empty when anonymous.
    pub display_name: String,
    /// Accessor of the token; empty when anonymous.
    pub accessor: String,
    /// Stable hash of the token id, for per-token storage (cubbyhole); empty when anonymous.
    pub token_hash: String,
    /// Entity behind the token, if any.
    pub entity_id: String,
    /// Policies of the token, sorted.
    pub policies: Vec<String>,
    /// Metadata that the auth method gave.
    pub metadata: BTreeMap<String, String>,
    /// The pod that the token was issued to, if it was issued to one.
    pub pod: Option<PodIdentity>,
}

/// A pod, as its bound ServiceAccount token names it. Leases are bound to it and not to the login token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct PodIdentity {
    /// metadata.uid of the pod.
    pub uid: String,
    /// metadata.name of the pod.
    pub name: String,
    /// Namespace of the pod.
    pub namespace: String,
}

/// Where a request comes from.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Address of the peer, after trusted proxies were taken off.
    pub remote: Option<IpAddr>,
    /// Port of the peer.
    pub port: u16,
    /// Client certificates as DER, leaf first, possession proven, chain not verified. Shared by all requests of a connection.
    pub certificates: Arc<Vec<Vec<u8>>>,
}

impl Operation {
    /// The name that Vault's audit log and policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Scan => "scan",
            Self::Help => "help",
        }
    }
}
