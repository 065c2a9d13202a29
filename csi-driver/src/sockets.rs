//! Unix sockets that only root can use from the first moment on.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt, net::UnixListener},
    path::Path,
};

use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};

/// Longest path of a socket, in bytes.
const MAX_PATH: usize = 107;

/// Listens at `path`, mode 0600. A socket that an earlier process left is removed; anything else there is an error.
pub fn listen_at(path: &Path) -> io::Result<tokio::net::UnixListener> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("socket {}: {error}", path.display()));
    if path.as_os_str().len() > MAX_PATH {
        return Err(named(io::Error::new(io::ErrorKind::InvalidInput, format!("longer than {MAX_PATH} bytes"))));
    }
    remove(path).map_err(named)?;
    let listener = || -> io::Result<UnixListener> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file that bind makes takes its mode from the socket: it is never open to others, not even for a moment.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        listen(&socket, 128)?;
        Ok(UnixListener::from(socket))
    };
    tokio::net::UnixListener::from_std(listener().map_err(named)?)
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
        drop(listen_at(&path).unwrap());
        let _listener = listen_at(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        tokio::net::UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        fs::write(&path, "x").unwrap();
        assert!(listen_at(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert!(listen_at(&folder.path().join("x".repeat(120))).is_err());
    }
}
