//! The chain of one device: every line carries its number, the hash of the line before and a MAC under a key that is
//! used once.
//!
//! `mac = HMAC-SHA256(kᵢ, SHA-256(line so far))`, then `kᵢ₊₁ = SHA-256("holdfast audit key" ‖ kᵢ)` and `kᵢ` is erased: whoever
//! breaks into the process later cannot make the MACs of the past. Now and then a checkpoint is signed that says how far the
//! chain had come: it cannot be cut back behind that, and its check needs the public key only. It also says how far the store
//! had come, as far as the chain was told; [`Past`](crate::Past) reads that back.
//!
//! A chain lives as long as a device is open. Each opening begins a new *epoch*, whose first line names the end of the epoch
//! before it as found in the target.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use holdfast_base::{Clock, Milestone, Timestamp};
use holdfast_secret::{SecretBytes, same};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::{Record, Signer};

/// Lines between two checkpoints, at most.
pub const CHECKPOINT_LINES: u64 = 1000;

/// What a chain is made of.
pub struct ChainSpec {
    /// Which chain.
    pub id: ChainId,
    /// `k₀`, 32 bytes. Whoever has it can check, and make, every MAC of this epoch.
    pub key: SecretBytes,
    /// Signs checkpoints; without it there are none.
    pub signer: Option<Arc<Signer>>,
    /// Time of lines that belong to the chain itself.
    pub clock: Arc<dyn Clock>,
    /// Told of the first line and of each checkpoint, once it is safe.
    pub heads: mpsc::UnboundedSender<Head>,
    /// How far the epoch before had come, as the store knows it.
    pub stored: Option<Head>,
}

/// Names a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChainId {
    /// Name of the replica.
    pub node: String,
    /// Path of the device.
    pub device: String,
    /// A number that grows with each opening; `sealed-…` for what is written before there are keys.
    pub epoch: String,
}

/// How far a chain has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which chain.
    #[serde(flatten)]
    pub id: ChainId,
    /// Number of the line.
    pub seq: u64,
    /// SHA-256 of the line without line feed, hexadecimal.
    pub head: String,
    /// When.
    pub time: Timestamp,
}

/// A line that belongs to the chain itself.
pub(crate) enum Mark {
    /// First line of an epoch.
    Start(Box<Origin>),
    /// First line of a file after a rotation.
    Rotate,
    /// Before it stand so many bytes of a line that was never finished.
    Recovery { torn: u64 },
}

/// What the writer carries along.
#[derive(Clone)]
pub(crate) struct Chain {
    id: ChainId,
    seq: u64,
    prev: String,
    key: Zeroizing<[u8; 32]>,
    unsigned: u64,
    /// How far the store had come when the chain was last told.
    store: Option<Milestone>,
    signer: Option<Arc<Signer>>,
    clock: Arc<dyn Clock>,
}

/// What a line says about itself, under `hf`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Seal {
    pub v: u8,
    pub seq: u64,
    pub node: String,
    pub epoch: String,
    pub device: String,
    pub prev: String,
}

/// `checkpoint` of a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub seq: u64,
    pub head: String,
    pub time: Timestamp,
    /// How far the store had come by then, or some time before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Milestone>,
    pub signature: String,
}

/// `start`, `rotate` and `recovery` of a line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// End of the epoch before, as found in the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Head>,
    /// The same as the store knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Head>,
    /// Bytes of an unfinished line before this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub torn: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Between the signed part of a line and its end.
const MAC_HEAD: &str = r#","mac":""#;
const MAC_TAIL: &str = r#""}}"#;

impl Chain {
    pub fn new(spec: &ChainSpec) -> Option<Self> {
        let key: [u8; 32] = spec.key.expose().try_into().ok()?;
        Some(Self {
            id: spec.id.clone(),
            seq: 0,
            prev: String::new(),
            key: Zeroizing::new(key),
            unsigned: 0,
            store: None,
            signer: spec.signer.clone(),
            clock: spec.clock.clone(),
        })
    }

    /// The line of a record, with its place in the chain.
    pub fn stamp(&mut self, record: &Record) -> String {
        self.seq += 1;
        self.unsigned += 1;
        let seal = Seal {
            v: 1,
            seq: self.seq,
            node: self.id.node.clone(),
            epoch: self.id.epoch.clone(),
            device: self.id.device.clone(),
            prev: std::mem::take(&mut self.prev),
        };
        // Text and numbers always encode.
        let seal = serde_json::to_string(&seal).unwrap_or_default();
        let open = record.line().strip_suffix('}').unwrap_or_default();
        let comma = if open.ends_with('{') { "" } else { "," };
        let mut line = format!("{open}{comma}\"hf\":{}{}", seal.strip_suffix('}').unwrap_or_default(), record.extra());
        let mac = mac(&self.key, &digest(line.as_bytes()));
        line.push_str(MAC_HEAD);
        line.push_str(&hex::encode(mac));
        line.push_str(MAC_TAIL);
        self.prev = hex::encode(digest(line.as_bytes()));
        self.key = next(&self.key);
        line
    }

    /// The line of a mark.
    pub fn mark(&mut self, mark: &Mark) -> String {
        let (kind, origin) = match mark {
            Mark::Start(origin) => ("start", serde_json::to_value(origin)),
            Mark::Rotate => ("rotate", serde_json::to_value(Origin::default())),
            Mark::Recovery { torn } => ("recovery", serde_json::to_value(Origin { torn: *torn, ..Origin::default() })),
        };
        let body = origin.unwrap_or_default();
        self.own(kind, body)
    }

    /// The store has come so far: checkpoints say it from here on, and one is worth a line.
    pub fn tell(&mut self, store: Milestone) {
        self.store = Some(store);
        self.unsigned = self.unsigned.max(1);
    }

    /// The line of a checkpoint, if there is anything new to sign since the last one and there is a signer.
    pub fn checkpoint(&mut self) -> Option<String> {
        let signer = self.signer.clone().filter(|_| self.unsigned > 0)?;
        let (head, store) = (self.head(), self.store);
        let signature = signer.sign(&head, store.as_ref())?;
        let checkpoint = Checkpoint { seq: head.seq, head: head.head, time: head.time, store, signature };
        let line = self.own("checkpoint", serde_json::to_value(checkpoint).unwrap_or_default());
        self.unsigned = 0;
        Some(line)
    }

    /// Is a checkpoint due?
    pub fn is_due(&self) -> bool {
        self.signer.is_some() && self.unsigned >= CHECKPOINT_LINES
    }

    pub fn head(&self) -> Head {
        Head { id: self.id.clone(), seq: self.seq, head: self.prev.clone(), time: self.clock.now() }
    }

    /// The chain as it was `before`, gone on by these of its own lines.
    pub fn replay(&self, before: Self, lines: &[String]) -> Self {
        let mut chain = before;
        for line in lines {
            chain.seq += 1;
            chain.unsigned += 1;
            chain.prev = hex::encode(digest(line.as_bytes()));
            chain.key = next(&chain.key);
        }
        chain
    }

    /// Lines of our own have the outline of an entry, so that a reader of entries does not stumble.
    fn own(&mut self, kind: &str, body: serde_json::Value) -> String {
        let path = serde_json::Value::from(format!("sys/audit/{}", self.id.device.trim_matches('/')));
        let line = format!(
            r#"{{"time":"{}","type":"{kind}","auth":{{}},"request":{{"id":"","operation":"{kind}","namespace":{{"id":"root"}},"path":{path}}},"{kind}":{body}}}"#,
            self.clock.now()
        );
        self.stamp(&Record::own(line))
    }
}

/// SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The part of a line that its MAC is about, and the MAC in hexadecimal.
pub(crate) fn split(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_suffix(MAC_TAIL)?;
    let at = rest.len().checked_sub(64)?;
    let (body, mac) = (rest.get(..at)?, rest.get(at..)?);
    Some((body.strip_suffix(MAC_HEAD)?, mac))
}

/// Checks MACs of one epoch in order of their numbers, from its first key on.
pub struct MacCheck {
    seq: u64,
    key: Zeroizing<[u8; 32]>,
}

impl MacCheck {
    /// With `k₀`. `None` unless it has 32 bytes.
    pub fn new(key: &SecretBytes) -> Option<Self> {
        Some(Self { seq: 1, key: Zeroizing::new(key.expose().try_into().ok()?) })
    }

    /// Does `mac` belong to the line of this number whose signed part has this SHA-256? Numbers must not go down.
    pub fn holds(&mut self, seq: u64, digest: &[u8; 32], given: &[u8]) -> bool {
        while self.seq < seq {
            self.key = next(&self.key);
            self.seq += 1;
        }
        seq == self.seq && same(mac(&self.key, digest), given)
    }
}

fn mac(key: &[u8; 32], digest: &[u8; 32]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(digest);
    mac.finalize().into_bytes().into()
}

fn next(key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(b"holdfast audit key");
    hash.update(key);
    Zeroizing::new(hash.finalize().into())
}
