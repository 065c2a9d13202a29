//! How values stand in the JSON document.

use std::{path::Path, time::Duration};

use holdfast_base::duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn default_mode() -> String {
    "0644".to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

pub(super) fn is_no<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(super) fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

pub(super) mod text_duration {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration::format(*value))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        duration::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

pub(super) mod optional_duration {
    use super::*;

    #[expect(clippy::ref_option, reason = "the signature that serde wants")]
    pub(in super::super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(duration::format).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        super::text_duration::deserialize(deserializer).map(Some)
    }
}
