//! Bodies that are no JSON and may be large: snapshots.

use std::{io, time::Duration};

use bytes::Bytes;
use holdfast_api_types::ErrorBody;
use http::Method;
use http_body_util::{BodyExt, Full, Limited};

use crate::{Call, Client, Error, MAX_ANSWER, protocol};

/// How long either way may take.
const LONG: Duration = Duration::from_secs(3600);

impl Client {
    /// A GET whose answer goes into `sink` piece by piece, however long it is. A failing sink ends it.
    pub async fn download(
        &self,
        path: &str,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<(), Error> {
        let request = self.request(Call { path: path.to_owned(), ..Call::default() })?;
        let mut body = self.transfer(path, request).await?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| protocol(path, &format!("it was broken off: {error}")))?;
            if let Some(piece) = frame.data_ref() {
                sink(piece).map_err(|error| protocol(path, &error.to_string()))?;
            }
        }
        Ok(())
    }

    /// A POST of these bytes as they are.
    pub async fn upload(&self, path: &str, content: Bytes) -> Result<(), Error> {
        let mut request = self.request(Call { method: Method::POST, path: path.to_owned(), ..Call::default() })?;
        *request.body_mut() = Full::new(content);
        self.transfer(path, request).await.map(drop)
    }

    async fn transfer(&self, path: &str, request: http::Request<Full<Bytes>>) -> Result<hyper::body::Incoming, Error> {
        let sent = tokio::time::timeout(LONG, self.inner.http.request(request)).await;
        let late = |_| Error::Unreachable { address: self.address(), reason: format!("no answer within {LONG:?}") };
        let response = sent.map_err(late)?.map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        if status < 400 {
            return Ok(response.into_body());
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let errors = serde_json::from_slice::<ErrorBody>(&body).unwrap_or_default().errors;
        Err(Error::Status { status, path: path.to_owned(), errors })
    }
}
