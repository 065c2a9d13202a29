//! The content of a volume: its plan, its sources, what was read, and whether all of that makes files.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    attributes::{Call, Origin, Plan},
    credentials::{Credentials, Located},
    payload::{Incomplete, Payload, Readings, assemble},
    request::Pod,
    source::{Place, Source, Tools},
    state::{LeaseRecord, VolumeRecord, item_prefix},
    status::Failure,
};

/// How often a template may ask for more.
const MAX_ROUNDS: usize = 16;

/// Content that is kept fresh.
pub struct Content {
    /// What is asked for.
    pub plan: Plan,
    /// What it is made of.
    pub sources: Vec<Source>,
    readings: Readings,
    volume: String,
    group: Option<u32>,
    paths: BTreeMap<String, String>,
    ttls: BTreeMap<String, u64>,
    known: BTreeMap<String, LeaseRecord>,
}

impl Content {
    /// Nothing read yet. `earlier` is what the driver remembers of the volume.
    pub fn new(plan: Plan, volume: &str, group: Option<u32>, earlier: &VolumeRecord) -> Self {
        Self {
            plan,
            sources: Vec::new(),
            readings: Readings::new(),
            volume: volume.to_owned(),
            group,
            paths: earlier.paths.clone(),
            ttls: earlier.ttls.clone(),
            known: earlier.leases.clone(),
        }
    }

    /// Looks up where the plan's credentials are. A credential that was known before is found without the cluster too.
    pub async fn locate(&mut self, credentials: &dyn Credentials, pod: &Pod) -> Result<(), Failure> {
        for name in self.plan.credentials() {
            match credentials.locate(&pod.namespace, name).await {
                Ok(Located { path, ttl }) => {
                    self.paths.insert(name.to_owned(), path);
                    match ttl {
                        Some(ttl) => self.ttls.insert(name.to_owned(), ttl),
                        None => self.ttls.remove(name),
                    };
                }
                Err(failure) if failure.is_transient() && self.paths.contains_key(name) => {}
                Err(failure) => return Err(failure.context(&format!("credential {name}"))),
            }
        }
        Ok(())
    }

    /// Reads what is missing and makes the files.
    pub async fn complete(&mut self, tools: &Tools) -> Result<Payload, Failure> {
        for _ in 0..MAX_ROUNDS {
            let missing = match assemble(&self.plan, &self.readings, self.group) {
                Ok(payload) => {
                    self.forget_unused();
                    return Ok(payload);
                }
                Err(Incomplete::Failed(failure)) => return Err(failure),
                Err(Incomplete::Missing(missing)) => missing,
            };
            for origin in missing {
                if !self.readings.contains_key(&origin) {
                    self.open(tools, origin).await?;
                }
            }
        }
        Err(Failure::Invalid(format!("a template still asks for more paths after {MAX_ROUNDS} rounds")))
    }

    /// Forgets what templates asked for with arguments that they do not use any more: it would be made again and again, for
    /// nobody.
    fn forget_unused(&mut self) {
        let called = self.sources.iter().filter(|source| source.lease.is_none()).map(|source| source.origin.clone());
        for origin in called.filter(|origin| matches!(origin, Origin::Call(_))).collect::<Vec<_>>() {
            let Some(reading) = self.readings.remove(&origin) else { continue };
            match assemble(&self.plan, &self.readings, self.group) {
                Ok(_) => self.sources.retain(|source| source.origin != origin),
                Err(_) => drop(self.readings.insert(origin, reading)),
            }
        }
    }

    async fn open(&mut self, tools: &Tools, origin: Origin) -> Result<(), Failure> {
        let (path, ttl) = match &origin {
            Origin::Path(path) | Origin::Call(Call { path, .. }) => (path.clone(), None),
            Origin::Credential(name) => {
                (self.paths.get(name).cloned().unwrap_or_default(), self.ttls.get(name).copied())
            }
        };
        let ttl = ttl.map(Duration::from_secs);
        let mut item = format!("{}{}", item_prefix(&self.volume), origin.name());
        if let Origin::Call(call) = &origin {
            // Other arguments are another item.
            let arguments = format!("{}\n{}", call.query, call.body.as_deref().unwrap_or_default());
            item.push_str(&format!("-{}", hex::encode(&Sha256::digest(arguments)[..6])));
        }
        let known = self.known.get(&item).cloned();
        let (source, reading) = Source::open(tools, origin.clone(), Place { path, item, ttl }, known.as_ref()).await?;
        self.sources.push(source);
        self.readings.insert(origin, reading);
        Ok(())
    }

    /// Looks after the sources that are due. True if values changed.
    pub async fn tend(&mut self, tools: &Tools) -> bool {
        let mut changed = false;
        let now = tools.clock.boottime();
        for source in self.sources.iter_mut().filter(|source| source.due <= now) {
            let Some(reading) = source.tend(tools).await else { continue };
            if !self.readings.get(&source.origin).is_some_and(|old| old.same_values(&reading)) {
                source.changed = tools.clock.now();
                changed = true;
            }
            self.readings.insert(source.origin.clone(), reading);
        }
        changed
    }

    /// Looks after the leases that are due, and nothing else.
    pub async fn renew(&mut self, tools: &Tools) {
        let now = tools.clock.boottime();
        for source in self.sources.iter_mut().filter(|source| source.lease.is_some() && source.due <= now) {
            if let Some(reading) = source.tend(tools).await {
                self.readings.insert(source.origin.clone(), reading);
            }
        }
    }

    /// Reads what has no lease again, and looks after leases that are due. Fails with the first that can't be had.
    pub async fn reread(&mut self, tools: &Tools) -> Result<(), Failure> {
        self.touch(tools.clock.boottime());
        self.tend(tools).await;
        match self.sources.iter().find_map(|source| source.failure.as_ref()) {
            Some(failure) => Err(Failure::Unavailable(failure.clone())),
            None => Ok(()),
        }
    }

    /// Makes everything without a lease due at `now` (boottime).
    pub fn touch(&mut self, now: Duration) {
        for source in self.sources.iter_mut().filter(|source| source.is_polled()) {
            source.due = now;
        }
    }

    /// The paths that are read again and again.
    pub fn polled(&self) -> BTreeSet<String> {
        self.sources.iter().filter(|source| source.is_polled()).map(|source| source.path.clone()).collect()
    }

    /// May these files be shown to another pod of the same service account? Not if one of them has a lease or was made.
    pub fn is_shared(&self) -> bool {
        self.sources.iter().all(Source::is_polled)
    }

    /// The leases it has, for the record.
    pub fn leases(&self) -> BTreeMap<String, LeaseRecord> {
        let leased = self.sources.iter().filter_map(|source| Some((source, source.lease.as_ref()?)));
        leased
            .map(|(source, lease)| {
                (source.item.clone(), LeaseRecord { lease_id: lease.id.clone(), ttl: lease.full.as_secs() })
            })
            .collect()
    }

    /// Where its credentials are, for the record.
    pub fn paths(&self) -> BTreeMap<String, String> {
        self.paths.clone()
    }

    /// How long their leases are to be, in seconds, for the record.
    pub fn ttls(&self) -> BTreeMap<String, u64> {
        self.ttls.clone()
    }
}
