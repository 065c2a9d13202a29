//! Files that change in one step, as in volumes of ConfigMaps: they are links through `..data`, which a rename points at a
//! folder with the new ones. Whoever resolves `..data` once has files that fit together.
//!
//! ```text
//! /tls/..7/tls.crt, /tls/..7/tls.key
//! /tls/..data    -> ..7
//! /tls/tls.crt   -> ..data/tls.crt
//! ```

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, chown, symlink},
    path::{Path, PathBuf},
};

use tracing::debug;

use super::{Change, beside, holds, keep_backup, remove_if_there, write};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_new";
/// Anybody may make files in such a folder, and the kernel does not let others follow links there.
const SHARED: u32 = 0o1002;
/// What is made in such a folder has its group.
const PASSES_GROUP: u32 = 0o2000;

/// A folder, and all that is to be in it.
#[derive(Debug)]
pub struct Folder {
    /// Where.
    pub path: PathBuf,
    /// Its files.
    pub files: Vec<Change>,
}

impl Folder {
    /// Is there nothing but these files in it, and what begins with a dot? May whoever looks into it look into a folder below,
    /// too?
    pub fn is_owned(&self) -> bool {
        if fs::metadata(&self.path).is_ok_and(|data| data.mode() & SHARED == SHARED || !keeps_readers(&data)) {
            return false;
        }
        let Ok(entries) = fs::read_dir(&self.path) else { return !self.path.exists() };
        entries.flatten().all(|entry| {
            let (name, path) = (entry.file_name(), entry.path());
            let ours = |file: &Change| file.path == path || beside(&file.path, "", ".bak") == path;
            name.to_string_lossy().starts_with('.') || self.files.iter().any(ours)
        })
    }

    /// Writes all files into a folder that nobody looks at yet.
    pub(super) fn write_aside(&self) -> io::Result<PathBuf> {
        if !self.path.exists() {
            fs::create_dir_all(&self.path)?;
        }
        let link = fs::read_link(self.path.join(DATA)).unwrap_or_default();
        let number: u64 = link.to_string_lossy().trim_start_matches('.').parse().unwrap_or(0);
        let new = self.path.join(format!("..{}", number.wrapping_add(1)));
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        self.fill(&new).inspect_err(|_| drop(fs::remove_dir_all(&new)))?;
        Ok(new)
    }

    fn fill(&self, new: &Path) -> io::Result<()> {
        fs::create_dir(new)?;
        let (folder, made) = (fs::metadata(&self.path)?, fs::metadata(new)?);
        if (made.uid(), made.gid()) != (folder.uid(), folder.gid()) {
            // Only root may; for others `is_owned` has seen that it makes no difference.
            let _ = chown(new, Some(folder.uid()), Some(folder.gid()));
        }
        fs::set_permissions(new, folder.permissions())?;
        self.files.iter().try_for_each(|file| write(&new.join(file.path.file_name().unwrap_or_default()), file))
    }

    /// Shows what was written aside.
    pub(super) fn show(&self, new: &Path) -> io::Result<()> {
        let differs = |file: &&Change| !holds(&file.path, file.text.expose(), file.mode);
        self.files.iter().filter(differs).try_for_each(keep_backup)?;
        let before = fs::read_link(self.path.join(DATA)).unwrap_or_default();
        let link = self.path.join(DATA_NEW);
        remove_if_there(&link)?;
        symlink(new.file_name().unwrap_or_default(), &link)?;
        fs::rename(link, self.path.join(DATA))?;
        for file in &self.files {
            let target = Path::new(DATA).join(file.path.file_name().unwrap_or_default());
            if fs::read_link(&file.path).is_ok_and(|there| there == target) {
                continue;
            }
            let aside = beside(&file.path, ".", ".new");
            remove_if_there(&aside)?;
            symlink(target, &aside)?;
            fs::rename(aside, &file.path)?;
        }
        // Whoever is just being led into the folder before finds it, until the next look. What cannot be removed stays: the
        // new files are there.
        if let Err(error) = sweep(&self.path, &[new, &self.path.join(before)]) {
            debug!(%error, folder = %self.path.display(), "earlier files stay");
        }
        Ok(())
    }

    /// Removes the folder before, when nobody can be on the way into it any more.
    pub fn tidy(&self) -> io::Result<()> {
        match fs::read_link(self.path.join(DATA)) {
            Ok(current) => sweep(&self.path, &[&self.path.join(current)]),
            Err(_) => Ok(()),
        }
    }
}

/// Is a folder that we make in this one open to the same group? To root all is possible, and some folders pass their group on.
fn keeps_readers(folder: &fs::Metadata) -> bool {
    let (group, others) = (folder.mode() >> 3 & 0o5, folder.mode() & 0o5);
    rustix::process::geteuid().is_root()
        || folder.mode() & PASSES_GROUP != 0
        || folder.gid() == rustix::process::getegid().as_raw()
        || group & !others == 0
}

/// Removes what links led through, once none does any more.
pub fn leave(folder: &Path) -> io::Result<()> {
    let through = |path: PathBuf| fs::read_link(path).is_ok_and(|target| target.starts_with(DATA));
    if fs::symlink_metadata(folder.join(DATA)).is_err()
        || fs::read_dir(folder)?.flatten().any(|entry| through(entry.path()))
    {
        return Ok(());
    }
    remove_if_there(&folder.join(DATA))?;
    sweep(folder, &[])
}

/// Removes the folders of earlier files but these.
fn sweep(folder: &Path, keep: &[&Path]) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let numbered = name.to_string_lossy().strip_prefix("..").is_some_and(|rest| rest.parse::<u64>().is_ok());
        if numbered && !keep.contains(&entry.path().as_path()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt,
        sync::atomic::{AtomicBool, Ordering},
    };

    use holdfast_secret::SecretString;

    use super::{super::swap_with, *};

    fn pair(path: &Path, text: &str) -> Folder {
        let file = |name: &str, mode| Change {
            path: path.join(name),
            mode,
            text: SecretString::new(text),
            backup: name == "tls.crt",
            ..Change::default()
        };
        Folder { path: path.to_owned(), files: vec![file("tls.crt", 0o644), file("tls.key", 0o600)] }
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn whoever_looks_sees_files_that_fit_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls");
        // What there was before, as plain files.
        fs::create_dir(&path).unwrap();
        fs::write(path.join("tls.key"), "old").unwrap();
        let show = |text: &str| {
            let folder = pair(&path, text);
            assert!(folder.is_owned());
            swap_with(&[], &[folder]).unwrap();
        };
        show("0");
        let (path, done) = (&path, &AtomicBool::new(false));
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    // Again, since the scheduler may stop a reader on its way for longer than two swaps take.
                    let found = (0..3).any(|_| fs::read(path.join("tls.crt")).is_ok());
                    assert!(found, "it is never absent");
                    let link = fs::read_link(path.join(DATA)).unwrap();
                    let read = |name: &str| fs::read_to_string(path.join(&link).join(name));
                    if let (Ok(one), Ok(two)) = (read("tls.crt"), read("tls.key")) {
                        assert_eq!(one, two);
                        seen += 1;
                    }
                }
                seen
            });
            (1..300).for_each(|round| show(&round.to_string()));
            done.store(true, Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
        });
        assert_eq!(names(path), ["..299", "..300", "..data", "tls.crt", "tls.crt.bak", "tls.key"]);
        pair(path, "299").tidy().unwrap();
        assert_eq!(names(path), ["..300", "..data", "tls.crt", "tls.crt.bak", "tls.key"]);
        assert_eq!(fs::read_to_string(path.join("tls.crt.bak")).unwrap(), "298");
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("tls.crt"), mode("tls.key")), (0o644, 0o600));
    }

    #[test]
    fn a_folder_that_has_other_files_is_left_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        swap_with(&[], &[pair(path, "one")]).unwrap();
        fs::write(path.join("other"), "").unwrap();
        let Folder { files, .. } = pair(path, "two");
        assert!(!pair(path, "two").is_owned());
        swap_with(&files[..1], &[]).unwrap();
        leave(path).unwrap();
        assert_eq!(fs::read_to_string(path.join("tls.key")).unwrap(), "one", "still seen through the link");
        swap_with(&files[1..], &[]).unwrap();
        leave(path).unwrap();
        assert_eq!(names(path), ["other", "tls.crt", "tls.crt.bak", "tls.key"]);
        fs::remove_file(path.join("other")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(!pair(path, "two").is_owned());
    }
}
