//! From what the core answers to the bytes of a response.

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use holdfast_api_types::Envelope;
use holdfast_core::Answer;
use holdfast_logical::Data;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Map, Value};
use tracing::error;

use crate::status;

/// hvac compares the header for equality: no charset.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Room for the body of most answers, in bytes.
const USUAL: usize = 512;

/// Body of an answer: whole, or as it is made.
pub type Outgoing = Either<Full<Bytes>, StreamBody<BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>>>;

/// Writes an answer out.
pub fn write(answer: Answer) -> Response<Outgoing> {
    match answer {
        Answer::Empty => response(204, JSON, Vec::new()),
        Answer::Envelope { status, envelope, top_level: false } => json(status, &*envelope),
        Answer::Envelope { status, envelope, top_level: true } => json(status, &with_top_level(&envelope)),
        Answer::Bare { status: 503, body } => again(json(503, &body)),
        Answer::Bare { status, body } => json(status, &body),
        Answer::Raw { status, content_type, body, max_age } => {
            let content_type = HeaderValue::from_str(&content_type)
                .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
            let mut response = response(status, content_type, body);
            if let Some(age) = max_age.map(|age| format!("public, max-age={}", age.as_secs()))
                && let Ok(age) = HeaderValue::try_from(age)
            {
                response.headers_mut().insert(header::CACHE_CONTROL, age);
            }
            response
        }
        Answer::Events(_) => error(426, "this path is a WebSocket"),
        Answer::Stream { content_type, pieces } => {
            let frames = futures::stream::unfold(pieces, |mut pieces| async move {
                let piece = pieces.recv().await?;
                Some((piece.map(Frame::data), pieces))
            });
            let mut response = response(200, JSON, Vec::new()).map(|_| Either::Right(StreamBody::new(frames.boxed())));
            if let Ok(content_type) = HeaderValue::from_str(&content_type) {
                response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            }
            response
        }
        Answer::Error(error) => {
            let refusal = status::of(&error);
            let response = json(refusal.status, &refusal.body);
            if refusal.retry { again(response) } else { response }
        }
    }
}

/// The same request may work in a moment.
fn again(mut response: Response<Outgoing>) -> Response<Outgoing> {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// An error with this status and text, or with an empty list when the text is empty.
pub fn error(status: u16, text: &str) -> Response<Outgoing> {
    let errors: &[&str] = if text.is_empty() { &[] } else { &[text] };
    json(status, &serde_json::json!({ "errors": errors }))
}

/// A body of another type.
pub fn text(status: u16, content_type: &'static str, body: String) -> Response<Outgoing> {
    response(status, HeaderValue::from_static(content_type), body.into_bytes())
}

fn json(status: u16, body: &impl serde::Serialize) -> Response<Outgoing> {
    let mut bytes = Vec::with_capacity(USUAL);
    match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => {
            bytes.push(b'\n');
            response(status, JSON, bytes)
        }
        Err(error) => {
            error!(%error, "an answer cannot be written as JSON");
            response(500, JSON, b"{\"errors\":[\"internal error\"]}\n".to_vec())
        }
    }
}

fn response(status: u16, content_type: HeaderValue, body: Vec<u8>) -> Response<Outgoing> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The envelope with the keys of `data` beside its own, which win: clients of some sys paths read them there.
fn with_top_level(envelope: &Envelope<Data>) -> Map<String, Value> {
    let mut body = envelope.data.as_ref().map(Data::to_map).unwrap_or_default();
    if let Ok(Value::Object(own)) = serde_json::to_value(envelope) {
        body.extend(own);
    }
    body
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    async fn body(response: Response<Outgoing>) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn envelope(data: Value) -> Box<Envelope<Data>> {
        Box::new(Envelope { request_id: "r".to_owned(), data: Some(data.into()), ..Envelope::default() })
    }

    #[tokio::test]
    async fn an_envelope_has_all_its_keys() {
        let response = write(Answer::Envelope { status: 200, envelope: envelope(json!({"a": 1})), top_level: false });
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(
            body(response).await,
            "{\"request_id\":\"r\",\"lease_id\":\"\",\"renewable\":false,\"lease_duration\":0,\"data\":{\"a\":1},\
             \"wrap_info\":null,\"warnings\":null,\"auth\":null,\"mount_type\":\"\"}\n"
        );
    }

    #[test]
    fn health_that_is_not_well_says_when_to_ask_again() {
        let retry = |status| {
            let response = write(Answer::Bare { status, body: json!({}) });
            response.headers().get(header::RETRY_AFTER).cloned()
        };
        assert_eq!((retry(503), retry(501), retry(200)), (Some(HeaderValue::from_static("1")), None, None));
    }

    #[tokio::test]
    async fn data_is_copied_to_the_top_level_and_never_over_the_envelope() {
        let data = json!({"secret/": {"type": "kv"}, "renewable": "no"});
        let response = write(Answer::Envelope { status: 200, envelope: envelope(data), top_level: true });
        let body: Value = serde_json::from_str(&body(response).await).unwrap();
        assert_eq!(body["secret/"], json!({"type": "kv"}));
        assert_eq!(body["data"]["secret/"], json!({"type": "kv"}));
        assert_eq!(body["renewable"], json!(false));
    }

    #[tokio::test]
    async fn raw_data_passes_untouched() {
        let text = r#"{"n":1.0,"big":12345678901234567890123}"#;
        let data = Data::Raw(serde_json::value::RawValue::from_string(text.to_owned()).unwrap());
        let envelope = Box::new(Envelope { data: Some(data), ..Envelope::default() });
        let response = write(Answer::Envelope { status: 200, envelope, top_level: false });
        assert!(body(response).await.contains(text));
    }

    #[tokio::test]
    async fn nothing_is_204_and_errors_are_a_list() {
        let response = write(Answer::Empty);
        assert_eq!((response.status().as_u16(), body(response).await.as_str()), (204, ""));
        let response = write(Answer::Error(holdfast_core::Error::not_found()));
        assert_eq!((response.status().as_u16(), body(response).await.as_str()), (404, "{\"errors\":[]}\n"));
        let response = write(Answer::Error(holdfast_core::Error::denied()));
        assert_eq!(body(response).await, "{\"errors\":[\"permission denied\"]}\n");
        assert_eq!(body(error(405, "")).await, "{\"errors\":[]}\n");
    }
}
