//! The TLS listener: `POST /mutate`.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use holdfast_runtime::{Admin, Shutdown};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family},
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::{
    authority::Serving,
    credential::Resolver,
    mutate::Settings,
    review::{self, Outcome},
};

/// Largest review; a pod is at most 3 MiB.
const MAX_BODY: usize = 8 << 20;
/// For handshakes, and for requests that run at the shutdown.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers reviews.
pub struct Service {
    settings: Settings,
    server_ca_file: Option<PathBuf>,
    resolver: Box<dyn Resolver>,
    reviews: Family<Labels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

struct Current(Serving);

impl Service {
    /// With `server_ca_file`, the server's CA is read anew for every pod, so that its rotation needs no restart.
    pub fn new(
        settings: Settings,
        server_ca_file: Option<PathBuf>,
        resolver: Box<dyn Resolver>,
        admin: &Admin,
    ) -> Arc<Self> {
        let reviews = Family::default();
        admin.register(|registry| {
            registry.register("holdfast_webhook_reviews", "Admission reviews by outcome", reviews.clone());
        });
        Arc::new(Self { settings, server_ca_file, resolver, reviews })
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
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
        };
        let settings = match self.settings_now() {
            Ok(settings) => settings,
            Err(reason) => {
                warn!(reason, "cannot read the server's CA");
                return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{reason}\n"));
            }
        };
        match review::answer(&body, &settings, &*self.resolver).await {
            Ok((answer, outcome)) => {
                self.reviews.get_or_create(&Labels { outcome }).inc();
                let mut response = text(StatusCode::OK, &answer.to_string());
                let json = http::HeaderValue::from_static("application/json");
                response.headers_mut().insert(http::header::CONTENT_TYPE, json);
                response
            }
            Err(reason) => text(StatusCode::BAD_REQUEST, &format!("{reason}\n")),
        }
    }

    fn settings_now(&self) -> Result<Settings, String> {
        let mut settings = self.settings.clone();
        if let Some(path) = &self.server_ca_file {
            let pem = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            settings.server_ca = Some(pem.trim().to_owned() + "\n");
        }
        Ok(settings)
    }
}

/// Serves until the shutdown; then lets running requests end.
pub async fn serve(
    address: SocketAddr,
    service: Arc<Service>,
    serving: Serving,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Current(serving)));
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind(address).await?;
    info!(%address, "serving POST /mutate");
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
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
