//! From an HTTP request to a request of the core (`api.md` §1.1, §1.2 of the wire protocol; verbs, headers, parameters).
//!
//! What cannot be read becomes the request's `fault`: the core audits it and answers it in its place in the order of
//! checks, so that a malformed request leaves a trace.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use holdfast_api_types::header;
use holdfast_base::duration;
use holdfast_core::{Error, Raw, Verb};
use holdfast_logical::{Connection, Error as Logical};
use holdfast_secret::SecretString;
use http::{HeaderMap, HeaderValue, Method, request::Parts};
use serde_json::{Map, Value};

use crate::{
    body, path,
    query::{self, Repeated},
};

/// Why a request cannot be read.
#[derive(Debug)]
pub struct Reject {
    /// HTTP status.
    pub status: u16,
    /// For `errors`; none when empty.
    pub message: String,
}

/// A request whose head was read; the body is still to come.
#[derive(Debug)]
pub struct Head {
    raw: Box<Raw>,
    query: Map<String, Value>,
}

// === impl Reject ===

impl Reject {
    /// 400 with this text.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into() }
    }

    /// This status with this text.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<Reject> for Error {
    fn from(reject: Reject) -> Self {
        Self::Logical(Logical::Status { code: reject.status, message: reject.message })
    }
}

// === impl Head ===

impl Head {
    /// Reads method, path, query and headers. `encoded` is the path below `/v1/`, not decoded yet. `None`: no operation
    /// belongs to the method (405).
    pub fn read(id: String, parts: &Parts, encoded: &str) -> Option<Self> {
        let mut verb = verb(&parts.method)?;
        let mut fault = None;
        let mut query = keep(query::parse(parts.uri.query().unwrap_or_default(), Repeated::List), &mut fault);
        if verb == Verb::Read {
            verb = keep_or(read_verb(&mut query), verb, &mut fault);
        }
        let mut path = keep_or(path::decode(encoded), String::new(), &mut fault);
        if fault.is_none() {
            fault = check(verb, &mut path).err();
        }
        let mut raw = Box::new(Raw::new(id, verb, path));
        keep(read_headers(&parts.headers, &mut raw), &mut fault);
        raw.fault = fault.map(Error::from);
        Some(Self { raw, query })
    }

    /// What is known so far.
    pub fn raw(&self) -> &Raw {
        &self.raw
    }

    /// Content-Type of a body that will be parsed; `None`: it is not looked at.
    pub fn parsed_as(&self) -> Option<Cow<'_, str>> {
        let parsed = matches!(self.raw.verb, Verb::Write | Verb::Patch) && !self.takes_bytes();
        parsed.then(|| self.content_type())
    }

    fn content_type(&self) -> Cow<'_, str> {
        content_type(&self.raw)
    }

    /// Does the body go to the engine as it is?
    fn takes_bytes(&self) -> bool {
        body::is_raw(&self.raw.path, &self.content_type())
    }

    /// Adds where the request comes from; what is wrong about that is for [`Head::with_body`].
    pub fn connect(&mut self, connection: Result<Connection, Reject>) -> Result<(), Reject> {
        self.raw.connection = connection?;
        Ok(())
    }

    /// Adds the body, or why there is none.
    pub fn with_body(mut self, bytes: Result<Bytes, Reject>, connected: Result<(), Reject>) -> Box<Raw> {
        let mut fault = connected.err();
        let bytes = keep(bytes, &mut fault);
        self.raw.body = match self.raw.verb {
            Verb::Write | Verb::Patch if self.takes_bytes() => {
                self.raw.raw_body = bytes;
                Map::new()
            }
            Verb::Write | Verb::Patch => keep(body::parse(&self.content_type(), &bytes), &mut fault),
            _ => self.query,
        };
        self.raw.fault = self.raw.fault.or(fault.map(Error::from));
        self.raw
    }
}

/// Carries passcodes.
const MFA: &str = "x-vault-mfa";

fn verb(method: &Method) -> Option<Verb> {
    Some(match method.as_str() {
        "GET" => Verb::Read,
        "LIST" => Verb::List,
        "SCAN" => Verb::Scan,
        "POST" | "PUT" => Verb::Write,
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        "HEAD" => Verb::Head,
        "HELP" => Verb::Help,
        _ => return None,
    })
}

/// GET is a list, a scan or a call for help when a parameter says so; these parameters are taken out.
fn read_verb(query: &mut Map<String, Value>) -> Result<Verb, Reject> {
    let mut asks = |name: &str| match query.get(name).map(|value| value.as_str().and_then(truth)) {
        None => Ok(false),
        Some(Some(asked)) => {
            query.remove(name);
            Ok(asked)
        }
        // Vault answers this with an empty list of errors.
        Some(None) => Err(Reject::new(400, "")),
    };
    let (list, scan, help) = (asks("list")?, asks("scan")?, asks("help")?);
    match (list, scan) {
        (true, true) => Err(Reject::bad("list and scan cannot be asked for at once")),
        _ if help => Ok(Verb::Help),
        (true, false) => Ok(Verb::List),
        (false, true) => Ok(Verb::Scan),
        (false, false) => Ok(Verb::Read),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Lists end in a slash, writes do not.
fn check(verb: Verb, path: &mut String) -> Result<(), Reject> {
    match verb {
        Verb::List | Verb::Scan if !path.ends_with('/') => path.push('/'),
        Verb::Write | Verb::Patch if path.ends_with('/') => {
            return Err(Reject::bad("cannot write to a path ending in '/'"));
        }
        _ => {}
    }
    Ok(())
}

/// Takes what the headers say. Of several wrong ones one is told.
fn read_headers(headers: &HeaderMap, raw: &mut Raw) -> Result<(), Reject> {
    let (mut vault, mut authorization, mut fault) = (None, None, None);
    for (name, value) in headers {
        match name.as_str() {
            header::TOKEN => vault = vault.or(Some(value.as_bytes())),
            "authorization" => authorization = authorization.or(Some(value.as_bytes())),
            "cookie" => {}
            MFA => fault = fault.or_else(|| mfa(value).err()),
            _ => raw.headers.add(name.clone(), value.clone()),
        }
    }
    let bearer = || authorization?.strip_prefix(b"Bearer ");
    raw.token = vault.or_else(bearer).and_then(token);
    let own = |name| raw.headers.text(name).map(Cow::into_owned);
    raw.namespace = own(header::NAMESPACE).filter(|text| !text.is_empty());
    raw.item = own(header::ITEM);
    raw.owner = own(header::OWNER);
    raw.replace = own(header::REPLACE);
    if raw.verb == Verb::Patch && body::media_type(&content_type(raw)) != "application/merge-patch+json" {
        let text = "a PATCH needs the Content-Type application/merge-patch+json (RFC 7396)";
        fault = fault.or_else(|| Some(Reject::new(415, text)));
    }
    match raw.headers.text(header::WRAP_TTL).map(|text| wrap_ttl(&text)).transpose() {
        Ok(ttl) => raw.wrap_ttl = ttl.flatten(),
        Err(reject) => fault = fault.or(Some(reject)),
    }
    fault.map_or(Ok(()), Err)
}

fn content_type(raw: &Raw) -> Cow<'_, str> {
    raw.headers.text("content-type").unwrap_or_default()
}

/// A token that is no text comes with a sign in it that no token has, which is refused where tokens are looked at.
fn token(given: &[u8]) -> Option<SecretString> {
    let text = String::from_utf8_lossy(given);
    Some(SecretString::new(text.trim())).filter(|token| !token.is_empty())
}

/// Seconds or a duration, with or without quotes; zero is no wrapping.
fn wrap_ttl(text: &str) -> Result<Option<Duration>, Reject> {
    let ttl = duration::parse(text.trim().trim_matches('"'))
        .map_err(|_| Reject::bad("X-Vault-Wrap-TTL: give seconds or a duration such as 5m, not below zero"))?;
    Ok(Some(ttl).filter(|ttl| !ttl.is_zero()))
}

/// `X-Vault-MFA` is `<method>` or `<method>:<passcode>`, once or more. It holds secrets: its form is all that is looked at.
fn mfa(value: &HeaderValue) -> Result<(), Reject> {
    match value.to_str().is_ok_and(|text| !text.split(':').next().unwrap_or_default().trim().is_empty()) {
        true => Ok(()),
        false => Err(Reject::bad("X-Vault-MFA: give a method, or a method and a passcode with a colon between them")),
    }
}

fn keep<T: Default>(outcome: Result<T, Reject>, fault: &mut Option<Reject>) -> T {
    keep_or(outcome, T::default(), fault)
}

fn keep_or<T>(outcome: Result<T, Reject>, otherwise: T, fault: &mut Option<Reject>) -> T {
    outcome.unwrap_or_else(|reject| {
        fault.get_or_insert(reject);
        otherwise
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status;

    fn read(method: &str, target: &str, headers: &[(&str, &str)], body: &'static str) -> Box<Raw> {
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let path = parts.uri.path().strip_prefix("/v1/").unwrap().to_owned();
        Head::read("id".to_owned(), &parts, &path).unwrap().with_body(Ok(Bytes::from_static(body.as_bytes())), Ok(()))
    }

    fn fault(raw: &Raw) -> Option<u16> {
        raw.fault.as_ref().map(|error| status::of(error).status)
    }

    #[test]
    fn methods_and_parameters_say_what_is_asked() {
        for (method, target, verb, path) in [
            ("GET", "/v1/secret/a", Verb::Read, "secret/a"),
            ("GET", "/v1/secret/a?list=true", Verb::List, "secret/a/"),
            ("GET", "/v1/secret/a/?list=1", Verb::List, "secret/a/"),
            ("GET", "/v1/secret/a?list=false", Verb::Read, "secret/a"),
            ("GET", "/v1/secret/a?scan=true", Verb::Scan, "secret/a/"),
            ("GET", "/v1/secret/a?help=1", Verb::Help, "secret/a"),
            ("LIST", "/v1/secret/a", Verb::List, "secret/a/"),
            ("POST", "/v1/secret/a", Verb::Write, "secret/a"),
            ("PUT", "/v1/secret/a", Verb::Write, "secret/a"),
            ("DELETE", "/v1/secret/a%20b", Verb::Delete, "secret/a b"),
            ("HEAD", "/v1/sys/health", Verb::Head, "sys/health"),
        ] {
            let raw = read(method, target, &[], "");
            assert_eq!((raw.verb, raw.path.as_str(), fault(&raw)), (verb, path, None), "{method} {target}");
            assert!(raw.body.is_empty());
        }
        let (parts, ()) = http::Request::builder().method("TRACE").uri("/v1/x").body(()).unwrap().into_parts();
        assert!(Head::read(String::new(), &parts, "x").is_none());
    }

    #[test]
    fn parameters_of_reads_come_from_the_query_and_of_writes_from_the_body() {
        assert_eq!(Value::Object(read("GET", "/v1/a?version=2", &[], "").body), json!({"version": "2"}));
        assert_eq!(Value::Object(read("DELETE", "/v1/a?x=1&x=2", &[], "").body), json!({"x": ["1", "2"]}));
        assert_eq!(Value::Object(read("POST", "/v1/a?x=1", &[], r#"{"y":2}"#).body), json!({"y": 2}));
    }

    #[test]
    fn what_cannot_be_read_is_a_fault() {
        let merge = ("content-type", "application/merge-patch+json");
        for (method, target, headers, body, expected) in [
            ("GET", "/v1/a?list=maybe", &[][..], "", Some(400)),
            ("GET", "/v1/a?list=1&scan=1", &[], "", Some(400)),
            ("GET", "/v1/a/%2e%2e/b", &[], "", Some(400)),
            ("POST", "/v1/a/", &[], "{}", Some(400)),
            ("POST", "/v1/a", &[], "{", Some(400)),
            ("PATCH", "/v1/a", &[("content-type", "application/json")], "{}", Some(415)),
            ("PATCH", "/v1/a", &[merge], "{}", None),
            ("GET", "/v1/a", &[("x-vault-wrap-ttl", "-1")], "", Some(400)),
            ("GET", "/v1/a", &[("x-vault-wrap-ttl", "soon")], "", Some(400)),
            ("GET", "/v1/a", &[("x-vault-wrap-ttl", "0"), ("x-vault-wrap-ttl", "60")], "", Some(400)),
            ("PATCH", "/v1/a", &[merge, ("content-type", "application/json")], "{}", Some(415)),
            ("GET", "/v1/a", &[("x-vault-mfa", ":123456")], "", Some(400)),
            ("GET", "/v1/a", &[("x-vault-mfa", "totp:123456"), ("x-vault-mfa", "duo")], "", None),
            ("GET", "/v1/a", &[("x-vault-no-request-forwarding", "true"), ("x-vault-index", "x")], "", None),
        ] {
            assert_eq!(fault(&read(method, target, headers, body)), expected, "{method} {target}");
        }
    }

    #[test]
    fn the_token_is_taken_out_of_the_headers() {
        let raw = read("GET", "/v1/a", &[("x-vault-token", "hvs.a"), ("authorization", "Bearer hvs.b")], "");
        assert_eq!(raw.token.unwrap().expose(), "hvs.a");
        assert!(raw.headers.is_empty());
        let raw = read("GET", "/v1/a", &[("authorization", "Bearer hvs.b"), ("x-a", "1"), ("x-a", "2")], "");
        assert_eq!(raw.token.unwrap().expose(), "hvs.b");
        assert_eq!(raw.headers.text("x-a").unwrap(), "1, 2");
        for basic in
            [&[("authorization", "Basic eDp5")][..], &[("authorization", "Basic eDp5"), ("authorization", "Bearer b")]]
        {
            assert!(read("GET", "/v1/a", basic, "").token.is_none());
        }
        let (mut parts, ()) = http::Request::builder().uri("/v1/a").body(()).unwrap().into_parts();
        parts.headers.insert(header::TOKEN, http::HeaderValue::from_bytes(b"hvs.\xff").unwrap());
        let raw = Head::read(String::new(), &parts, "a").unwrap().with_body(Ok(Bytes::new()), Ok(()));
        assert_eq!(raw.token.unwrap().expose(), "hvs.\u{fffd}");
    }

    #[test]
    fn wrap_ttl_takes_seconds_durations_and_quotes() {
        for (text, expected) in [("60", Some(60)), ("\"60s\"", Some(60)), ("5m", Some(300)), ("0", None)] {
            let raw = read("GET", "/v1/a", &[("x-vault-wrap-ttl", text)], "");
            assert_eq!(raw.wrap_ttl.map(|ttl| ttl.as_secs()), expected, "{text}");
        }
    }
}
