//! What a plug-in answers.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};

use crate::{Data, Event, Outside, PodIdentity};

/// An answer. The default one is 204 without a body.
#[derive(Debug, Default)]
pub struct Response {
    /// `data` of the envelope.
    pub data: Option<Data>,
    /// `warnings` of the envelope.
    pub warnings: Vec<String>,
    /// A credential to be created, leased and answered. The core fills in `lease_id` and the rest.
    pub issue: Option<Issue>,
    /// A login that succeeded; the core makes the token.
    pub grant: Option<Grant>,
    /// `lease_duration` of a response without lease (kv v1).
    pub lease_hint: Option<Duration>,
    /// A body that is not the envelope.
    pub raw: Option<Raw>,
    /// How long anybody may keep a `raw` answer (`Cache-Control: max-age`); none: not at all.
    pub max_age: Option<Duration>,
    /// HTTP status other than 200 or 204 (kv v2 answers 404 *with* the envelope for a deleted version; 202 for async work).
    pub status: Option<u16>,
    /// What names the credential in `data` without being it: `wrapped_accessor`, if the answer is wrapped.
    pub accessor: Option<String>,
    /// What was done, for those who subscribe to events. Told when the answer is sent.
    pub events: Vec<Event>,
}

/// A body that is sent as it is.
#[derive(Debug)]
pub struct Raw {
    /// Content-Type.
    pub content_type: String,
    /// The bytes.
    pub body: Vec<u8>,
}

/// A credential that does not exist yet. The core stores `internal` as an *intent*, then runs `create`, then replaces
/// the intent by the lease record in the commit that the response belongs to. Whatever happens in between, `internal`
/// is enough for [`crate::Backend::revoke`] to undo it.
pub struct Issue {
    /// What `renew` and `revoke` need; stored encrypted. Unique, never reused names in it.
    pub internal: Map<String, Value>,
    /// `data` of the response.
    pub data: Data,
    /// First TTL; `None`: the mount's default.
    pub ttl: Option<Duration>,
    /// Longest life; `None`: the mount's maximum.
    pub max_ttl: Option<Duration>,
    /// May the lease be renewed?
    pub renewable: bool,
    /// Touches the outside system. Run once, after the intent is stored, under a deadline.
    pub create: Outside,
}

/// Service tokens are stored and can be looked up; batch tokens are encrypted and self-contained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenKind {
    /// The mount's token type.
    #[default]
    Default,
    /// `hvs.`
    Service,
    /// `hvb.`
    Batch,
    /// Service, unless the caller asks for batch.
    DefaultService,
    /// Batch, unless the caller asks for service.
    DefaultBatch,
}

/// A login that succeeded: what the token is to be like. The method never makes the token.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Grant {
    /// Who logged in, unique within the mount (for the identity store).
    pub alias: String,
    /// What the method knows of the alias, for templated policies; kept with the alias, not shown by token lookup.
    pub alias_metadata: BTreeMap<String, String>,
    /// Groups that the method says the alias is in, by the names of external groups' aliases.
    pub groups: Vec<String>,
    /// For audit and for names of created users: `shop-orders`. The name of the mount is put in front; empty: that alone.
    pub display_name: String,
    /// Policies, without `default`, which the core adds.
    pub policies: Vec<String>,
    /// Shown in lookup and audit.
    pub metadata: BTreeMap<String, String>,
    /// Stored with the token and handed back on renewal ([`crate::Backend::renew_grant`]).
    pub internal: Map<String, Value>,
    /// `token_ttl`.
    pub ttl: Option<Duration>,
    /// `token_max_ttl`.
    pub max_ttl: Option<Duration>,
    /// `token_explicit_max_ttl`.
    pub explicit_max_ttl: Option<Duration>,
    /// `token_period`.
    pub period: Option<Duration>,
    /// `token_num_uses`; 0 is unlimited.
    pub num_uses: u64,
    /// `token_bound_cidrs`.
    pub bound_cidrs: Vec<String>,
    /// `token_no_default_policy`.
    pub no_default_policy: bool,
    /// `token_type`.
    pub kind: TokenKind,
    /// May the token be renewed?
    pub renewable: bool,
    /// The pod that logged in, from a bound ServiceAccount token.
    pub pod: Option<PodIdentity>,
}

// === impl Response ===

impl Response {
    /// 200 with this `data`.
    pub fn data(data: impl Into<Data>) -> Self {
        Self { data: Some(data.into()), ..Self::default() }
    }

    /// 204, or 200 when warnings are added.
    pub fn empty() -> Self {
        Self::default()
    }

    /// 200 with `{keys}`; a 404 when there are none, as lists are.
    pub fn keys(keys: Vec<String>) -> Result<Self, crate::Error> {
        if keys.is_empty() {
            return Err(crate::Error::not_found());
        }
        Ok(Self::data(serde_json::json!({ "keys": keys })))
    }

    /// Tells an event.
    pub fn tell(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Adds a warning.
    pub fn warn(mut self, text: impl Into<String>) -> Self {
        self.warnings.push(text.into());
        self
    }
}

impl std::fmt::Debug for Issue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issue").field("ttl", &self.ttl).field("max_ttl", &self.max_ttl).finish_non_exhaustive()
    }
}
