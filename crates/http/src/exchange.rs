//! One request through the listener: read, handed to the core, answered.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_api_types::header;
use holdfast_base::{Entropy, id};
use holdfast_core::{Answer, Raw, Verb};
use holdfast_logical::Connection;
use http::{Method, Request, Response, header::CONTENT_LENGTH, request::Parts};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use crate::{
    TrustedProxies, answer,
    listener::Limits,
    request::{self, Head, Reject},
};

/// What the listener serves: the core, and what is answered beside it.
pub trait Handle: Send + Sync + 'static {
    /// One request.
    fn handle(&self, raw: Raw) -> BoxFuture<'_, Answer>;

    /// The process's metrics as Prometheus text.
    fn metrics(&self) -> String;

    /// A request was answered: its verb (`None`: no operation belongs to the method), status and time.
    fn observe(&self, verb: Option<Verb>, status: u16, took: Duration);
}

/// What all connections of one listener share.
pub struct Site {
    /// The core.
    pub handle: Arc<dyn Handle>,
    /// For request ids.
    pub entropy: Arc<dyn Entropy>,
    /// Sizes and times.
    pub limits: Limits,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: TrustedProxies,
    /// Answer `sys/metrics` without a token.
    pub unauthenticated_metrics: bool,
    /// Requests that are being worked on, also those whose caller has gone.
    pub running: TaskTracker,
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificates as DER, leaf first.
    pub certificates: Arc<Vec<Vec<u8>>>,
}

// === impl Site ===

impl Site {
    /// Takes one request through.
    pub async fn serve<B>(self: &Arc<Self>, peer: &Peer, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let (verb, response) = match parts.uri.path().strip_prefix("/v1/") {
            Some(encoded) => self.serve_api(peer, &parts, encoded, body).await,
            None => (None, plain(&parts)),
        };
        let (status, took) = (response.status().as_u16(), started.elapsed());
        self.handle.observe(verb, status, took);
        debug!(method = %parts.method, status, ?took, "answered");
        response
    }

    async fn serve_api<B>(
        self: &Arc<Self>,
        peer: &Peer,
        parts: &Parts,
        encoded: &str,
        body: B,
    ) -> (Option<Verb>, Response<Full<Bytes>>)
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let id = id::uuid(&*self.entropy);
        let Some(head) = Head::read(id, parts, encoded) else { return (None, answer::error(405, "")) };
        let bytes = self.read_body(parts, body).await;
        let raw = head.with_body(bytes, self.connection(peer, parts));
        let verb = Some(raw.verb);
        let mut response = if raw.path == "sys/metrics" && raw.verb == Verb::Read && raw.fault.is_none() {
            self.metrics(raw).await
        } else {
            answer::write(self.run(raw).await)
        };
        if let Some(namespace) = parts.headers.get(header::NAMESPACE) {
            response.headers_mut().insert(header::NAMESPACE, namespace.clone());
        }
        (verb, response)
    }

    async fn read_body<B>(&self, parts: &Parts, body: B) -> Result<Bytes, Reject>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let most = self.limits.body;
        let too_large = || Reject::new(413, format!("the request body is larger than {most} bytes"));
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > most) {
            return Err(too_large());
        }
        match timeout(self.limits.read, Limited::new(body, most).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Reject::bad("the request body ended early")),
            Err(_) => Err(Reject::new(408, "the request body did not arrive in time")),
        }
    }

    fn connection(&self, peer: &Peer, parts: &Parts) -> Result<Connection, Reject> {
        let forwarded = request::text(&parts.headers, "x-forwarded-for");
        let remote = self.proxies.caller(peer.address.ip(), forwarded.as_deref())?;
        Ok(Connection { remote: Some(remote), port: peer.address.port(), certificates: peer.certificates.clone() })
    }

    /// Runs the request to its end in a task of its own: a caller that hangs up, or the deadline, must not stop work
    /// between a change outside and its record.
    async fn run(self: &Arc<Self>, raw: Raw) -> Answer {
        let handle = self.handle.clone();
        let task = self.running.spawn(async move { handle.handle(raw).await });
        match timeout(self.limits.request, task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                error!(%error, "a request panicked");
                holdfast_core::Error::internal("internal error").into()
            }
            Err(_) => Reject::new(504, "the request took too long; whether it was done is not known").answer(),
        }
    }

    /// `sys/metrics`: for anyone when the listener says so, else for tokens that may read the path.
    async fn metrics(self: &Arc<Self>, raw: Raw) -> Response<Full<Bytes>> {
        if !self.unauthenticated_metrics {
            let mut question = Raw::new(raw.id.clone(), Verb::Write, "sys/capabilities-self");
            question.token = raw.token;
            question.connection = raw.connection;
            question.body.insert("paths".to_owned(), json!(["sys/metrics"]));
            let answer = self.run(question).await;
            let Answer::Envelope { envelope, .. } = &answer else { return answer::write(answer) };
            let allowed = envelope.data.as_ref().map(holdfast_logical::Data::to_map).unwrap_or_default();
            let allowed = allowed.get("sys/metrics").or_else(|| allowed.get("capabilities")).and_then(|v| v.as_array());
            let may_read = |capability: &serde_json::Value| matches!(capability.as_str(), Some("root" | "read"));
            if !allowed.is_some_and(|capabilities| capabilities.iter().any(may_read)) {
                return answer::write(holdfast_core::Error::denied().into());
            }
        }
        answer::text(200, "text/plain; version=0.0.4; charset=utf-8", self.handle.metrics())
    }
}

impl Reject {
    fn answer(self) -> Answer {
        Answer::Error(self.into())
    }
}

/// What is not below `/v1/`.
fn plain(parts: &Parts) -> Response<Full<Bytes>> {
    match (&parts.method, parts.uri.path()) {
        (&Method::GET | &Method::HEAD, "/") => answer::text(
            200,
            "text/plain; charset=utf-8",
            format!("Holdfast {}. The Vault HTTP API is below /v1/.\n", env!("CARGO_PKG_VERSION")),
        ),
        _ => answer::error(404, ""),
    }
}
