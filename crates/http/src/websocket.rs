//! Events over a WebSocket (RFC 6455): the handshake, and the life of the connection.
//!
//! Between the subscription and the socket is a short queue: a client that does not read makes it fill, then the
//! subscription falls behind and ends, and the connection is closed with a code that says so.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use holdfast_core::{Ended, Subscription};
use http::{HeaderValue, Method, Response, StatusCode, Version, header, request::Parts};
use http_body_util::{Either, Full};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::answer::{self, Outgoing};

/// Time between two pings; who answers none of two is gone.
const PING: Duration = Duration::from_secs(30);
/// For one message to leave.
const SEND: Duration = Duration::from_secs(10);
/// Events between subscription and socket.
const QUEUE: usize = 16;
/// A client has nothing to say but pongs.
const INCOMING: usize = 4096;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers the handshake; the connection then lives until the client, the subscription or `closing` ends it.
pub fn accept(parts: &Parts, subscription: Box<Subscription>, closing: CancellationToken) -> Response<Outgoing> {
    let Some((upgrade, key)) = asked(parts) else {
        return answer::error(426, "this path is a WebSocket: Upgrade: websocket, version 13, over HTTP/1.1 is needed");
    };
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => serve(upgraded, subscription, closing).await,
            Err(error) => debug!(%error, "a WebSocket handshake was not finished"),
        }
    });
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// What the handshake needs, if the client asks for one.
fn asked(parts: &Parts) -> Option<(OnUpgrade, String)> {
    let text = |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let says = |name, wanted: &str| {
        text(name).is_some_and(|list| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(wanted)))
    };
    let asked = parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket")
        && text(header::SEC_WEBSOCKET_VERSION) == Some("13");
    let key = text(header::SEC_WEBSOCKET_KEY)?.to_owned();
    let upgrade = parts.extensions.get::<OnUpgrade>()?.clone();
    asked.then_some((upgrade, key))
}

async fn serve(upgraded: Upgraded, mut subscription: Box<Subscription>, closing: CancellationToken) {
    let config = WebSocketConfig::default().max_message_size(Some(INCOMING)).max_frame_size(Some(INCOMING));
    let mut socket = Socket::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (sender, mut events) = mpsc::channel(QUEUE);
    let pump = tokio::spawn(async move {
        loop {
            let next = subscription.next().await;
            let over = next.is_err();
            if sender.send(next).await.is_err() || over {
                return;
            }
        }
    });
    let (mut ping, mut heard) = (tokio::time::interval(PING), Instant::now());
    let (code, reason) = loop {
        let message = tokio::select! {
            () = closing.cancelled() => break (CloseCode::Away, "the server stops".to_owned()),
            event = events.recv() => match event {
                Some(Ok(text)) => Message::text(text),
                Some(Err(ended)) => break (code(ended), ended.to_string()),
                None => break (CloseCode::Error, String::new()),
            },
            _ = ping.tick() => {
                if heard.elapsed() > 2 * PING + SEND {
                    break (CloseCode::Away, "no answer to pings".to_owned());
                }
                Message::Ping(Bytes::new())
            }
            incoming = socket.next() => match incoming {
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    pump.abort();
                    return;
                }
                Some(Ok(_)) => {
                    heard = Instant::now();
                    continue;
                }
            },
        };
        if !matches!(timeout(SEND, socket.send(message)).await, Ok(Ok(()))) {
            pump.abort();
            return;
        }
    };
    pump.abort();
    let frame = CloseFrame { code, reason: reason.into() };
    if !matches!(timeout(SEND, socket.close(Some(frame))).await, Ok(Ok(()))) {
        debug!("a WebSocket ended without goodbye");
    }
}

fn code(ended: Ended) -> CloseCode {
    match ended {
        Ended::Denied => CloseCode::Policy,
        Ended::Slow => CloseCode::Again,
        Ended::Sealed => CloseCode::Away,
    }
}
