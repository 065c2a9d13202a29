//! The feature level: what may be written, so that every replica can read it.
//!
//! It stands in the generation record, which every batch compares. A version serves a range of levels and says so in its member
//! record; it does not open a store at another level. New versions go on writing what the level says, so that they serve
//! beside older ones and can be replaced by them. Once nobody came or went for [`SETTLED`] and all members serve a higher
//! level, one of them raises it, in one transaction that compares all their records (`session/level`).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::UnsealError;
use crate::value;

/// An upgrade may be taken back for so long after its last replica joined.
pub const SETTLED: Duration = Duration::from_secs(3600);

/// Feature levels that a version serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u8, u8)", into = "(u8, u8)")]
pub struct Levels {
    /// The oldest.
    pub oldest: u8,
    /// The newest.
    pub newest: u8,
}

impl Default for Levels {
    /// Those of this version.
    fn default() -> Self {
        Self { oldest: value::VERSION, newest: value::VERSION }
    }
}

impl Levels {
    /// Whether it serves this one.
    pub fn serves(self, level: u8) -> bool {
        (self.oldest..=self.newest).contains(&level)
    }

    /// Refuses a store at a level that it does not serve.
    pub(crate) fn admit(self, level: u8) -> Result<(), UnsealError> {
        if self.serves(level) { Ok(()) } else { Err(UnsealError::Level { level, served: self }) }
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { oldest, newest } if oldest == newest => write!(f, "level {oldest} only"),
            Self { oldest, newest } => write!(f, "levels {oldest} to {newest}"),
        }
    }
}

impl From<(u8, u8)> for Levels {
    fn from((oldest, newest): (u8, u8)) -> Self {
        Self { oldest, newest }
    }
}

impl From<Levels> for (u8, u8) {
    fn from(levels: Levels) -> Self {
        (levels.oldest, levels.newest)
    }
}
