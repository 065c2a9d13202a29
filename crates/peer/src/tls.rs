//! The way to others: listens, connects, keeps connections.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use holdfast_barrier::peer::{Endpoint, Inbox, PROTOCOL, PeerError, PeerLink, PeerNet};
use holdfast_secret::SecretBytes;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::identity::{Identity, NAME, fingerprint};
use crate::listen;

/// Longest message.
const MAX_MESSAGE: usize = 1 << 20;

/// Mutual TLS at one address.
#[derive(Clone, Debug)]
pub struct TlsNet {
    /// Where to listen.
    pub bind: SocketAddr,
    /// Where others find it, `host:port`.
    pub advertised: String,
}

struct TlsLink {
    endpoint: Endpoint,
    identity: Identity,
    listening: JoinHandle<()>,
    /// Those that carry no message now.
    idle: Mutex<HashMap<Endpoint, Connection>>,
}

type Connection = Framed<TlsStream<TcpStream>, LengthDelimitedCodec>;

/// The form of messages on a connection.
pub fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(MAX_MESSAGE).new_codec()
}

#[async_trait]
impl PeerNet for TlsNet {
    async fn open(&self, secret: &SecretBytes, inbox: Arc<dyn Inbox>) -> io::Result<Arc<dyn PeerLink>> {
        let identity = Identity::draw(secret).map_err(io::Error::other)?;
        let listener = TcpListener::bind(self.bind).await?;
        tracing::info!(address = %self.bind, advertised = self.advertised, "listening to other replicas");
        let endpoint = Endpoint {
            address: self.advertised.clone(),
            key: identity.fingerprint.clone(),
            protocols: (PROTOCOL, PROTOCOL),
        };
        let listening = tokio::spawn(listen::run(listener, identity.server.clone(), inbox));
        Ok(Arc::new(TlsLink { endpoint, identity, listening, idle: Mutex::default() }))
    }
}

#[async_trait]
impl PeerLink for TlsLink {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    async fn call(&self, to: &Endpoint, message: Bytes) -> Result<Bytes, PeerError> {
        let idle = self.idle.lock().remove(to);
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect(to).await?,
        };
        let unreachable = |reason: String| PeerError::Unreachable { address: to.address.clone(), reason };
        connection.send(message).await.map_err(|error| unreachable(error.to_string()))?;
        let answer = connection.next().await;
        let answer = answer.ok_or_else(|| unreachable("it hung up".to_owned()))?;
        let answer = answer.map_err(|error| unreachable(error.to_string()))?;
        self.idle.lock().insert(to.clone(), connection);
        Ok(answer.freeze())
    }

    fn close(&self) {
        self.listening.abort();
        self.idle.lock().clear();
    }
}

impl TlsLink {
    async fn connect(&self, to: &Endpoint) -> Result<Connection, PeerError> {
        let unreachable =
            |error: io::Error| PeerError::Unreachable { address: to.address.clone(), reason: error.to_string() };
        let stream = TcpStream::connect(detour(&to.address)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let name = ServerName::try_from(NAME).map_err(|error| unreachable(io::Error::other(error)))?;
        let stream =
            TlsConnector::from(self.identity.client.clone()).connect(name, stream).await.map_err(unreachable)?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        if shown.map(fingerprint).as_ref() != Some(&to.key) {
            return Err(PeerError::Stranger { address: to.address.clone() });
        }
        Ok(Framed::new(stream, codec()))
    }
}

impl Drop for TlsLink {
    fn drop(&mut self) {
        self.close();
    }
}

/// Where to connect to reach an address: with the feature `detours`, as `HOLDFAST_PEER_DETOURS` says
/// (`told=instead,told=instead`).
#[cfg(feature = "detours")]
fn detour(address: &str) -> String {
    let detours = std::env::var("HOLDFAST_PEER_DETOURS").unwrap_or_default();
    let found = detours.split(',').filter_map(|pair| pair.split_once('=')).find(|(told, _)| *told == address);
    found.map_or_else(|| address.to_owned(), |(_, instead)| instead.to_owned())
}

/// Nowhere else.
#[cfg(not(feature = "detours"))]
fn detour(address: &str) -> &str {
    address
}
