//! What is stored of a secret beside its values.

use std::{collections::BTreeMap, time::Duration};

use holdfast_base::duration;
use holdfast_logical::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Versions kept where neither secret nor mount say.
const DEFAULT_MAX_VERSIONS: u64 = 10;

/// All that is known of a secret.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Meta {
    pub created_time: Timestamp,
    pub updated_time: Timestamp,
    pub current_version: u64,
    pub oldest_version: u64,
    pub max_versions: u64,
    pub cas_required: bool,
    pub delete_version_after_ms: u64,
    pub custom_metadata: Option<BTreeMap<String, String>>,
    pub versions: BTreeMap<u64, Version>,
    /// Writes of the metadata.
    #[serde(default)]
    pub metadata_version: u64,
    #[serde(default)]
    pub metadata_cas_required: bool,
}

/// One version.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub created_time: Timestamp,
    /// When it was or will be deleted.
    pub deletion_time: Option<Timestamp>,
    pub destroyed: bool,
}

/// Which versions a secret has.
#[derive(Clone, Copy)]
pub(super) struct History {
    pub current_version: u64,
    pub oldest_version: u64,
}

/// Settings of the mount.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Config {
    pub max_versions: u64,
    pub cas_required: bool,
    pub delete_version_after_ms: u64,
    /// Are versions kept whatever the secret says?
    #[serde(default)]
    pub never_delete: bool,
    #[serde(default)]
    pub metadata_cas_required: bool,
}

impl Config {
    pub fn to_json(&self) -> Value {
        let after = match self.never_delete {
            true => "-1s".to_owned(),
            false => duration::format(Duration::from_millis(self.delete_version_after_ms)),
        };
        json!({
            "max_versions": self.max_versions,
            "cas_required": self.cas_required,
            "metadata_cas_required": self.metadata_cas_required,
            "delete_version_after": after,
        })
    }
}

impl Version {
    /// Can it be read?
    pub fn live(&self, now: Timestamp) -> bool {
        !self.destroyed && self.deletion_time.is_none_or(|at| at > now)
    }

    fn deletion_text(&self) -> String {
        self.deletion_time.map(|at| at.to_string()).unwrap_or_default()
    }
}

impl Meta {
    /// A secret without versions.
    pub fn new(now: Timestamp) -> Self {
        Self {
            created_time: now,
            updated_time: now,
            current_version: 0,
            oldest_version: 0,
            max_versions: 0,
            cas_required: false,
            delete_version_after_ms: 0,
            custom_metadata: None,
            versions: BTreeMap::new(),
            metadata_version: 0,
            metadata_cas_required: false,
        }
    }

    /// Adds a version; returns its number and those that fall out of the history.
    pub fn add(&mut self, config: &Config, now: Timestamp) -> (u64, Vec<u64>) {
        let after = match (self.delete_version_after_ms, config.delete_version_after_ms) {
            _ if config.never_delete => 0,
            (0, mount) => mount,
            (own, 0) => own,
            (own, mount) => own.min(mount),
        };
        let deletion_time = (after > 0).then(|| now.checked_add(Duration::from_millis(after)).ok()).flatten();
        self.current_version += 1;
        self.updated_time = now;
        self.versions.insert(self.current_version, Version { created_time: now, deletion_time, destroyed: false });
        let kept = match self.max_versions.max(config.max_versions) {
            0 => DEFAULT_MAX_VERSIONS,
            kept => kept,
        };
        let gone: Vec<u64> = self
            .versions
            .keys()
            .copied()
            .take_while(|version| version + kept <= self.current_version)
            .take(50)
            .collect();
        for version in &gone {
            self.versions.remove(version);
        }
        self.oldest_version = if gone.is_empty() && self.oldest_version == 0 {
            0
        } else {
            self.versions.keys().next().copied().unwrap_or(self.current_version)
        };
        (self.current_version, gone)
    }

    /// The versions it has.
    pub fn history(&self) -> History {
        History { current_version: self.current_version, oldest_version: self.oldest_version }
    }

    /// `metadata` of an answer about one version.
    pub fn version_json(&self, number: u64, version: &Version) -> Map<String, Value> {
        let value = json!({
            "created_time": version.created_time.to_string(),
            "custom_metadata": self.custom_metadata,
            "deletion_time": version.deletion_text(),
            "destroyed": version.destroyed,
            "version": number,
        });
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// The answer of `metadata/`.
    pub fn to_json(&self) -> Value {
        let versions: Map<String, Value> = self
            .versions
            .iter()
            .map(|(number, version)| {
                let version = json!({
                    "created_time": version.created_time.to_string(),
                    "deletion_time": version.deletion_text(),
                    "destroyed": version.destroyed,
                });
                (number.to_string(), version)
            })
            .collect();
        json!({
            "cas_required": self.cas_required,
            "created_time": self.created_time.to_string(),
            "current_metadata_version": self.metadata_version,
            "current_version": self.current_version,
            "custom_metadata": self.custom_metadata,
            "delete_version_after": duration::format(Duration::from_millis(self.delete_version_after_ms)),
            "max_versions": self.max_versions,
            "metadata_cas_required": self.metadata_cas_required,
            "oldest_version": self.oldest_version,
            "updated_time": self.updated_time.to_string(),
            "versions": versions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_keeps_the_larger_of_both_limits_or_ten() {
        for (own, mount, kept) in [(0, 0, 10), (3, 0, 3), (0, 4, 4), (3, 4, 4), (5, 4, 5)] {
            let mut meta = Meta { max_versions: own, ..Meta::new(Timestamp::UNIX_EPOCH) };
            let config = Config { max_versions: mount, ..Config::default() };
            let mut removed = Vec::new();
            for _ in 0..25 {
                removed.extend(meta.add(&config, Timestamp::UNIX_EPOCH).1);
            }
            assert_eq!(meta.versions.len(), kept);
            assert_eq!(removed, (1..=25 - kept as u64).collect::<Vec<_>>());
            assert_eq!(meta.oldest_version, 26 - kept as u64);
        }
    }

    #[test]
    fn the_shorter_deletion_time_wins() {
        let mut meta = Meta { delete_version_after_ms: 5_000, ..Meta::new(Timestamp::UNIX_EPOCH) };
        let never = Config { never_delete: true, ..Config::default() };
        let mut kept = meta.clone();
        kept.add(&never, Timestamp::UNIX_EPOCH);
        assert_eq!(kept.versions[&1].deletion_time, None);
        let config = Config { delete_version_after_ms: 2_000, ..Config::default() };
        let (number, _) = meta.add(&config, Timestamp::UNIX_EPOCH);
        let version = &meta.versions[&number];
        assert!(version.live(Timestamp::from_second(1).unwrap()));
        assert!(!version.live(Timestamp::from_second(2).unwrap()));
    }
}
