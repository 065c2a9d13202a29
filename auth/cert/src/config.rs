//! `config`: settings of the whole method.

use holdfast_logical::{Error, Fields, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::engine::Certs;

/// As it is stored.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    pub disable_binding: bool,
    pub enable_identity_alias_metadata: bool,
    pub enable_metadata_on_failures: bool,
    pub ocsp_cache_size: i64,
    pub role_cache_size: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            disable_binding: false,
            enable_identity_alias_metadata: false,
            enable_metadata_on_failures: false,
            ocsp_cache_size: 100,
            role_cache_size: 200,
        }
    }
}

impl Certs {
    pub async fn config(&self) -> Result<Config, Error> {
        Ok(self.services.view.get_json("config").await?.map(|(config, _)| config).unwrap_or_default())
    }

    pub async fn read_config(&self) -> Result<Response, Error> {
        Ok(Response::data(json!(self.config().await?)))
    }

    pub async fn write_config(&self, fields: &Fields) -> Result<Response, Error> {
        let mut config = self.config().await?;
        for (name, target) in [
            ("disable_binding", &mut config.disable_binding),
            ("enable_identity_alias_metadata", &mut config.enable_identity_alias_metadata),
            ("enable_metadata_on_failures", &mut config.enable_metadata_on_failures),
        ] {
            if let Some(truth) = fields.bool(name) {
                *target = truth;
            }
        }
        for (name, target) in
            [("ocsp_cache_size", &mut config.ocsp_cache_size), ("role_cache_size", &mut config.role_cache_size)]
        {
            if let Some(size) = fields.int(name) {
                *target = size;
            }
        }
        self.services.view.put_json("config", &config).await?;
        Ok(Response::empty())
    }
}
