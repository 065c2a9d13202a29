//! How many failures, for how long: by the mount, by the configuration for a type, by that for all, by default.

use std::{collections::BTreeMap, time::Duration};

use holdfast_logical::{Field, Fields, Kind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Error;

/// Auth methods whose users can be locked out.
pub const KINDS: &[&str] = &["approle", "ldap", "userpass"];

/// What is in force for a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Failures in a row that lock a user out.
    pub threshold: u64,
    /// How long.
    pub duration: Duration,
    /// Time without a failure after which they are forgotten.
    pub counter_reset: Duration,
}

/// What one place says; what is `None` is left to the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockoutTuning {
    /// `lockout_threshold`; 0 locks nobody out.
    pub threshold: Option<u64>,
    /// `lockout_duration`, seconds.
    pub duration: Option<u64>,
    /// `lockout_counter_reset`, seconds.
    pub counter_reset: Option<u64>,
    /// `disable_lockout`.
    pub disable: Option<bool>,
}

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockouts {
    /// By type, and for `all`.
    pub by_kind: BTreeMap<String, LockoutTuning>,
    /// Is nobody locked out, whatever else is said (VAULT_DISABLE_USER_LOCKOUT)?
    pub disabled: bool,
    /// Records of one mount beyond which failures are counted only for users that there are.
    pub records: usize,
}

impl Default for Lockouts {
    fn default() -> Self {
        Self { by_kind: BTreeMap::new(), disabled: false, records: 4096 }
    }
}

/// Fields of `user_lockout_config` in `sys/auth/<path>/tune`.
pub const LOCKOUT: &[Field] = &[
    Field::new("lockout_threshold", Kind::Int, "Failed logins in a row that lock a user out; 5."),
    Field::new("lockout_duration", Kind::Duration, "How long; 15 minutes."),
    Field::new("lockout_counter_reset_duration", Kind::Duration, "Failures are forgotten after this long; 15 minutes."),
    Field::new("lockout_counter_reset", Kind::Duration, "The same."),
    Field::new("lockout_disable", Kind::Bool, "Lock nobody out."),
];

impl Lockouts {
    /// What is in force for a mount of a type; `None` where nobody is locked out.
    pub fn settings(&self, kind: &str, mount: Option<&LockoutTuning>) -> Option<Settings> {
        if self.disabled || !KINDS.contains(&kind) {
            return None;
        }
        let places = [mount, self.by_kind.get(kind), self.by_kind.get("all")];
        let first = |get: fn(&LockoutTuning) -> Option<u64>| places.into_iter().flatten().find_map(get);
        if places.into_iter().flatten().find_map(|place| place.disable) == Some(true) {
            return None;
        }
        let minutes = |seconds: Option<u64>| Duration::from_secs(seconds.unwrap_or(15 * 60));
        let threshold = first(|place| place.threshold).unwrap_or(5);
        (threshold > 0).then(|| Settings {
            threshold,
            duration: minutes(first(|place| place.duration)),
            counter_reset: minutes(first(|place| place.counter_reset)),
        })
    }
}

impl LockoutTuning {
    /// Takes over the fields that were sent.
    pub fn apply(&mut self, sent: &Value) -> Result<(), Error> {
        let Value::Object(sent) = sent else {
            return Err(Error::invalid("user_lockout_config must be an object"));
        };
        let fields = Fields::coerce(LOCKOUT, &BTreeMap::new(), sent.clone())?;
        if let Some(threshold) = fields.int("lockout_threshold") {
            let threshold = u64::try_from(threshold);
            self.threshold = Some(threshold.map_err(|_| Error::invalid("lockout_threshold cannot be negative"))?);
        }
        if let Some(duration) = fields.duration("lockout_duration") {
            self.duration = Some(duration.as_secs());
        }
        let reset = fields.duration("lockout_counter_reset_duration").or(fields.duration("lockout_counter_reset"));
        if let Some(reset) = reset {
            self.counter_reset = Some(reset.as_secs());
        }
        self.disable = fields.bool("lockout_disable").or(self.disable);
        Ok(())
    }

    /// As `sys/auth` shows it; what is not said is zero, as Vault shows it.
    pub fn show(&self) -> Value {
        json!({
            "lockout_threshold": self.threshold.unwrap_or(0),
            "lockout_duration": self.duration.unwrap_or(0),
            "lockout_counter_reset_duration": self.counter_reset.unwrap_or(0),
            "lockout_disable": self.disable.unwrap_or(false),
        })
    }

    /// As `tune` shows it beside the rest.
    pub fn show_flat(&self, shown: &mut Map<String, Value>) {
        shown.insert("user_lockout_threshold".into(), json!(self.threshold.unwrap_or(0)));
        shown.insert("user_lockout_duration".into(), json!(self.duration.unwrap_or(0)));
        shown.insert("user_lockout_counter_reset_duration".into(), json!(self.counter_reset.unwrap_or(0)));
        shown.insert("user_lockout_disable".into(), json!(self.disable.unwrap_or(false)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_place_wins_field_by_field() {
        let say = |threshold, duration| LockoutTuning { threshold, duration, ..LockoutTuning::default() };
        let mut lockouts = Lockouts::default();
        assert_eq!(lockouts.settings("kubernetes", None), None);
        assert_eq!(lockouts.settings("userpass", None).unwrap().threshold, 5);
        lockouts.by_kind.insert("all".into(), say(Some(9), Some(60)));
        lockouts.by_kind.insert("userpass".into(), say(Some(3), None));
        let mount = say(None, Some(30));
        let found = lockouts.settings("userpass", Some(&mount)).unwrap();
        assert_eq!((found.threshold, found.duration.as_secs(), found.counter_reset.as_secs()), (3, 30, 900));
        assert_eq!(lockouts.settings("approle", None).unwrap().threshold, 9);
        let off = LockoutTuning { disable: Some(true), ..LockoutTuning::default() };
        assert_eq!(lockouts.settings("userpass", Some(&off)), None);
        lockouts.disabled = true;
        assert_eq!(lockouts.settings("approle", None), None);
    }
}
