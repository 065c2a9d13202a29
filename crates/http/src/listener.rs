//! A listener on a TCP or unix socket: accepts connections, speaks HTTP/1.1 and HTTP/2 on them with or without TLS, and
//! drains them when the process ends.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Tls,
    connections::{Connections, Counted},
    exchange::{Peer, Site},
    timer::HeadTimer,
};

/// Sizes and times of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request body.
    pub body: usize,
    /// Bytes of the body of a request without a token.
    pub anonymous_body: usize,
    /// Objects and lists within each other in a JSON body.
    pub json_depth: usize,
    /// Values in a body, nested ones counted.
    pub json_values: usize,
    /// The same in the body of a request without a token: each string becomes a hash in the audit log.
    pub anonymous_json_values: usize,
    /// Open connections.
    pub connections: usize,
    /// Open connections from one address.
    pub connections_of_one: usize,
    /// For one request in the core.
    pub request: Duration,
    /// For the head of a request; a connection without a request is closed after it too.
    pub head: Duration,
    /// For the body of a request.
    pub read: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// How long the socket goes on serving after the process was told to end, so that whoever sends requests here learns
    /// of it first. Each answer over HTTP/1 then closes its connection. Zero: it closes at once.
    pub leave: Duration,
    /// For requests that are running when the socket closes.
    pub drain: Duration,
}

/// A bound socket and what it serves.
pub struct Listener {
    socket: Socket,
    tls: Option<Tls>,
    site: Arc<Site>,
}

enum Socket {
    Tcp(TcpListener),
    /// The file goes with the listener.
    Unix {
        socket: UnixListener,
        _file: SocketFile,
    },
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

struct SocketFile(PathBuf);

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            anonymous_body: 1 << 20,
            json_depth: 64,
            json_values: 100_000,
            anonymous_json_values: 1000,
            connections: 8192,
            connections_of_one: 4096,
            request: Duration::from_secs(90),
            head: Duration::from_secs(60),
            read: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            leave: Duration::ZERO,
            drain: Duration::from_secs(20),
        }
    }
}

// === impl Socket ===

impl Socket {
    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                // Small answers leave at once; an error only means that they may wait.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Some(address)))
            }
            Self::Unix { socket, .. } => Ok((Stream::Unix(socket.accept().await?.0), None)),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            warn!(file = %self.0.display(), %error, "the socket's file cannot be removed");
        }
    }
}

// === impl Listener ===

impl Listener {
    /// Binds. With `tls`, nothing but TLS is spoken.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>, site: Arc<Site>) -> io::Result<Self> {
        Ok(Self { socket: Socket::Tcp(TcpListener::bind(address).await?), tls, site })
    }

    /// Binds a unix socket; a file that an ended process left is replaced. Plain HTTP is spoken.
    pub fn bind_unix(file: &Path, site: Arc<Site>) -> io::Result<Self> {
        use std::os::unix::fs::FileTypeExt;
        match std::fs::symlink_metadata(file) {
            Ok(found) if found.file_type().is_socket() => {
                if std::os::unix::net::UnixStream::connect(file).is_ok() {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
                }
                std::fs::remove_file(file)?;
            }
            _ => {}
        }
        let socket = Socket::Unix { socket: UnixListener::bind(file)?, _file: SocketFile(file.to_owned()) };
        Ok(Self { socket, tls: None, site })
    }

    /// Where it is bound; tells the port when 0 was asked for. A unix socket has no such address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr(),
            Socket::Unix { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Serves until `shutdown` and for `limits.leave` after it, then closes the socket and waits for running requests, at
    /// most `limits.drain`.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { socket, tls, site } = self;
        let (graceful, closing) = (GracefulShutdown::new(), CancellationToken::new());
        let (connections, leaving) = (Arc::new(Connections::default()), Arc::new(AtomicBool::new(false)));
        let end = async {
            shutdown.await;
            leaving.store(true, Ordering::Relaxed);
            tokio::time::sleep(site.limits.leave).await;
        };
        tokio::pin!(end);
        loop {
            let accepted = tokio::select! {
                () = &mut end => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let (most, most_of_one) = (site.limits.connections, site.limits.connections_of_one);
                    let peer = address.map(|address| address.ip().to_canonical());
                    let Some(counted) = connections.count(peer, most, most_of_one) else {
                        debug!(?address, "too many connections; one was closed");
                        continue;
                    };
                    let connection = Accepted {
                        site: site.clone(),
                        tls: tls.clone(),
                        watcher: graceful.watcher(),
                        leaving: leaving.clone(),
                        closing: closing.clone(),
                        address,
                        counted,
                    };
                    tokio::spawn(connection.serve(stream));
                }
                Err(error) => {
                    // Mostly "too many open files": more of them free up in a moment.
                    warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(socket);
        closing.cancel();
        site.left.close();
        let drained = timeout(site.limits.drain, async {
            graceful.shutdown().await;
            site.left.wait().await;
        });
        if drained.await.is_err() {
            warn!("requests were still running when the time to drain was over");
        }
    }
}

struct Accepted {
    site: Arc<Site>,
    tls: Option<Tls>,
    watcher: Watcher,
    leaving: Arc<AtomicBool>,
    closing: CancellationToken,
    address: Option<SocketAddr>,
    counted: Counted,
}

impl Accepted {
    async fn serve(self, stream: Stream) {
        match stream {
            Stream::Tcp(stream) => self.shake(stream).await,
            Stream::Unix(stream) => self.speak(stream, Arc::default()).await,
        }
    }

    async fn shake(self, stream: TcpStream) {
        let Some(tls) = &self.tls else { return self.speak(stream, Arc::default()).await };
        let handshake = timeout(self.site.limits.handshake, TlsAcceptor::from(tls.config.clone()).accept(stream));
        let stream = tokio::select! {
            stream = handshake => stream,
            () = self.closing.cancelled() => return,
        };
        match stream {
            Ok(Ok(stream)) => {
                let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let certificates = certificates.iter().map(|certificate| certificate.to_vec()).collect();
                self.speak(stream, Arc::new(certificates)).await;
            }
            Ok(Err(error)) => debug!(address = ?self.address, %error, "TLS handshake failed"),
            Err(_) => debug!(address = ?self.address, "TLS handshake took too long"),
        }
    }

    async fn speak<S>(self, stream: S, certificates: Arc<Vec<Vec<u8>>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (site, address) = (self.site, self.address);
        let (leaving, closing, heard) = (self.leaving, self.closing, AtomicBool::new(false));
        let peer = Arc::new(Peer { site: site.clone(), address, certificates, heard, leaving, closing });
        let silent = silent(peer.clone());
        let mut builder = Builder::new(TokioExecutor::new());
        let timer = HeadTimer::new(site.limits.head);
        builder.http1().timer(timer).header_read_timeout(site.limits.head).max_buf_size(HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .max_header_list_size(64 << 10)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(256)
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .keep_alive_interval(H2_PING)
            .keep_alive_timeout(H2_PING);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let peer = peer.clone();
            peer.heard.store(true, Ordering::Relaxed);
            async move { Ok::<_, Infallible>(peer.site.serve(&peer, request).await) }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        tokio::select! {
            ended = self.watcher.watch(connection) => if let Err(error) = ended {
                debug!(?address, error = %error, "connection ended");
            },
            () = silent => debug!(?address, "a connection on which nothing was asked is closed"),
        }
        drop(self.counted);
    }
}

/// Returns when no request was read in the time for a head. Before one is, nobody else has an eye on the connection: it is not
/// even known which HTTP it speaks.
async fn silent(peer: Arc<Peer>) {
    tokio::time::sleep(peer.site.limits.head).await;
    if peer.heard.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Largest head of a request, and most that is read ahead of a body.
const HEAD_BYTES: usize = 128 << 10;

/// A connection whose other end does not answer a ping for this long is closed.
const H2_PING: Duration = Duration::from_secs(30);
