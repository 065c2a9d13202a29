//! The privileged part, behind one narrow trait: mount, unmount, and what is mounted. Everything else could run without
//! privileges beside a process that does only this.

use std::{ffi::CString, fs, io, path::Path};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Source of our mounts, as mountinfo shows it.
pub const SOURCE: &str = "holdfast-csi";

/// A file system in memory for one volume.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    /// Most bytes.
    pub size: u64,
    /// Most files.
    pub inodes: u64,
    /// Mode of its root.
    pub mode: u32,
    /// Group of its root.
    pub group: Option<u32>,
    /// SELinux context.
    pub selinux: Option<String>,
}

/// What needs privileges.
pub trait Mounter: Send + Sync + 'static {
    /// Mounts a file system in memory at `target`, which exists: nosuid, nodev, noexec, never swapped where the kernel can.
    fn mount(&self, target: &Path, options: &MountOptions) -> io::Result<()>;
    /// Unmounts `target`; an open file does not hold it.
    fn unmount(&self, target: &Path) -> io::Result<()>;
    /// Is one of our file systems mounted at `target`?
    fn is_mounted(&self, target: &Path) -> io::Result<bool>;
}

/// tmpfs of Linux.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tmpfs;

impl Mounter for Tmpfs {
    fn mount(&self, target: &Path, options: &MountOptions) -> io::Result<()> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let attempt = |noswap: bool| -> io::Result<()> {
            let data = CString::new(data(options, noswap)).map_err(|_| io::ErrorKind::InvalidInput)?;
            Ok(mount(SOURCE, target, "tmpfs", flags, data.as_c_str())?)
        };
        match attempt(true) {
            // Before 6.4, and in user namespaces, there is no noswap.
            Err(error) if matches!(error.raw_os_error(), Some(EINVAL | EPERM)) => attempt(false),
            other => other,
        }
    }

    fn unmount(&self, target: &Path) -> io::Result<()> {
        match unmount(target, UnmountFlags::NOFOLLOW) {
            Err(rustix::io::Errno::BUSY) => Ok(unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?),
            other => Ok(other?),
        }
    }

    fn is_mounted(&self, target: &Path) -> io::Result<bool> {
        Ok(find(&fs::read_to_string("/proc/self/mountinfo")?, target))
    }
}

const EINVAL: i32 = 22;
const EPERM: i32 = 1;

fn data(options: &MountOptions, noswap: bool) -> String {
    let mut data = format!("size={},nr_inodes={},mode={:04o}", options.size, options.inodes, options.mode);
    if let Some(group) = options.group {
        data.push_str(&format!(",gid={group}"));
    }
    if let Some(context) = &options.selinux {
        data.push_str(&format!(",context=\"{context}\""));
    }
    if noswap {
        data.push_str(",noswap");
    }
    data
}

/// Is the topmost mount at `target` one of ours?
fn find(mountinfo: &str, target: &Path) -> bool {
    let mut ours = false;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4) else { continue };
        if Path::new(&unescape(point)) != target {
            continue;
        }
        let mut right = right.split(' ');
        ours = right.next() == Some("tmpfs") && right.next() == Some(SOURCE);
    }
    ours
}

/// `\040` and its like are bytes in octal.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_mounts_are_found_in_mountinfo() {
        let text = "391 27 0:177 / /a\\040b rw,nosuid - tmpfs holdfast-csi rw,size=1024k\n\
                    392 27 0:178 / /c rw - tmpfs tmpfs rw\n\
                    393 27 0:179 / /d rw shared:3 - tmpfs holdfast-csi rw\n\
                    394 27 0:180 / /d rw shared:3 - ext4 /dev/x rw\n";
        assert!(find(text, Path::new("/a b")));
        assert!(!find(text, Path::new("/c")));
        assert!(!find(text, Path::new("/d")), "something else lies on top");
        assert!(!find(text, Path::new("/e")));
    }

    #[test]
    fn options_are_written_as_the_kernel_reads_them() {
        let options =
            MountOptions { size: 1 << 20, inodes: 64, mode: 0o750, group: Some(2000), selinux: Some("a:b:c".into()) };
        assert_eq!(data(&options, true), "size=1048576,nr_inodes=64,mode=0750,gid=2000,context=\"a:b:c\",noswap");
    }
}
