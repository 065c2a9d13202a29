//! Annotations of a pod into a [`Plan`]. Two vocabularies: our own, and the one that existing pods carry.
//!
//! What nobody knows is a finding with a proposal; a value that makes no sense is an error that names annotation and fix.

mod choices;
mod command;
mod format;
mod holdfast;
mod spelling;
mod value;
mod vault;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_agent::action::Action;

pub use self::{
    choices::{Choices, Order},
    value::bytes_or_cores,
};

/// Prefix of our own annotations.
pub const HOLDFAST: &str = "holdfast.dev/";
/// Prefix of those of existing pods.
pub const VAULT: &str = "vault.hashicorp.com/";
/// Set by the webhook: `<version>/<config hash>`.
pub const INJECTED: &str = "holdfast.dev/injected";
/// Set by the webhook on pods of the other vocabulary: `injected`.
pub const VAULT_STATUS: &str = "vault.hashicorp.com/agent-inject-status";

/// What a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Asked for in the vocabulary of existing pods.
    pub vault: bool,
    /// Profile that the pod chooses.
    pub profile: Option<String>,
    /// What is said once for the pod.
    pub choices: Choices,
    /// Sorted by name.
    pub items: Vec<Planned>,
    /// Every key that is said, by its name in our own vocabulary and without the name of an item, with the annotation
    /// that says it.
    pub said: BTreeMap<&'static str, String>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// As in the annotation.
    pub name: String,
    /// Annotation to name in messages.
    pub annotation: String,
    /// What `.` is; `None` when the template says what it reads.
    pub source: Option<SourceRef>,
    /// Nobody says how it is to look: the path that Vault's default template reads, or nothing.
    pub unformatted: Option<String>,
    /// Its own text, or the default of the vocabulary.
    pub template: String,
    /// File in the agent's container with the text instead.
    pub template_file: Option<String>,
    /// If not the usual ones.
    pub delimiters: Option<(String, String)>,
    /// Fail on a key that is not there.
    pub error_on_missing_key: bool,
    /// Below the mount path.
    pub file: String,
    /// Other than the plan's.
    pub mount_path: Option<String>,
    /// Octal; `None` is 0644.
    pub mode: Option<String>,
    /// After a change.
    pub on_change: Vec<Action>,
}

/// Where the fields of an item come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRef {
    /// API path.
    Path(String),
    /// A DynamicCredential of the pod's namespace.
    Credential(String),
}

/// What there is to say about annotations that make sense by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// To know; always warnings.
    pub notes: Vec<String>,
    /// Unknown or refused annotations: warnings, or a denial where the profile is strict.
    pub mistakes: Vec<String>,
}

/// A value that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("annotation {annotation}: {reason}")]
pub struct Error {
    /// Whole key.
    pub annotation: String,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

/// Annotations of a pod.
pub type Annotations = BTreeMap<String, String>;

impl Findings {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn mistake(&mut self, text: impl Into<String>) {
        self.mistakes.push(text.into());
    }

    /// These and more.
    pub fn append(&mut self, more: Self) {
        self.notes.extend(more.notes);
        self.mistakes.extend(more.mistakes);
    }

    /// All as warnings, mistakes first.
    pub fn warnings(self) -> Vec<String> {
        self.mistakes.into_iter().chain(self.notes).collect()
    }
}

impl Plan {
    /// Gives what nobody says the looks of the format that is chosen for the pod. In Vault's vocabulary there are two.
    pub fn format_items(&mut self) {
        let Some(format) = &self.choices.format else { return };
        for item in &mut self.items {
            let Some(path) = &item.unformatted else { continue };
            item.template = match format::template("format", format) {
                _ if self.vault => vault::default_template(path, format == "json"),
                Ok(template) => template,
                Err(_) => continue,
            };
        }
    }
}

/// What the pod asks for, with findings; `None` when it does not ask.
pub fn plan(annotations: &Annotations) -> Result<Option<(Plan, Findings)>, Error> {
    let mut findings = Findings::default();
    let own = holdfast::asks(annotations)?;
    let key = format!("{VAULT}agent-inject");
    let vault = annotations.get(&key).map(|value| value::boolean(&key, value)).transpose()?.unwrap_or(false);
    let mut plan = match (own.wanted, vault) {
        (false, false) => return Ok(None),
        (true, true) => {
            return Err(value::wrong(&key, format!("{HOLDFAST}inject is there too; set one of them to \"false\"")));
        }
        (true, false) => Plan { profile: own.profile, ..holdfast::plan(annotations, &mut findings)? },
        (false, true) => vault::plan(annotations, &mut findings)?,
    };
    plan.items.sort_by(|a, b| a.name.cmp(&b.name));
    if plan.items.is_empty() && plan.choices.token != Some(true) && plan.choices.proxy != Some(true) {
        findings.mistake(format!(
            "no secret is named; add {}",
            if plan.vault { "vault.hashicorp.com/agent-inject-secret-NAME" } else { "holdfast.dev/secret.NAME" }
        ));
    }
    Ok(Some((plan, findings)))
}

/// What an administrator says for pods that do not: keys of our own vocabulary without its prefix. `origin` goes before
/// each key in errors.
pub fn defaults<'a>(origin: &str, entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Choices, Error> {
    let mut choices = Choices::default();
    for (key, value) in entries {
        let annotation = format!("{origin}{key}");
        if !holdfast::choose(&mut choices, &annotation, key, value)? {
            let meant = spelling::meant(key, holdfast::KEYS, &[]);
            let meant = meant.map_or(String::new(), |key| format!("; did you mean {key}?"));
            return Err(value::wrong(&annotation, format!("there is no such default{meant}")));
        }
    }
    Ok(choices)
}

/// Every key that a profile can allow or deny: those of a pod, and those of an item without its name.
pub fn is_key(key: &str) -> bool {
    holdfast::KEYS.contains(&key) || holdfast::NAMED.iter().any(|stem| stem.trim_end_matches('.') == key)
}

/// Does a container of another injector sit in the pod already? Who moves from one to the other runs both for a while.
pub fn of_another(containers: &BTreeSet<&str>) -> Option<&'static str> {
    ["vault-agent", "vault-agent-init"].into_iter().find(|name| containers.contains(name))
}
