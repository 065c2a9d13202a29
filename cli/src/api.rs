//! Calls to the server, with errors told as the vault command tells them.

use holdfast_api_types::{Envelope, ErrorBody, header};
use holdfast_client::{Answer, Call, Client};
use http::Method;
use serde_json::{Map, Value};

use crate::{failure::Failure, instead::Instead};

/// The server, with token, namespace and wrapping as asked for.
pub struct Api {
    client: Client,
    wrap_ttl: Option<String>,
    instead: Option<Instead>,
}

/// What came back instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No connection, no answer.
    #[error("{0}")]
    Transport(#[from] holdfast_client::Error),
    /// The server's words.
    #[error("Error making API request.\n\nURL: {method} {url}\nCode: {status}. {}", words(.errors, .raw))]
    Status {
        /// Verb of the request.
        method: String,
        /// Where it went.
        url: String,
        /// HTTP status.
        status: u16,
        /// The server's words, each.
        errors: Vec<String>,
        /// The body, when it is not an error body.
        raw: Option<String>,
    },
    /// Nothing was asked: this is to be printed.
    #[error("{0}")]
    Instead(String),
    /// Not what the protocol says.
    #[error("unexpected answer of the server: {0}")]
    Body(String),
}

fn words(errors: &[String], raw: &Option<String>) -> String {
    match raw {
        Some(raw) => format!("Raw Message:\n\n{raw}"),
        None => {
            format!("Errors:\n\n{}", errors.iter().map(|error| format!("* {error}")).collect::<Vec<_>>().join("\n"))
        }
    }
}

impl ApiError {
    /// HTTP status, if the server answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Transport(error) => error.status(),
            Self::Instead(_) | Self::Body(_) => None,
        }
    }
}

// === impl Api ===

impl Api {
    /// Over this connection.
    pub fn new(client: Client, wrap_ttl: Option<String>) -> Self {
        Self { client, wrap_ttl, instead: None }
    }

    /// The same, printing each request instead of sending it.
    pub fn printing(self, instead: Option<Instead>) -> Self {
        Self { instead, ..self }
    }

    /// The same for a question on the way to the request that was asked for, which is sent in any case.
    pub fn really(&self) -> Self {
        Self { client: self.client.clone(), wrap_ttl: None, instead: None }
    }

    /// The connection, for what is more than a call and its answer.
    pub fn stream(&self) -> Result<&Client, Failure> {
        match self.instead {
            None => Ok(&self.client),
            Some(_) => Err(Failure::local(
                "-output-curl-string and -output-policy are not for this command: it is no single request",
            )),
        }
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The same with another token, and without wrapping.
    pub fn with_client(&self, client: Client) -> Self {
        Self { client, wrap_ttl: None, instead: self.instead.clone() }
    }

    /// Any call. A 404 to a GET that has `data` or `warnings` in it counts as an answer (a deleted version of kv v2).
    pub async fn call(&self, method: Method, path: &str, query: &str, body: Option<Value>) -> Result<Answer, ApiError> {
        let path = path.trim_start_matches('/');
        let headers = self.wrap_ttl.iter().map(|ttl| (header::WRAP_TTL, ttl.clone())).collect();
        let call = Call { method: method.clone(), path: path.to_owned(), query: query.to_owned(), body, headers };
        if let Some(instead) = &self.instead {
            return Err(ApiError::Instead(instead.text(&self.client, &call)));
        }
        let answer = self.client.call(call).await?;
        let told = answer.status == 404 && holds_something(&answer.body);
        if answer.status < 400 || (told && method == Method::GET) {
            return Ok(answer);
        }
        let parsed = serde_json::from_slice::<ErrorBody>(&answer.body);
        let raw = parsed.is_err() && !answer.body.is_empty();
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        Err(ApiError::Status {
            method: method.to_string(),
            url: format!("{}/v1/{path}{query}", self.client.address()),
            status: answer.status,
            errors: if told { warnings(&answer.body) } else { parsed.unwrap_or_default().errors },
            raw: raw.then(|| String::from_utf8_lossy(&answer.body).into_owned()),
        })
    }

    /// A call whose answer is an envelope, or nothing.
    pub async fn secret(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<Value>,
    ) -> Result<Option<Envelope>, ApiError> {
        let answer = self.call(method, path, query, body).await?;
        if answer.body.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&answer.body).map(Some).map_err(|error| ApiError::Body(error.to_string()))
    }

    /// GET; `None` when there is nothing.
    pub async fn read(&self, path: &str, query: &str) -> Result<Option<Envelope>, ApiError> {
        absent(self.secret(Method::GET, path, query, None).await)
    }

    /// PUT.
    pub async fn write(&self, path: &str, body: Value) -> Result<Option<Envelope>, ApiError> {
        self.secret(Method::PUT, path, "", Some(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Option<Envelope>, ApiError> {
        self.secret(Method::DELETE, path, "", None).await
    }

    /// LIST; `None` when there is nothing.
    pub async fn list(&self, path: &str) -> Result<Option<Envelope>, ApiError> {
        absent(self.secret(Method::GET, path.trim_end_matches('/'), "list=true", None).await)
    }

    /// A call whose answer is an object that is no envelope.
    pub async fn bare(&self, method: Method, path: &str, body: Option<Value>) -> Result<Map<String, Value>, ApiError> {
        let answer = self.call(method, path, "", body).await?;
        if answer.body.is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_slice(&answer.body).map_err(|error| ApiError::Body(error.to_string()))
    }

    /// The `data` of a GET, empty when there is none.
    pub async fn data(&self, path: &str) -> Result<Map<String, Value>, ApiError> {
        let envelope = self.secret(Method::GET, path, "", None).await?;
        Ok(envelope.and_then(|envelope| envelope.data).unwrap_or_default())
    }
}

/// A text as it may stand in a query.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn absent(result: Result<Option<Envelope>, ApiError>) -> Result<Option<Envelope>, ApiError> {
    match result {
        Err(ApiError::Status { status: 404, ref errors, .. }) if errors.is_empty() => Ok(None),
        other => other,
    }
}

fn holds_something(body: &[u8]) -> bool {
    let envelope = serde_json::from_slice::<Envelope>(body);
    envelope.is_ok_and(|envelope| envelope.data.is_some_and(|data| !data.is_empty()) || envelope.warnings.is_some())
}

fn warnings(body: &[u8]) -> Vec<String> {
    serde_json::from_slice::<Envelope>(body).ok().and_then(|envelope| envelope.warnings).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_vaults() {
        let error = |errors: &[&str], raw: Option<&str>| {
            let error = ApiError::Status {
                method: "GET".to_owned(),
                url: "http://127.0.0.1:8200/v1/secret/x".to_owned(),
                status: 403,
                errors: errors.iter().map(|error| (*error).to_owned()).collect(),
                raw: raw.map(str::to_owned),
            };
            error.to_string()
        };
        assert_eq!(
            error(&["permission denied"], None),
            "Error making API request.\n\nURL: GET http://127.0.0.1:8200/v1/secret/x\nCode: 403. Errors:\n\n* permission denied"
        );
        assert!(error(&[], Some("<html>")).ends_with("Code: 403. Raw Message:\n\n<html>"));
        assert!(holds_something(br#"{"data":{"metadata":{}}}"#));
        assert!(!holds_something(br#"{"errors":[]}"#));
        assert_eq!(warnings(br#"{"data":null,"warnings":["use kv put"]}"#), ["use kv put"]);
    }
}
