//! Files of the shared volume: written aside, then renamed, so that a reader sees the old or the new content whole.
//!
//! A certificate and its key that have a folder to themselves change in one step ([`folder`]).

pub mod folder;

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use holdfast_secret::SecretString;

use self::folder::Folder;

/// User and group, as numbers.
pub type Owner = (Option<u32>, Option<u32>);

/// New content of a file.
#[derive(Debug, Default)]
pub struct Change {
    /// Where to.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// What.
    pub text: SecretString,
    /// User and group, if not the process's.
    pub owner: Option<Owner>,
    /// Keep what was there in `<path>.bak`.
    pub backup: bool,
    /// Fail rather than make the folder.
    pub folder_must_exist: bool,
}

/// The number of a user or group: a number as it is, a name as `/etc/passwd` or `/etc/group` says; empty: none.
pub fn id(name: &str, file: &str) -> Result<Option<u32>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    if let Ok(id) = name.parse() {
        return Ok(Some(id));
    }
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let id = line.and_then(|rest| rest.split(':').nth(1)?.parse().ok());
    id.map(Some).ok_or_else(|| format!("{name:?} is not in {file}; give the number"))
}

/// The numbers of a user and a group.
pub fn owner(names: Option<&(String, String)>) -> Result<Option<Owner>, String> {
    let Some((user, group)) = names else { return Ok(None) };
    Ok(Some((id(user, "/etc/passwd")?, id(group, "/etc/group")?)))
}

/// Is this what the file holds, with these permissions?
pub fn holds(path: &Path, text: &str, mode: u32) -> bool {
    let same_mode = fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o7777 == mode);
    same_mode && fs::read(path).is_ok_and(|held| held == text.as_bytes())
}

/// Writes all, then renames all, so that files that belong together change within microseconds of each other. On an
/// error nothing that was not yet renamed changes.
pub fn swap(changes: &[Change]) -> io::Result<()> {
    swap_with(changes, &[])
}

/// The same, with folders whose files change in one step.
pub fn swap_with(changes: &[Change], folders: &[Folder]) -> io::Result<()> {
    let mut aside = Vec::with_capacity(changes.len());
    let written = write_all_aside(changes, folders, &mut aside);
    if let Err(error) = written {
        for path in aside {
            // What stays behind is overwritten by the next attempt.
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        return Err(error);
    }
    for (from, change) in aside.iter().zip(changes) {
        keep_backup(change)?;
        fs::rename(from, &change.path)?;
    }
    for (from, folder) in aside.iter().skip(changes.len()).zip(folders) {
        folder.show(from)?;
    }
    Ok(())
}

fn write_all_aside(changes: &[Change], folders: &[Folder], aside: &mut Vec<PathBuf>) -> io::Result<()> {
    let named = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    for change in changes {
        aside.push(write_aside(change).map_err(|error| named(&change.path, error))?);
    }
    for folder in folders {
        aside.push(folder.write_aside().map_err(|error| named(&folder.path, error))?);
    }
    Ok(())
}

/// What was there gets a second name, so that the first is never without a file.
fn keep_backup(change: &Change) -> io::Result<()> {
    if !change.backup || !change.path.exists() {
        return Ok(());
    }
    let (backup, new) = (beside(&change.path, "", ".bak"), beside(&change.path, ".", ".bak"));
    remove_if_there(&new)?;
    let held = fs::canonicalize(&change.path)?;
    fs::hard_link(&held, &new).or_else(|_| fs::copy(&held, &new).map(drop))?;
    fs::rename(new, backup)
}

fn beside(path: &Path, before: &str, after: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{before}{name}{after}"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_aside(change: &Change) -> io::Result<PathBuf> {
    let parent = change.path.parent().unwrap_or(Path::new("/"));
    if !change.folder_must_exist {
        fs::create_dir_all(parent)?;
    }
    let path = beside(&change.path, ".", ".new");
    remove_if_there(&path)?;
    write(&path, change)?;
    Ok(path)
}

/// Writes a file that is not there yet.
fn write(path: &Path, change: &Change) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(change.text.expose().as_bytes())?;
    // Not by the mode of open: the umask would take bits away.
    file.set_permissions(fs::Permissions::from_mode(change.mode))?;
    if let Some((user, group)) = change.owner {
        std::os::unix::fs::chown(path, user, group)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_mode_are_exact_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/db");
        let change =
            |text: &str, mode| Change { path: path.clone(), mode, text: SecretString::new(text), ..Change::default() };
        swap(&[change("one", 0o666)]).unwrap();
        assert!(holds(&path, "one", 0o666) && !holds(&path, "one", 0o600) && !holds(&path, "two", 0o666));
        swap(&[change("two", 0o400)]).unwrap();
        swap(&[change("three", 0o400)]).unwrap();
        assert!(holds(&path, "three", 0o400));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn the_content_before_is_kept_if_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        for text in ["one", "two"] {
            let text = SecretString::new(text);
            swap(&[Change { path: path.clone(), mode: 0o600, text, backup: true, ..Change::default() }]).unwrap();
        }
        assert_eq!(fs::read_to_string(dir.path().join("db.bak")).unwrap(), "one");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    }

    #[test]
    fn a_failure_changes_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("good"), dir.path().join("file/below"));
        fs::write(dir.path().join("file"), "").unwrap();
        let change = |path: &Path| Change {
            path: path.to_owned(),
            mode: 0o600,
            text: SecretString::new("x"),
            ..Change::default()
        };
        assert!(swap(&[change(&good), change(&bad)]).is_err());
        assert!(!good.exists() && !dir.path().join(".good.new").exists());
    }
}
