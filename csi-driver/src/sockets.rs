//! Unix sockets that only root can use from the first moment on.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::FileTypeExt},
    path::Path,
};

use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};

/// Longest path of a socket, in bytes.
const MAX_PATH: usize = 107;

/// What travels on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes, as gRPC wants them.
    Stream,
    /// Whole messages, with file descriptors beside them.
    Messages,
}

/// Binds a listening socket at `path`, mode 0600. A socket that an earlier process left is removed; anything else there
/// is an error. Stream sockets do not block.
pub fn bind_at(path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("socket {}: {error}", path.display()));
    if path.as_os_str().len() > MAX_PATH {
        return Err(named(io::Error::new(io::ErrorKind::InvalidInput, format!("longer than {MAX_PATH} bytes"))));
    }
    remove(path).map_err(named)?;
    let listener = || -> io::Result<OwnedFd> {
        let (kind, flags) = match kind {
            Kind::Stream => (SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK),
            Kind::Messages => (SocketType::SEQPACKET, SocketFlags::CLOEXEC),
        };
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
        // The file that bind makes takes its mode from the socket: it is never open to others, not even for a moment.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        listen(&socket, 128)?;
        Ok(socket)
    };
    listener().map_err(named)
}

/// Removes a socket, if there is one.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is in the way")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_its_owner_only_and_replaces_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(bind_at(&path, Kind::Stream).unwrap());
        let _listener = bind_at(&path, Kind::Stream).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        tokio::net::UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        fs::write(&path, "x").unwrap();
        assert!(bind_at(&path, Kind::Stream).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert!(bind_at(&folder.path().join("x".repeat(120)), Kind::Messages).is_err());
    }
}
