//! Policy text into stanzas.

use std::{collections::BTreeSet, time::Duration};

use holdfast_base::{Timestamp, duration};
use holdfast_hcl::{Attribute, Body, Found, Item, Value};
use holdfast_logical::{Subject, Template};

use crate::{Capabilities, Pattern, parameters::Rules};

/// Why a text is not a policy. The text begins as Vault's does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse policy: {0}")]
pub struct ParseError(String);

/// A policy that was understood completely.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    name: String,
    text: String,
    stanzas: Vec<Stanza>,
}

/// One `path "…" { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stanza {
    pub(crate) pattern: Pattern,
    pub(crate) capabilities: Capabilities,
    pub(crate) allowed: Rules,
    pub(crate) denied: Rules,
    pub(crate) required: BTreeSet<String>,
    /// Globs over types of events, for `subscribe`.
    pub(crate) events: BTreeSet<String>,
    pub(crate) min_wrapping_ttl: Option<Duration>,
    pub(crate) max_wrapping_ttl: Option<Duration>,
    /// Most names that a list may answer with.
    pub(crate) page: Option<usize>,
    /// From then on it is as if it were not there.
    pub(crate) ends: Option<Timestamp>,
    /// Has `{{identity…}}` in its pattern, which never matches until it is filled in.
    pub(crate) template: Option<Template>,
}

const STANZA_KEYS: [&str; 11] = [
    "capabilities",
    "policy",
    "allowed_parameters",
    "denied_parameters",
    "required_parameters",
    "min_wrapping_ttl",
    "max_wrapping_ttl",
    "subscribe_event_types",
    "pagination_limit",
    "expiration",
    "comment",
];

/// Keys that Vault or OpenBao has and this server does not: each narrows what a stanza grants, so none may be dropped.
const NOT_SERVED: [(&str, &str); 3] = [
    ("mfa_methods", "there is no login MFA yet"),
    ("control_group", "there are no approvals by several people yet"),
    ("list_scan_response_keys_filter_path", "lists are not filtered; grant list on folders that hold nothing else"),
];

// === impl Policy ===

impl Policy {
    /// Reads HCL or JSON. Anything unknown is refused: a rule that is not understood must not be dropped.
    pub fn parse(name: &str, text: &str) -> Result<Self, ParseError> {
        let body = holdfast_hcl::parse(text).map_err(|error| ParseError(error.to_string()))?;
        if let Some((key, at)) = body.keys().find(|(key, _)| !matches!(*key, "path" | "name")) {
            return Err(ParseError(format!(
                "line {}: invalid key {key:?}, only path and name may stand here",
                at.line
            )));
        }
        let found = body.blocks("path", 1).map_err(|error| ParseError(error.to_string()))?;
        let stanzas = found.iter().map(Stanza::parse).collect::<Result<_, _>>().map_err(ParseError)?;
        Ok(Self { name: name.to_owned(), text: text.to_owned(), stanzas })
    }

    /// The policy that may do everything.
    pub fn root() -> Self {
        Self { name: crate::ROOT.to_owned(), text: String::new(), stanzas: Vec::new() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text that it was read from, byte for byte.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The patterns of its templated stanzas, filled in for whoever asks; none where that cannot be. What a compiled set
    /// depends on beside the text.
    pub fn fill(&self, subject: &dyn Subject) -> impl Iterator<Item = Option<String>> {
        self.stanzas.iter().filter_map(|stanza| stanza.template.as_ref()).map(|template| template.fill(subject).ok())
    }

    /// Of each stanza that ends, whether it has. What a compiled set depends on beside the text.
    pub fn ended(&self, now: Timestamp) -> impl Iterator<Item = bool> {
        self.stanzas.iter().filter_map(move |stanza| stanza.ends.map(|end| end <= now))
    }

    /// Does it speak of whoever asks?
    pub fn is_templated(&self) -> bool {
        self.stanzas.iter().any(|stanza| stanza.template.is_some())
    }

    /// Its stanzas in the order of the text.
    pub fn stanzas(&self) -> &[Stanza] {
        &self.stanzas
    }
}

// === impl Stanza ===

impl Stanza {
    /// Pattern of the path.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The pattern of its path for whoever asks; the error is why the stanza is left out.
    pub(crate) fn pattern_for(&self, subject: Option<&dyn Subject>) -> Result<Pattern, String> {
        match (&self.template, subject) {
            (None, _) => Ok(self.pattern.clone()),
            (Some(_), None) => Err("the token has no entity".to_owned()),
            (Some(template), Some(subject)) => {
                Pattern::parse(&template.fill(subject).map_err(|unfilled| unfilled.to_string())?)
            }
        }
    }

    /// Does it still count? The error is why not.
    pub(crate) fn live_at(&self, now: Option<Timestamp>) -> Result<(), String> {
        match self.ends.zip(now) {
            Some((end, now)) if end <= now => Err(format!("it ended at {end}")),
            _ => Ok(()),
        }
    }

    /// What it grants.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn parse(found: &Found<'_>) -> Result<Self, String> {
        let path = found.labels.first().copied().unwrap_or_default();
        let body = found.body;
        if let Some((key, why)) = NOT_SERVED.iter().find(|(key, _)| body.keys().any(|(sent, _)| sent == *key)) {
            return Err(format!("path {path:?}: {key} is not served: {why}"));
        }
        if let Some((key, _)) = body.keys().find(|(key, _)| !STANZA_KEYS.contains(key)) {
            return Err(format!("path {path:?}: invalid key {key:?}, use one of {}", STANZA_KEYS.join(", ")));
        }
        let bounds = |key| ttl(body, key).map_err(|error| format!("path {path:?}: {key}: {error}"));
        let stanza = Self {
            template: Template::parse(path).map_err(|error| format!("path {path:?}: {error}"))?,
            pattern: Pattern::parse(path)?,
            capabilities: capabilities(body).map_err(|error| format!("path {path:?}: {error}"))?,
            allowed: rules(body, "allowed_parameters").map_err(|error| format!("path {path:?}: {error}"))?,
            denied: rules(body, "denied_parameters").map_err(|error| format!("path {path:?}: {error}"))?,
            required: required(body).map_err(|error| format!("path {path:?}: {error}"))?,
            events: texts(body, "subscribe_event_types")?.into_iter().collect(),
            min_wrapping_ttl: bounds("min_wrapping_ttl")?,
            max_wrapping_ttl: bounds("max_wrapping_ttl")?,
            page: page(body).map_err(|error| format!("path {path:?}: pagination_limit: {error}"))?,
            ends: end(body).map_err(|error| format!("path {path:?}: expiration: {error}"))?,
        };
        match (stanza.min_wrapping_ttl, stanza.max_wrapping_ttl) {
            (Some(min), Some(max)) if max < min => {
                Err(format!("path {path:?}: max_wrapping_ttl cannot be less than min_wrapping_ttl"))
            }
            _ => Ok(stanza),
        }
    }
}

fn capabilities(body: &Body) -> Result<Capabilities, String> {
    let mut set = match body.attribute("policy") {
        None => Capabilities::NONE,
        Some(value) => {
            let word = value.as_str().ok_or("policy must be a string")?;
            Capabilities::legacy(word).ok_or_else(|| format!("invalid policy {word:?}"))?
        }
    };
    for name in texts(body, "capabilities")? {
        if name == "recover" {
            return Err("the capability \"recover\" is not served: secrets are not read from snapshots".to_owned());
        }
        let known = "create, read, update, patch, delete, list, scan, subscribe, sudo, deny";
        set = set
            | Capabilities::named(&name).ok_or_else(|| format!("invalid capability {name:?}, use one of {known}"))?;
    }
    Ok(if set.denies() { Capabilities::DENY } else { set })
}

fn rules(body: &Body, key: &str) -> Result<Rules, String> {
    let mut rules = Rules::new();
    for found in body.blocks(key, 0).map_err(|_| format!("{key} must be an object"))? {
        for item in &found.body.items {
            let name = item.key();
            let values = match item {
                Item::Attribute(Attribute { value: Value::List(list), .. }) => {
                    list.iter().map(Value::to_json).collect()
                }
                _ => return Err(format!("{key}.{name} must be a list of values")),
            };
            let name_lower = name.to_lowercase();
            crate::parameters::merge(&mut rules, &Rules::from([(name_lower, values)]));
        }
    }
    Ok(rules)
}

fn required(body: &Body) -> Result<BTreeSet<String>, String> {
    Ok(texts(body, "required_parameters")?.iter().map(|name| name.to_lowercase()).collect())
}

/// All attributes of the key together: a repeated one adds to the first.
fn texts(body: &Body, key: &str) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    for item in body.items.iter().filter(|item| item.key() == key) {
        let Item::Attribute(attribute) = item else {
            return Err(format!("{key} must be a list of strings"));
        };
        let list = match &attribute.value {
            Value::List(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in list {
            texts.push(value.as_str().ok_or_else(|| format!("{key} must be a list of strings"))?.to_owned());
        }
    }
    Ok(texts)
}

fn ttl(body: &Body, key: &str) -> Result<Option<Duration>, String> {
    if body.attribute(key).is_none() {
        return Ok(None);
    }
    let text = body.string(key).ok_or("must be seconds or a duration")?;
    let ttl = duration::parse(&text).map_err(|error| error.to_string())?;
    Ok(Some(ttl).filter(|ttl| !ttl.is_zero()))
}

/// 0 is no limit.
fn page(body: &Body) -> Result<Option<usize>, String> {
    if body.attribute("pagination_limit").is_none() {
        return Ok(None);
    }
    let number = body.string("pagination_limit").and_then(|text| text.parse::<usize>().ok());
    Ok(Some(number.ok_or("must be a number of names, 0 or more")?).filter(|names| *names > 0))
}

fn end(body: &Body) -> Result<Option<Timestamp>, String> {
    if body.attribute("expiration").is_none() {
        return Ok(None);
    }
    let text = body.string("expiration").filter(|text| !text.is_empty());
    let end = text.and_then(|text| text.parse().ok());
    Ok(Some(end.ok_or("must be a time like 2027-01-31T12:00:00Z")?))
}
