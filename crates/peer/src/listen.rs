//! Takes connections of others and answers their messages.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use holdfast_barrier::peer::Inbox;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::Framed;

use crate::identity::fingerprint;
use crate::tls::codec;

/// Connections at once: one or two for each other replica, and room for those that are about to be found broken.
const MAX_CONNECTIONS: usize = 256;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// A replica says something far more often.
const IDLE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// Listens for ever. When it is dropped, all connections end.
pub async fn run(listener: TcpListener, config: Arc<ServerConfig>, inbox: Arc<dyn Inbox>) {
    let acceptor = TlsAcceptor::from(config);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                connections.spawn(serve(acceptor.clone(), stream, inbox.clone()));
            }
            Ok(_) => tracing::warn!("too many connections of other replicas"),
            Err(error) => {
                tracing::warn!(%error, "a connection of another replica was not taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One connection, to its end.
async fn serve(acceptor: TlsAcceptor, stream: TcpStream, inbox: Arc<dyn Inbox>) {
    // Without it a message may wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection that is not from a replica"),
        Err(_) => return,
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let Some(fingerprint) = shown.map(fingerprint) else { return };
    let mut messages = Framed::new(stream, codec());
    while let Ok(Some(Ok(message))) = tokio::time::timeout(IDLE, messages.next()).await {
        let answer = inbox.receive(&fingerprint, &message);
        if messages.send(answer).await.is_err() {
            return;
        }
    }
}
