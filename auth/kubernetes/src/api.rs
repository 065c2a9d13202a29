//! The two requests to the API server: its signing keys, and TokenReview.

use bytes::Bytes;
use holdfast_fetch::{Answer, Fetcher, MAX_ANSWER};
use holdfast_jose::KeySet;
use holdfast_logical::Error;
use http::{Method, Request, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::Cluster;

/// Connections to the API server.
#[derive(Default)]
pub(crate) struct Api(Fetcher);

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
    pub async fn signing_keys(&self, cluster: &Cluster) -> Result<KeySet, Error> {
        let answer = self.send(cluster, Method::GET, "/openid/v1/jwks", &cluster.token, None).await?;
        if answer.status != 200 {
            return Err(unavailable(&cluster.host, &format!("status {} for /openid/v1/jwks", answer.status)));
        }
        KeySet::from_json(&answer.body).ok_or_else(|| unavailable(&cluster.host, "its keys cannot be read"))
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
        struct Reviewed {
            status: Review,
        }
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences},
        });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let answer = self.send(cluster, Method::POST, path, reviewer, Some(&review)).await?;
        match answer.status {
            200 | 201 => serde_json::from_slice::<Reviewed>(&answer.body)
                .map(|reviewed| reviewed.status)
                .map_err(|_| unavailable(&cluster.host, "its TokenReview cannot be read")),
            401 | 403 => Err(Error::Unavailable(format!(
                "the Kubernetes API server at {} refused the TokenReview with status {}: the reviewer needs the role \
                 system:auth-delegator",
                cluster.host, answer.status
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
    ) -> Result<Answer, Error> {
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
        let request =
            request.body(bytes).map_err(|_| Error::invalid("the reviewer token cannot be sent in a header"))?;
        self.0.send(&cluster.ca, request, MAX_ANSWER).await.map_err(|error| match error {
            holdfast_fetch::Error::Ca(reason) => Error::Invalid(format!("kubernetes_ca_cert: {reason}")),
            holdfast_fetch::Error::Url { url } => Error::Invalid(format!("kubernetes_host {url:?} is not a URL")),
            holdfast_fetch::Error::Unanswered { reason, .. } => unavailable(&cluster.host, &reason),
        })
    }
}
