//! What fetcher and mounter say to each other: one JSON object a message on a `SOCK_SEQPACKET` socket, with at most one
//! file descriptor beside an answer (`SCM_RIGHTS`).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::place::Place;
pub use super::tmpfs::MountOptions;
use crate::identity::NAME;

/// Longest message, in bytes.
const MAX_MESSAGE: usize = 8192;

/// What the fetcher may ask. There is nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Mount a file system, or find the one that is there. Answers its root.
    Mount {
        /// Where.
        place: Place,
        /// How.
        options: MountOptions,
    },
    /// The root of the volume's file system, if it is mounted.
    Open {
        /// Where.
        place: Place,
    },
    /// Unmount it and remove the mount point.
    Unmount {
        /// Where.
        place: Place,
    },
    /// Does kubelet have a folder of this pod?
    HasPod {
        /// Its UID.
        pod: String,
    },
    /// Make a socket anew. Answers the listening socket.
    Listen {
        /// Which.
        socket: Socket,
    },
    /// Is the socket's file there?
    IsShown {
        /// Which.
        socket: Socket,
    },
    /// Remove the socket's file.
    Hide {
        /// Which.
        socket: Socket,
    },
}

/// The sockets on which others find the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Socket {
    /// The CSI socket.
    Csi,
    /// The one by which kubelet finds the CSI socket.
    Registration,
    /// The one of a provider of the secrets-store driver.
    Provider,
}

/// What the mounter answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// It is done, or the question's answer.
    Done {
        /// Yes or no.
        is: bool,
    },
    /// It is not.
    Failed {
        /// Error number of the system, where there is one.
        code: Option<i32>,
        /// In words.
        reason: String,
    },
}

impl Answer {
    /// For an error.
    pub fn failed(error: &io::Error) -> Self {
        Self::Failed { code: error.raw_os_error(), reason: error.to_string() }
    }
}

/// Paths of the sockets; the fetcher can't choose them.
#[derive(Clone, Debug)]
pub struct Sockets {
    csi: PathBuf,
    registration: PathBuf,
    provider: Option<PathBuf>,
}

impl Sockets {
    /// The usual places below kubelet's folder, unless `endpoint` says another for the CSI socket.
    pub fn new(kubelet_root: &Path, endpoint: Option<&Path>, provider_dir: Option<&Path>) -> Self {
        let usual = || kubelet_root.join("plugins").join(NAME).join("csi.sock");
        Self {
            csi: endpoint.map_or_else(usual, without_scheme),
            registration: kubelet_root.join("plugins_registry").join(format!("{NAME}-reg.sock")),
            provider: provider_dir.map(|folder| folder.join("vault.sock")),
        }
    }

    /// Where a socket is.
    pub fn path(&self, socket: Socket) -> io::Result<&Path> {
        match socket {
            Socket::Csi => Ok(&self.csi),
            Socket::Registration => Ok(&self.registration),
            Socket::Provider => self
                .provider
                .as_deref()
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the mounter was not told --provider-dir")),
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        [Some(self.csi.as_path()), Some(&self.registration), self.provider.as_deref()].into_iter().flatten()
    }
}

/// `unix:///a/b` is `/a/b`.
fn without_scheme(path: &Path) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_prefix("unix:")) {
        Some(rest) => PathBuf::from(format!("/{}", rest.trim_start_matches('/'))),
        None => path.to_owned(),
    }
}

/// Sends a message.
pub fn send(socket: BorrowedFd<'_>, message: &impl Serialize, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a message; `None` when the other side has gone.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut bytes = [0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let received = loop {
        match recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptor)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_message_and_a_descriptor_arrive() {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let file = tempfile::tempfile().unwrap();
        let request = Request::HasPod { pod: "u-1".to_owned() };
        send(a.as_fd(), &request, Some(file.as_fd())).unwrap();
        let (got, descriptor) = receive::<Request>(b.as_fd()).unwrap().unwrap();
        assert!(got == request && descriptor.is_some());
        send(a.as_fd(), &serde_json::json!({"mount": {"path": "/etc"}}), None).unwrap();
        assert!(receive::<Request>(b.as_fd()).is_err(), "what is not known is refused");
        drop(a);
        assert!(receive::<Request>(b.as_fd()).unwrap().is_none());
    }

    #[test]
    fn sockets_are_where_kubelet_looks() {
        let sockets = Sockets::new(Path::new("/k"), Some(Path::new("unix:///x/csi.sock")), None);
        assert_eq!(sockets.path(Socket::Csi).unwrap(), Path::new("/x/csi.sock"));
        assert_eq!(
            sockets.path(Socket::Registration).unwrap(),
            Path::new("/k/plugins_registry/csi.holdfast.dev-reg.sock")
        );
        assert!(sockets.path(Socket::Provider).is_err());
    }
}
