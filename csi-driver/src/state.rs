//! What the driver remembers on the node's disk, beside its socket: one file for each volume and one for each release that
//! is still owed. No secrets: names, paths and lease ids.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use holdfast_base::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::{mounter::place::Place, request::Pod};

/// The folder.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

/// A volume that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Kubelet's name.
    pub volume_id: String,
    /// Name in the pod's spec.
    pub volume: String,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Whose it is.
    pub pod: Pod,
    /// Path of each credential, for a restart while the Kubernetes API is away.
    #[serde(default)]
    pub paths: BTreeMap<String, String>,
    /// Seconds that the lease of a credential is to have, where its object says so.
    #[serde(default)]
    pub ttls: BTreeMap<String, u64>,
    /// Item → lease.
    #[serde(default)]
    pub leases: BTreeMap<String, LeaseRecord>,
}

/// A lease of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Its id.
    pub lease_id: String,
    /// Its full duration in seconds, which a later answer does not tell.
    pub ttl: u64,
}

/// What is to be given back for a volume that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// Kubelet's name of the volume.
    pub volume_id: String,
    /// Name in the pod's spec: all items below `csi/<volume>/`.
    pub volume: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// Items known to have had leases.
    pub items: Vec<String>,
    /// Since when it is owed.
    pub since: Timestamp,
}

/// Prefix of the items of a volume.
pub fn item_prefix(volume: &str) -> String {
    format!("csi/{volume}/")
}

impl VolumeRecord {
    /// The volume, as the mounter knows it.
    pub fn place(&self) -> Place {
        Place { pod: self.pod.uid.clone(), volume: self.volume.clone() }
    }
}

// === impl StateDir ===

impl StateDir {
    /// Makes the folder, readable by the driver alone.
    pub fn open(root: &Path) -> io::Result<Self> {
        for name in ["volumes", "releases"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(name))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Can it be looked through and written to?
    pub fn check(&self) -> io::Result<()> {
        for name in ["volumes", "releases"] {
            let folder = self.root.join(name);
            fs::read_dir(&folder)?;
            rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK)?;
        }
        Ok(())
    }

    /// Writes a volume's record.
    pub fn save_volume(&self, record: &VolumeRecord) -> io::Result<()> {
        self.save(&self.path("volumes", &record.volume_id), record)
    }

    /// A volume's record.
    pub fn volume(&self, volume_id: &str) -> Option<VolumeRecord> {
        load(&self.path("volumes", volume_id))
    }

    /// All volumes' records.
    pub fn volumes(&self) -> Vec<VolumeRecord> {
        self.all("volumes")
    }

    /// Forgets a volume.
    pub fn remove_volume(&self, volume_id: &str) -> io::Result<()> {
        remove(&self.path("volumes", volume_id))
    }

    /// Writes a release.
    pub fn save_release(&self, record: &ReleaseRecord) -> io::Result<()> {
        self.save(&self.path("releases", &record.volume_id), record)
    }

    /// All releases that are owed.
    pub fn releases(&self) -> Vec<ReleaseRecord> {
        self.all("releases")
    }

    /// Is a release owed for this volume?
    pub fn release(&self, volume_id: &str) -> Option<ReleaseRecord> {
        load(&self.path("releases", volume_id))
    }

    /// Forgets a release.
    pub fn remove_release(&self, volume_id: &str) -> io::Result<()> {
        remove(&self.path("releases", volume_id))
    }

    fn path(&self, kind: &str, volume_id: &str) -> PathBuf {
        self.root.join(kind).join(format!("{}.json", hex::encode(&Sha256::digest(volume_id.as_bytes())[..16])))
    }

    fn all<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let Ok(entries) = fs::read_dir(self.root.join(kind)) else { return Vec::new() };
        let files = entries.flatten().map(|entry| entry.path());
        files
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .filter_map(|path| load(&path))
            .collect()
    }

    /// New file, synced, then renamed over the old one: a crash leaves one or the other.
    fn save(&self, path: &Path, record: &impl Serialize) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        if let Some(folder) = path.parent() {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = fs::read(path).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(record) => Some(record),
        Err(error) => {
            warn!(path = %path.display(), %error, "unreadable state file");
            None
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let pod = Pod { name: "p".into(), namespace: "n".into(), uid: "u".into(), service_account: "s".into() };
        let record = VolumeRecord {
            volume_id: "csi-1/../x".into(),
            volume: "secrets".into(),
            target: "/t".into(),
            pod,
            paths: BTreeMap::new(),
            ttls: BTreeMap::from([("orders-ro".into(), 600)]),
            leases: BTreeMap::from([("csi/secrets/a".into(), LeaseRecord { lease_id: "a/creds/r/1".into(), ttl: 60 })]),
        };
        state.save_volume(&record).unwrap();
        assert_eq!(StateDir::open(folder.path()).unwrap().volumes(), std::slice::from_ref(&record));
        assert_eq!(state.volume(&record.volume_id), Some(record.clone()));
        state.remove_volume(&record.volume_id).unwrap();
        state.remove_volume(&record.volume_id).unwrap();
        assert!(state.volumes().is_empty() && state.check().is_ok());
        fs::remove_dir(folder.path().join("releases")).unwrap();
        assert_eq!(state.check().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
