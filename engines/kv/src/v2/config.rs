//! `config`.

use holdfast_logical::{Check, Error, Fields, Response, StoreError, Txn};

use super::{TRIES, Versioned, meta::Config};

impl Versioned {
    pub(super) async fn config(&self) -> Result<Config, Error> {
        Ok(self.view.get_json("config").await?.map(|(config, _)| config).unwrap_or_default())
    }

    pub(super) async fn read_config(&self) -> Result<Response, Error> {
        Ok(Response::data(self.config().await?.to_json()))
    }

    pub(super) async fn write_config(&self, fields: &Fields) -> Result<Response, Error> {
        for _ in 0..TRIES {
            let stored = self.view.get_json::<Config>("config").await?;
            let check = stored.as_ref().map_or(Check::Absent, |(_, revision)| Check::At(*revision));
            let mut config = stored.map(|(config, _)| config).unwrap_or_default();
            config.set(fields)?;
            let mut txn = Txn::new();
            txn.check(self.view.path("config"), check).put_json(self.view.path("config"), &config)?;
            match self.view.commit(txn).await {
                Ok(_) => return Ok(Response::empty()),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}

impl Config {
    fn set(&mut self, fields: &Fields) -> Result<(), Error> {
        if let Some(max_versions) = fields.int("max_versions") {
            self.max_versions = not_negative("max_versions", max_versions)?;
        }
        self.cas_required = fields.bool("cas_required").unwrap_or(self.cas_required);
        self.metadata_cas_required = fields.bool("metadata_cas_required").unwrap_or(self.metadata_cas_required);
        self.never_delete &= !fields.has("delete_version_after");
        if fields.is_negative("delete_version_after") {
            (self.never_delete, self.delete_version_after_ms) = (true, 0);
        }
        if let Some(after) = fields.duration("delete_version_after") {
            self.delete_version_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        }
        Ok(())
    }
}

/// A count that a client sent.
pub(super) fn not_negative(name: &str, number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::Invalid(format!("{name} cannot be negative")))
}
