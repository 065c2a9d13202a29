//! The last good files of volumes, sealed, so that a pod can start on its node while the server is away. Off unless the
//! administrator says for how long values may be used.
//!
//! Only what has no lease is kept: a credential belongs to one pod. A volume finds what an earlier one of the same
//! service account with the same attributes was shown on this node. The key lies on a file system in memory and is lost
//! when the node restarts; on disk are sealed files only (AES-256-GCM, the volume's name and time authenticated).

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine, prelude::BASE64_STANDARD};
use holdfast_base::{Entropy, Timestamp};
use holdfast_secret::SecretBytes;
use rustix::fs::statfs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    payload::{Entry, Payload},
    request::Publish,
};

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of Linux.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58F6];
/// Where a sealed file's bytes begin: time and nonce lie before.
const HEADER: usize = 8 + NONCE_LEN;

/// The cache.
pub struct LastGood {
    folder: PathBuf,
    key: RandomizedNonceKey,
    ttl: Duration,
}

#[derive(Serialize, Deserialize)]
struct File {
    mode: u32,
    bytes: String,
}

impl LastGood {
    /// Keeps sealed files in `folder` and their key in `key_folder`, which must be in memory.
    pub fn open(folder: &Path, key_folder: &Path, ttl: Duration, entropy: &dyn Entropy) -> io::Result<Self> {
        for folder in [folder, key_folder] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let kind = statfs(key_folder)?.f_type;
        if !IN_MEMORY.contains(&kind) {
            let reason = format!("{} does not lie in memory: the key would outlive a restart", key_folder.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let key = SecretBytes::new(read_or_make(&key_folder.join("last-good-key"), entropy)?);
        let key =
            RandomizedNonceKey::new(&AES_256_GCM, key.expose()).map_err(|_| io::Error::other("the key is bad"))?;
        Ok(Self { folder: folder.to_owned(), key, ttl })
    }

    /// Keeps what a volume shows.
    pub fn keep(&self, name: &str, payload: &Payload, now: Timestamp) -> io::Result<()> {
        let files: BTreeMap<&str, File> = payload
            .iter()
            .map(|(path, entry)| {
                (path.as_str(), File { mode: entry.mode, bytes: BASE64_STANDARD.encode(entry.bytes.expose()) })
            })
            .collect();
        let mut bytes = serde_json::to_vec(&files)?;
        let seconds = now.as_second().to_be_bytes();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(context(name, seconds)), &mut bytes);
        let nonce = nonce.map_err(|_| io::Error::other("sealing failed"))?;
        let path = self.path(name);
        let new = path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&seconds)?;
        file.write_all(nonce.as_ref())?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(new, path)
    }

    /// What was kept, and since when, if it is not too old.
    pub fn find(&self, name: &str, now: Timestamp) -> Option<(Payload, Timestamp)> {
        let mut bytes = fs::read(self.path(name)).ok().filter(|bytes| bytes.len() > HEADER)?;
        let seconds: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
        let nonce: [u8; NONCE_LEN] = bytes.get(8..HEADER)?.try_into().ok()?;
        let since = i64::from_be_bytes(seconds);
        let age = now.as_second().saturating_sub(since);
        if age < -60 || age > i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX) {
            return None;
        }
        let nonce = Nonce::from(&nonce);
        let context = Aad::from(context(name, seconds));
        let opened = self.key.open_in_place(nonce, context, bytes.get_mut(HEADER..)?).ok()?;
        let files: BTreeMap<String, File> = serde_json::from_slice(opened).ok()?;
        let entry = |file: File| {
            let bytes = SecretBytes::new(BASE64_STANDARD.decode(file.bytes).ok()?);
            Some(Entry { bytes, mode: file.mode })
        };
        let payload: Option<Payload> = files.into_iter().map(|(path, file)| Some((path, entry(file)?))).collect();
        Some((payload?, Timestamp::from_second(since).ok()?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.sealed", hex::encode(&Sha256::digest(name)[..16])))
    }
}

/// What volumes of the same service account have in common.
pub fn name_of(request: &Publish) -> String {
    let pod = &request.pod;
    let name = (&pod.namespace, &pod.service_account, request.group, &request.attributes);
    serde_json::to_string(&name).unwrap_or_default()
}

fn context(name: &str, seconds: [u8; 8]) -> Vec<u8> {
    [b"holdfast-csi last good 1\n".as_slice(), &seconds, name.as_bytes()].concat()
}

fn read_or_make(path: &Path, entropy: &dyn Entropy) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(key) if key.len() == 32 => return Ok(key),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut key = vec![0; 32];
    entropy.fill(&mut key);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn what_was_kept_is_found_by_its_name_until_it_is_too_old() {
        let disk = tempfile::tempdir().unwrap();
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let open = |seed| LastGood::open(disk.path(), memory.path(), HOUR, &SeededEntropy::new(seed)).unwrap();
        let payload = Payload::from([("a/b".to_owned(), Entry { bytes: SecretBytes::new(*b"canary\0"), mode: 0o440 })]);
        open(1).keep("n", &payload, at(0)).unwrap();
        let (found, since) = open(2).find("n", at(3600)).unwrap();
        assert_eq!((found["a/b"].bytes.expose(), found["a/b"].mode, since), (b"canary\0".as_slice(), 0o440, at(0)));
        assert!(open(2).find("n", at(3601)).is_none() && open(2).find("m", at(0)).is_none());
        for file in fs::read_dir(disk.path()).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"canary"));
            bytes[3] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        assert!(open(2).find("n", at(0)).is_none(), "a changed time is noticed");
        // The node restarts: memory is empty.
        open(1).keep("n", &payload, at(0)).unwrap();
        fs::remove_file(memory.path().join("last-good-key")).unwrap();
        assert!(open(3).find("n", at(0)).is_none());
    }

    #[test]
    fn a_key_on_disk_is_refused() {
        let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let opened = LastGood::open(&disk.path().join("a"), &disk.path().join("b"), HOUR, &SeededEntropy::new(1));
        assert!(opened.err().unwrap().to_string().contains("does not lie in memory"));
    }
}
