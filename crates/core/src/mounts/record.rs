//! One row of the mount table, as stored and as shown.

use std::{collections::BTreeMap, time::Duration};

use holdfast_api_types::PLUGIN_VERSION;
use holdfast_logical::{Field, Fields, Kind, Namespace, TokenKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Class, Error, lockout::LockoutTuning};

/// A mount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Id of the namespace.
    #[serde(default = "Namespace::root_id")]
    pub namespace: String,
    /// Within the namespace, with trailing slash, without `auth/` in front.
    pub path: String,
    /// Secret engine or auth method.
    pub class: Class,
    /// Type name.
    pub kind: String,
    /// Never reused; storage lives below it.
    pub uuid: String,
    /// `<type>_<8 hex>`, of auth methods `auth_<type>_<8 hex>`.
    pub accessor: String,
    /// For people.
    pub description: String,
    /// Values as strings.
    pub options: BTreeMap<String, String>,
    /// What `tune` changes.
    pub tuning: Tuning,
    /// Shown as it was given.
    pub local: bool,
    /// Shown as it was given.
    pub seal_wrap: bool,
    /// Is it being unmounted? Then it serves nothing any more.
    #[serde(default)]
    pub leaving: bool,
}

/// `config` of a mount. TTLs in seconds, 0 is the system's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tuning {
    /// `default_lease_ttl`.
    pub default_ttl: u64,
    /// `max_lease_ttl`.
    pub max_ttl: u64,
    /// Kept and shown.
    pub force_no_cache: bool,
    /// `""`, `hidden` or `unauth`.
    pub listing_visibility: String,
    /// Keys of requests that the audit log shows in clear.
    pub audit_non_hmac_request_keys: Vec<String>,
    /// Keys of responses that the audit log shows in clear.
    pub audit_non_hmac_response_keys: Vec<String>,
    /// Kept and shown.
    pub passthrough_request_headers: Vec<String>,
    /// Kept and shown.
    pub allowed_response_headers: Vec<String>,
    /// Auth mounts only; empty is `default-service`.
    pub token_type: String,
    /// Auth mounts with users only.
    pub lockout: Option<LockoutTuning>,
}

/// Fields of `tune` and of `config` in a mount request.
pub const TUNING: &[Field] = &[
    Field::new("default_lease_ttl", Kind::Duration, "TTL of leases and tokens that ask for none; 0 is the system's."),
    Field::new("max_lease_ttl", Kind::Duration, "Longest life of leases and tokens; 0 is the system's."),
    Field::new("force_no_cache", Kind::Bool, "Kept and shown."),
    Field::new("listing_visibility", Kind::String, "unauth or hidden."),
    Field::new("audit_non_hmac_request_keys", Kind::StringList, "Shown in clear in the audit log."),
    Field::new("audit_non_hmac_response_keys", Kind::StringList, "Shown in clear in the audit log."),
    Field::new("passthrough_request_headers", Kind::StringList, "Kept and shown."),
    Field::new("allowed_response_headers", Kind::StringList, "Kept and shown."),
    Field::new("token_type", Kind::String, "default-service, default-batch, service or batch."),
    Field::new(
        "user_lockout_config",
        Kind::Object,
        "lockout_threshold, lockout_duration, lockout_counter_reset_duration, lockout_disable.",
    ),
];

/// Names of the list fields of [`Tuning`], with access to each.
type ListField = (&'static str, fn(&mut Tuning) -> &mut Vec<String>);
const LISTS: &[ListField] = &[
    ("audit_non_hmac_request_keys", |tuning| &mut tuning.audit_non_hmac_request_keys),
    ("audit_non_hmac_response_keys", |tuning| &mut tuning.audit_non_hmac_response_keys),
    ("passthrough_request_headers", |tuning| &mut tuning.passthrough_request_headers),
    ("allowed_response_headers", |tuning| &mut tuning.allowed_response_headers),
];

impl Tuning {
    /// Takes over the fields that were sent.
    pub fn apply(&mut self, fields: &Fields, record: (&str, Class)) -> Result<(), Error> {
        if let Some(ttl) = fields.duration("default_lease_ttl") {
            self.default_ttl = ttl.as_secs();
        }
        if let Some(ttl) = fields.duration("max_lease_ttl") {
            self.max_ttl = ttl.as_secs();
        }
        if let Some(force) = fields.bool("force_no_cache") {
            self.force_no_cache = force;
        }
        if let Some(visibility) = fields.string("listing_visibility") {
            if !["", "hidden", "unauth"].contains(&visibility) {
                return Err(Error::invalid(format!("invalid listing visibility type: {visibility:?}")));
            }
            visibility.clone_into(&mut self.listing_visibility);
        }
        for (name, list) in LISTS {
            if let Some(values) = fields.list(name) {
                *list(self) = values;
            }
        }
        // Clients that write out what they were not given send an empty one.
        if let Some(kind) = fields.string("token_type").filter(|kind| !kind.is_empty() || record.1 == Class::Auth) {
            self.set_token_type(kind, record)?;
        }
        if let Some(sent) = fields.get("user_lockout_config") {
            if record.1 != Class::Auth {
                return Err(Error::invalid("'user_lockout_config' can only be modified on auth mounts"));
            }
            self.lockout.get_or_insert_default().apply(sent)?;
        }
        Ok(())
    }

    fn set_token_type(&mut self, kind: &str, (path, class): (&str, Class)) -> Result<(), Error> {
        if class != Class::Auth {
            return Err(Error::invalid("'token_type' can only be modified on auth mounts"));
        }
        if path == "token/" {
            return Err(Error::invalid("'token_type' cannot be set for 'token' or 'token_prefix' auth mounts"));
        }
        match kind {
            "default-service" | "service" | "default-batch" | "batch" => kind.clone_into(&mut self.token_type),
            _ => return Err(Error::invalid(format!("invalid value for 'token_type': {kind:?}"))),
        }
        Ok(())
    }

    /// Does a login get a batch token? `service` and `batch` of the mount win over what the role says, the default ones
    /// do not.
    pub fn makes_batch(&self, role: TokenKind) -> bool {
        match (self.token_type.as_str(), role) {
            ("batch", _) => true,
            ("service", _) => false,
            ("default-batch", TokenKind::Default) => true,
            (_, role) => matches!(role, TokenKind::Batch | TokenKind::DefaultBatch),
        }
    }

    /// (default, max): the mount's own or the system's.
    pub fn effective(&self, system: (Duration, Duration)) -> (Duration, Duration) {
        let own = |seconds: u64, system| if seconds == 0 { system } else { Duration::from_secs(seconds) };
        let max = own(self.max_ttl, system.1);
        (own(self.default_ttl, system.0).min(max), max)
    }

    /// Refuses a default above the maximum.
    pub fn check(&self, system: (Duration, Duration)) -> Result<(), Error> {
        let max = if self.max_ttl == 0 { system.1.as_secs() } else { self.max_ttl };
        if self.default_ttl > max {
            return Err(Error::invalid(format!(
                "backend default lease TTL of {} greater than backend max lease TTL of {max}",
                self.default_ttl
            )));
        }
        Ok(())
    }

    /// The fields beyond the TTLs that are shown when set.
    pub fn show_set(&self, shown: &mut Map<String, Value>) {
        if !self.listing_visibility.is_empty() {
            shown.insert("listing_visibility".into(), json!(self.listing_visibility));
        }
        if let Some(lockout) = &self.lockout {
            shown.insert("user_lockout_config".into(), lockout.show());
        }
        let mut copy = self.clone();
        for (name, list) in LISTS {
            let values = list(&mut copy);
            if !values.is_empty() {
                shown.insert((*name).to_owned(), json!(values));
            }
        }
    }
}

impl Record {
    /// Path within the namespace, with `auth/` in front for auth methods.
    pub fn full_path(&self) -> String {
        full_path(self.class, &self.path)
    }

    /// As `sys/mounts` shows it.
    pub fn show(&self) -> Value {
        let mut config = Map::new();
        config.insert("default_lease_ttl".into(), json!(self.tuning.default_ttl));
        config.insert("max_lease_ttl".into(), json!(self.tuning.max_ttl));
        config.insert("force_no_cache".into(), json!(self.tuning.force_no_cache));
        self.tuning.show_set(&mut config);
        if self.class == Class::Auth {
            config.insert("token_type".into(), json!(self.token_type()));
        }
        json!({
            "accessor": self.accessor,
            "config": config,
            "deprecation_status": "supported",
            "description": self.description,
            "external_entropy_access": false,
            "local": self.local,
            "options": self.show_options(),
            "plugin_version": "",
            "running_plugin_version": PLUGIN_VERSION,
            "running_sha256": "",
            "seal_wrap": self.seal_wrap,
            "type": self.kind,
            "uuid": self.uuid,
        })
    }

    /// Null when there are none.
    pub fn show_options(&self) -> Value {
        if self.options.is_empty() { Value::Null } else { json!(self.options) }
    }

    /// As shown: `default-service` unless set.
    pub fn token_type(&self) -> &str {
        if self.tuning.token_type.is_empty() { "default-service" } else { &self.tuning.token_type }
    }
}

/// Path with `auth/` in front for auth methods.
pub fn full_path(class: Class, path: &str) -> String {
    match class {
        Class::Secret => path.to_owned(),
        Class::Auth => format!("auth/{path}"),
    }
}
