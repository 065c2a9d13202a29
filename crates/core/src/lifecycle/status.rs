//! What a server says of itself without a token.

use std::{collections::BTreeMap, time::Duration};

use holdfast_api_types::{Health, SealStatus, VAULT_VERSION};
use serde_json::{Value, json};

use super::SealConfig;
use crate::{Core, Error};

/// How long the store, or a replica that is waited for, may be silent until a replica calls itself not ready. Elections,
/// evictions and short breaks are shorter.
const SILENCE: Duration = Duration::from_secs(10);

impl Core {
    /// `GET sys/seal-status`.
    pub async fn seal_status(&self) -> Result<SealStatus, Error> {
        let (config, open) = (self.config(), self.open());
        let stored = self.seal_config().await?;
        let (progress, nonce) = match &self.ceremony.lock().await.unseal {
            Some(attempt) => (u64::from(attempt.shares.count()), attempt.nonce.clone()),
            None => (0, String::new()),
        };
        // What people hold: with a stored key the recovery shares, which there may be none of.
        let (threshold, shares) = match &stored {
            None => (0, 0),
            Some(stored) if stored.keeps_key() => (stored.recovery_threshold, stored.recovery_shares),
            Some(stored) => (stored.threshold, stored.shares),
        };
        // While a change of seals is pending it is the old one that people are asked for.
        let migration = match &stored {
            Some(stored) => self.migration(stored).await?.is_some(),
            None => false,
        };
        let kind = stored.as_ref().filter(|_| migration).map_or(config.seal.kind(), |stored| &stored.kind);
        let (cluster_name, cluster_id) = match &open {
            Some(open) => (open.cluster.name.clone(), open.cluster.id.clone()),
            None => Default::default(),
        };
        let reason = match &open {
            None => self.trouble.load().as_deref().cloned().unwrap_or_default(),
            Some(_) => String::new(),
        };
        Ok(SealStatus {
            kind: kind.to_owned(),
            initialized: stored.is_some(),
            sealed: open.is_none(),
            t: u64::from(threshold),
            n: u64::from(shares),
            progress,
            nonce,
            version: VAULT_VERSION.to_owned(),
            holdfast_version: config.version.clone(),
            build_date: config.build_date.clone(),
            migration,
            cluster_name,
            cluster_id,
            recovery_seal: stored.as_ref().map_or(config.seal.stored_keys(), SealConfig::keeps_key),
            storage_type: config.storage_kind.clone(),
            reason,
        })
    }

    /// `GET sys/health`: status and body. The parameters choose other status codes. With `require_store` a server that
    /// could not answer for [`SILENCE`] answers as a sealed one.
    pub async fn health(&self, parameters: &BTreeMap<&str, u16>, require_store: bool) -> (u16, Health) {
        let (config, open) = (self.config(), self.open());
        let code = |name: &str, default: u16| parameters.get(name).copied().unwrap_or(default);
        // A store that does not answer looks like a sealed server: it does not serve, and trying again may help.
        let initialized = open.is_some() || config.barrier.initialized().await.unwrap_or(true);
        let status = match (&open, initialized) {
            (Some(_), _) if require_store && !config.barrier.can_answer(SILENCE) => code("sealedcode", 503),
            (Some(_), _) => code("activecode", 200),
            (None, true) => code("sealedcode", 503),
            (None, false) => code("uninitcode", 501),
        };
        let (cluster_name, cluster_id) = match &open {
            Some(open) => (open.cluster.name.clone(), open.cluster.id.clone()),
            None => Default::default(),
        };
        let health = Health {
            initialized,
            sealed: open.is_none(),
            standby: open.is_none(),
            performance_standby: false,
            replication_performance_mode: "disabled".to_owned(),
            replication_dr_mode: "disabled".to_owned(),
            server_time_utc: config.clock.now().as_second(),
            version: VAULT_VERSION.to_owned(),
            holdfast_version: config.version.clone(),
            cluster_name,
            cluster_id,
            ..Health::default()
        };
        (status, health)
    }

    /// `GET sys/leader`: every unsealed replica serves, so each is its own leader.
    pub(super) fn leader(&self) -> Value {
        let config = self.config();
        if config.storage_kind != "etcd" {
            return json!({
                "ha_enabled": false, "is_self": false, "leader_address": "", "leader_cluster_address": "",
                "performance_standby": false, "performance_standby_last_remote_wal": 0,
            });
        }
        json!({
            "ha_enabled": true,
            "is_self": self.is_unsealed(),
            "active_time": "0001-01-01T00:00:00Z",
            "leader_address": config.api_addr,
            "leader_cluster_address": config.api_addr,
            "performance_standby": false,
            "performance_standby_last_remote_wal": 0,
        })
    }
}
