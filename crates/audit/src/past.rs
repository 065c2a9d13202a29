//! What the end of a file says of the time before the device is opened: read once at each unseal, and compared with the store.

use holdfast_base::Milestone;

use crate::{
    DeviceSpec, PublicKey,
    device::target,
    file::{Target, tail},
    verify::chained,
};

/// Part of each checkpoint, and of few other lines.
const CHECKPOINT: &str = r#""type":"checkpoint""#;

/// The end of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Its path.
    pub file: String,
    /// The newest epoch of this device on this replica; 0 for none.
    pub epoch: u64,
    /// The last milestone of the store that a checkpoint with a good signature names, on whichever replica.
    pub store: Option<Milestone>,
    /// Checkpoints whose signature is not ours: they are of another cluster, or somebody has changed them.
    pub foreign: usize,
}

impl Past {
    /// Of a device that is to be opened on this replica; `key` checks the signatures. `None`: what was given to it cannot be
    /// read back.
    pub fn read(spec: &DeviceSpec, node: &str, key: &PublicKey) -> Option<Self> {
        let Some(Target::File { path, .. }) = target(spec).ok().filter(|_| spec.kind == "file") else { return None };
        let file = path.display().to_string();
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            // Rotated away, or new.
            Err(_) => return Some(Self { file, ..Self::default() }),
            Ok(_) => return None,
        }
        let device = format!("{}/", spec.path.trim_matches('/'));
        let tail = tail(&path).unwrap_or_default();
        Some(Self { file, ..Self::of(&String::from_utf8_lossy(&tail), (node, &device), key) })
    }

    fn of(tail: &str, (node, device): (&str, &str), key: &PublicKey) -> Self {
        let own_epoch = |line: &str| {
            let id = chained(line)?.id;
            id.epoch.parse().ok().filter(|_| id.node == node && id.device == device)
        };
        let mut past = Self { epoch: tail.lines().rev().find_map(own_epoch).unwrap_or(0), ..Self::default() };
        for line in tail.lines().filter(|line| line.contains(CHECKPOINT)).filter_map(chained) {
            let Some(checkpoint) = &line.checkpoint else { continue };
            match line.is_signed_by(key) {
                true => past.store = past.store.into_iter().chain(checkpoint.store).max_by_key(Milestone::order),
                false => past.foreign += 1,
            }
        }
        past
    }
}
