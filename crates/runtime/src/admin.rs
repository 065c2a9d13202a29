//! The admin listener: `/healthz` (the process lives), `/readyz` (it can do its work), `/metrics` (OpenMetrics text).

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::Semaphore};
use tracing::{debug, info};

use crate::Shutdown;

/// Connections at a time: probes and a few scrapes. Whoever reaches the port could otherwise fill the memory.
const MOST: usize = 64;

/// Readiness and metrics of one process.
#[derive(Clone, Default)]
pub struct Admin {
    ready: Arc<AtomicBool>,
    registry: Arc<Mutex<Registry>>,
}

impl Admin {
    /// Not ready, no metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether the process can do its work.
    pub fn set_ready(&self, ready: bool) {
        if self.ready.swap(ready, Ordering::Relaxed) != ready {
            info!(ready, "readiness changed");
        }
    }

    /// Can the process do its work?
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Registers metrics.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock())
    }

    /// All metrics in OpenMetrics form.
    pub fn metrics_text(&self) -> String {
        let mut body = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut body, &self.registry.lock());
        body
    }

    /// Serves until the shutdown.
    pub async fn serve(self, address: SocketAddr, shutdown: Shutdown) -> anyhow::Result<()> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        info!(%address, "serving health and metrics");
        let places = Arc::new(Semaphore::new(MOST));
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        debug!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = shutdown.cancelled() => return Ok(()),
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                debug!("too many connections: one more is closed");
                continue;
            };
            let admin = self.clone();
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(move |request| {
                    let answer = admin.answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                if let Err(error) = served {
                    debug!(%error, "admin connection ended");
                }
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "text/plain", "ok\n".to_owned()),
            "/readyz" if self.is_ready() => text(StatusCode::OK, "text/plain", "ok\n".to_owned()),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".to_owned()),
            "/metrics" => {
                text(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", self.metrics_text())
            }
            _ => text(StatusCode::NOT_FOUND, "text/plain", "see /healthz, /readyz, /metrics\n".to_owned()),
        }
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
