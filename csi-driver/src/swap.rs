//! Files of a volume, swapped together: everything is written into a new directory, then one rename of the `..data` link
//! shows it. What a pod opens is a link into `..data`, so it sees all of the old payload or all of the new one.
//!
//! ```text
//! /secrets/..2026-11-23T14-02-11.1a2b3c4d/orders-ro/username
//! /secrets/..data      -> ..2026-11-23T14-02-11.1a2b3c4d
//! /secrets/orders-ro   -> ..data/orders-ro
//! /secrets/.holdfast/status.json
//! ```

use std::{
    collections::BTreeSet,
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::payload::Payload;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_new";
const STATUS_DIR: &str = ".holdfast";

/// Who may read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ownership {
    /// Group of everything, which is inherited from the volume's root. Here it decides the mode of directories: 0750
    /// with, 0755 without.
    pub group: Option<u32>,
}

impl Ownership {
    /// Mode of directories.
    pub fn directory_mode(self) -> u32 {
        if self.group.is_some() { 0o750 } else { 0o755 }
    }

    fn make_directory(self, path: &Path) -> io::Result<()> {
        // Not changed afterwards: a change of mode by somebody outside the group ends the inheritance of the group.
        match fs::DirBuilder::new().mode(self.directory_mode()).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn write_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))
    }
}

/// Has a payload ever been shown here?
pub fn is_delivered(root: &Path) -> bool {
    fs::read_link(root.join(DATA)).is_ok()
}

/// Shows `payload` in `root`. `name` tells this directory from all before it. Answers whether anything changed: the same
/// payload again leaves every file as it is.
pub fn show(root: &Path, payload: &Payload, ownership: Ownership, name: &str) -> io::Result<bool> {
    if shows(root, payload) {
        return Ok(false);
    }
    let new = format!("..{name}");
    let directory = root.join(&new);
    write_all(&directory, payload, ownership).inspect_err(|_| drop(fs::remove_dir_all(&directory)))?;
    let link = root.join(DATA_NEW);
    remove_if_there(&link)?;
    symlink(&new, &link)?;
    fs::rename(&link, root.join(DATA))?;
    let visible: BTreeSet<&str> = payload.keys().map(|name| first(name)).collect();
    for name in &visible {
        let path = root.join(name);
        if fs::symlink_metadata(&path).is_err() {
            symlink(Path::new(DATA).join(name), &path)?;
        }
    }
    sweep(root, &visible, &new)?;
    Ok(true)
}

fn write_all(directory: &Path, payload: &Payload, ownership: Ownership) -> io::Result<()> {
    ownership.make_directory(directory)?;
    for (name, entry) in payload {
        let path = directory.join(name);
        for parent in parents(name) {
            ownership.make_directory(&directory.join(parent))?;
        }
        Ownership::write_file(&path, entry.bytes.expose(), entry.mode)?;
    }
    Ok(())
}

/// `a/b/c` → `a`, `a/b`.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

fn first(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// Removes links that lead nowhere any more, directories of earlier payloads, and what a crash left.
fn sweep(root: &Path, visible: &BTreeSet<&str>, current: &str) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let keep = name == DATA || name == STATUS_DIR || name == current || visible.contains(name.as_ref());
        if keep {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

/// Does `root` show exactly this payload, content and modes?
fn shows(root: &Path, payload: &Payload) -> bool {
    let data = root.join(DATA);
    let mut found = Vec::new();
    if files_below(&data, "", &mut found).is_err() || found.len() != payload.len() {
        return false;
    }
    let visible = |name: &str| fs::read_link(root.join(first(name))).is_ok();
    payload.iter().all(|(name, entry)| {
        let path = data.join(name);
        visible(name)
            && fs::metadata(&path).is_ok_and(|metadata| metadata.permissions().mode() & 0o7777 == entry.mode)
            && fs::read(&path).is_ok_and(|bytes| bytes == entry.bytes.expose())
    })
}

fn files_below(root: &Path, prefix: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(prefix))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() { files_below(root, &name, found)? } else { found.push(name) }
    }
    Ok(())
}

/// Replaces `.holdfast/status.json`.
pub fn write_status(root: &Path, json: &[u8], ownership: Ownership) -> io::Result<()> {
    let directory = root.join(STATUS_DIR);
    ownership.make_directory(&directory)?;
    let new = directory.join("status.json.new");
    remove_if_there(&new)?;
    Ownership::write_file(&new, json, if ownership.group.is_some() { 0o440 } else { 0o444 })?;
    fs::rename(new, directory.join("status.json"))
}

/// Where the status is.
pub fn status_path(root: &Path) -> PathBuf {
    root.join(STATUS_DIR).join("status.json")
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use holdfast_secret::SecretBytes;

    use super::*;
    use crate::payload::Entry;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Entry { bytes: SecretBytes::new(text.as_bytes()), mode: 0o440 }))
            .collect()
    }

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_payload_replaces_another_and_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert!(!is_delivered(root));
        assert!(show(root, &payload(&[("db/username", "a"), ("token", "t")]), Ownership::default(), "1").unwrap());
        assert!(is_delivered(root));
        assert_eq!(names(root), ["..1", "..data", "db", "token"]);
        assert_eq!(fs::read_to_string(root.join("db/username")).unwrap(), "a");
        write_status(root, b"{}", Ownership::default()).unwrap();
        assert!(show(root, &payload(&[("db/username", "b"), ("other", "o")]), Ownership::default(), "2").unwrap());
        assert_eq!(names(root), ["..2", "..data", ".holdfast", "db", "other"]);
        assert_eq!(fs::read_to_string(root.join("db/username")).unwrap(), "b");
        assert_eq!(fs::metadata(root.join("other")).unwrap().permissions().mode() & 0o777, 0o440);
    }

    #[test]
    fn the_same_payload_again_touches_nothing() {
        let root = tempfile::tempdir().unwrap();
        let files = payload(&[("a/b/c", "x")]);
        assert!(show(root.path(), &files, Ownership::default(), "1").unwrap());
        assert!(!show(root.path(), &files, Ownership::default(), "2").unwrap());
        assert_eq!(names(root.path()), ["..1", "..data", "a"]);
    }

    #[test]
    fn leftovers_of_a_crash_are_swept() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("..0")).unwrap();
        symlink("..0", root.path().join(DATA_NEW)).unwrap();
        show(root.path(), &payload(&[("a", "x")]), Ownership::default(), "1").unwrap();
        assert_eq!(names(root.path()), ["..1", "..data", "a"]);
    }

    #[test]
    fn a_reader_never_sees_half_of_a_swap() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let both = |text: &str| payload(&[("pair/one", text), ("pair/two", text)]);
        show(root, &both("0"), Ownership::default(), "0").unwrap();
        let done = &std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut seen = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    // One directory held open is one payload.
                    let Ok(link) = fs::read_link(root.join(DATA)) else { continue };
                    let read = |name: &str| fs::read_to_string(root.join(&link).join("pair").join(name));
                    if let (Ok(one), Ok(two)) = (read("one"), read("two")) {
                        assert_eq!(one, two);
                        assert!(!one.is_empty());
                        seen += 1;
                    }
                }
                seen
            });
            for round in 1..300 {
                show(root, &both(&round.to_string()), Ownership::default(), &round.to_string()).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
        });
    }
}
