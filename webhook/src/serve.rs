//! The TLS listener: `POST /mutate`.

use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use holdfast_runtime::{Admin, Shutdown};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::{
    authority::Serving,
    cluster::Cluster,
    review::{self, Outcome, Reviewed},
    rules::Source,
};

/// Largest review: what an API server takes for one object, and twice what its store takes.
const MAX_BODY: usize = 3 << 20;
/// Open at once; an API server keeps a few.
const MAX_CONNECTIONS: usize = 256;
/// Namespaces that have counters of their own; the others share one without a name. Whoever reaches the listener may make
/// names up.
const MAX_NAMESPACES: usize = 1000;
/// For handshakes, and for requests that run at the shutdown.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers reviews.
pub struct Service {
    source: Source,
    cluster: Box<dyn Cluster>,
    reviews: Family<Labels, Counter>,
    counted: Mutex<HashSet<String>>,
    seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    namespace: String,
    outcome: Outcome,
}

struct Current(Serving);

impl Service {
    /// Answers by the rules of `source`.
    pub fn new(source: Source, cluster: Box<dyn Cluster>, admin: &Admin) -> Arc<Self> {
        let reviews = Family::default();
        let seconds = Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.5]);
        admin.register(|registry| {
            registry.register(
                "holdfast_webhook_reviews",
                "Admission reviews by namespace and outcome",
                reviews.clone(),
            );
            registry.register("holdfast_webhook_review_seconds", "Time of a review", seconds.clone());
        });
        Arc::new(Self { source, cluster, reviews, counted: Mutex::default(), seconds })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/mutate" {
            return text(StatusCode::NOT_FOUND, "see POST /mutate\n");
        }
        if request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n");
        }
        let body = match Limited::new(request.into_body(), MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return text(StatusCode::PAYLOAD_TOO_LARGE, "a review is at most 3 MiB\n");
            }
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
        };
        let began = std::time::Instant::now();
        let rules = match self.source.now() {
            Ok(rules) => rules,
            Err(reason) => {
                warn!(reason, "cannot read the server's CA");
                return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{reason}\n"));
            }
        };
        let answered = review::answer(&body, &rules, &*self.cluster).await;
        self.seconds.observe(began.elapsed().as_secs_f64());
        match answered {
            Ok(Reviewed { answer, outcome, namespace }) => {
                self.reviews.get_or_create(&Labels { namespace: self.counted(namespace), outcome }).inc();
                let mut response = text(StatusCode::OK, &answer.to_string());
                let json = http::HeaderValue::from_static("application/json");
                response.headers_mut().insert(http::header::CONTENT_TYPE, json);
                response
            }
            Err(reason) => text(StatusCode::BAD_REQUEST, &format!("{reason}\n")),
        }
    }

    /// The namespace under which a review is counted.
    fn counted(&self, namespace: String) -> String {
        let mut counted = self.counted.lock();
        if counted.contains(&namespace) {
            return namespace;
        }
        if counted.len() >= MAX_NAMESPACES || namespace.len() > 63 {
            return String::new();
        }
        counted.insert(namespace.clone());
        namespace
    }
}

/// What the listener speaks. With `client_ca`, only callers with a certificate of it get further than the handshake.
///
/// # Errors
/// When `client_ca` holds no certificate.
pub fn tls(serving: Serving, client_ca: Option<&[u8]>) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.context("the client CA")?)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.context("the client CA")?)
        }
    };
    let mut tls = builder.with_cert_resolver(Arc::new(Current(serving)));
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

/// Serves until the shutdown; then lets running requests end.
///
/// # Errors
/// None while it serves.
pub async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    service: Arc<Service>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    info!(address = %listener.local_addr()?, "serving POST /mutate");
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    // An answer is two frames; the second must not wait for the first to be acknowledged.
                    let _ = stream.set_nodelay(true);
                    stream
                }
                Err(error) => { debug!(%error, "accept failed"); continue }
            },
            Some(_) = connections.join_next() => continue,
            () = shutdown.cancelled() => break,
        };
        connections.spawn(connection(stream, acceptor.clone(), service.clone(), shutdown.clone()));
    }
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(PATIENCE, all).await;
    Ok(())
}

async fn connection(stream: tokio::net::TcpStream, acceptor: TlsAcceptor, service: Arc<Service>, shutdown: Shutdown) {
    let stream = match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "handshake failed"),
        Err(_) => return,
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let served = tokio::select! {
        served = &mut connection => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "connection ended");
    }
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_owned())));
    *response.status_mut() = status;
    response
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Injected => "injected",
            Self::Skipped => "skipped",
            Self::Denied => "denied",
            Self::Failed => "failed",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}
