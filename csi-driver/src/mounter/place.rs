//! Where volumes are: `<kubelet>/pods/<uid>/volumes/kubernetes.io~csi/<volume>/mount`, and nowhere else. Names are checked
//! as names, and the kernel resolves them below an open folder, without links.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use serde::{Deserialize, Serialize};

/// Name of the mount point in a volume's folder.
pub const MOUNT: &str = "mount";
/// Kubelet's folder of CSI volumes in a pod's.
const PLUGIN: &str = "kubernetes.io~csi";

/// A volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// UID of the pod.
    pub pod: String,
    /// Name of the volume in the pod's spec.
    pub volume: String,
}

impl Place {
    /// What a target path of kubelet says, if it is one below `kubelet_root`.
    pub fn of(target: &Path, kubelet_root: &Path) -> Option<Self> {
        let rest = target.strip_prefix(kubelet_root.join("pods")).ok()?;
        let parts: Vec<&str> = rest.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
        match parts.as_slice() {
            [pod, "volumes", PLUGIN, volume, MOUNT] if is_name(pod) && is_name(volume) => {
                Some(Self { pod: (*pod).to_owned(), volume: (*volume).to_owned() })
            }
            _ => None,
        }
    }

    /// The target path below `kubelet_root`.
    pub fn target(&self, kubelet_root: &Path) -> PathBuf {
        kubelet_root.join("pods").join(&self.pod).join("volumes").join(PLUGIN).join(&self.volume).join(MOUNT)
    }
}

/// One component of a path as Kubernetes names things: letters, digits, `-`, `.`, `_`, not first a dot.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.len() <= 253 && !text.starts_with('.') && text.bytes().all(plain)
}

/// Kubelet's folder of pods, open.
pub struct Pods {
    root: OwnedFd,
}

impl Pods {
    /// Opens the folder. It may itself be reached through links: the administrator named it.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: open(root, flags, Mode::empty())? })
    }

    /// The folder in which the volume's mount point is or is to be; kubelet makes it.
    pub fn parent(&self, place: &Place) -> io::Result<OwnedFd> {
        for name in [&place.pod, &place.volume] {
            if !is_name(name) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name")));
            }
        }
        self.below(&format!("{}/volumes/{PLUGIN}/{}", place.pod, place.volume))
    }

    /// Does kubelet have a folder of this pod?
    pub fn has(&self, pod: &str) -> io::Result<bool> {
        if !is_name(pod) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{pod:?} is no name")));
        }
        match self.below(pod) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn below(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        Ok(openat2(&self.root, path, flags, Mode::empty(), resolve)?)
    }
}

impl std::fmt::Debug for Pods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pods")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn place(pod: &str, volume: &str) -> Place {
        Place { pod: pod.to_owned(), volume: volume.to_owned() }
    }

    #[test]
    fn a_target_path_and_a_place_are_the_same() {
        let root = Path::new("/var/lib/kubelet");
        let target = "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~csi/secrets/mount";
        assert_eq!(Place::of(Path::new(target), root), Some(place("u-1", "secrets")));
        assert_eq!(place("u-1", "secrets").target(root), Path::new(target));
        for other in [
            "/var/lib/kubelet/pods/../volumes/kubernetes.io~csi/secrets/mount",
            "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~csi/secrets",
            "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~csi/.x/mount",
            "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~secret/secrets/mount",
            "/var/lib/kubelet/plugins/u-1/volumes/kubernetes.io~csi/secrets/mount",
            "/etc",
        ] {
            assert_eq!(Place::of(Path::new(other), root), None, "{other}");
        }
    }

    #[test]
    fn nothing_outside_the_folder_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let pods = folder.path().join("pods");
        fs::create_dir_all(pods.join("u-1/volumes/kubernetes.io~csi/secrets")).unwrap();
        fs::create_dir_all(folder.path().join("etc/volumes/kubernetes.io~csi/secrets")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("etc"), pods.join("u-2")).unwrap();
        std::os::unix::fs::symlink("secrets", pods.join("u-1/volumes/kubernetes.io~csi/link")).unwrap();
        let pods = Pods::open(&pods).unwrap();
        assert!(pods.parent(&place("u-1", "secrets")).is_ok());
        for (pod, volume) in [
            ("u-2", "secrets"),
            ("..", "secrets"),
            ("u-1/..", "secrets"),
            ("u-1", "link"),
            ("u-1", "../secrets"),
            ("", "x"),
        ] {
            assert!(pods.parent(&place(pod, volume)).is_err(), "{pod} {volume}");
        }
        assert!(pods.has("u-1").unwrap() && !pods.has("u-3").unwrap() && pods.has("u-2").is_err());
    }
}
