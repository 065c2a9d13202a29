//! Events over a WebSocket (RFC 6455), on the same connections, certificates and headers as every request.

use futures::StreamExt;
use http::{Method, header as http_header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{CloseFrame, Role},
    },
};

use crate::{Call, Client, Error, protocol, transfer::refused};

/// Events as they come, until one side has enough.
pub struct EventStream(WebSocketStream<TokioIo<Upgraded>>);

/// Why no more events come.
#[derive(Debug, thiserror::Error)]
pub enum Over {
    /// The server said so: a close code (RFC 6455 §7.4) and its words.
    #[error("the server closed the subscription ({code}): {reason}")]
    Closed {
        /// 1001 the server stops, 1008 the token may not subscribe any more, 1013 too slow.
        code: u16,
        /// The server's words.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl Client {
    /// Subscribes to a type of events (`kv-v2/data-write`, with stars). `query` goes behind `json=true&`, escaped.
    pub async fn subscribe(&self, kind: &str, query: &str) -> Result<EventStream, Error> {
        let path = format!("sys/events/subscribe/{kind}");
        let query = if query.is_empty() { "json=true".to_owned() } else { format!("json=true&{query}") };
        let key = generate_key();
        let headers = vec![
            ("connection", "Upgrade".to_owned()),
            ("upgrade", "websocket".to_owned()),
            ("sec-websocket-version", "13".to_owned()),
            ("sec-websocket-key", key.clone()),
        ];
        let call = Call { method: Method::GET, path: path.clone(), query, headers, body: None };
        let handshake = self.inner.http.request(self.request(call)?);
        let late = |_| Error::Unreachable { address: self.address(), reason: "no answer to the handshake".to_owned() };
        let answered = tokio::time::timeout(self.inner.timeout, handshake).await.map_err(late)?;
        let response = answered.map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        if status != 101 {
            return Err(refused(&path, status, response.into_body()).await);
        }
        let accepted = response.headers().get(http_header::SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|value| value.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(protocol(&path, "the handshake of the WebSocket is wrong"));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| self.unreachable(&error))?;
        Ok(EventStream(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await))
    }
}

impl EventStream {
    /// The next event: one JSON object. Answers pings meanwhile. May be dropped half way.
    pub async fn next(&mut self) -> Result<String, Over> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Close(frame))) => return Err(closed(frame)),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Over::Broken(error.to_string())),
                None => return Err(Over::Broken(tungstenite::Error::ConnectionClosed.to_string())),
            }
        }
    }
}

fn closed(frame: Option<CloseFrame>) -> Over {
    match frame {
        Some(frame) => Over::Closed { code: frame.code.into(), reason: frame.reason.to_string() },
        None => Over::Closed { code: 1005, reason: "no reason given".to_owned() },
    }
}
