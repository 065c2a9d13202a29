//! Namespaces: one stored table of all of them, and what a request finds out from it.
//!
//! The table is read with the mount tables and kept with the router, so a request in the root namespace pays one look
//! into a map for it. Every namespace has mount tables, policies and tokens of its own: what belongs to it is below
//! `namespace/<id>/`, except what mounts, tokens and leases keep under ids that name it. A namespace serves as long as the
//! key `namespace/<id>/live` exists; whatever is made in it is committed only with that.

mod delete;
mod edit;
mod record;

use std::{collections::HashMap, sync::Arc};

use holdfast_logical::{Check, Namespace, Revision, View};

pub use self::delete::Deletion;
pub use self::record::{Record, Table, check_name};
use crate::{Error, token::Token};

/// Path below `core/` of the table.
pub(crate) const KEY: &str = "namespaces";

/// Path in the whole key space that exists exactly as long as a namespace serves. The root namespace always does.
pub fn live_key(namespace: &Namespace) -> String {
    format!("namespace/{}/live", namespace.id)
}

/// What belongs to a namespace other than the root namespace.
pub fn home(root: &View, namespace: &str) -> View {
    root.below("namespace").below(namespace)
}

/// All namespaces at one state of the table; the root namespace is not among them.
#[derive(Default)]
pub struct Namespaces {
    /// Of the table; 0 while there is none.
    revision: Revision,
    by_path: HashMap<String, Arc<Known>>,
    by_id: HashMap<String, Arc<Known>>,
}

/// A namespace and its row.
pub struct Known {
    /// The row.
    pub record: Record,
    /// What others keep of it.
    pub namespace: Arc<Namespace>,
}

impl Namespaces {
    pub(crate) fn new(table: Table, revision: Revision) -> Self {
        let known = table.namespaces.into_iter().map(|record| {
            let namespace = Arc::new(Namespace { id: record.id.clone(), path: record.path.clone() });
            Arc::new(Known { record, namespace })
        });
        let known: Vec<_> = known.collect();
        Self {
            revision,
            by_path: known.iter().map(|known| (known.record.path.clone(), known.clone())).collect(),
            by_id: known.iter().map(|known| (known.record.id.clone(), known.clone())).collect(),
        }
    }

    /// Holds as long as the table is the one that this was made of.
    pub fn unchanged(&self) -> Check {
        if self.revision == 0 { Check::Absent } else { Check::At(self.revision) }
    }

    /// The innermost namespace that a full path lies in; none: the root namespace.
    pub fn locate(&self, path: &str) -> Option<&Arc<Known>> {
        let mut found = None;
        for (at, _) in path.match_indices('/') {
            match self.by_path.get(&path[..=at]) {
                Some(known) => found = Some(known),
                None => break,
            }
        }
        found
    }

    /// The namespace at exactly this full path, which ends in a slash.
    pub fn at(&self, path: &str) -> Option<&Arc<Known>> {
        self.by_path.get(path)
    }

    /// The namespace of an id, also one that is being deleted.
    pub fn of_id(&self, id: &str) -> Option<Arc<Namespace>> {
        match Namespace::is_root_id(id) {
            true => Some(Namespace::root()),
            false => self.by_id.get(id).map(|known| known.namespace.clone()),
        }
    }

    /// Is it being deleted, or gone?
    pub fn is_leaving(&self, id: &str) -> bool {
        !Namespace::is_root_id(id) && self.by_id.get(id).is_none_or(|known| known.record.leaving)
    }

    /// The namespace of a token, if the token may be used in `at`: there or further below.
    pub fn of_token(&self, token: &Token, at: &Namespace) -> Option<Arc<Namespace>> {
        self.of_id(&token.namespace).filter(|own| own.holds(at))
    }

    /// All of them, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Known>> {
        self.by_path.values()
    }

    /// Those below a namespace, by path; `deep`: at any depth.
    pub fn below(&self, parent: &Namespace, deep: bool) -> Vec<&Arc<Known>> {
        let depth = parent.path.matches('/').count();
        let below =
            self.all().filter(|known| known.record.path.len() > parent.path.len() && parent.holds(&known.namespace));
        let mut below: Vec<_> = below.filter(|known| deep || known.record.depth() == depth + 1).collect();
        below.sort_by(|a, b| a.record.path.cmp(&b.record.path));
        below
    }

    /// Why nothing is served in a namespace, for the path within it.
    pub fn refusal(&self, known: &Known, path: &str) -> Option<Error> {
        let record = &known.record;
        let above = record.path.match_indices('/').filter_map(|(at, _)| self.at(&record.path[..=at]));
        let mut above = above.map(|known| &known.record);
        if above.clone().any(|record| record.leaving) {
            return Some(not_found());
        }
        let locked = above.find(|record| record.lock.is_some())?;
        let unlocks = path == "sys/namespaces/api-lock/unlock" && locked.path == record.path;
        (!unlocks).then(|| {
            let message = format!(
                "API access to this namespace has been locked by an administrator - {:?} must be unlocked to gain access.",
                locked.path
            );
            holdfast_logical::Error::Status { code: 503, message }.into()
        })
    }
}

/// 404, as for any namespace that is not there.
pub fn not_found() -> Error {
    holdfast_logical::Error::NotFound(Some("namespace not found".to_owned())).into()
}

/// Paths below `sys/` that are served in the root namespace only: they act on the whole server.
const ROOT_ONLY: &[&str] = &[
    "audit",
    "audit-chain",
    "audit-hash",
    "config/auditing",
    "config/cors",
    "config/reload",
    "config/state",
    "config/ui",
    "decode-token",
    "fsck",
    "generate-recovery-token",
    "generate-root",
    "generate-root-token",
    "ha-status",
    "health",
    "host-info",
    "in-flight-req",
    "init",
    "internal/counters",
    "internal/inspect",
    "key-status",
    "leader",
    "loggers",
    "managed-keys",
    "metrics",
    "monitor",
    "pprof",
    "quotas",
    "raw",
    "rekey",
    "rekey-recovery-key",
    "replication",
    "rotate",
    "seal",
    "seal-status",
    "sealwrap",
    "step-down",
    "storage",
    "sync",
    "unseal",
];

/// Is the path, within its namespace, one of the root namespace only?
pub fn is_root_only(path: &str) -> bool {
    let Some(path) = path.strip_prefix("sys/") else { return false };
    ROOT_ONLY.iter().any(|only| path.strip_prefix(only).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces(paths: &[&str]) -> Namespaces {
        let record = |path: &&str| Record { id: format!("id-{path}"), path: (*path).to_owned(), ..Record::default() };
        Namespaces::new(Table { namespaces: paths.iter().map(record).collect() }, 7)
    }

    #[test]
    fn a_path_lies_in_the_innermost_namespace() {
        let namespaces = namespaces(&["a/", "a/b/", "c/"]);
        let at = |path| namespaces.locate(path).map(|known| known.record.path.as_str());
        assert_eq!(at("a/secret/x"), Some("a/"));
        assert_eq!(at("a/b/secret/x"), Some("a/b/"));
        assert_eq!(at("a/bb/x"), Some("a/"));
        assert_eq!((at("ab/x"), at("a"), at("secret/a/b/x"), at("")), (None, None, None, None));
    }

    #[test]
    fn children_are_one_step_below_or_all_of_them() {
        let namespaces = namespaces(&["a/", "a/b/", "a/b/c/", "d/"]);
        let paths = |parent: &Namespace, deep| {
            namespaces.below(parent, deep).iter().map(|known| known.record.path.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(paths(&Namespace::root(), false), ["a/", "d/"]);
        assert_eq!(paths(&Namespace::root(), true), ["a/", "a/b/", "a/b/c/", "d/"]);
        assert_eq!(paths(&namespaces.at("a/").unwrap().namespace, false), ["a/b/"]);
    }

    #[test]
    fn what_acts_on_the_server_is_of_the_root_namespace() {
        for path in [
            "sys/seal",
            "sys/audit/file",
            "sys/audit-chain",
            "sys/audit-chain/check",
            "sys/config/cors",
            "sys/rotate/config",
            "sys/quotas/rate-limit/x",
        ] {
            assert!(is_root_only(path), "{path}");
        }
        for path in ["sys/mounts", "sys/auditor", "sys/leases/lookup", "sys/internal/ui/mounts", "secret/seal", "seal"]
        {
            assert!(!is_root_only(path), "{path}");
        }
    }
}
