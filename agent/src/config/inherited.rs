//! What a program gets of the agent's environment.

use serde::{Deserialize, Serialize};

use super::{ENV, texts::is_false};

/// As the `env` of consul-template says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inherited {
    /// Nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pristine: bool,
    /// Name and value of further variables, whatever else is said here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom: Vec<(String, String)>,
    /// If there are any, only variables whose names match one of these; `*` stands for any text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// And of them none that matches one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl Inherited {
    /// Gives the program what it is to have.
    pub fn apply(&self, command: &mut tokio::process::Command) {
        if *self != Self::default() {
            command.env_clear().envs(std::env::vars_os().filter(|(name, _)| {
                // A name that is no text fits no pattern, and is nobody's to allow.
                name.to_str().is_some_and(|name| self.passes(name))
            }));
            command.envs(self.custom.iter().map(|(name, value)| (name, value)));
        }
        command.env_remove(ENV);
    }

    fn passes(&self, name: &str) -> bool {
        let fits = |patterns: &[String]| patterns.iter().any(|pattern| holdfast_base::glob::matches(pattern, name));
        !self.pristine && (self.allow.is_empty() || fits(&self.allow)) && !fits(&self.deny)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    async fn environment(inherited: &Inherited) -> BTreeMap<String, String> {
        let mut command = tokio::process::Command::new("/usr/bin/env");
        inherited.apply(&mut command);
        let output = command.output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[tokio::test]
    async fn a_program_gets_what_it_may() {
        // Cargo's own variables are there in every test.
        let name = "CARGO_MANIFEST_DIR";
        let list = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>();
        let custom = vec![("OWN".to_owned(), "a=b".to_owned()), (name.to_owned(), "mine".to_owned())];
        let all = environment(&Inherited::default()).await;
        assert!(all.contains_key(name) && all.contains_key("PATH"));

        let pristine = environment(&Inherited { pristine: true, custom: custom.clone(), ..Inherited::default() }).await;
        let pairs: Vec<_> = pristine.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [(name, "mine"), ("OWN", "a=b")]);

        let allowed = environment(&Inherited {
            allow: list(&["CARGO_*", "PATH"]),
            deny: list(&["CARGO_PKG_*"]),
            ..Inherited::default()
        })
        .await;
        assert!(allowed.contains_key(name) && allowed.contains_key("PATH"));
        assert!(allowed.keys().all(|name| name == "PATH" || name.starts_with("CARGO_")), "{allowed:?}");
        assert!(!allowed.keys().any(|name| name.starts_with("CARGO_PKG_")), "{allowed:?}");

        let denied = Inherited { deny: list(&["CARGO*"]), custom, ..Inherited::default() };
        let denied = environment(&denied).await;
        assert_eq!((denied.get(name).map(String::as_str), denied.contains_key("PATH")), (Some("mine"), true));
    }
}
