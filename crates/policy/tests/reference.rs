//! The compiled set against a slow reading of the rules, on generated policies, paths, parameters and entities; and that
//! adding a deny never grants anything.

use std::sync::Arc;

use holdfast_logical::{Operation, Reference, Subject};
use holdfast_policy::{Policy, PolicySet};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::rules::{OPERATIONS, compile, granted, naive, path, pattern, policies, text};

/// In the order in which capabilities are told.
const CAPABILITIES: [&str; 8] = ["sudo", "read", "list", "update", "delete", "create", "patch", "scan"];

/// Parameter rules of one stanza: required names; denied and allowed names with values, none of which means any.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    required: Vec<&'static str>,
    denied: Vec<(&'static str, Vec<&'static str>)>,
    allowed: Vec<(&'static str, Vec<&'static str>)>,
}

impl Parameters {
    /// The rules of another stanza of the same pattern too.
    pub fn join(&mut self, more: &Self) {
        self.required.extend(&more.required);
        self.denied.extend(more.denied.clone());
        self.allowed.extend(more.allowed.clone());
    }

    pub fn text(&self) -> String {
        let rules = |key: &str, rules: &[(&str, Vec<&str>)]| match rules {
            [] => String::new(),
            rules => {
                let rules: Vec<String> =
                    rules.iter().map(|(name, values)| format!("\"{name}\" = {values:?}")).collect();
                format!("{key} = {{ {} }}\n", rules.join("\n"))
            }
        };
        let required = format!("required_parameters = {:?}\n", self.required);
        format!("{required}{}{}", rules("denied_parameters", &self.denied), rules("allowed_parameters", &self.allowed))
    }

    /// One parameter after the other, straight from the description of the rules.
    pub fn allow(&self, given: &Map<String, Value>) -> bool {
        let named = |rules: &[(&'static str, Vec<&'static str>)], name: &str| -> Vec<Vec<&'static str>> {
            rules.iter().filter(|(rule, _)| *rule == name).map(|(_, values)| values.clone()).collect()
        };
        let among = |value: &str, rules: &[Vec<&str>]| {
            rules.iter().any(Vec::is_empty) || rules.iter().flatten().any(|wanted| glob(wanted, value))
        };
        if self.required.iter().any(|name| !given.keys().any(|key| key.to_lowercase() == *name)) {
            return false;
        }
        given.iter().all(|(key, value)| {
            let (name, value) = (key.to_lowercase(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let (denied, allowed) = (named(&self.denied, &name), named(&self.allowed, &name));
            let star = |rules: &[(&'static str, Vec<&'static str>)]| rules.iter().any(|(rule, _)| *rule == "*");
            let denies = star(&self.denied) || (!denied.is_empty() && among(&value, &denied));
            let only_star = self.allowed.iter().all(|(rule, _)| *rule == "*");
            let allows = only_star || if allowed.is_empty() { star(&self.allowed) } else { among(&value, &allowed) };
            !denies && allows
        })
    }
}

/// `*` at either end.
fn glob(wanted: &str, given: &str) -> bool {
    match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
        (Some(_), Some(_)) if wanted.len() > 1 => given.contains(wanted.trim_matches('*')),
        (Some(end), None) => given.ends_with(end),
        (None, Some(start)) => given.starts_with(start),
        _ => wanted == given,
    }
}

pub fn parameters() -> impl Strategy<Value = Parameters> {
    let name = || prop::sample::select(vec!["a", "b", "c", "*"]);
    let values = || prop::collection::vec(prop::sample::select(vec!["x", "x*", "*y", "xy"]), 0..3);
    let rules = move || prop::collection::vec((name(), values()), 0..3);
    (prop::collection::vec(prop::sample::select(vec!["a", "b"]), 0..2), rules(), rules())
        .prop_map(|(required, denied, allowed)| Parameters { required, denied, allowed })
}

/// Somebody of this name.
struct Named(String);

impl Subject for Named {
    fn value(&self, reference: &Reference) -> Option<String> {
        (*reference == Reference::EntityName).then(|| self.0.clone())
    }
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{1,2}", "[ab*+/,]{0,3}", "\\PC{0,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn parameters_are_allowed_as_the_rules_say(
        rules in parameters(),
        given in prop::collection::btree_map(prop::sample::select(vec!["a", "A", "b", "c", "d"]), "[xy]{1,2}", 0..3),
    ) {
        let text = format!("path \"p\" {{ capabilities = [\"update\", \"list\"]\n{} }}", rules.text());
        let set = PolicySet::new(vec![Arc::new(Policy::parse("p", &text).unwrap())]);
        let given: Map<String, Value> = given.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
        prop_assert_eq!(set.decide("p", Operation::Update, &given, None).allowed, rules.allow(&given), "{}", text);
        // A list takes no parameters, so none is looked at.
        prop_assert!(set.decide("p", Operation::List, &given, None).allowed);
    }

    /// A templated stanza is as good as the same one written for that name, and no more; what would widen it is none.
    #[test]
    fn cve_ghsa_59w7_a_template_is_what_its_value_says(others in policies(), name in value(), path in path()) {
        let stanza = |middle: &str| format!("path \"a/{middle}/*\" {{ capabilities = [\"read\", \"list\"] }}\n");
        let rest: String = others.iter().map(|stanzas| text(stanzas)).collect();
        let compiled = |text: String, subject: Option<&dyn Subject>| {
            PolicySet::of("", vec![Arc::new(Policy::parse("p", &text).unwrap())], subject, None)
        };
        let plain = !name.is_empty() && !matches!(name.as_str(), "." | "..")
            && !name.contains(['*', '+', '/', ',', '{', '}']) && !name.chars().any(char::is_control);
        let subject = Named(name.clone());
        let filled = compiled(format!("{}{rest}", stanza("{{identity.entity.name}}")), Some(&subject));
        let written = match plain && !name.contains(['"', '\\', '$']) {
            true => compiled(format!("{}{rest}", stanza(&name)), None),
            false if plain => return Ok(()),
            false => compiled(rest, None),
        };
        for operation in OPERATIONS {
            for path in [path.clone(), format!("a/{name}/b")] {
                let decided = filled.decide(&path, operation, &Map::new(), None).allowed;
                prop_assert_eq!(decided, written.decide(&path, operation, &Map::new(), None).allowed, "{} {}", name, path);
            }
        }
    }

    /// The explanation is the decision, and names a stanza that is there.
    #[test]
    fn what_is_explained_is_what_is_decided(policies in policies(), path in path()) {
        let set = compile(&policies);
        for operation in OPERATIONS {
            let explained = set.explain(&path, operation, &Map::new(), None);
            prop_assert_eq!(&explained.decision, &set.decide(&path, operation, &Map::new(), None));
            prop_assert_eq!(explained.pattern.is_some(), !explained.stanzas.is_empty());
            for stanza in explained.stanzas.iter().chain(&explained.outranked) {
                prop_assert!(policies.iter().flatten().any(|(pattern, _)| *pattern == stanza.written));
            }
            if explained.decision.allowed {
                prop_assert!(explained.stanzas.iter().any(|stanza| stanza.decides));
            }
        }
    }

    #[test]
    fn the_compiled_set_decides_as_the_rules_say(policies in policies(), path in path()) {
        let set = compile(&policies);
        for operation in OPERATIONS {
            let decided = set.decide(&path, operation, &Map::new(), None);
            prop_assert_eq!(decided.allowed, naive(&policies, &path, operation), "{:?} {}", operation, path);
            let sudo = granted(&policies, &path, operation).contains(&"sudo");
            prop_assert_eq!(decided.sudo, sudo, "{:?} {}", operation, path);
            prop_assert_eq!(decided.granting.is_empty(), !decided.allowed);
        }
    }

    /// What is told of a path is what may be done there, by lists and by all others where both are of one mind.
    #[test]
    fn capabilities_are_those_of_the_stanza_that_counts(policies in policies(), path in path()) {
        let told = compile(&policies).capabilities(&path);
        let granted = granted(&policies, &path, Operation::List);
        let expected: Vec<&str> = CAPABILITIES.into_iter().filter(|name| granted.contains(name)).collect();
        prop_assert_eq!(&told, if expected.is_empty() { &["deny"][..] } else { &expected[..] }, "{}", path);
    }

    #[test]
    fn one_more_deny_grants_nothing(policies in policies(), denied in pattern(), path in path()) {
        let before = compile(&policies);
        let mut more = policies.clone();
        more.push(vec![(denied, vec!["deny"])]);
        let after = compile(&more);
        for operation in OPERATIONS {
            let allowed = after.decide(&path, operation, &Map::new(), None).allowed;
            prop_assert!(!allowed || before.decide(&path, operation, &Map::new(), None).allowed);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,120}") {
        let _ = Policy::parse("x", &text);
    }
}
