//! `config`.

use holdfast_logical::{Error, Fields, Response};

use super::{Versioned, meta::Config};

impl Versioned {
    pub(super) async fn config(&self) -> Result<Config, Error> {
        Ok(self.view.get_json("config").await?.map(|(config, _)| config).unwrap_or_default())
    }

    pub(super) async fn read_config(&self) -> Result<Response, Error> {
        Ok(Response::data(self.config().await?.to_json()))
    }

    pub(super) async fn write_config(&self, fields: &Fields) -> Result<Response, Error> {
        let mut config = self.config().await?;
        if let Some(max_versions) = fields.int("max_versions") {
            config.max_versions = not_negative("max_versions", max_versions)?;
        }
        if let Some(cas_required) = fields.bool("cas_required") {
            config.cas_required = cas_required;
        }
        if let Some(after) = fields.duration("delete_version_after") {
            config.delete_version_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        }
        self.view.put_json("config", &config).await?;
        Ok(Response::empty())
    }
}

/// A count that a client sent.
pub(super) fn not_negative(name: &str, number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::Invalid(format!("{name} cannot be negative")))
}
