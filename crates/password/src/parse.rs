//! The text of a policy.

use holdfast_base::SystemEntropy;
use holdfast_hcl::{Body, Found};

use crate::{Charset, Error, LONGEST, Policy, SHORTEST};

/// Rules of one policy; each password is looked at once per rule.
const MOST_RULES: usize = 32;

impl Policy {
    /// Reads HCL or JSON: `length` and at least one `rule "charset" { charset, min-chars }`. A policy by which
    /// passwords cannot be made, or only by luck, is refused.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let body = holdfast_hcl::parse(text).map_err(|error| Error::Parse(error.to_string()))?;
        let policy = read(&body).map_err(Error::Parse)?;
        policy.try_out(&SystemEntropy)?;
        Ok(policy)
    }
}

fn read(body: &Body) -> Result<Policy, String> {
    if let Some((key, at)) = body.keys().find(|(key, _)| !matches!(*key, "length" | "rule")) {
        return Err(format!("line {}: unknown key {key:?}: only \"length\" and \"rule\" may stand here", at.line));
    }
    let length = number(body, "length")?.ok_or("missing \"length\"")?;
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Err(format!("passwords must be between {SHORTEST} and {LONGEST} characters, not {length}"));
    }
    let found = body.blocks("rule", 1).map_err(|error| error.to_string())?;
    if found.is_empty() || found.len() > MOST_RULES {
        return Err(format!("between 1 and {MOST_RULES} rules are needed: rule \"charset\" {{ … }}"));
    }
    let rules = found.iter().map(charset).collect::<Result<Vec<_>, _>>()?;
    let least = rules.iter().fold(0usize, |sum, rule| sum.saturating_add(rule.least));
    let disjoint = Policy::new(length, rules.clone()).alphabet.len()
        == rules.iter().map(|rule| rule.characters.len()).sum::<usize>();
    if rules.iter().any(|rule| rule.least > length) || (disjoint && least > length) {
        return Err(format!("the rules ask for {least} characters, but \"length\" is {length}"));
    }
    Ok(Policy::new(length, rules))
}

fn charset(found: &Found<'_>) -> Result<Charset, String> {
    let at = format!("line {}", found.position.line);
    if found.labels != ["charset"] {
        return Err(format!("{at}: unknown rule {:?}: only rule \"charset\" is known", found.labels.join(" ")));
    }
    if let Some((key, _)) = found.body.keys().find(|(key, _)| !matches!(*key, "charset" | "min-chars" | "min_chars")) {
        return Err(format!("{at}: unknown key {key:?} in rule \"charset\""));
    }
    let text = found.body.string("charset").unwrap_or_default();
    if text.is_empty() {
        return Err(format!("{at}: a rule needs a \"charset\" that is not empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{at}: non-printable character in charset"));
    }
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    let least = match number(found.body, "min-chars")? {
        Some(least) => least,
        None => number(found.body, "min_chars")?.unwrap_or(0),
    };
    Ok(Charset { characters, least })
}

fn number(body: &Body, key: &str) -> Result<Option<usize>, String> {
    match body.string(key) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| format!("{key:?} must be a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "length = 8\nrule \"charset\" { charset = \"abc\"\n min-chars = 2 }\nrule \"charset\" { charset = \"12\" }";

    #[test]
    fn hcl_and_json_mean_the_same() {
        let json = r#"{"length": 8, "rule": [{"charset": {"charset": "cba", "min-chars": 2}}, {"charset": {"charset": "12"}}]}"#;
        assert_eq!(Policy::parse(GOOD).unwrap(), Policy::parse(json).unwrap());
    }

    #[test]
    fn what_is_no_policy_is_refused_and_says_why() {
        for (text, part) in [
            ("", "missing \"length\""),
            ("length = 20", "between 1 and 32 rules"),
            ("length = 3\nrule \"charset\" { charset = \"a\" }", "between 4 and 100"),
            ("length = 101\nrule \"charset\" { charset = \"a\" }", "between 4 and 100"),
            ("length = 8\nrule \"charset\" { charset = \"\" }", "not empty"),
            ("length = 8\nrule \"charset\" { charset = \"a\\n\" }", "non-printable"),
            ("length = 8\nrule \"words\" { charset = \"a\" }", "unknown rule"),
            ("length = 8\nrule \"charset\" { charset = \"a\" min = 1 }", ""),
            ("length = 8\nrule \"charset\" { charset = \"a\"\n max-chars = 1 }", "unknown key \"max-chars\""),
            ("length = 8\nrule \"charset\" { charset = \"a\"\n min-chars = 9 }", "ask for 9"),
            ("length = 8\nrule \"charset\" { charset = \"a\"\n min-chars = -1 }", "whole number"),
            ("length = 8\nlenght = 9\nrule \"charset\" { charset = \"a\" }", "unknown key \"lenght\""),
        ] {
            let error = Policy::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("failed to parse password policy: ") && error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn rules_that_only_luck_fulfils_are_refused() {
        let all = "abcdefghijklmnopqrstuvwxyz";
        let text = format!(
            "length = 40\nrule \"charset\" {{ charset = \"{all}\" }}\nrule \"charset\" {{ charset = \"0\"\n min-chars = 39 }}"
        );
        assert_eq!(Policy::parse(&text), Err(Error::Strict));
    }
}
