//! A decision with everything that led to it, for people.

use std::time::Duration;

use holdfast_logical::Operation;
use serde_json::{Map, Value};

use crate::{Capabilities, Decision, PolicySet, Reason, pattern::Pattern, place::Place, set::Rule};

/// Why a request is allowed or denied.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The decision itself.
    pub decision: Decision,
    /// The pattern that was chosen, filled in and with the path of its namespace; none if nothing matches.
    pub pattern: Option<String>,
    /// What is granted there, all stanzas of that pattern together.
    pub capabilities: Vec<&'static str>,
    /// The stanzas of that pattern.
    pub stanzas: Vec<StanzaShown>,
    /// Stanzas that match too and do not count, because another pattern is more specific; best first.
    pub outranked: Vec<StanzaShown>,
    /// Stanzas that have ended, and templated ones that could not be filled in.
    pub left_out: Vec<LeftOut>,
}

/// One stanza of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaShown {
    /// Name of the policy.
    pub policy: String,
    /// Pattern of the path as it is written.
    pub written: String,
    /// The pattern as it is compared, where that differs.
    pub filled: Option<String>,
    /// What it grants.
    pub capabilities: Vec<&'static str>,
    /// Does the decision rest on it?
    pub decides: bool,
}

/// A stanza that counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Name of the policy.
    pub policy: String,
    /// Pattern of the path as it is written.
    pub pattern: String,
    /// Why.
    pub reason: String,
}

impl Explanation {
    /// The parameter that it failed on.
    pub fn parameter(&self) -> Option<&str> {
        match &self.decision.reason {
            Reason::Required { parameter, .. } | Reason::Parameter { parameter, .. } => Some(parameter),
            _ => None,
        }
    }
}

impl PolicySet {
    /// As [`PolicySet::decide`], with everything that led to it.
    pub fn explain<'a>(
        &self,
        place: impl Into<Place<'a>>,
        operation: Operation,
        params: &Map<String, Value>,
        wrap_ttl: Option<Duration>,
    ) -> Explanation {
        let place = place.into();
        let decision = self.decide(place, operation, params, wrap_ttl);
        let chosen = if decision.root { None } else { self.choose(place, operation) };
        let mut outranked: Vec<&Rule> = match decision.root {
            true => Vec::new(),
            false => self.rules().filter(|rule| matches(&rule.pattern, place, operation)).collect(),
        };
        outranked.retain(|rule| chosen.is_none_or(|chosen| chosen.pattern != rule.pattern));
        outranked.sort_by(|a, b| b.pattern.rank(&a.pattern));
        Explanation {
            pattern: chosen.map(|rule| rule.pattern.to_string()),
            capabilities: self.capabilities_of(place, operation),
            stanzas: chosen.map(|rule| shown(rule, &decision, operation)).unwrap_or_default(),
            outranked: outranked.iter().flat_map(|rule| stanzas(rule, |_| false)).collect(),
            left_out: self.left_out.clone(),
            decision,
        }
    }

    fn capabilities_of(&self, place: Place<'_>, operation: Operation) -> Vec<&'static str> {
        match self.is_root(place) {
            true => vec!["root"],
            false => self.choose(place, operation).map_or(Capabilities::NONE, |rule| rule.capabilities).names(),
        }
    }
}

fn matches(pattern: &Pattern, place: Place<'_>, operation: Operation) -> bool {
    let path = place.path.trim_start_matches('/');
    let lists = matches!(operation, Operation::List | Operation::Scan);
    let bare = path.strip_suffix('/').filter(|_| lists);
    pattern.names(place.namespace) && (pattern.matches(path) || bare.is_some_and(|bare| pattern.matches(bare)))
}

/// The stanzas of the rule that was chosen. A denial by `deny` rests on those that say it, a grant on those that grant;
/// what none of them grants, all of them lack.
fn shown(rule: &Rule, decision: &Decision, operation: Operation) -> Vec<StanzaShown> {
    let needed = Capabilities::needed(operation);
    let decides = |capabilities: Capabilities| match &decision.reason {
        Reason::Denied { .. } => capabilities.denies(),
        Reason::Lacks { .. } => true,
        _ => capabilities.holds(needed),
    };
    stanzas(rule, decides)
}

fn stanzas(rule: &Rule, decides: impl Fn(Capabilities) -> bool) -> Vec<StanzaShown> {
    let pattern = rule.pattern.to_string();
    let sources = rule.sources.iter().map(|source| StanzaShown {
        policy: source.policy.clone(),
        written: source.written.to_string(),
        filled: Some(pattern.clone()).filter(|pattern| **pattern != *source.written),
        capabilities: source.capabilities.names(),
        decides: decides(source.capabilities),
    });
    sources.collect()
}
