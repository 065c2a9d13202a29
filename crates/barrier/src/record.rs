//! The small records that coordinate replicas: members, lanes, generation, milestone. Not secret, but authentic: whoever runs the store can
//! neither invent a member nor a batch.
//!
//! Format version 1: version (1 byte), MAC (16 bytes) over the key and the document, document (JSON).

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_secret::same;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::level::Levels;
use crate::peer::Endpoint;
use crate::value::MacKey;
use crate::view::Revision;

const VERSION: u8 = 1;

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Reads after asking the store how far it is.
    Barrier,
    /// Reads from memory.
    Cached,
    /// Reads nothing from memory any more and is about to end.
    Leaving,
    /// Declared dead by another; stays until no cached read of it can be in time any more.
    Evicted,
}

/// One running process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// What it does.
    pub state: State,
    /// Name of the place it runs at, of which there is one at a time: the pod, the machine.
    pub instance: String,
    /// Feature levels that it serves.
    pub formats: Levels,
    /// What others see of it: address, version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where other replicas reach it; without this it never reads from memory while there are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Endpoint>,
}

/// The last batch of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRecord {
    /// Its number; 0 when the lane was made.
    pub seq: u64,
    /// Revision of the batch before it.
    pub previous: Revision,
    /// MACs of the keys that it deletes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deletes: Vec<String>,
    /// Revisions before it that only deleted, in a full store without a record, and were this replica's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alone: Vec<Revision>,
    /// Set if there was no batch of this number and never will be: the draw of who cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<String>,
}

/// What every batch depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Active term of the keyring.
    pub term: u32,
    /// Feature level: what may be written, see `level`.
    pub level: u8,
}

/// The last milestone that the store has passed; its revision is that of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MilestoneRecord {
    /// Times that an older state of the store was accepted.
    pub restores: u64,
    /// Its number.
    pub number: u64,
}

/// The stored form of a record at its key.
pub fn encode<T: Serialize>(mac: &MacKey, key: &[u8], record: &T) -> Bytes {
    // These records are numbers and text: they always encode. An empty document would be refused by every reader.
    let document = serde_json::to_vec(record).unwrap_or_default();
    let tag = mac.over(&[b"holdfast record 1", &length(key), key, &document]);
    [&[VERSION][..], &tag, &document].concat().into()
}

/// A record from its stored form; `None` if it is not authentic.
pub fn decode<T: DeserializeOwned>(mac: &MacKey, key: &[u8], stored: &[u8]) -> Option<T> {
    let (version, rest) = stored.split_first()?;
    let (tag, document) = rest.split_first_chunk::<16>()?;
    let expected = mac.over(&[b"holdfast record 1", &length(key), key, document]);
    if *version != VERSION || !same(tag, expected) {
        return None;
    }
    serde_json::from_slice(document).ok()
}

fn length(key: &[u8]) -> [u8; 4] {
    u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use holdfast_base::{SeededEntropy, Timestamp};

    use super::*;
    use crate::keyring::Keyring;

    #[test]
    fn a_record_is_bound_to_its_key() {
        let mac = MacKey::new(&Keyring::generate(&SeededEntropy::new(1), Timestamp::UNIX_EPOCH));
        let record = LaneRecord { seq: 3, previous: 9, ..LaneRecord::default() };
        let stored = encode(&mac, b"lane/a", &record);
        assert_eq!(decode(&mac, b"lane/a", &stored), Some(record));
        assert_eq!(decode::<LaneRecord>(&mac, b"lane/b", &stored), None);
        assert_eq!(decode::<LaneRecord>(&mac, b"lane/a", &stored[..20]), None);
    }
}
