//! One request through the listener: read, handed to the core, answered.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use holdfast_api_types::header;
use holdfast_base::{Entropy, id};
use holdfast_core::{Answer, Cors, Doors, Greeting, Raw, Verb, unbroken, unbroken::Panicked, within};
use holdfast_logical::Connection;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version,
    header::{CONNECTION, CONTENT_LENGTH},
    request::Parts,
};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::{Instant, timeout};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tracing::{debug, error};

use crate::{
    Budget, CustomHeaders, TrustedProxies, answer,
    answer::Outgoing,
    body::{self, Shape},
    budget::{Charge, Exhausted},
    cors::{self, Verdict},
    listener::Limits,
    pieces::Pieces,
    request::{Head, Reject},
    websocket,
};

/// What the listener serves: the core, and what is answered beside it.
pub trait Handle: Send + Sync + 'static {
    /// The head of a request has arrived: may its body be read? Headers of the answer come from here too.
    fn greet<'a>(&'a self, raw: &'a Raw) -> BoxFuture<'a, Greeting>;

    /// What is allowed to pages of other origins.
    fn cors(&self) -> Option<Cors>;

    /// One request.
    fn handle(&self, raw: Box<Raw>) -> BoxFuture<'_, Answer>;

    /// Returns when the store confirms no writes, and has not for some time.
    fn stands_still(&self) -> BoxFuture<'_, ()>;

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
    /// What the bodies of all requests of the process may hold.
    pub budget: Arc<Budget>,
    /// `custom_response_headers`.
    pub headers: CustomHeaders,
    /// Serve nothing but `sys/metrics`.
    pub metrics_only: bool,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: TrustedProxies,
    /// Answer `sys/metrics` without a token.
    pub unauthenticated_metrics: bool,
    /// What callers without a token may do with shares of keys.
    pub doors: Doors,
    /// Requests that are worked on although their caller has gone.
    pub left: TaskTracker,
}

/// A connection. Its requests share it, and nothing that other connections count too.
pub struct Peer {
    /// What is served to it.
    pub site: Arc<Site>,
    /// Address of its other end; none on a unix socket.
    pub address: Option<SocketAddr>,
    /// Certificates of its other end as DER, leaf first.
    pub certificates: Arc<Vec<Vec<u8>>>,
    /// Whether a request of it was ever read.
    pub heard: AtomicBool,
    /// The process ends soon: a connection ends with its next answer.
    pub leaving: Arc<AtomicBool>,
    /// The listener stops.
    pub closing: CancellationToken,
}

/// What a request holds until its work is done: for its body, and a place among what the drain waits for.
type Held = (Option<Charge>, Option<TaskTrackerToken>);

/// Looked for in every request: a name that was read once.
static NAMESPACE: HeaderName = HeaderName::from_static(header::NAMESPACE);
/// Pieces of a body that wait for the core.
const WAITING: usize = 4;
/// Told of a request that may be done, or be done later.
const UNCONFIRMED: &str = "the store confirms no writes at the moment; whether it was done is not known";
/// A request that takes longer may be waiting for the store.
const USUAL: Duration = Duration::from_millis(5_250);
/// How long a request with such a body may take.
const LONG: Duration = Duration::from_secs(3600);

// === impl Site ===

impl Site {
    /// Takes one request through.
    pub async fn serve<B>(&self, peer: &Arc<Peer>, request: Request<B>) -> Response<Outgoing>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let cors = self.handle.cors();
        let (verb, mut response) = match (cors::judge(cors.as_ref(), &parts), parts.uri.path().strip_prefix("/v1/")) {
            (Some(Verdict::Answered(response)), _) => (None, response),
            (verdict, Some(encoded)) => {
                let (verb, mut response) = self.serve_api(peer, &parts, encoded, body).await;
                if let Some(Verdict::Served(headers)) = verdict {
                    response.headers_mut().extend(headers);
                }
                (verb, response)
            }
            (_, None) => (None, plain(&parts)),
        };
        let (status, took) = (response.status().as_u16(), started.elapsed());
        self.headers.apply(status, response.headers_mut());
        if parts.version < Version::HTTP_2 && peer.leaving.load(Ordering::Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.handle.observe(verb, status, took);
        debug!(method = %parts.method, status, ?took, "answered");
        response
    }

    async fn serve_api<B>(
        &self,
        peer: &Arc<Peer>,
        parts: &Parts,
        encoded: &str,
        body: B,
    ) -> (Option<Verb>, Response<Outgoing>)
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let id = id::public_uuid(&*self.entropy);
        let Some(head) = Head::read(id, parts, encoded) else { return (None, answer::error(405, "")) };
        let (verb, mut response, headers) = self.serve_head(peer, parts, head, body).await;
        response.headers_mut().extend(headers);
        if let Some(namespace) = parts.headers.get(&NAMESPACE) {
            response.headers_mut().insert(&NAMESPACE, namespace.clone());
        }
        (Some(verb), response)
    }

    /// quota → size → parse → the core. Each step costs more than the one before it.
    async fn serve_head<B>(
        &self,
        peer: &Arc<Peer>,
        parts: &Parts,
        mut head: Head,
        body: B,
    ) -> (Verb, Response<Outgoing>, HeaderMap)
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let verb = head.raw().verb;
        let connection = self.connection(peer, head.raw());
        let connection = head.connect(connection);
        let greeting = self.handle.greet(head.raw()).await;
        let headers = header_map(greeting.headers);
        if let Some(error) = greeting.refusal {
            return (verb, answer::write(error.into()), headers);
        }
        if self.metrics_only && head.raw().path != "sys/metrics" {
            return (verb, answer::error(404, ""), headers);
        }
        let permit = greeting.permit;
        // A stream of HTTP/2 is a task of its own, for which the end of its connection does not wait.
        let counted = (parts.version >= Version::HTTP_2).then(|| self.left.token());
        if verb == Verb::Write && head.raw().token.is_some() && body::is_streamed(&head.raw().path) {
            let mut raw = head.with_body(Ok(Bytes::new()), connection);
            let (to, pieces) = tokio::sync::mpsc::channel(WAITING);
            raw.stream = Some(pieces);
            raw.permit = permit;
            let work = self.run_within(LONG, peer, raw, (None, counted));
            let (answer, ()) = futures::future::join(work, pump(body, to)).await;
            return (verb, answer::write(answer), headers);
        }
        let (bytes, charge) = match self.read_body(parts, &head, body).await {
            Ok(read) => read,
            Err(Exhausted) => return (verb, answer::write(busy().answer()), headers),
        };
        let mut raw = head.with_body(bytes, connection);
        raw.doors = self.doors;
        raw.permit = permit;
        let open = self.unauthenticated_metrics && raw.path == "sys/metrics" && raw.verb == Verb::Read;
        let response = match open && raw.fault.is_none() {
            true => answer::text(200, "text/plain; version=0.0.4; charset=utf-8", self.handle.metrics()),
            false => self.answer(peer, parts, raw, (charge, counted)).await,
        };
        (verb, response, headers)
    }

    async fn answer(&self, peer: &Arc<Peer>, parts: &Parts, raw: Box<Raw>, held: Held) -> Response<Outgoing> {
        match self.run_within(self.limits.request, peer, raw, held).await {
            Answer::Events(events) => websocket::accept(parts, events, peer.closing.clone()),
            answer => answer::write(answer),
        }
    }

    /// The body, and what it counts for. The outer error: there is no room for it now. The inner one: there never is.
    async fn read_body<B>(
        &self,
        parts: &Parts,
        head: &Head,
        body: B,
    ) -> Result<(Result<Bytes, Reject>, Option<Charge>), Exhausted>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        if body.is_end_stream() && head.parsed_as().is_none() {
            return Ok((Ok(Bytes::new()), None));
        }
        let mut charge = self.budget.charge();
        let bytes = self.read_charged(parts, head, body, &mut charge).await?;
        Ok((bytes, Some(charge)))
    }

    async fn read_charged<B>(
        &self,
        parts: &Parts,
        head: &Head,
        body: B,
        charge: &mut Charge,
    ) -> Result<Result<Bytes, Reject>, Exhausted>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let limits = &self.limits;
        let (most, values) = match head.raw().token {
            Some(_) => (limits.body, limits.json_values),
            None => (limits.body.min(limits.anonymous_body), limits.json_values.min(limits.anonymous_json_values)),
        };
        let bytes = match body.is_end_stream() {
            true => Ok(Bytes::new()),
            false => match timeout(limits.read, collect(parts, body, most, charge)).await {
                Ok(bytes) => bytes?,
                Err(_) => Err(Reject::new(408, "the request body did not arrive in time")),
            },
        };
        let (Ok(read), Some(content_type)) = (&bytes, head.parsed_as()) else { return Ok(bytes) };
        let shape = Shape { depth: limits.json_depth, values };
        match body::measure(&content_type, read, shape) {
            Ok(measure) => {
                charge.grow(read.len() + measure.values * body::VALUE_BYTES)?;
                Ok(bytes)
            }
            Err(reject) => Ok(Err(reject)),
        }
    }

    fn connection(&self, peer: &Peer, raw: &Raw) -> Result<Connection, Reject> {
        let certificates = peer.certificates.clone();
        let Some(address) = peer.address else { return Ok(Connection { certificates, ..Connection::default() }) };
        let remote = self.proxies.caller(address.ip(), raw.headers.text("x-forwarded-for").as_deref())?;
        Ok(Connection { remote: Some(remote), port: address.port(), certificates })
    }

    /// Runs the request to its end: a caller that hangs up or is told that the outcome is not known must not stop work
    /// between a change outside and its record. The body counts until the work is done, and the drain waits for it.
    async fn run_within(&self, limit: Duration, peer: &Arc<Peer>, raw: Box<Raw>, held: Held) -> Answer {
        let peer = peer.clone();
        let work = async move {
            let answer = peer.site.handle.handle(raw).await;
            drop(held);
            answer
        };
        let work = unbroken(work, &self.left);
        let mut work = std::pin::pin!(work);
        let outcome = match within(limit.min(USUAL), &mut work).await {
            Some(outcome) => outcome,
            None => tokio::select! {
                outcome = &mut work => outcome,
                () = self.handle.stands_still(), if limit < LONG => {
                    return Reject::new(503, UNCONFIRMED).answer();
                }
                () = tokio::time::sleep(limit.saturating_sub(USUAL)) => {
                    return Reject::new(504, "the request took too long; whether it was done is not known").answer();
                }
            },
        };
        outcome.unwrap_or_else(|Panicked| {
            error!("a request panicked");
            holdfast_core::Error::internal("internal error").into()
        })
    }
}

impl Reject {
    fn answer(self) -> Answer {
        Answer::Error(self.into())
    }
}

/// Reads a body of at most so many bytes. What arrives is charged as it comes: a long body that is only announced holds
/// nothing.
async fn collect<B>(
    parts: &Parts,
    body: B,
    most: usize,
    charge: &mut Charge,
) -> Result<Result<Bytes, Reject>, Exhausted>
where
    B: Body<Data = Bytes> + Send,
{
    let too_large = || Ok(Err(Reject::new(413, format!("the request body is larger than {most} bytes"))));
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return too_large();
    }
    // What is only announced gets no memory, not even an address.
    let mut pieces = Pieces::default();
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Ok(Err(Reject::bad("the request body ended early"))) };
        let Ok(data) = frame.into_data() else { continue };
        if pieces.bytes() + data.len() > most {
            return too_large();
        }
        charge.grow(data.len())?;
        pieces.add(data);
    }
    Ok(Ok(pieces.join()))
}

fn busy() -> Reject {
    Reject::new(503, "the server holds as many request bodies as it may; try again in a moment")
}

fn header_map(headers: Vec<(&'static str, String)>) -> HeaderMap {
    let headers = headers
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?)));
    headers.collect()
}

/// Hands the pieces of a body on as they come, until the other end wants no more.
async fn pump<B>(body: B, to: tokio::sync::mpsc::Sender<Bytes>)
where
    B: Body<Data = Bytes> + Send,
{
    let mut body = std::pin::pin!(body);
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(piece) = frame.into_data()
            && to.send(piece).await.is_err()
        {
            return;
        }
    }
}

/// What is not below `/v1/`.
fn plain(parts: &Parts) -> Response<Outgoing> {
    match (&parts.method, parts.uri.path()) {
        (&Method::GET | &Method::HEAD, "/") => answer::text(
            200,
            "text/plain; charset=utf-8",
            format!("Holdfast {}. The Vault HTTP API is below /v1/.\n", env!("CARGO_PKG_VERSION")),
        ),
        _ => answer::error(404, ""),
    }
}
