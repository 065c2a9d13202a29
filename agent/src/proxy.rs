//! Listeners through which applications reach the server: with the agent's token if they have none, with a cache of leases
//! and tokens that the agent renews, and with the agent's own paths below `/agent/v1/`.

mod cache;
mod door;
mod tls;

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use holdfast_client::Client;
use holdfast_runtime::{Admin, Shutdown};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use self::{cache::Cache, door::Door};
use crate::{
    config::{Address, Config, Listener, Proxy},
    failure::{Class, Failure},
    metrics::Metrics,
};

/// What all listeners share.
struct Front {
    proxy: Proxy,
    /// To the server, without token.
    unnamed: Client,
    /// The connection with the agent's token.
    connection: watch::Receiver<Option<Client>>,
    cache: Option<Arc<Cache>>,
    metrics: Metrics,
    admin: Admin,
    shutdown: Shutdown,
}

enum Socket {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Unix(UnixListener),
}

/// Opens all listeners of the configuration; each future serves one until it is dropped.
pub async fn bind(
    config: &Config,
    unnamed: Client,
    connection: watch::Receiver<Option<Client>>,
    metrics: Metrics,
    admin: Admin,
    shutdown: &Shutdown,
) -> Result<Vec<BoxFuture<'static, ()>>, Failure> {
    let front = Arc::new(Front {
        cache: config.proxy.cache.then(|| Arc::new(Cache::new(unnamed.clone()))),
        proxy: config.proxy.clone(),
        unnamed,
        connection,
        metrics,
        admin,
        shutdown: shutdown.clone(),
    });
    let mut all: Vec<BoxFuture<'static, ()>> = Vec::new();
    for listener in &config.listeners {
        let failed = |error: String| Failure::new(Class::Config, format!("listener {:?}: {error}", listener.address));
        let socket = open(listener).await.map_err(|error| failed(error.to_string()))?;
        let door = Arc::new(Door::new(front.clone(), listener.clone()));
        all.push(Box::pin(serve(socket, door)));
    }
    Ok(all)
}

async fn open(listener: &Listener) -> io::Result<Socket> {
    match &listener.address {
        Address::Tcp(address) => {
            let tls = listener.tls.as_ref().map(tls::acceptor).transpose()?;
            let socket = TcpListener::bind(address).await?;
            info!(%address, tls = tls.is_some(), "listening for applications");
            Ok(Socket::Tcp(socket, tls))
        }
        Address::Unix(path, mode) => {
            // What a killed agent left; anything but a socket is somebody else's.
            if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
                fs::remove_file(path)?;
            }
            let socket = UnixListener::bind(path)?;
            let mode = u32::from_str_radix(mode, 8).unwrap_or(0o600);
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            info!(path = %path.display(), "listening for applications");
            Ok(Socket::Unix(socket))
        }
    }
}

async fn serve(socket: Socket, door: Arc<Door>) {
    loop {
        let door = door.clone();
        match &socket {
            Socket::Tcp(listener, tls) => match listener.accept().await {
                Ok((stream, _)) => {
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        match tls {
                            None => converse(stream, door).await,
                            Some(tls) => match tls.accept(stream).await {
                                Ok(stream) => converse(stream, door).await,
                                Err(error) => debug!(%error, "no TLS with an application"),
                            },
                        }
                    });
                }
                Err(error) => refused(&error).await,
            },
            Socket::Unix(listener) => match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, door))),
                Err(error) => refused(&error).await,
            },
        }
    }
}

/// Mostly too many open files: others have to close theirs first.
async fn refused(error: &io::Error) {
    debug!(%error, "accept failed");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, door: Arc<Door>) {
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, std::convert::Infallible>(door.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "a connection of an application ended");
    }
}
