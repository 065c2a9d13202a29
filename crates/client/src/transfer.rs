//! Bodies that are no JSON and may be large: snapshots.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::stream;
use holdfast_api_types::ErrorBody;
use http::Method;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Frame;

use crate::{Call, Client, Error, MAX_ANSWER, Outgoing, protocol};

/// How long either way may take.
const LONG: Duration = Duration::from_secs(3600);

impl Client {
    /// A GET whose answer goes into `sink` piece by piece, however long it is. A failing sink ends it.
    pub async fn download(
        &self,
        path: &str,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<(), Error> {
        self.listen(path, "", sink).await
    }

    /// The same with a query, and possibly without an end.
    pub async fn listen(
        &self,
        path: &str,
        query: &str,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<(), Error> {
        let call = Call { path: path.to_owned(), query: query.to_owned(), ..Call::default() };
        let request = self.request(call)?;
        let mut body = self.transfer(path, request).await?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| protocol(path, &format!("it was broken off: {error}")))?;
            if let Some(piece) = frame.data_ref() {
                sink(piece).map_err(|error| protocol(path, &error.to_string()))?;
            }
        }
        Ok(())
    }

    /// A POST of what `pieces` gives, sent as it is read. An error among them breaks the request off.
    pub async fn upload(
        &self,
        path: &str,
        pieces: impl Iterator<Item = io::Result<Bytes>> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let mut request = self.request(Call { method: Method::POST, path: path.to_owned(), ..Call::default() })?;
        let frames = pieces.map(|piece| piece.map(Frame::data));
        *request.body_mut() = StreamBody::new(stream::iter(frames)).boxed();
        self.transfer(path, request).await.map(drop)
    }

    async fn transfer(&self, path: &str, request: http::Request<Outgoing>) -> Result<hyper::body::Incoming, Error> {
        let sent = tokio::time::timeout(LONG, self.inner.http.request(request)).await;
        let late = |_| Error::Unreachable { address: self.address(), reason: format!("no answer within {LONG:?}") };
        let response = sent.map_err(late)?.map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        if status < 400 {
            return Ok(response.into_body());
        }
        Err(refused(path, status, response.into_body()).await)
    }
}

/// The server's words.
pub(crate) async fn refused(path: &str, status: u16, body: hyper::body::Incoming) -> Error {
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let errors = serde_json::from_slice::<ErrorBody>(&body).unwrap_or_default().errors;
    Error::Status { status, path: path.to_owned(), errors }
}
