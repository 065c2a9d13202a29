//! Stored policies, and the compiled set of a token.
//!
//! A policy is known by its namespace and its name: those of the root namespace are below `policy/`, those of others
//! below `namespace/<id>/policy/`. Rules speak of paths within the policy's namespace; they are compiled with the path of
//! the namespace in front, and decide on full paths.

use std::{collections::HashMap, sync::Arc};

use holdfast_logical::{Check, Clock, Namespace, Revision, StoreError, Subject, Txn, View};
use holdfast_policy::{DEFAULT, DEFAULT_TEXT, Policy, PolicySet, RESPONSE_WRAPPING, RESPONSE_WRAPPING_TEXT, ROOT};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    namespaces::{home, live_key},
};

/// All policies of this server.
pub struct Policies {
    root: View,
    first: View,
    clock: Arc<dyn Clock>,
    /// Of a root token in the root namespace.
    unlimited: Arc<PolicySet>,
    /// Good for the revision that they were read at.
    parsed: Mutex<Parsed>,
    /// Compiled sets, by the revisions of what they are made of.
    sets: Mutex<Sets>,
}

/// Parsed policies by namespace id and name.
type Parsed = HashMap<(String, String), (Revision, Arc<Policy>)>;

/// Compiled sets by all that they depend on.
type Sets = HashMap<SetKey, Arc<PolicySet>>;

#[derive(PartialEq, Eq, Hash)]
struct SetKey {
    namespace: String,
    /// Names and revisions.
    policies: Vec<(String, Revision)>,
    /// What templated stanzas became for whoever asks; empty if there are none, so that all others share a set.
    filled: Vec<Option<String>>,
    /// Which of the stanzas that end have ended.
    ended: Vec<bool>,
}

/// Parsed policies with the revisions that they were read at.
pub type Found = Vec<(Revision, Arc<Policy>)>;

#[derive(Serialize, Deserialize)]
struct Stored {
    text: String,
}

/// Compiled sets that are kept; beyond it all are dropped and made anew as they are needed.
const SETS: usize = 4096;

impl Policies {
    /// The policies in the whole key space.
    pub fn new(root: View, clock: Arc<dyn Clock>) -> Self {
        let unlimited = Arc::new(PolicySet::below("", vec![Arc::new(Policy::root())]));
        Self { first: root.below("policy"), root, clock, unlimited, parsed: Mutex::default(), sets: Mutex::default() }
    }

    fn view(&self, namespace: &Namespace) -> View {
        match namespace.is_root() {
            true => self.first.clone(),
            false => home(&self.root, &namespace.id).below("policy"),
        }
    }

    /// Writes the policies of a new namespace into `txn`.
    pub fn first_policies(&self, namespace: &Namespace, txn: &mut Txn) -> Result<(), StoreError> {
        let view = self.view(namespace);
        for (name, text) in [(DEFAULT, DEFAULT_TEXT), (RESPONSE_WRAPPING, RESPONSE_WRAPPING_TEXT)] {
            txn.check(view.path(name), Check::Absent);
            txn.put_json(view.path(name), &Stored { text: text.to_owned() })?;
        }
        Ok(())
    }

    /// The text of a policy, byte for byte as it was written; `root` has none.
    pub async fn text(&self, namespace: &Namespace, name: &str) -> Result<Option<String>, StoreError> {
        if name == ROOT {
            return Ok(Some(String::new()));
        }
        if !well_formed(name) {
            return Ok(None);
        }
        Ok(self.view(namespace).get_json::<Stored>(name).await?.map(|(stored, _)| stored.text))
    }

    /// Writes a policy that parses.
    pub async fn put(&self, namespace: &Namespace, name: &str, text: &str) -> Result<(), Error> {
        if !well_formed(name) {
            return Err(Error::invalid(format!("{name:?} cannot be the name of a policy: a part of it is empty")));
        }
        if holdfast_policy::is_immutable(name) {
            return Err(Error::invalid(format!("cannot update {name:?} policy")));
        }
        Policy::parse(name, text).map_err(|error| Error::invalid(error.to_string()))?;
        let (view, mut txn) = (self.view(namespace), Txn::new());
        if !namespace.is_root() {
            txn.check(live_key(namespace), Check::Exists);
        }
        txn.put_json(view.path(name), &Stored { text: text.to_owned() })?;
        view.commit(txn).await?;
        Ok(())
    }

    /// Deletes a policy; nothing happens if it is not there.
    pub async fn delete(&self, namespace: &Namespace, name: &str) -> Result<(), Error> {
        if holdfast_policy::is_immutable(name) || name == DEFAULT {
            return Err(Error::invalid(format!("cannot delete {name:?} policy")));
        }
        if well_formed(name) {
            self.view(namespace).delete(name).await?;
            self.parsed.lock().remove(&(namespace.id.clone(), name.to_owned()));
        }
        Ok(())
    }

    /// Names of all policies, `root` last as Vault lists it.
    pub async fn names(&self, namespace: &Namespace) -> Result<Vec<String>, StoreError> {
        let (view, mut names, mut folders) = (self.view(namespace), Vec::new(), vec![String::new()]);
        while let Some(folder) = folders.pop() {
            for name in view.list(&folder, "", 0).await? {
                let into = if name.ends_with('/') { &mut folders } else { &mut names };
                into.push(format!("{folder}{name}"));
            }
        }
        names.sort();
        names.retain(|name| name != RESPONSE_WRAPPING);
        names.push(ROOT.to_owned());
        Ok(names)
    }

    /// A warning for each of these policies that does not exist.
    pub async fn missing(&self, namespace: &Namespace, names: &[String]) -> Result<Vec<String>, StoreError> {
        let (mut warnings, view) = (Vec::new(), self.view(namespace));
        for name in names.iter().filter(|name| *name != ROOT) {
            if !well_formed(name) || view.get(name).await?.is_none() {
                warnings.push(format!("Policy {name:?} does not exist"));
            }
        }
        Ok(warnings)
    }

    /// The compiled set of these policies as they are now; those that do not exist grant nothing.
    pub async fn set(&self, namespace: &Namespace, names: &[String]) -> Result<Arc<PolicySet>, StoreError> {
        if names.iter().any(|name| name == ROOT) {
            if namespace.is_root() {
                return Ok(self.unlimited.clone());
            }
            return Ok(Arc::new(PolicySet::below(&namespace.path, vec![Arc::new(Policy::root())])));
        }
        Ok(self.compiled(namespace, self.read(namespace, names).await?, None))
    }

    /// These policies as they are now, without those that do not exist; `root` is none of them.
    pub async fn read(&self, namespace: &Namespace, names: &[String]) -> Result<Found, StoreError> {
        let names = names.iter().filter(|name| well_formed(name) && *name != ROOT);
        let reads = names.map(|name| self.one(namespace, name));
        Ok(futures::future::try_join_all(reads).await?.into_iter().flatten().collect())
    }

    /// The compiled set of these policies for somebody, now.
    pub fn compiled(&self, namespace: &Namespace, found: Found, subject: Option<&dyn Subject>) -> Arc<PolicySet> {
        let now = self.clock.now();
        let templated = found.iter().filter(|(_, policy)| policy.is_templated());
        let filled = subject.map(|subject| templated.flat_map(|(_, policy)| policy.fill(subject)).collect());
        let key = SetKey {
            namespace: namespace.id.clone(),
            policies: found.iter().map(|(revision, policy)| (policy.name().to_owned(), *revision)).collect(),
            filled: filled.unwrap_or_default(),
            ended: found.iter().flat_map(|(_, policy)| policy.ended(now)).collect(),
        };
        if let Some(set) = self.sets.lock().get(&key) {
            return set.clone();
        }
        let policies = found.into_iter().map(|(_, policy)| policy).collect();
        let set = Arc::new(PolicySet::of(&namespace.path, policies, subject, Some(now)));
        let mut sets = self.sets.lock();
        if sets.len() >= SETS {
            sets.clear();
        }
        sets.insert(key, set.clone());
        set
    }

    async fn one(&self, namespace: &Namespace, name: &str) -> Result<Option<(Revision, Arc<Policy>)>, StoreError> {
        let view = self.view(namespace);
        let Some(current) = view.revision(name).await? else { return Ok(None) };
        let key = (namespace.id.clone(), name.to_owned());
        if let Some((revision, policy)) = self.parsed.lock().get(&key)
            && *revision == current
        {
            return Ok(Some((current, policy.clone())));
        }
        let Some(entry) = view.get(name).await? else { return Ok(None) };
        let damaged = |reason: String| StoreError::Corrupt { path: view.path(name), reason };
        let stored: Stored =
            serde_json::from_slice(entry.value.expose()).map_err(|_| damaged("not a stored policy".to_owned()))?;
        let policy = Arc::new(Policy::parse(name, &stored.text).map_err(|error| damaged(error.to_string()))?);
        self.parsed.lock().insert(key, (entry.revision, policy.clone()));
        Ok(Some((entry.revision, policy)))
    }
}

/// A name is a path of the store: what would not be one, or another one than it looks, is none.
pub(crate) fn well_formed(name: &str) -> bool {
    let segment = |segment: &str| !matches!(segment, "" | "." | "..");
    name.split('/').all(segment) && !name.chars().any(char::is_control)
}
