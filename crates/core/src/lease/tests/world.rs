//! What the tests act on: a store that can die, mounts with users outside, replicas.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use holdfast_barrier::{
    Barrier,
    view::{Entry, Revision, Store, StoreError, Txn, View},
};
use holdfast_base::{ManualClock, SystemEntropy, Timestamp};
use holdfast_logical::{Backend, Error as BackendError, Issue, MountInfo, Namespace, PathTable, Request, Response};
use holdfast_secret::SecretBytes;
use holdfast_storage::MemoryStorage;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::lease::{Backends, Binding, Error, IssueContext, Leased, Leases, Members};

pub const HOUR: Duration = Duration::from_secs(3600);

/// A store that stops taking writes after a number of commits, as a replica that is killed does.
pub struct Mortal {
    store: Arc<dyn Store>,
    commits: AtomicI64,
}

#[async_trait]
impl Store for Mortal {
    async fn get(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(path).await
    }

    async fn list(&self, folder: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.store.list(folder, after, limit).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        if self.commits.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(StoreError::Unavailable("killed".into()));
        }
        self.store.commit(txn).await
    }

    fn member(&self) -> Option<String> {
        self.store.member()
    }
}

/// An outside system with users.
#[derive(Default)]
pub struct Outside {
    pub users: Mutex<BTreeSet<String>>,
    /// Users, and the members whose sessions were ended.
    pub revocations: Mutex<Vec<String>>,
    pub renewals: Mutex<Vec<Duration>>,
    /// Refuses everything.
    pub dead: AtomicBool,
    /// Ends nobody's sessions.
    pub stubborn: AtomicBool,
    /// Never answers.
    pub silent: AtomicBool,
    pub limits: Mutex<(Option<Duration>, Option<Duration>)>,
}

impl Outside {
    pub fn set_dead(&self, dead: bool) {
        self.dead.store(dead, Ordering::SeqCst);
    }

    pub fn set_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    async fn answer(&self) -> Result<(), BackendError> {
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.dead.load(Ordering::SeqCst) {
            return Err(BackendError::Unavailable("the database is down".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for Outside {
    fn paths(&self) -> &'static PathTable {
        &[]
    }

    async fn handle(&self, _request: Request) -> Result<Response, BackendError> {
        Err(BackendError::UnsupportedOperation)
    }

    async fn renew(&self, _internal: &Map<String, Value>, ttl: Duration) -> Result<(), BackendError> {
        self.answer().await?;
        self.renewals.lock().push(ttl);
        Ok(())
    }

    async fn revoke(&self, internal: &Map<String, Value>) -> Result<(), BackendError> {
        self.answer().await?;
        let user = internal["user"].as_str().unwrap().to_owned();
        self.users.lock().remove(&user);
        self.revocations.lock().push(user);
        Ok(())
    }

    async fn cut_off(&self, _internal: &Map<String, Value>, member: &str) -> Result<bool, BackendError> {
        if self.stubborn.load(Ordering::SeqCst) {
            return Err(BackendError::Internal("not permitted".into()));
        }
        self.revocations.lock().push(format!("sessions of {member}"));
        Ok(true)
    }

    async fn lease_limits(
        &self,
        _internal: &Map<String, Value>,
    ) -> Result<(Option<Duration>, Option<Duration>), BackendError> {
        Ok(*self.limits.lock())
    }
}

type Mounted = (Arc<MountInfo>, Arc<Outside>);

/// The mounts, and the tokens that were expired.
#[derive(Default)]
pub struct Mounts {
    mounts: Mutex<BTreeMap<String, Mounted>>,
    /// The members of the cluster, the first of them this one.
    pub members: Mutex<Vec<String>>,
    pub expired: Mutex<Vec<String>>,
}

#[async_trait]
impl Backends for Mounts {
    fn by_mount(&self, mount_uuid: &str) -> Option<(Arc<MountInfo>, Arc<dyn Backend>)> {
        let (info, backend) = self.mounts.lock().get(mount_uuid)?.clone();
        Some((info, backend))
    }

    async fn members(&self) -> Result<Option<Members>, StoreError> {
        let all = self.members.lock().clone();
        Ok(all.first().cloned().map(|own| Members { own, all }))
    }

    async fn expire_token(&self, token_hash: &str) -> Result<(), BackendError> {
        self.expired.lock().push(token_hash.to_owned());
        Ok(())
    }
}

pub struct World {
    pub clock: Arc<ManualClock>,
    pub mounts: Arc<Mounts>,
    pub store: Arc<Barrier>,
    /// The first replica.
    pub leases: Arc<Leases>,
}

impl World {
    pub async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
        let store = Barrier::open(Arc::new(MemoryStorage::new()), clock.clone(), Arc::new(SystemEntropy));
        store.initialize(&SecretBytes::new([7u8; 32])).await.unwrap();
        store.unseal(SecretBytes::new([7u8; 32])).await.unwrap();
        let mounts = Arc::new(Mounts::default());
        for name in ["db", "other"] {
            let info = MountInfo {
                kind: "database".into(),
                path: format!("{name}/"),
                namespace: Namespace::root(),
                accessor: format!("database_{name}"),
                uuid: name.into(),
                options: BTreeMap::new(),
                default_ttl: HOUR,
                max_ttl: 4 * HOUR,
            };
            mounts.mounts.lock().insert(name.into(), (Arc::new(info), Arc::new(Outside::default())));
        }
        let leases = Self::leases(store.clone(), &clock, &mounts);
        Self { clock, mounts, store, leases }
    }

    fn leases(store: Arc<dyn Store>, clock: &Arc<ManualClock>, mounts: &Arc<Mounts>) -> Arc<Leases> {
        Leases::new(View::new(store, "lease/"), clock.clone(), Arc::new(SystemEntropy), mounts.clone())
    }

    /// Another replica.
    pub fn replica(&self) -> Arc<Leases> {
        Self::leases(self.store.clone(), &self.clock, &self.mounts)
    }

    /// A replica that is killed after so many commits.
    pub fn mortal(&self, commits: i64) -> Arc<Leases> {
        let store = Mortal { store: self.store.clone(), commits: AtomicI64::new(commits) };
        Self::leases(Arc::new(store), &self.clock, &self.mounts)
    }

    pub fn outside(&self, mount: &str) -> Arc<Outside> {
        self.mounts.mounts.lock()[mount].1.clone()
    }

    pub fn users(&self) -> usize {
        self.mounts.mounts.lock().values().map(|(_, outside)| outside.users.lock().len()).sum()
    }

    pub fn unmount(&self, mount: &str) {
        self.mounts.mounts.lock().remove(mount);
    }

    /// A credential as an engine offers it.
    pub fn offer(&self, mount: &str) -> Issue {
        let user = holdfast_base::id::base62(&SystemEntropy, 12);
        let outside = self.outside(mount);
        let made = user.clone();
        Issue {
            internal: Map::from_iter([("user".to_owned(), json!(user))]),
            data: json!({"username": user}).into(),
            ttl: None,
            max_ttl: None,
            renewable: true,
            create: Box::new(move || {
                Box::pin(async move {
                    outside.answer().await?;
                    outside.users.lock().insert(made);
                    Ok(())
                })
            }),
        }
    }

    pub fn context(&self, mount: &str) -> IssueContext {
        IssueContext {
            not_after: None,
            mount: self.mounts.mounts.lock()[mount].0.clone(),
            request_id: "r".into(),
            request_path: format!("{mount}/creds/app"),
            token_hash: Some("token".into()),
            binding: None,
            replace: None,
            guards: Txn::new(),
        }
    }

    pub async fn issue(&self, mount: &str) -> Leased {
        self.leases.issue(self.offer(mount), self.context(mount)).await.unwrap()
    }

    pub fn bound(&self, item: &str, replace: Option<&str>) -> IssueContext {
        IssueContext {
            binding: Some(Binding { owner: "pod/u-1".into(), item: item.into() }),
            replace: replace.map(str::to_owned),
            ..self.context("db")
        }
    }

    pub async fn issue_bound(&self, item: &str, replace: Option<&str>) -> Result<Leased, Error> {
        self.leases.issue(self.offer("db"), self.bound(item, replace)).await
    }

    /// Lets time pass and the worker do what is due, minute by minute where that matters.
    pub async fn pass(&self, time: Duration) {
        let step = Duration::from_secs(30).max(time / 200);
        let mut left = time;
        while !left.is_zero() {
            let step = step.min(left);
            self.clock.advance(step);
            left -= step;
            self.leases.drain().await;
        }
    }

    /// Everything that is stored below `lease/`, but the worker's own record.
    pub async fn stored(&self) -> Vec<String> {
        let (mut folders, mut found) = (vec!["lease/".to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for name in self.store.list(&folder, "", 0).await.unwrap() {
                let path = format!("{folder}{name}");
                if path == "lease/owner/" {
                    continue;
                }
                if name.ends_with('/') {
                    folders.push(path);
                } else if path != "lease/cursor" {
                    found.push(path);
                }
            }
        }
        found
    }
}
