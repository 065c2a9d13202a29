//! A TCP listener: accepts connections, speaks HTTP/1.1 and HTTP/2 on them with or without TLS, and drains them when the
//! process ends.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

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
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Tls,
    exchange::{Peer, Site},
};

/// Sizes and times of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request body.
    pub body: usize,
    /// For one request in the core.
    pub request: Duration,
    /// For the head of a request; a connection without a request is closed after it too.
    pub head: Duration,
    /// For the body of a request.
    pub read: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For requests that are running when the process ends.
    pub drain: Duration,
}

/// A bound socket and what it serves.
pub struct Listener {
    socket: TcpListener,
    tls: Option<Tls>,
    site: Arc<Site>,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            request: Duration::from_secs(90),
            head: Duration::from_secs(60),
            read: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            drain: Duration::from_secs(20),
        }
    }
}

// === impl Listener ===

impl Listener {
    /// Binds. With `tls`, nothing but TLS is spoken.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>, site: Arc<Site>) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, tls, site })
    }

    /// Where it is bound; tells the port when 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown`, then closes the socket and waits for running requests, at most `limits.drain`.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { socket, tls, site } = self;
        let (graceful, closing) = (GracefulShutdown::new(), CancellationToken::new());
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let connection = Accepted {
                        site: site.clone(),
                        tls: tls.clone(),
                        watcher: graceful.watcher(),
                        closing: closing.clone(),
                        address,
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
        site.running.close();
        let drained = timeout(site.limits.drain, async {
            graceful.shutdown().await;
            site.running.wait().await;
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
    closing: CancellationToken,
    address: SocketAddr,
}

impl Accepted {
    async fn serve(self, stream: TcpStream) {
        // Small answers leave at once; an error only means that they may wait.
        let _ = stream.set_nodelay(true);
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
            Ok(Err(error)) => debug!(address = %self.address, %error, "TLS handshake failed"),
            Err(_) => debug!(address = %self.address, "TLS handshake took too long"),
        }
    }

    async fn speak<S>(self, stream: S, certificates: Arc<Vec<Vec<u8>>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (site, address) = (self.site, self.address);
        let peer = Peer { address, certificates };
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(site.limits.head);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256).max_header_list_size(64 << 10);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (site, peer) = (site.clone(), peer.clone());
            async move { Ok::<_, Infallible>(site.serve(&peer, request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            debug!(%address, error = %error, "connection ended");
        }
    }
}
