//! A request to the core's own paths (`sys/`, `auth/token/`), and the answer of any path before it goes on the wire.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use holdfast_api_types::{AuthInfo, WrapInfo};
use holdfast_identity::Standing;
use holdfast_logical::{Namespace, PathTable, Request, Response, Row, table};
use holdfast_policy::PolicySet;
use holdfast_secret::SecretString;

use crate::{
    Error, Subscription,
    open::Open,
    rights::{Rights, all_policies},
    token::Token,
};

/// Paths of one noun and who answers them.
pub struct Noun {
    /// Its paths.
    pub rows: &'static PathTable,
    /// Serves a request that matched one of the rows.
    pub handle: fn(Call) -> BoxFuture<'static, Result<Reply, Error>>,
}

/// A request to the core itself.
pub struct Call {
    /// The unsealed server.
    pub open: Arc<Open>,
    /// Routed, coerced, authorised.
    pub request: Request,
    /// Who asks; none on open paths.
    pub holder: Option<Arc<Holder>>,
    /// Do the policies grant `sudo` on the path?
    pub sudo: bool,
    /// What X-Vault-Wrap-TTL said.
    pub wrap_ttl: Option<Duration>,
    /// The token header, also when it is no token that could come in (a wrapping token on its own paths).
    pub presented: Option<SecretString>,
    /// The body as it comes, where it is too large to be held.
    pub stream: Option<crate::BodyStream>,
}

/// A token that came in.
pub struct Holder {
    /// The id; empty for the server itself.
    pub id: SecretString,
    /// Its hash; empty for the server itself and for batch tokens, which are not stored.
    pub hash: String,
    /// Its entry, after the use that this request is.
    pub token: Arc<Token>,
    /// Its policies and those of its entity, compiled.
    pub policies: Arc<PolicySet>,
    /// The entity behind it.
    pub standing: Option<Arc<Standing>>,
    /// Names of the policies of both, if the entity has any.
    all: Option<Vec<String>>,
}

/// What a path answered, with what only the core can add.
#[derive(Default)]
pub struct Reply {
    /// `data`, warnings, status.
    pub response: Response,
    /// `auth` of the envelope.
    pub auth: Option<AuthInfo>,
    /// `wrap_info`: the answer is a wrapping token already.
    pub wrap: Option<WrapInfo>,
    /// Lease of the credential in `data`.
    pub lease: Option<LeaseShown>,
    /// What is to be revoked if the answer cannot be audited.
    pub made: Made,
    /// Content-Type and body of an unwrapped answer, sent as it is.
    pub verbatim: Option<(String, Vec<u8>)>,
    /// A body that is made while it is sent: Content-Type and pieces.
    pub pieces: Option<(String, crate::Pieces)>,
    /// `data` is the whole body, with this status.
    pub bare: Option<u16>,
    /// Events from now on.
    pub events: Option<Box<Subscription>>,
    /// Display name behind `auth`, for the audit log.
    pub display_name: String,
}

/// The lease keys of the envelope.
#[derive(Debug, Default)]
pub struct LeaseShown {
    /// `lease_id`.
    pub id: String,
    /// `lease_duration`, seconds.
    pub seconds: u64,
    /// `renewable`.
    pub renewable: bool,
}

/// What a request made.
#[derive(Debug, Default)]
pub struct Made {
    /// Lease id.
    pub lease: Option<String>,
    /// Token hashes.
    pub tokens: Vec<String>,
}

impl Holder {
    /// A token that came in, with what it may do.
    pub fn new(id: SecretString, hash: String, token: Arc<Token>, rights: Rights) -> Self {
        let identity = rights.identity_policies();
        let all = (!identity.is_empty()).then(|| all_policies(&token.policies, identity));
        Self { id, hash, token, policies: rights.policies, standing: rights.standing, all }
    }

    /// Names of its policies and those of its entity, sorted.
    pub fn all_policies(&self) -> &[String] {
        self.all.as_deref().unwrap_or(&self.token.policies)
    }

    /// Policies that it has by its entity.
    pub fn identity_policies(&self) -> &[String] {
        self.standing.as_ref().map_or(&[], |standing| &standing.policies)
    }
}

impl Call {
    /// Who asks, or 403.
    pub fn holder(&self) -> Result<&Arc<Holder>, Error> {
        self.holder.as_ref().ok_or_else(Error::denied)
    }

    /// Where the request belongs.
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.request.mount.namespace
    }

    /// The path of the request within its namespace.
    pub fn full_path(&self) -> String {
        format!("{}{}", self.request.mount.path, self.request.path)
    }
}

impl Holder {
    /// Hash of the stored token that owns what is made for this one: itself, or the parent of a batch token. Empty for
    /// the server itself and for batch tokens without parent.
    pub fn owner(&self) -> &str {
        match &self.token.parent {
            Some(parent) if self.token.batch => parent,
            _ => &self.hash,
        }
    }
}

impl Reply {
    /// Does it ask for a lease or a token?
    pub fn lends(&self) -> bool {
        self.response.issue.is_some() || self.response.grant.is_some()
    }

    /// Is there nothing to be sent?
    pub fn is_empty(&self) -> bool {
        let response = &self.response;
        response.data.is_none()
            && response.warnings.is_empty()
            && response.raw.is_none()
            && response.issue.is_none()
            && response.grant.is_none()
            && self.auth.is_none()
            && self.wrap.is_none()
            && self.lease.is_none()
            && self.verbatim.is_none()
            && self.events.is_none()
            && self.pieces.is_none()
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self { response, ..Self::default() }
    }
}

/// Finds the noun and the row of a path below a mount of the core.
pub fn find<'p>(
    nouns: &'static [Noun],
    path: &'p str,
) -> Option<(&'static Noun, &'static Row, std::collections::BTreeMap<&'static str, &'p str>)> {
    nouns.iter().find_map(|noun| table::find(noun.rows, path).map(|(row, captures)| (noun, row, captures)))
}
