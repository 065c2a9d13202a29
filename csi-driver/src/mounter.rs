//! The privileged half of the driver, as small as it can be: it mounts and unmounts file systems in memory below kubelet's
//! folder of pods, shows the driver's sockets to kubelet, and hands out open file descriptors. It reads no secret, speaks
//! to nobody but the fetcher on one Unix socket, and has no network.
//!
//! The fetcher names a pod and a volume, never a path ([`place`]); what it gets is a descriptor of the root of a file
//! system that belongs to its user ([`wire`]). So it needs neither privileges nor any of the node's folders.

pub mod client;
mod confine;
pub mod place;
mod tmpfs;
pub mod wire;

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, chown},
            net::UnixStream,
        },
    },
    path::Path,
    sync::Arc,
};

use anyhow::Context;
use holdfast_runtime::Shutdown;
use rustix::net::{SocketFlags, accept_with};
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::{
    mounter::{
        place::Pods,
        wire::{Answer, Request, Sockets},
    },
    options::MounterOptions,
    sockets,
};

/// What requests are served with.
struct Mounter {
    pods: Pods,
    sockets: Sockets,
    fetcher: u32,
}

/// Serves the fetcher until the shutdown. Call it before any thread is started: what the process gives up, it gives up
/// for its threads to come.
pub fn run(options: &MounterOptions) -> anyhow::Result<()> {
    confine::leave_network();
    let sockets = Sockets::new(&options.kubelet_root, options.endpoint.as_deref(), options.provider_dir.as_deref());
    for path in sockets.all() {
        make_folder(path.parent().unwrap_or(path))?;
    }
    for folder in [&options.state_dir, &options.key_dir].into_iter().flatten() {
        make_folder(folder)?;
        chown(folder, Some(options.fetcher_uid), Some(options.fetcher_uid))
            .with_context(|| format!("giving {} to user {}", folder.display(), options.fetcher_uid))?;
    }
    let folder = options.kubelet_root.join("pods");
    make_folder(&folder)?;
    let pods = Pods::open(&folder).with_context(|| format!("kubelet's folder {}", folder.display()))?;
    let listener = listen(&options.socket, options.fetcher_uid)?;
    confine::drop_capabilities();
    info!(socket = %options.socket.display(), pods = %folder.display(), "mounting for the fetcher");
    let mounter = Arc::new(Mounter { pods, sockets, fetcher: options.fetcher_uid });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::spawn(move || accept(&listener, &mounter, &handle));
    runtime.block_on(async {
        Shutdown::on_signals()?.cancelled().await;
        Ok(())
    })
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path);
    made.with_context(|| format!("folder {}", path.display()))
}

/// The socket gets its name when it is the fetcher's and is listened to: who finds it can connect.
fn listen(path: &Path, fetcher: u32) -> anyhow::Result<OwnedFd> {
    let unnamed = path.with_extension("new");
    let socket = sockets::bind_at(&unnamed, sockets::Kind::Messages)?;
    chown(&unnamed, Some(fetcher), None).with_context(|| format!("giving {} to user {fetcher}", path.display()))?;
    sockets::remove(path)
        .and_then(|()| std::fs::rename(&unnamed, path))
        .with_context(|| format!("socket {}", path.display()))?;
    Ok(socket)
}

fn accept(listener: &OwnedFd, mounter: &Arc<Mounter>, handle: &Handle) {
    loop {
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(peer) => {
                let (mounter, handle) = (mounter.clone(), handle.clone());
                std::thread::spawn(move || match user_of(peer, &handle) {
                    Ok((peer, user)) if user == mounter.fetcher => mounter.serve(&peer),
                    Ok((_, user)) => warn!(user, "somebody who is not the fetcher asks; hanging up"),
                    Err(error) => warn!(%error, "cannot tell who asks; hanging up"),
                });
            }
            Err(error) => {
                warn!(%error, "accept");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
}

/// Who is at the other end. Asked of tokio, since rustix has no room for the process id 0, which is what the kernel tells
/// of a process in another container.
fn user_of(peer: OwnedFd, handle: &Handle) -> io::Result<(OwnedFd, u32)> {
    let peer = UnixStream::from(peer);
    peer.set_nonblocking(true)?;
    let _runtime = handle.enter();
    let peer = tokio::net::UnixStream::from_std(peer)?;
    let user = peer.peer_cred()?.uid();
    let peer = peer.into_std()?;
    peer.set_nonblocking(false)?;
    Ok((peer.into(), user))
}

// === impl Mounter ===

impl Mounter {
    fn serve(&self, peer: &OwnedFd) {
        while let Ok(Some((request, _))) = wire::receive::<Request>(peer.as_fd()) {
            let (answer, descriptor) = match self.answer(&request) {
                Ok((is, descriptor)) => (Answer::Done { is }, descriptor),
                Err(error) => {
                    warn!(?request, %error, "refused or failed");
                    (Answer::failed(&error), None)
                }
            };
            if wire::send(peer.as_fd(), &answer, descriptor.as_ref().map(AsFd::as_fd)).is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request) -> io::Result<(bool, Option<OwnedFd>)> {
        match request {
            Request::Mount { place, options } => {
                let parent = self.pods.parent(place)?;
                tmpfs::mount(parent.as_fd(), options, self.fetcher).map(|root| (true, Some(root)))
            }
            Request::Open { place } => match self.pods.parent(place) {
                Ok(parent) => tmpfs::open(parent.as_fd()).map(|root| (root.is_some(), root)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((false, None)),
                Err(error) => Err(error),
            },
            Request::Unmount { place } => match self.pods.parent(place) {
                Ok(parent) => tmpfs::unmount(parent.as_fd()).map(|()| (true, None)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((true, None)),
                Err(error) => Err(error),
            },
            Request::HasPod { pod } => self.pods.has(pod).map(|there| (there, None)),
            Request::Listen { socket } => {
                let path = self.sockets.path(*socket)?;
                sockets::bind_at(path, sockets::Kind::Stream).map(|listener| (true, Some(listener)))
            }
            Request::IsShown { socket } => Ok((self.sockets.path(*socket)?.exists(), None)),
            Request::Hide { socket } => sockets::remove(self.sockets.path(*socket)?).map(|()| (true, None)),
        }
    }
}
