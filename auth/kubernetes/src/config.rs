//! `config`: which cluster, and how to reach it.

use holdfast_jose::Key;
use holdfast_logical::{Error, Fields, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::engine::Kubernetes;

/// As it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Config {
    pub kubernetes_host: String,
    pub kubernetes_ca_cert: String,
    pub token_reviewer_jwt: String,
    pub pem_keys: Vec<String>,
    pub disable_local_ca_jwt: bool,
    pub disable_iss_validation: bool,
    pub issuer: String,
    pub use_annotations_as_alias_metadata: bool,
}

/// How to reach the API server, with the pod's own CA and token filled in where they are to be used.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// `https://host:port`, without trailing slash.
    pub host: String,
    pub ca: String,
    /// May be empty.
    pub token: String,
    /// Why the pod's own token, which was to be used, could not be read.
    pub unread: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kubernetes_host: String::new(),
            kubernetes_ca_cert: String::new(),
            token_reviewer_jwt: String::new(),
            pem_keys: Vec::new(),
            disable_local_ca_jwt: false,
            disable_iss_validation: true,
            issuer: String::new(),
            use_annotations_as_alias_metadata: false,
        }
    }
}

impl Kubernetes {
    /// The configuration; in a cluster there is one although none was written.
    pub async fn config(&self) -> Result<Config, Error> {
        match self.services.view.get_json("config").await? {
            Some((config, _)) => Ok(config),
            None if self.local.host.is_some() => Ok(Config::default()),
            None => Err(Error::invalid("could not load backend configuration: write config first")),
        }
    }

    /// How to reach the API server now. The pod's files are read each time: kubelet renews them.
    pub async fn cluster(&self, config: &Config) -> Result<Cluster, Error> {
        let host = if config.kubernetes_host.is_empty() {
            self.local.host.clone()
        } else {
            Some(config.kubernetes_host.clone())
        };
        let host = host.ok_or_else(|| Error::invalid("no host provided"))?;
        let (mut ca, mut token) = (config.kubernetes_ca_cert.clone(), config.token_reviewer_jwt.clone());
        let mut unread = None;
        if !config.disable_local_ca_jwt {
            if ca.is_empty() {
                ca = self.local_file("ca.crt").await.unwrap_or_default();
            }
            if token.is_empty() {
                match self.local_file("token").await {
                    Ok(text) => text.trim().clone_into(&mut token),
                    // Outside of a cluster there is none, and nobody expects one.
                    Err(reason) => unread = self.local.host.is_some().then_some(reason),
                }
            }
        }
        Ok(Cluster { host: host.trim_end_matches('/').to_owned(), ca, token, unread })
    }

    async fn local_file(&self, name: &str) -> Result<String, String> {
        let path = self.local.folder.join(name);
        tokio::fs::read_to_string(&path).await.map_err(|error| format!("{}: {error}", path.display()))
    }

    pub async fn read_config(&self) -> Result<Response, Error> {
        let stored = self.services.view.get_json::<Config>("config").await?;
        let (config, _) = stored.ok_or_else(Error::not_found)?;
        Ok(Response::data(json!({
            "kubernetes_host": config.kubernetes_host,
            "kubernetes_ca_cert": config.kubernetes_ca_cert,
            "token_reviewer_jwt_set": !config.token_reviewer_jwt.is_empty(),
            "pem_keys": config.pem_keys,
            "disable_local_ca_jwt": config.disable_local_ca_jwt,
            "disable_iss_validation": config.disable_iss_validation,
            "issuer": config.issuer,
            "use_annotations_as_alias_metadata": config.use_annotations_as_alias_metadata,
        })))
    }

    pub async fn write_config(&self, fields: &Fields) -> Result<Response, Error> {
        let text = |name: &str| fields.string(name).unwrap_or_default().to_owned();
        let defaults = Config::default();
        let config = Config {
            kubernetes_host: text("kubernetes_host"),
            kubernetes_ca_cert: text("kubernetes_ca_cert"),
            token_reviewer_jwt: text("token_reviewer_jwt"),
            pem_keys: fields.list("pem_keys").unwrap_or_default(),
            disable_local_ca_jwt: fields.bool("disable_local_ca_jwt").unwrap_or_default(),
            disable_iss_validation: fields.bool("disable_iss_validation").unwrap_or(defaults.disable_iss_validation),
            issuer: text("issuer"),
            use_annotations_as_alias_metadata: fields.bool("use_annotations_as_alias_metadata").unwrap_or_default(),
        };
        if config.kubernetes_host.is_empty() && self.local.host.is_none() {
            return Err(Error::invalid("no host provided"));
        }
        if !config.kubernetes_host.is_empty()
            && !["https://", "http://"].iter().any(|scheme| config.kubernetes_host.starts_with(scheme))
        {
            return Err(Error::invalid("kubernetes_host must be a URL: https://host:port"));
        }
        if config.disable_local_ca_jwt && config.kubernetes_ca_cert.is_empty() {
            return Err(Error::invalid("kubernetes_ca_cert must be given when disable_local_ca_jwt is true"));
        }
        for pem in &config.pem_keys {
            Key::from_pem(pem).ok_or_else(|| Error::invalid("pem_keys: one of them is not a public key in PEM"))?;
        }
        if !config.token_reviewer_jwt.is_empty() && config.token_reviewer_jwt.split('.').count() != 3 {
            // 500 and not 400, as Vault 1.14 answers it.
            let message = "token_reviewer_jwt: compact JWS format must have three parts".to_owned();
            return Err(Error::Status { code: 500, message });
        }
        self.services.view.put_json("config", &config).await?;
        self.keys.forget();
        Ok(Response::empty())
    }
}
