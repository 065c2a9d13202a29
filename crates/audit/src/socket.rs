//! A socket: TCP, UDP, or Unix (stream or datagram). It is connected when the first line comes, and again when the other end
//! has gone; no write waits longer than its limit.

use std::{
    io::{self, Write},
    net::{TcpStream, ToSocketAddrs, UdpSocket},
    os::{
        fd::AsFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::PathBuf,
    time::Duration,
};

use rustix::net::{RecvFlags, recv};

use crate::writer::{Output, Unwritten};

/// Where lines are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`; a line feed ends each line.
    Tcp(String),
    /// `host:port`; a datagram per line.
    Udp(String),
    /// A stream; a line feed ends each line.
    Unix(PathBuf),
    /// A datagram per line.
    UnixDatagram(PathBuf),
}

/// A connection that is made when it is needed.
pub(crate) struct Socket {
    address: Address,
    limit: Duration,
    connection: Option<Connection>,
}

enum Connection {
    Tcp(TcpStream),
    Udp(UdpSocket),
    Unix(UnixStream),
    UnixDatagram(UnixDatagram),
}

/// Lines to a socket as they are.
pub(crate) struct SocketOutput(pub Socket);

impl Socket {
    /// `limit` is for connecting and for each write.
    pub fn new(address: Address, limit: Duration) -> Self {
        Self { address, limit, connection: None }
    }

    pub fn name(&self) -> String {
        match &self.address {
            Address::Tcp(address) => format!("tcp {address}"),
            Address::Udp(address) => format!("udp {address}"),
            Address::Unix(path) | Address::UnixDatagram(path) => format!("unix {}", path.display()),
        }
    }

    pub fn forget(&mut self) {
        self.connection = None;
    }

    /// One datagram, or so many bytes of a stream.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = match self.connected()? {
            Connection::Tcp(stream) => stream.write_all(bytes),
            Connection::Unix(stream) => stream.write_all(bytes),
            Connection::Udp(socket) => socket.send(bytes).map(drop),
            Connection::UnixDatagram(socket) => socket.send(bytes).map(drop),
        };
        if sent.is_err() {
            self.forget();
        }
        sent
    }

    pub fn is_stream(&self) -> bool {
        matches!(self.address, Address::Tcp(_) | Address::Unix(_))
    }

    fn connected(&mut self) -> io::Result<&mut Connection> {
        if self.connection.as_ref().is_some_and(Connection::is_over) {
            self.connection = None;
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(Connection::open(&self.address, self.limit)?)),
        }
    }
}

impl Connection {
    fn open(address: &Address, limit: Duration) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => {
                let mut last = io::Error::other("no address");
                for resolved in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&resolved, limit) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(limit))?;
                            stream.set_nodelay(true)?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                return Err(last);
            }
            Address::Udp(address) => {
                let target = address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("no address"))?;
                let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
                socket.connect(target)?;
                socket.set_write_timeout(Some(limit))?;
                Self::Udp(socket)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(limit))?;
                Self::Unix(stream)
            }
            Address::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(limit))?;
                Self::UnixDatagram(socket)
            }
        })
    }

    /// Has the other end closed a stream? Then what is written would be lost without an error.
    fn is_over(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = match self {
            Self::Tcp(stream) => recv(stream.as_fd(), &mut [0u8; 1], flags),
            Self::Unix(stream) => recv(stream.as_fd(), &mut [0u8; 1], flags),
            Self::Udp(_) | Self::UnixDatagram(_) => return false,
        };
        match peeked {
            Ok((_, 0)) => true,
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
            Err(_) => true,
        }
    }
}

impl Output for SocketOutput {
    fn name(&self) -> String {
        self.0.name()
    }

    fn write(&mut self, lines: &[String]) -> Result<(), Unwritten> {
        if self.0.is_stream() {
            let mut bytes = lines.join("\n").into_bytes();
            bytes.push(b'\n');
            return Ok(self.0.send(&bytes)?);
        }
        each(lines, |line| self.0.send(line.as_bytes()))
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.0.forget();
        Ok(())
    }
}

/// Sends line by line; what went out before a failure has landed.
pub(crate) fn each(lines: &[String], mut send: impl FnMut(&str) -> io::Result<()>) -> Result<(), Unwritten> {
    for (landed, line) in lines.iter().enumerate() {
        send(line).map_err(|error| Unwritten { error, landed })?;
    }
    Ok(())
}
