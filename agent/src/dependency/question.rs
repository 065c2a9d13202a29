//! What is asked of the server, and how: the path, which is another one for kv version 2 than templates say, and the name
//! under which the server keeps the answer for the pod.

use holdfast_api_types::{Envelope, header};
use holdfast_client::{Call as Request, Error as ClientError};
use holdfast_template::{Call, Kind};
use http::Method;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Round;

/// A call of templates.
pub(super) struct Question {
    call: Call,
    /// Path that is read; has `data/` in it where the template left that out.
    path: String,
    looked_for_kv: bool,
}

impl Question {
    pub(super) fn new(call: Call) -> Self {
        Self { path: call.path.clone(), call, looked_for_kv: false }
    }

    /// Path that is read.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Is it a request that makes something?
    pub(super) fn writes(&self) -> bool {
        !self.call.args.is_empty() || self.call.kind == Kind::Certificate
    }

    /// Can a change at this path of the API change the answer?
    pub(super) fn is_about(&self, changed: &str) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        match self.call.kind {
            _ if self.writes() => false,
            Kind::List => path.split('/').next() == changed.split('/').next(),
            _ => path.trim_matches('/') == changed.trim_matches('/'),
        }
    }

    /// Asks; with `replace` for another credential in the place of that lease.
    pub(super) async fn ask(&self, replace: Option<&str>, round: Round<'_>) -> Result<Option<Envelope>, ClientError> {
        let (path, mut query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        if self.call.kind == Kind::List {
            query = "list=true";
        }
        let mut headers = Vec::new();
        if round.who.pod {
            headers.push((header::ITEM, binding_item(&self.call)));
            headers.extend(replace.map(|lease| (header::REPLACE, lease.to_owned())));
        }
        let mut request = Request { path: path.to_owned(), query: query.to_owned(), headers, ..Request::default() };
        if self.writes() {
            let body: Map<String, Value> =
                self.call.args.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
            request.method = Method::PUT;
            request.body = Some(Value::Object(body));
        }
        match round.client.envelope(request).await {
            Err(ClientError::Status { status: 404, ref errors, .. }) if errors.is_empty() => Ok(None),
            other => other,
        }
    }

    /// `secret/app` of a kv version 2 mount is `secret/data/app`. True if the path has changed.
    pub(super) async fn find_kv_data(&mut self, round: Round<'_>) -> bool {
        if std::mem::replace(&mut self.looked_for_kv, true) || self.writes() {
            return false;
        }
        let folder = if self.call.kind == Kind::List { "metadata/" } else { "data/" };
        let path = self.path.split('?').next().unwrap_or_default();
        let Ok(Some(envelope)) = round.client.read(&format!("sys/internal/ui/mounts/{path}")).await else {
            return false;
        };
        let data = Value::Object(envelope.data.unwrap_or_default());
        let version = data.pointer("/options/version").and_then(Value::as_str);
        let mount = data["path"].as_str().unwrap_or_default();
        // The root of a mount is listed without a slash.
        let whole = if self.call.kind == Kind::List { format!("{path}/") } else { self.path.clone() };
        match whole.strip_prefix(mount) {
            Some(rest) if version == Some("2") && !mount.is_empty() && !rest.starts_with(folder) => {
                self.path = format!("{mount}{folder}{rest}");
                true
            }
            _ => false,
        }
    }
}

/// Under this name the server keeps the credential of the pod: the same after a restart, a new login, and in the init
/// container. Items that read the same path share it, as templates of one agent always have.
fn binding_item(call: &Call) -> String {
    let mut item = format!("inject/{}", call.path);
    if !call.args.is_empty() {
        let mut hash = Sha256::new();
        for (key, value) in &call.args {
            hash.update(format!("{}:{key}{}:{value}", key.len(), value.len()));
        }
        item = format!("{item}#{}", hex::encode(&hash.finalize()[..8]));
    }
    let plain = |byte: u8| if byte.is_ascii_graphic() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    item.bytes().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_stable_and_tell_writes_apart_without_showing_arguments() {
        let call = |args: &[(&str, &str)]| Call {
            path: "pki/issue/web ü".to_owned(),
            args: args.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Call::default()
        };
        assert_eq!(binding_item(&call(&[])), "inject/pki/issue/web%20%C3%BC");
        let (one, two) = (binding_item(&call(&[("cn", "a")])), binding_item(&call(&[("cn", "b")])));
        assert_ne!(one, two);
        assert!(one.starts_with("inject/pki/issue/web%20%C3%BC#"));
    }
}
