//! File systems in memory, one for each volume, mounted at `mount` in the volume's folder. Everything is done relative to
//! that open folder, so that nobody who renames folders meanwhile can lead a mount elsewhere.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat2, unlinkat},
    mount::{MountFlags, UnmountFlags},
};
use serde::{Deserialize, Serialize};

use super::place::MOUNT;

/// Source of our mounts, as mountinfo shows it.
pub const SOURCE: &str = "holdfast-csi";
/// Most bytes that a volume may be asked to have.
const MAX_SIZE: u64 = 1 << 30;
/// Most files and folders that a volume may be asked to have.
const MAX_INODES: u64 = 1 << 16;

/// A file system in memory for one volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountOptions {
    /// Most bytes.
    pub size: u64,
    /// Most files and folders.
    pub inodes: u64,
    /// Group of its root and, by inheritance, of everything in it; without one all may read.
    pub group: Option<u32>,
    /// SELinux context.
    pub selinux: Option<String>,
}

/// Mounts at `parent`/mount for the user `owner`: nosuid, nodev, noexec, never swapped where the kernel can. Answers the
/// root, open; of the file system that is there, if one of ours is.
pub fn mount(parent: BorrowedFd<'_>, options: &MountOptions, owner: u32) -> io::Result<OwnedFd> {
    check(options)?;
    match mkdirat(parent, MOUNT, Mode::from_raw_mode(0o750)) {
        Err(rustix::io::Errno::EXIST) => {}
        other => other?,
    }
    if let Some(root) = open(parent)? {
        return Ok(root);
    }
    let target = point(parent)?;
    if mount_id(&target)? != mount_id(&parent)? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is mounted there"));
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let attempt = |noswap: bool| -> io::Result<()> {
        let data = CString::new(data(options, owner, noswap)).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(rustix::mount::mount(SOURCE, link(&target), "tmpfs", flags, data.as_c_str())?)
    };
    match attempt(true) {
        // Before 6.4, and in user namespaces, there is no noswap.
        Err(error) if matches!(error.raw_os_error(), Some(EINVAL | EPERM)) => attempt(false)?,
        other => other?,
    }
    drop(target);
    open(parent)?.ok_or_else(|| io::Error::other("the mount is not there"))
}

/// The root of our file system at `parent`/mount, if there is one.
pub fn open(parent: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(parent, MOUNT, flags, Mode::empty(), resolve) {
        Ok(root) => Ok(is_ours(&fs::read_to_string("/proc/self/mountinfo")?, mount_id(&root)?).then_some(root)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Unmounts what is ours at `parent`/mount and removes the folder; an open file does not hold it. Nothing there is no
/// error.
pub fn unmount(parent: BorrowedFd<'_>) -> io::Result<()> {
    while let Some(root) = open(parent)? {
        drop(root);
        let target = format!("{}/{MOUNT}", link(&parent));
        match rustix::mount::unmount(&target, UnmountFlags::NOFOLLOW) {
            Err(rustix::io::Errno::BUSY) => {
                rustix::mount::unmount(&target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?;
            }
            other => other?,
        }
    }
    match unlinkat(parent, MOUNT, AtFlags::REMOVEDIR) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

const EINVAL: i32 = 22;
const EPERM: i32 = 1;

fn check(options: &MountOptions) -> io::Result<()> {
    let bad = |reason: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    let context = options.selinux.as_deref().unwrap_or("x");
    let plain = |c: char| c.is_ascii_alphanumeric() || ":_-.,".contains(c);
    match options {
        MountOptions { size, .. } if !(4096..=MAX_SIZE).contains(size) => bad("size is out of range"),
        MountOptions { inodes, .. } if !(2..=MAX_INODES).contains(inodes) => bad("inodes are out of range"),
        _ if context.is_empty() || context.len() > 512 || !context.chars().all(plain) => bad("not an SELinux context"),
        _ => Ok(()),
    }
}

/// The mount point without what may be mounted on it later.
fn point(parent: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat2(parent, MOUNT, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?)
}

/// A path that leads to exactly this open folder.
fn link(folder: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", folder.as_raw_fd())
}

/// Id of the mount in which an open file lies, as mountinfo has it.
fn mount_id(file: &impl AsRawFd) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|id| id.trim().parse().ok());
    id.ok_or_else(|| io::Error::other("/proc has no mnt_id"))
}

/// Is the mount with this id a whole tmpfs of ours?
fn is_ours(mountinfo: &str, id: u64) -> bool {
    mountinfo.lines().any(|line| {
        let Some((left, right)) = line.split_once(" - ") else { return false };
        let mut left = left.split(' ');
        let mut right = right.split(' ');
        left.next().and_then(|text| text.parse::<u64>().ok()) == Some(id)
            && left.nth(2) == Some("/")
            && right.next() == Some("tmpfs")
            && right.next() == Some(SOURCE)
    })
}

/// With a group the root is 2750: what is made in it inherits the group, so that its maker need not be allowed to give
/// files away.
fn data(options: &MountOptions, owner: u32, noswap: bool) -> String {
    let mode = if options.group.is_some() { "2750" } else { "0755" };
    let group = options.group.unwrap_or(owner);
    let mut data = format!("size={},nr_inodes={},mode={mode},uid={owner},gid={group}", options.size, options.inodes);
    if let Some(context) = &options.selinux {
        data.push_str(&format!(",context=\"{context}\""));
    }
    if noswap {
        data.push_str(",noswap");
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_mounts_are_known_by_their_id() {
        let text = "391 27 0:177 / /a\\040b rw,nosuid - tmpfs holdfast-csi rw,size=1024k\n\
                    392 27 0:178 / /c rw - tmpfs tmpfs rw\n\
                    393 27 0:179 /x /d rw shared:3 - tmpfs holdfast-csi rw\n";
        assert!(is_ours(text, 391));
        assert!(!is_ours(text, 392));
        assert!(!is_ours(text, 393), "a part of one, bound elsewhere");
        assert!(!is_ours(text, 39));
    }

    #[test]
    fn options_are_written_as_the_kernel_reads_them() {
        let options = MountOptions { size: 1 << 20, inodes: 64, group: Some(2000), selinux: Some("a:b:c".into()) };
        assert!(check(&options).is_ok());
        assert_eq!(
            data(&options, 65532, true),
            "size=1048576,nr_inodes=64,mode=2750,uid=65532,gid=2000,context=\"a:b:c\",noswap"
        );
        let options = MountOptions { group: None, selinux: None, ..options };
        assert_eq!(data(&options, 65532, false), "size=1048576,nr_inodes=64,mode=0755,uid=65532,gid=65532");
    }

    #[test]
    fn options_that_could_say_more_than_they_seem_are_refused() {
        let good = MountOptions { size: 1 << 20, inodes: 64, group: None, selinux: None };
        for bad in [
            MountOptions { size: 0, ..good.clone() },
            MountOptions { size: 1 << 40, ..good.clone() },
            MountOptions { inodes: 0, ..good.clone() },
            MountOptions { selinux: Some("a\",uid=0,x=\"".into()), ..good.clone() },
            MountOptions { selinux: Some(String::new()), ..good.clone() },
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
