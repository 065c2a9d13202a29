//! The fetcher's side: asks the mounter, again after a mounter that restarted.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::{
    place::Place,
    wire::{self, Answer, MountOptions, Request, Socket},
};

/// Longest that the mounter may take for one thing.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a mounter that is just starting is waited for.
const START: Duration = Duration::from_secs(10);

/// The mounter, as the fetcher has it.
#[derive(Clone)]
pub struct Mounter {
    inner: Arc<Inner>,
}

struct Inner {
    socket: PathBuf,
    connection: Mutex<Option<OwnedFd>>,
}

/// The root of a mounted file system, held open. It stays reachable whatever happens to the paths that led there.
#[derive(Clone, Debug)]
pub struct Root {
    descriptor: Arc<OwnedFd>,
}

impl Root {
    /// A path of this process that leads to the folder.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

// === impl Mounter ===

impl Mounter {
    /// The one that listens at `socket`; connected to when it is needed.
    pub fn at(socket: &Path) -> Self {
        Self { inner: Arc::new(Inner { socket: socket.to_owned(), connection: Mutex::new(None) }) }
    }

    /// Mounts a volume's file system, or finds the one that is there.
    pub async fn mount(&self, place: &Place, options: MountOptions) -> io::Result<Root> {
        let (_, root) = self.ask(Request::Mount { place: place.clone(), options }).await?;
        root.map(Root::new).ok_or_else(|| io::Error::other("the mounter gave no folder"))
    }

    /// The root of a volume's file system, if it is mounted.
    pub async fn open(&self, place: &Place) -> io::Result<Option<Root>> {
        Ok(self.ask(Request::Open { place: place.clone() }).await?.1.map(Root::new))
    }

    /// Unmounts a volume's file system; none there is no error.
    pub async fn unmount(&self, place: &Place) -> io::Result<()> {
        self.ask(Request::Unmount { place: place.clone() }).await.map(drop)
    }

    /// Does kubelet have a folder of this pod?
    pub async fn has_pod(&self, uid: &str) -> io::Result<bool> {
        Ok(self.ask(Request::HasPod { pod: uid.to_owned() }).await?.0)
    }

    /// Makes a socket anew and listens on it. Waits for a mounter that starts at the same time.
    pub async fn listen(&self, socket: Socket) -> io::Result<tokio::net::UnixListener> {
        let start = std::time::Instant::now();
        let listener = loop {
            match self.ask(Request::Listen { socket }).await {
                Err(error) if is_absent(&error) && start.elapsed() < START => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => break other?.1,
            }
        };
        let listener = listener.ok_or_else(|| io::Error::other("the mounter gave no socket"))?;
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(listener)
    }

    /// Is the socket's file there?
    pub async fn is_shown(&self, socket: Socket) -> io::Result<bool> {
        Ok(self.ask(Request::IsShown { socket }).await?.0)
    }

    /// Removes the socket's file.
    pub async fn hide(&self, socket: Socket) -> io::Result<()> {
        self.ask(Request::Hide { socket }).await.map(drop)
    }

    async fn ask(&self, request: Request) -> io::Result<(bool, Option<OwnedFd>)> {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || inner.ask(&request)).await;
        done.map_err(|_| io::Error::other("the question's task ended early"))?
    }
}

/// Is this what a mounter that is not running (yet) looks like?
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected)
}

// === impl Inner ===

impl Inner {
    /// All requests may be repeated, so one that meets a mounter that has just ended is asked again.
    fn ask(&self, request: &Request) -> io::Result<(bool, Option<OwnedFd>)> {
        let mut connection = self.connection.lock();
        if let Some(held) = connection.as_ref() {
            match exchange(held, request) {
                Ok((answer, descriptor)) => return outcome(answer, descriptor),
                Err(_) => *connection = None,
            }
        }
        let fresh = self.connect()?;
        let (answer, descriptor) = exchange(&fresh, request)?;
        *connection = Some(fresh);
        outcome(answer, descriptor)
    }

    fn connect(&self) -> io::Result<OwnedFd> {
        let named = |error: rustix::io::Errno| {
            let error = io::Error::from(error);
            io::Error::new(error.kind(), format!("the mounter at {}: {error}", self.socket.display()))
        };
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(&self.socket)?).map_err(named)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(socket)
    }
}

fn exchange(socket: &OwnedFd, request: &Request) -> io::Result<(Answer, Option<OwnedFd>)> {
    wire::send(socket.as_fd(), request, None)?;
    wire::receive(socket.as_fd())?.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the mounter has gone"))
}

fn outcome(answer: Answer, descriptor: Option<OwnedFd>) -> io::Result<(bool, Option<OwnedFd>)> {
    match answer {
        Answer::Done { is } => Ok((is, descriptor)),
        Answer::Failed { code, reason } => {
            let kind = code.map_or(io::ErrorKind::Other, |code| io::Error::from_raw_os_error(code).kind());
            Err(io::Error::new(kind, reason))
        }
    }
}

// === impl Root ===

impl Root {
    fn new(descriptor: OwnedFd) -> Self {
        Self { descriptor: Arc::new(descriptor) }
    }
}
