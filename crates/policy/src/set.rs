//! The policies of a token, compiled, and the decision.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use holdfast_base::{Timestamp, glob};
use holdfast_logical::{Operation, Subject};
use serde_json::{Map, Value};

use crate::{
    Capabilities, Decision, Policy, ROOT, Reason, Stanza,
    explain::LeftOut,
    parameters::{self, Rules, Wrong},
    pattern::{Kind, Pattern},
    place::Place,
};

/// All policies of a token as one thing: equal patterns merged, one rule per pattern.
///
/// They are policies of one namespace, and every rule begins with that namespace's path, so nothing outside of it can
/// match. A rule reaches into a namespace further below only if it names it letter by letter: no `*` and no `+` of an
/// old rule grants anything in a namespace that is made later (CVE-2020-10661).
#[derive(Debug, Default)]
pub struct PolicySet {
    /// Everything below this may be done.
    root: Option<String>,
    exact: HashMap<String, Rule>,
    prefixes: HashMap<String, Rule>,
    /// Distinct lengths of `prefixes`, longest first.
    lengths: Vec<usize>,
    segments: Vec<Rule>,
    pub(crate) left_out: Vec<LeftOut>,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) pattern: Pattern,
    pub(crate) capabilities: Capabilities,
    allowed: Rules,
    denied: Rules,
    required: BTreeSet<String>,
    /// Globs over types of events.
    events: BTreeSet<String>,
    min_wrapping_ttl: Option<Duration>,
    max_wrapping_ttl: Option<Duration>,
    page: Option<usize>,
    /// Which policy contributed what.
    pub(crate) sources: Vec<Source>,
}

/// A stanza behind a rule.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) policy: String,
    /// Pattern as it is written.
    pub(crate) written: Arc<str>,
    pub(crate) capabilities: Capabilities,
}

// === impl PolicySet ===

impl PolicySet {
    /// Compiles policies of the root namespace, as if no stanza had ended.
    pub fn new(policies: Vec<Arc<Policy>>) -> Self {
        Self::below("", policies)
    }

    /// The same of the namespace with this path. One of the name `root` makes the set all-powerful there.
    pub fn below(namespace: &str, policies: Vec<Arc<Policy>>) -> Self {
        Self::of(namespace, policies, None, None)
    }

    /// The same for somebody, now: templated stanzas are filled in from `subject`, and left out where that cannot be, as are
    /// those that have ended.
    pub fn of(
        namespace: &str,
        policies: Vec<Arc<Policy>>,
        subject: Option<&dyn Subject>,
        now: Option<Timestamp>,
    ) -> Self {
        let mut set = Self::default();
        for policy in &policies {
            if policy.name() == ROOT {
                set.root = Some(namespace.to_owned());
            }
            for stanza in policy.stanzas() {
                match stanza.live_at(now).and_then(|()| stanza.pattern_for(subject)) {
                    Ok(pattern) => set.add(policy.name(), pattern.below(namespace), stanza),
                    Err(reason) => set.left_out.push(LeftOut {
                        policy: policy.name().to_owned(),
                        pattern: stanza.pattern.to_string(),
                        reason,
                    }),
                }
            }
        }
        let lengths: BTreeSet<usize> = set.prefixes.keys().map(String::len).collect();
        set.lengths = lengths.into_iter().rev().collect();
        set
    }

    fn add(&mut self, policy: &str, pattern: Pattern, stanza: &Stanza) {
        let table = match pattern.kind() {
            Kind::Exact => &mut self.exact,
            Kind::Prefix => &mut self.prefixes,
            Kind::Segments { .. } => {
                match self.segments.iter_mut().find(|rule| rule.pattern == pattern) {
                    Some(rule) => rule.merge(policy, stanza),
                    None => self.segments.push(Rule::new(policy, pattern, stanza)),
                }
                return;
            }
        };
        match table.get_mut(pattern.text()) {
            Some(rule) => rule.merge(policy, stanza),
            None => {
                table.insert(pattern.text().to_owned(), Rule::new(policy, pattern, stanza));
            }
        }
    }

    /// May everything be done at this place?
    pub fn is_root<'a>(&self, place: impl Into<Place<'a>>) -> bool {
        self.root.as_ref().is_some_and(|below| place.into().namespace.starts_with(below.as_str()))
    }

    /// The decision. `params` are body and query together; `wrap_ttl` is what the client asked for, `None` for an answer
    /// that is not wrapped.
    pub fn decide<'a>(
        &self,
        place: impl Into<Place<'a>>,
        operation: Operation,
        params: &Map<String, Value>,
        wrap_ttl: Option<Duration>,
    ) -> Decision {
        let place = place.into();
        if self.is_root(place) {
            let granting = vec![(ROOT.to_owned(), "*".to_owned())];
            return Decision { allowed: true, root: true, sudo: true, reason: Reason::Root, granting, page: None };
        }
        if operation == Operation::Help {
            let granting = Vec::new();
            return Decision { allowed: true, root: false, sudo: false, reason: Reason::Help, granting, page: None };
        }
        let Some(rule) = self.choose(place, operation) else { return Decision::denied(Reason::NoMatch, false) };
        let sudo = rule.capabilities.holds(Capabilities::SUDO);
        match rule.check(operation, params, wrap_ttl) {
            Err(reason) => Decision::denied(reason, sudo),
            Ok(()) => {
                let granting = rule.granting(operation);
                let page = rule.page.filter(|_| lists(operation));
                Decision { allowed: true, root: false, sudo, reason: Reason::Granted, granting, page }
            }
        }
    }

    /// What may be done at a path, in Vault's order: `["root"]`, `["deny"]`, or the names.
    pub fn capabilities<'a>(&self, place: impl Into<Place<'a>>) -> Vec<&'static str> {
        let place = place.into();
        if self.is_root(place) {
            return vec!["root"];
        }
        self.choose(place, Operation::List).map_or(Capabilities::NONE, |rule| rule.capabilities).names()
    }

    /// May events of this type be heard that are about this path? `subscribe_event_types` of the chosen stanza decides.
    pub fn may_hear<'a>(&self, place: impl Into<Place<'a>>, kind: &str) -> bool {
        let place = place.into();
        self.is_root(place)
            || self.choose(place, Operation::Read).is_some_and(|rule| {
                let subscribes = rule.capabilities.holds(Capabilities::SUBSCRIBE) && !rule.capabilities.denies();
                subscribes && rule.events.iter().any(|glob| glob::matches(glob, kind))
            })
    }

    /// All rules: pattern and capabilities.
    pub fn granted(&self) -> impl Iterator<Item = (String, Capabilities)> {
        let rules = self.exact.values().chain(self.prefixes.values()).chain(&self.segments);
        rules.map(|rule| (rule.pattern.to_string(), rule.capabilities))
    }

    /// May anything be done at or below a mount (`secret/`)? For `sys/internal/ui/mounts`.
    pub fn touches<'a>(&self, mount: impl Into<Place<'a>>) -> bool {
        let place: Place<'a> = mount.into();
        let mount = place.path;
        let grants = |rule: &Rule| rule.capabilities != Capabilities::NONE && !rule.capabilities.denies();
        let chosen = || self.choose(place, Operation::List);
        self.is_root(place)
            || chosen().is_some_and(grants)
            || self.rules().any(|rule| {
                // A pattern that begins above the mount counts only if nothing more specific forbids the mount.
                grants(rule)
                    && rule.pattern.names(place.namespace)
                    && rule.pattern.reaches(mount)
                    && (rule.pattern.text().len() >= mount.len() || chosen().is_none_or(grants))
            })
    }

    /// The one rule that counts: the exact path; for lists also without its final slash; else the best pattern, for
    /// lists the better one of those with and without the final slash: a deny of `a/b/*` is not to be passed by a grant
    /// of `a/*` that matches `a/b`. The best pattern is the one that names the most, so where it does not name the
    /// namespace, no other does.
    pub(crate) fn choose(&self, place: Place<'_>, operation: Operation) -> Option<&Rule> {
        let path = place.path.trim_start_matches('/');
        let bare = path.strip_suffix('/');
        let bare = bare.filter(|_| lists(operation));
        let exact = self.exact.get(path).or_else(|| bare.and_then(|bare| self.exact.get(bare)));
        let chosen = exact.or_else(|| {
            let found = bare.and_then(|bare| self.best(bare)).into_iter().chain(self.best(path));
            found.max_by(|a, b| a.pattern.rank(&b.pattern))
        });
        chosen.filter(|rule| rule.pattern.names(place.namespace))
    }

    /// All rules.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.exact.values().chain(self.prefixes.values()).chain(&self.segments)
    }

    fn best(&self, path: &str) -> Option<&Rule> {
        let prefix =
            self.lengths.iter().filter_map(|length| path.get(..*length)).find_map(|head| self.prefixes.get(head));
        let segments = self.segments.iter().filter(|rule| rule.pattern.matches(path));
        segments.chain(prefix).max_by(|a, b| a.pattern.rank(&b.pattern))
    }
}

// === impl Rule ===

impl Rule {
    fn new(policy: &str, pattern: Pattern, stanza: &Stanza) -> Self {
        Self {
            pattern,
            capabilities: stanza.capabilities,
            allowed: stanza.allowed.clone(),
            denied: stanza.denied.clone(),
            required: stanza.required.clone(),
            events: stanza.events.clone(),
            min_wrapping_ttl: stanza.min_wrapping_ttl,
            max_wrapping_ttl: stanza.max_wrapping_ttl,
            page: stanza.page,
            sources: vec![Source::new(policy, stanza)],
        }
    }

    /// Deny wins; else capabilities add up, the smaller bound of each kind counts, parameter lists join.
    fn merge(&mut self, policy: &str, stanza: &Stanza) {
        self.sources.push(Source::new(policy, stanza));
        if self.capabilities.denies() || stanza.capabilities.denies() {
            self.capabilities = Capabilities::DENY;
            return;
        }
        self.capabilities = self.capabilities | stanza.capabilities;
        self.page = self.page.into_iter().chain(stanza.page).min();
        let smaller = |a: Option<Duration>, b: Option<Duration>| a.into_iter().chain(b).min();
        self.min_wrapping_ttl = smaller(self.min_wrapping_ttl, stanza.min_wrapping_ttl);
        self.max_wrapping_ttl = smaller(self.max_wrapping_ttl, stanza.max_wrapping_ttl);
        parameters::merge(&mut self.allowed, &stanza.allowed);
        parameters::merge(&mut self.denied, &stanza.denied);
        self.required.extend(stanza.required.iter().cloned());
        self.events.extend(stanza.events.iter().cloned());
    }

    fn check(
        &self,
        operation: Operation,
        params: &Map<String, Value>,
        wrap_ttl: Option<Duration>,
    ) -> Result<(), Reason> {
        let pattern = || self.pattern.to_string();
        let needed = Capabilities::needed(operation);
        if self.capabilities.denies() {
            return Err(Reason::Denied { pattern: pattern() });
        }
        if !self.capabilities.holds(needed) {
            return Err(Reason::Lacks { pattern: pattern(), capability: operation.as_str() });
        }
        let (min, max) = (self.min_wrapping_ttl, self.max_wrapping_ttl);
        let bounded = min.is_some() || max.is_some();
        let within = wrap_ttl.is_some_and(|ttl| min.is_none_or(|min| ttl >= min) && max.is_none_or(|max| ttl <= max));
        if bounded && !within {
            return Err(Reason::Wrapping { pattern: pattern() });
        }
        if lists(operation) {
            return self.check_page(params);
        }
        if !matches!(operation, Operation::Read | Operation::Create | Operation::Update | Operation::Patch) {
            return Ok(());
        }
        parameters::check(params, &self.required, &self.denied, &self.allowed).map_err(|wrong| match wrong {
            Wrong::Missing(parameter) => Reason::Required { pattern: pattern(), parameter },
            Wrong::Refused(parameter) => Reason::Parameter { pattern: pattern(), parameter },
        })
    }

    /// Where there is a limit, a list may ask for less, and for none only if the stanza does not require that it asks.
    fn check_page(&self, params: &Map<String, Value>) -> Result<(), Reason> {
        let Some(most) = self.page else { return Ok(()) };
        let pattern = || self.pattern.to_string();
        let Some(limit) = params.get("limit") else {
            return match self.required.contains("limit") {
                true => Err(Reason::Required { pattern: pattern(), parameter: "limit".to_owned() }),
                false => Ok(()),
            };
        };
        let limit = limit.as_u64().or_else(|| limit.as_str()?.parse().ok()).and_then(|limit| limit.try_into().ok());
        // Less than one, or what is no number, would mean all.
        match limit {
            Some(1..) if limit <= Some(most) => Ok(()),
            _ => Err(Reason::Page { pattern: pattern(), most }),
        }
    }

    fn granting(&self, operation: Operation) -> Vec<(String, String)> {
        let needed = Capabilities::needed(operation);
        let grants = self.sources.iter().filter(|source| source.capabilities.holds(needed));
        grants.map(|source| (source.policy.clone(), self.pattern.to_string())).collect()
    }
}

impl Source {
    fn new(policy: &str, stanza: &Stanza) -> Self {
        Self {
            policy: policy.to_owned(),
            written: stanza.pattern.to_string().into(),
            capabilities: stanza.capabilities,
        }
    }
}

fn lists(operation: Operation) -> bool {
    matches!(operation, Operation::List | Operation::Scan)
}
