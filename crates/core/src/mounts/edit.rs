//! Changes of the mount tables: each one reads, decides and commits by compare, and starts over when another replica
//! was faster.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_base::id;
use holdfast_failpoint::failpoint;
use holdfast_logical::{Check, Namespace, StoreError, Txn};

use super::{Mounts, Record, Table, Tuning, live_key};
use crate::{Class, Error, namespaces, storage};

/// Attempts before a busy table is reported as such.
const ATTEMPTS: usize = 16;

/// Paths that nobody may mount on or below.
const PROTECTED: &[&str] = &["auth/", "sys/", "identity/", "cubbyhole/", "audit/"];

/// A mount that is asked for.
#[derive(Clone, Debug)]
pub struct NewMount {
    /// Where.
    pub namespace: Arc<Namespace>,
    /// Secret engine or auth method.
    pub class: Class,
    /// Slash at the end or not; without `auth/`.
    pub path: String,
    /// Type name; `generic`, `kv-v1` and `kv-v2` are names of `kv`.
    pub kind: String,
    /// For people.
    pub description: String,
    /// Values as strings.
    pub options: BTreeMap<String, String>,
    /// TTLs and the rest.
    pub tuning: Tuning,
    /// Shown as given.
    pub local: bool,
    /// Shown as given.
    pub seal_wrap: bool,
}

impl Mounts {
    /// Writes the tables of a new namespace, or of a new server, into `txn`: `sys/`, `cubbyhole/`, `identity/`,
    /// `auth/token/`.
    pub fn first_tables(&self, namespace: &Arc<Namespace>, txn: &mut Txn) -> Result<(), StoreError> {
        let secret = [
            ("cubbyhole/", "cubbyhole", "per-token private secret storage"),
            ("identity/", "identity", "identity store"),
            ("sys/", "system", "system endpoints used for control, policy and debugging"),
        ];
        let auth = [("token/", "token", "token based credentials")];
        for (class, rows) in [(Class::Secret, &secret[..]), (Class::Auth, &auth[..])] {
            let mut table = Table::default();
            for (path, kind, description) in rows {
                let record = self.record(NewMount {
                    namespace: namespace.clone(),
                    class,
                    path: (*path).to_owned(),
                    kind: (*kind).to_owned(),
                    description: (*description).to_owned(),
                    options: BTreeMap::new(),
                    tuning: Tuning::default(),
                    local: *kind == "cubbyhole",
                    seal_wrap: false,
                });
                txn.put_json(live_key(&record.uuid), &())?;
                table.mounts.push(record);
            }
            txn.check(self.table_key(&namespace.id, class), Check::Absent);
            txn.put_json(self.table_key(&namespace.id, class), &table)?;
        }
        Ok(())
    }

    /// Adds a mount.
    pub async fn mount(&self, new: NewMount) -> Result<(), Error> {
        let new = normalise(new)?;
        new.tuning.check(self.parts.ttls)?;
        let namespace = new.namespace.clone();
        let record = self.record(new);
        // Made now, so that a type that is not there or an option that it refuses is the answer to this request.
        self.backend(&record, &self.info(&record, &namespace))?;
        let done = self
            .edit_apart(&namespace, record.class, &record.path, |table, txn| {
                if let Some(other) = table.mounts.iter().find(|other| overlap(&other.path, &record.path)) {
                    return Err(Error::invalid(format!("path is already in use at {}", other.full_path())));
                }
                table.mounts.push(record.clone());
                txn.put_json(live_key(&record.uuid), &())?;
                Ok(())
            })
            .await;
        if done.is_err() {
            self.backends.lock().remove(&record.uuid);
        }
        done
    }

    /// Stops a mount from serving and from making leases; its row and storage stay. False: there is none.
    pub async fn close(&self, namespace: &Namespace, class: Class, path: &str) -> Result<Option<Record>, Error> {
        self.mark(&namespace.id, class, path, true).await
    }

    /// Takes [`Mounts::close`] back.
    pub async fn reopen(&self, record: &Record) -> Result<(), Error> {
        self.mark(&record.namespace, record.class, &record.path, false).await.map(drop)
    }

    async fn mark(&self, namespace: &str, class: Class, path: &str, leaving: bool) -> Result<Option<Record>, Error> {
        let path = with_slash(path);
        self.edit(namespace, class, |table, txn| {
            let Some(record) = table.mounts.iter_mut().find(|record| record.path == path) else { return Ok(None) };
            record.leaving = leaving;
            match leaving {
                true => txn.delete(live_key(&record.uuid)),
                false => txn.put_json(live_key(&record.uuid), &())?,
            };
            Ok(Some(record.clone()))
        })
        .await
    }

    /// Removes a closed mount, then its storage.
    pub async fn remove(&self, record: &Record) -> Result<(), Error> {
        self.edit(&record.namespace, record.class, |table, _| {
            table.mounts.retain(|other| other.uuid != record.uuid);
            table.trash.push(record.uuid.clone());
            Ok(())
        })
        .await?;
        failpoint!("unmount.row-removed").await;
        self.empty_trash(&record.namespace, record.class).await
    }

    /// Wipes the storage of unmounted mounts, also of those that a crash left over.
    pub async fn empty_trash(&self, namespace: &str, class: Class) -> Result<(), Error> {
        for uuid in self.table(namespace, class).await?.0.trash {
            storage::wipe(&self.storage_of(class, &uuid)).await?;
            failpoint!("unmount.storage-wiped").await;
            self.edit(namespace, class, |table, _| {
                table.trash.retain(|other| *other != uuid);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Changes description, options and tuning.
    pub async fn tune(
        &self,
        namespace: &Namespace,
        class: Class,
        path: &str,
        change: impl Fn(&mut Record) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = with_slash(path);
        self.edit(&namespace.id, class, |table, _| {
            let Some(record) = table.mounts.iter_mut().find(|record| record.path == path) else {
                return Err(Error::invalid(format!("no mount entry found for path {path:?}")));
            };
            change(record)?;
            record.tuning.check(self.parts.ttls)
        })
        .await
    }

    /// Moves a mount of a class to another path. The leases must be gone.
    pub async fn rename(&self, namespace: &Namespace, class: Class, from: &str, to: &str) -> Result<(), Error> {
        let (from, to) = (with_slash(from), valid_path(class, to)?);
        self.edit_apart(namespace, class, &to, |table, _| {
            let taken = table.mounts.iter().find(|other| other.path != from && overlap(&other.path, &to));
            if let Some(other) = taken {
                return Err(Error::invalid(format!("path is already in use at {}", other.full_path())));
            }
            let record = table.mounts.iter_mut().find(|record| record.path == from);
            let record = record.ok_or_else(|| Error::invalid(format!("no matching mount at {from:?}")))?;
            record.path.clone_from(&to);
            Ok(())
        })
        .await
    }

    /// Refuses the path of a mount that would overlap with a namespace; the check holds as long as that is so.
    async fn apart(&self, namespace: &Namespace, class: Class, path: &str) -> Result<(String, Check), Error> {
        let router = self.current().await?;
        let full = namespace.full_path(&super::record::full_path(class, path));
        let inside = router.namespaces().below(namespace, false);
        match inside.into_iter().find(|inside| overlap(&inside.record.path, &full)) {
            Some(inside) => Err(Error::invalid(format!("path is already in use at namespace {}", inside.record.path))),
            None => Ok((self.view.path(namespaces::KEY), router.namespaces().unchanged())),
        }
    }

    pub(super) async fn edit<T>(
        &self,
        namespace: &str,
        class: Class,
        change: impl Fn(&mut Table, &mut Txn) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _turn = self.turn.lock().await;
        for _ in 0..ATTEMPTS {
            if let Some(value) = self.try_edit(namespace, class, &change).await? {
                return Ok(value);
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// An edit that gives a mount a path, which must not overlap with a namespace.
    async fn edit_apart<T>(
        &self,
        namespace: &Namespace,
        class: Class,
        path: &str,
        change: impl Fn(&mut Table, &mut Txn) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _turn = self.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let apart = self.apart(namespace, class, path).await?;
            let change = |table: &mut Table, txn: &mut Txn| {
                txn.checks.push(apart);
                change(table, txn)
            };
            if let Some(value) = self.try_edit(&namespace.id, class, change).await? {
                return Ok(value);
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// One attempt; none: another replica was faster.
    async fn try_edit<T>(
        &self,
        namespace: &str,
        class: Class,
        change: impl FnOnce(&mut Table, &mut Txn) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let (mut table, unchanged) = self.table(namespace, class).await?;
        if unchanged == Check::Absent {
            return Err(namespaces::not_found());
        }
        let mut txn = Txn::new();
        let value = change(&mut table, &mut txn)?;
        table.mounts.sort_by(|a, b| a.path.cmp(&b.path));
        txn.check(self.table_key(namespace, class), unchanged);
        txn.put_json(self.table_key(namespace, class), &table)?;
        self.touch(&mut txn)?;
        match self.view.commit(txn).await {
            Ok(_) => {
                self.current().await?;
                Ok(Some(value))
            }
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn record(&self, new: NewMount) -> Record {
        let entropy = self.parts.entropy.as_ref();
        let class = if new.class == Class::Auth { "auth_" } else { "" };
        Record {
            accessor: format!("{class}{}_{}", new.kind, id::hex(entropy, 4)),
            uuid: id::uuid(entropy),
            namespace: new.namespace.id.clone(),
            path: new.path,
            class: new.class,
            kind: new.kind,
            description: new.description,
            options: new.options,
            tuning: new.tuning,
            local: new.local,
            seal_wrap: new.seal_wrap,
            leaving: false,
        }
    }
}

fn normalise(mut new: NewMount) -> Result<NewMount, Error> {
    new.path = valid_path(new.class, &new.path)?;
    let version = match new.kind.as_str() {
        "" => return Err(Error::invalid("backend type must be specified as a string")),
        "generic" | "kv-v1" => Some("1"),
        "kv-v2" => Some("2"),
        _ => None,
    };
    if let Some(version) = version {
        new.kind = "kv".to_owned();
        new.options.insert("version".to_owned(), version.to_owned());
    }
    if matches!((new.class, new.kind.as_str()), (Class::Secret, "system" | "cubbyhole" | "identity") | (_, "token")) {
        return Err(Error::invalid(format!("{:?} is built in and mounted once", new.kind)));
    }
    Ok(new)
}

fn valid_path(class: Class, path: &str) -> Result<String, Error> {
    let path = with_slash(path);
    let well_formed = path.trim_end_matches('/').split('/').all(|segment| {
        !segment.is_empty()
            && segment != ".."
            && !segment.chars().any(|character| character.is_control() || "*+ ".contains(character))
    });
    if !well_formed {
        return Err(Error::invalid(format!(
            "{path:?} is not a mount path: segments of printable characters, no '*' or '+'"
        )));
    }
    if class == Class::Secret && PROTECTED.iter().any(|protected| path.starts_with(protected)) {
        return Err(Error::invalid(format!("cannot mount {path:?}")));
    }
    Ok(path)
}

fn with_slash(path: &str) -> String {
    format!("{}/", path.trim_matches('/'))
}

fn overlap(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_and_malformed_paths_are_refused() {
        for path in ["sys/x", "auth/kubernetes", "", "a//b", "a/../b", "a*", "identity"] {
            assert!(valid_path(Class::Secret, path).is_err(), "{path}");
        }
        assert_eq!(valid_path(Class::Auth, "kubernetes").unwrap(), "kubernetes/");
        assert_eq!(valid_path(Class::Secret, "k8s/shop/db/").unwrap(), "k8s/shop/db/");
    }

    #[test]
    fn a_parent_and_a_child_overlap_and_neighbours_do_not() {
        assert!(overlap("k8s/", "k8s/a/"));
        assert!(overlap("k8s/a/", "k8s/"));
        assert!(!overlap("k8s/a/", "k8s/ab/"));
    }
}
