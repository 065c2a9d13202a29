//! The two requests to the API server: its signing keys, and TokenReview.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use holdfast_logical::Error;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use jsonwebtoken::jwk::JwkSet;
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::Cluster;

/// For a whole request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is read.
const MAX_ANSWER: usize = 1 << 20;

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections to the API server, for one CA at a time.
#[derive(Default)]
pub(crate) struct Api(Mutex<Option<(String, Http)>>);

/// What the API server says of a token.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Review {
    pub authenticated: bool,
    pub user: User,
    pub audiences: Vec<String>,
    pub error: String,
}

/// Whose token it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    pub username: String,
    pub uid: String,
}

fn unavailable(host: &str, reason: &str) -> Error {
    Error::Unavailable(format!("the Kubernetes API server at {host} did not answer: {reason}"))
}

impl Api {
    /// The public keys that the cluster signs ServiceAccount tokens with.
    pub async fn signing_keys(&self, cluster: &Cluster) -> Result<JwkSet, Error> {
        let (status, body) = self.send(cluster, Method::GET, "/openid/v1/jwks", &cluster.token, None).await?;
        if status != 200 {
            return Err(unavailable(&cluster.host, &format!("status {status} for /openid/v1/jwks")));
        }
        serde_json::from_slice(&body).map_err(|_| unavailable(&cluster.host, "its keys cannot be read"))
    }

    /// Asks whether a token is good now. `reviewer` is the token that asks.
    pub async fn review(
        &self,
        cluster: &Cluster,
        reviewer: &str,
        token: &str,
        audiences: &[String],
    ) -> Result<Review, Error> {
        #[derive(Deserialize)]
        struct Answer {
            status: Review,
        }
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences},
        });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let (status, body) = self.send(cluster, Method::POST, path, reviewer, Some(&review)).await?;
        match status {
            200 | 201 => serde_json::from_slice::<Answer>(&body)
                .map(|answer| answer.status)
                .map_err(|_| unavailable(&cluster.host, "its TokenReview cannot be read")),
            401 | 403 => Err(Error::Unavailable(format!(
                "the Kubernetes API server at {} refused the TokenReview with status {status}: the reviewer needs the \
                 role system:auth-delegator",
                cluster.host
            ))),
            status => Err(unavailable(&cluster.host, &format!("status {status} for a TokenReview"))),
        }
    }

    async fn send(
        &self,
        cluster: &Cluster,
        method: Method,
        path: &str,
        bearer: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Bytes), Error> {
        let http = self.http(&cluster.ca)?;
        let uri: Uri = format!("{}{path}", cluster.host)
            .parse()
            .map_err(|_| Error::Invalid(format!("kubernetes_host {:?} is not a URL", cluster.host)))?;
        // The keys come as application/jwk-set+json only; a client that does not name it gets 406.
        let accept = "application/json, application/jwk-set+json";
        let mut request = Request::builder().method(method).uri(uri).header(header::ACCEPT, accept);
        if !bearer.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request
            .body(Full::new(bytes))
            .map_err(|_| Error::invalid("the reviewer token cannot be sent in a header"))?;
        let exchange = async {
            let answer = http.request(request).await.map_err(|error| chain(&error))?;
            let status = answer.status().as_u16();
            let body =
                Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
            Ok((status, body.to_bytes()))
        };
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(answer) => answer.map_err(|reason: String| unavailable(&cluster.host, &reason)),
            Err(_) => Err(unavailable(&cluster.host, &format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    fn http(&self, ca: &str) -> Result<Http, Error> {
        let mut kept = self.0.lock();
        if let Some((of, http)) = &*kept
            && of == ca
        {
            return Ok(http.clone());
        }
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            let broken = |_| Error::invalid("kubernetes_ca_cert is not a certificate in PEM");
            roots.add(certificate.map_err(broken)?).map_err(|_| Error::invalid("kubernetes_ca_cert is not usable"))?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Internal(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(Duration::from_secs(5)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        *kept = Some((ca.to_owned(), http.clone()));
        Ok(http)
    }
}

/// An error with its causes; hyper tells only the first one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
