//! How paths look in the store: each segment encrypted under its parent, always to the same bytes, so that a folder is still a
//! range of keys although no name is readable.
//!
//! `a/b/c` is stored as `data/` E(a) `/` E(b) `/!` E(c), where E is AES-256-SIV in base64url with everything before the segment
//! as associated data. `!` sorts before the whole alphabet of base64url: within a folder the keys at its own level come first,
//! in one range, and its folders after them.

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::unsync::Cache;
use zeroize::Zeroizing;

/// Prefix of all encrypted keys.
pub const DATA: &[u8] = b"data/";

/// Encrypts and decrypts names.
pub struct Names {
    /// Keyed instances, taken and given back: encryption needs one for itself.
    pool: Mutex<Vec<Aes256Siv>>,
    key: Zeroizing<[u8; 64]>,
    /// Stored keys by path, as most paths are asked for again.
    recent: Mutex<Cache<Box<str>, Bytes>>,
    /// What stored keys below a folder start with: of many keys the folders are few.
    folders: Mutex<Cache<Box<str>, Bytes>>,
}

/// Names that are remembered.
const REMEMBERED: usize = 4096;

/// A stored key that is not one of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the name does not decrypt")]
pub struct BadName;

/// What stands directly below a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A key.
    Leaf,
    /// More folders or keys.
    Folder,
}

impl Names {
    /// From a key of 64 bytes.
    pub fn new(key: &[u8; 64]) -> Self {
        Self {
            pool: Mutex::new(Vec::new()),
            key: Zeroizing::new(*key),
            recent: Mutex::new(Cache::new(REMEMBERED)),
            folders: Mutex::new(Cache::new(REMEMBERED)),
        }
    }

    /// The stored key of a path.
    pub fn key(&self, path: &str) -> Bytes {
        remembered(&self.recent, path, || self.make_key(path))
    }

    fn make_key(&self, path: &str) -> Bytes {
        let (folder, leaf) = split(path);
        let prefix = self.folder(folder);
        let mut key = Vec::with_capacity(prefix.len() + leaf.len() * 2 + 32);
        key.extend_from_slice(&prefix);
        key.push(b'!');
        self.append(&mut key, folder, leaf, Level::Leaf);
        key.into_boxed_slice().into()
    }

    /// What all stored keys below a folder start with. `folder` is empty or ends in `/`.
    pub fn folder(&self, folder: &str) -> Bytes {
        remembered(&self.folders, folder, || self.make_folder(folder))
    }

    fn make_folder(&self, folder: &str) -> Bytes {
        let mut key = Vec::with_capacity(DATA.len() + folder.len() * 2 + 48);
        key.extend_from_slice(DATA);
        let mut start = 0;
        for (end, _) in folder.match_indices('/') {
            self.append(&mut key, &folder[..start], &folder[start..end], Level::Folder);
            key.push(b'/');
            start = end + 1;
        }
        key.into_boxed_slice().into()
    }

    /// The name of one segment below a folder, from its stored form.
    pub fn segment(&self, folder: &str, stored: &[u8], level: Level) -> Result<String, BadName> {
        let sealed = URL_SAFE_NO_PAD.decode(stored).map_err(|_| BadName)?;
        let plain = self.with(|siv| siv.decrypt([domain(level), folder.as_bytes()], &sealed)).map_err(|_| BadName)?;
        String::from_utf8(plain).map_err(|_| BadName)
    }

    /// The path of a stored key.
    pub fn path(&self, key: &[u8]) -> Result<String, BadName> {
        let mut rest = key.strip_prefix(DATA).ok_or(BadName)?;
        let mut path = String::new();
        while let Some(end) = rest.iter().position(|byte| *byte == b'/') {
            let name = self.segment(&path, &rest[..end], Level::Folder)?;
            path.push_str(&name);
            path.push('/');
            rest = &rest[end + 1..];
        }
        let leaf = self.segment(&path, rest.strip_prefix(b"!").ok_or(BadName)?, Level::Leaf)?;
        path.push_str(&leaf);
        Ok(path)
    }

    fn append(&self, key: &mut Vec<u8>, folder: &str, segment: &str, level: Level) {
        let sealed = self.with(|siv| siv.encrypt([domain(level), folder.as_bytes()], segment.as_bytes()));
        // Only more than 126 headers make SIV fail; there are two.
        let sealed = Zeroizing::new(sealed.unwrap_or_default());
        key.extend_from_slice(URL_SAFE_NO_PAD.encode(sealed.as_slice()).as_bytes());
    }

    fn with<T>(&self, work: impl FnOnce(&mut Aes256Siv) -> T) -> T {
        let mut siv = self.pool.lock().pop().unwrap_or_else(|| Aes256Siv::new((&*self.key).into()));
        let result = work(&mut siv);
        let mut pool = self.pool.lock();
        if pool.len() < 8 {
            pool.push(siv);
        }
        result
    }
}

/// What is known for a name, or is made now.
fn remembered(recent: &Mutex<Cache<Box<str>, Bytes>>, name: &str, make: impl FnOnce() -> Bytes) -> Bytes {
    if let Some(known) = recent.lock().get(name) {
        return known.clone();
    }
    let made = make();
    recent.lock().insert(name.into(), made.clone());
    made
}

/// A folder (empty or ending in `/`) and the name in it.
pub fn split(path: &str) -> (&str, &str) {
    path.rfind('/').map_or(("", path), |slash| path.split_at(slash + 1))
}

fn domain(level: Level) -> &'static [u8] {
    match level {
        Level::Leaf => b"holdfast name 1 leaf",
        Level::Folder => b"holdfast name 1 folder",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        Names::new(&[7; 64])
    }

    proptest! {
        #[test]
        fn a_path_comes_back(path in "[a-zé/]{1,40}") {
            let names = names();
            prop_assert_eq!(names.path(&names.key(&path)).unwrap(), path);
        }

        #[test]
        fn a_key_starts_with_its_folders(folders in proptest::collection::vec("[a-z]{1,8}", 0..5), leaf in "[a-z]{1,8}") {
            let names = names();
            let folder: String = folders.iter().map(|name| format!("{name}/")).collect();
            let key = names.key(&format!("{folder}{leaf}"));
            prop_assert!(key.starts_with(&names.folder(&folder)));
        }
    }

    #[test]
    fn the_same_name_elsewhere_looks_different() {
        let names = names();
        let (a, b) = (names.key("x/same"), names.key("y/same"));
        assert_ne!(a.rsplit(|byte| *byte == b'!').next(), b.rsplit(|byte| *byte == b'!').next());
    }

    #[test]
    fn a_moved_segment_does_not_decrypt() {
        let names = names();
        let stolen = names.key("x/leaf");
        let mut moved = names.folder("y/").to_vec();
        moved.extend_from_slice(&stolen[names.folder("x/").len()..]);
        assert_eq!(names.path(&moved), Err(BadName));
    }

    #[test]
    fn the_stored_form_stays_the_same_for_ever() {
        assert_eq!(names().key("kv/secret"), Bytes::from_static(FIXTURE.as_bytes()));
    }

    const FIXTURE: &str = "data/sqr8ywELbr2zKpU_N-OALgR-/!L3bSeBRLDVVA_9r4H-08CSd-2MAp5A";
}
