//! The document, and what may be wrong with it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    annotations::{self, Choices, Error, bytes_or_cores, is_key},
    mutate::Settings,
};

/// All that an administrator decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Document {
    /// Servers besides the release's own, by name.
    pub servers: BTreeMap<String, Server>,
    /// Profiles by name. `default` is for pods that name none.
    pub profiles: BTreeMap<String, Profile>,
}

/// A server that pods can be sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Server {
    /// `https://host:port`.
    pub address: String,
    /// Certificate authorities, PEM; those of the release without.
    pub ca: Option<String>,
    /// Name to expect in the certificate.
    pub tls_server_name: Option<String>,
    /// Mount of the kubernetes auth method.
    pub auth_path: Option<String>,
    /// Namespace of the server.
    pub namespace: Option<String>,
}

/// What pods get, and what they may say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Profile {
    /// Namespaces whose pods may choose it by `holdfast.dev/inject: <name>`; `*` is every one. Besides them, it is for the
    /// namespaces that name it by `holdfast.dev/injection-profile`.
    pub namespaces: Vec<String>,
    /// Unknown and refused annotations are denials rather than warnings.
    pub strict: bool,
    /// Keys that pods may say (without prefix and name: `secret`, `role` …); without it all but `image`.
    pub allow: Option<Vec<String>>,
    /// Keys that pods may not say.
    pub deny: Vec<String>,
    /// What pods get that do not say it themselves: keys and values of our own annotations.
    pub defaults: BTreeMap<String, String>,
    /// Name of the server; the release's own without.
    pub server: Option<String>,
    /// Names of further servers that pods may choose.
    pub servers: Vec<String>,
    /// The most that `resources` may ask for: `limits.memory` …
    pub max_resources: BTreeMap<String, String>,
    /// Images of the agent that pods may choose; a `*` at the end stands for anything.
    pub images: Vec<String>,
}

impl Document {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (name, server) in &document.servers {
            let known = ["https://", "http://"].iter().any(|scheme| server.address.starts_with(scheme));
            if !known {
                return Err(format!("servers.{name}.address: {:?} is no https://host:port", server.address));
            }
        }
        for (name, profile) in &document.profiles {
            profile.check(&document).map_err(|reason| format!("profiles.{name}.{reason}"))?;
            profile.choices(name).map_err(|error| error.to_string())?;
        }
        Ok(document)
    }
}

impl Profile {
    pub(super) fn is_for(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|listed| listed == "*" || listed == namespace)
    }

    pub(super) fn choices(&self, name: &str) -> Result<Choices, Error> {
        let entries = self.defaults.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        annotations::defaults(&format!("profiles.{name}.defaults."), entries)
    }

    fn check(&self, document: &Document) -> Result<(), String> {
        for (field, keys) in [("allow", self.allow.as_deref().unwrap_or_default()), ("deny", &self.deny)] {
            if let Some(key) = keys.iter().find(|key| !is_key(key)) {
                return Err(format!("{field}: there is no annotation {key:?}"));
            }
        }
        let named = self.server.iter().chain(&self.servers);
        if let Some(name) = named.into_iter().find(|name| !document.servers.contains_key(*name)) {
            return Err(format!("servers: there is no server {name:?}"));
        }
        if let Some((resource, _)) = self.max_resources.iter().find(|(_, amount)| bytes_or_cores(amount).is_none()) {
            return Err(format!("maxResources.{resource}: no quantity"));
        }
        if self.defaults.contains_key("server") {
            return Err("defaults.server: say it in server".to_owned());
        }
        Ok(())
    }
}

impl Server {
    /// Instead of the release's server.
    pub(super) fn apply(&self, settings: &mut Settings) {
        settings.server.clone_from(&self.address);
        if let Some(ca) = &self.ca {
            settings.server_ca = Some(ca.trim().to_owned() + "\n");
        }
        settings.tls_server_name.clone_from(&self.tls_server_name);
        settings.namespace.clone_from(&self.namespace);
        if let Some(mount) = &self.auth_path {
            settings.auth_mount = mount.trim_matches('/').trim_start_matches("auth/").to_owned();
        }
    }
}
