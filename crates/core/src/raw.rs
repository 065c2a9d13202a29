//! A request as the listener read it: bytes were decoded, nothing was judged yet.

use std::{borrow::Cow, time::Duration};

use holdfast_logical::{Connection, Operation};
use holdfast_secret::SecretString;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::Error;

/// What the HTTP method and the `list`, `scan` and `help` parameters said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// GET.
    Read,
    /// LIST, or GET with `list=true`.
    List,
    /// SCAN, or GET with `scan=true`.
    Scan,
    /// POST or PUT.
    Write,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// HEAD.
    Head,
    /// HELP, or GET with `help=1`.
    Help,
}

/// Pieces of a body in order. That it came whole must be seen in what it holds.
pub type BodyStream = tokio::sync::mpsc::Receiver<bytes::Bytes>;

/// Paths that a listener opens to callers without a token, as Vault does. Closed they need one, like all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    /// `sys/rekey/*` and `sys/rekey-recovery-key/*`.
    pub rekey: bool,
    /// `sys/generate-root/*`.
    pub generate_root: bool,
}

/// Headers of a request in their order. What was received is shared, not copied: few are ever looked at.
#[derive(Clone, Debug, Default)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

/// One request, before anything was decided about it.
#[derive(Debug)]
pub struct Raw {
    /// UUID, made by the listener; in the envelope and in the audit log.
    pub id: String,
    /// What is asked.
    pub verb: Verb,
    /// Percent-decoded, without `/v1/` in front.
    pub path: String,
    /// X-Vault-Namespace, as sent.
    pub namespace: Option<String>,
    /// X-Vault-Token or the bearer token.
    pub token: Option<SecretString>,
    /// X-Vault-Wrap-TTL.
    pub wrap_ttl: Option<Duration>,
    /// JSON body or form; for reads, lists and deletes the query parameters (a repeated one is a list).
    pub body: Map<String, Value>,
    /// The bytes of the body, for paths that take no JSON.
    pub raw_body: bytes::Bytes,
    /// The body as it comes, where it is too large to be held.
    pub stream: Option<BodyStream>,
    /// All headers but those that hold secrets.
    pub headers: Headers,
    /// X-Holdfast-Item.
    pub item: Option<String>,
    /// X-Holdfast-Owner, `kind/uid`.
    pub owner: Option<String>,
    /// X-Holdfast-Replace, a lease id.
    pub replace: Option<String>,
    /// Where from.
    pub connection: Connection,
    /// What the listener lets strangers do.
    pub doors: Doors,
    /// Its place among the requests that are worked on.
    pub permit: Option<crate::admission::Permit>,
    /// What the listener could not read (bad JSON, bad header). The core audits the request and answers this.
    pub fault: Option<Error>,
}

/// Is the path made of letters, digits, `-`, `_` and single slashes only, none of them in front? Most are: nothing in such a
/// path stands for anything else, or could.
pub fn is_plain(path: &str) -> bool {
    let mut before = b'/';
    path.bytes().all(|byte| {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'/' && before != b'/');
        before = byte;
        plain
    })
}

/// Does the path log somebody in?
pub(crate) fn is_login(path: &str) -> bool {
    path.starts_with("auth/") && path.split('/').any(|segment| segment == "login")
}

impl Headers {
    /// Adds a value.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// The first value of a header (its name in lower case) that is text.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// All values of a header (its name in lower case) in order, joined with commas; what is not text is left out.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self.values(name);
        let mut text = Cow::Borrowed(values.next()?);
        for value in values {
            text.to_mut().push_str(", ");
            text.to_mut().push_str(value);
        }
        Some(text)
    }

    /// Was none sent?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn values<'h, 'n>(&'h self, name: &'n str) -> impl Iterator<Item = &'h str> + use<'h, 'n> {
        self.0.iter().filter(move |(own, _)| own.as_str() == name).filter_map(|(_, value)| value.to_str().ok())
    }
}

impl Raw {
    /// The path with the namespace of the header in front.
    pub fn full_path(&self) -> String {
        let path = self.path.trim_start_matches('/');
        match self.namespace.as_deref().unwrap_or_default().trim_matches('/') {
            "" | "root" => path.to_owned(),
            namespace => format!("{namespace}/{path}"),
        }
    }

    /// A request without token, body and headers; the rest is filled in by the caller.
    pub fn new(id: impl Into<String>, verb: Verb, path: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            verb,
            path: path.into(),
            namespace: None,
            token: None,
            wrap_ttl: None,
            body: Map::new(),
            raw_body: bytes::Bytes::new(),
            stream: None,
            headers: Headers::default(),
            item: None,
            owner: None,
            replace: None,
            connection: Connection::default(),
            doors: Doors::default(),
            permit: None,
            fault: None,
        }
    }
}

impl Verb {
    /// The operation; a write counts as update until the engine has told whether there is something at the path.
    pub fn operation(self) -> Operation {
        match self {
            Self::Read | Self::Head => Operation::Read,
            Self::List => Operation::List,
            Self::Scan => Operation::Scan,
            Self::Write => Operation::Update,
            Self::Patch => Operation::Patch,
            Self::Delete => Operation::Delete,
            Self::Help => Operation::Help,
        }
    }
}
