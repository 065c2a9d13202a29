//! An engine that has nothing outside, and replicas of the core on a real etcd, each on threads of its own.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use holdfast_barrier::{Barrier, Options};
use holdfast_base::{Clock, SystemClock, SystemEntropy, Timestamp};
use holdfast_core::{Answer, Class, Core, CoreConfig, Raw, Registry, Verb, admission::Limits};
use holdfast_logical::{
    Auth, Backend, Error, Issue, MountInfo, Operation, PathTable, Request, Response, Row, Services,
};
use holdfast_peer::TlsNet;
use holdfast_seal::StaticSeal;
use holdfast_secret::{SecretBytes, SecretString};
use holdfast_storage_etcd::{Config, EtcdStorage};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::fixture::{core::config as config_of, etcd::Etcd, free_port};

/// Whom the engine has made, by name, and how often each was revoked.
pub static OUTSIDE: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);
/// Names that are gone.
pub static REVOKED: AtomicUsize = AtomicUsize::new(0);
/// When all leases end, in milliseconds since 1970.
pub static END: AtomicI64 = AtomicI64::new(0);
/// Mounts of the name `dead/` do not answer.
pub static DEAD: AtomicBool = AtomicBool::new(true);
static MADE: AtomicU64 = AtomicU64::new(0);

/// The machine's clock, moved.
#[derive(Default)]
pub struct Moved(pub AtomicU64);

impl Moved {
    fn by(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.by()
    }

    fn boottime(&self) -> Duration {
        SystemClock.boottime() + self.by()
    }
}

struct Fake {
    clock: Arc<dyn Clock>,
    dead: bool,
}

const PATHS: &PathTable = &[Row {
    id: "creds",
    pattern: "creds/:name",
    operations: &[Operation::Read],
    fields: &[],
    auth: Auth::Token,
    help: "Makes a credential.",
}];

fn fake(mount: Arc<MountInfo>, services: Services) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(Fake { clock: services.clock.clone(), dead: mount.path.starts_with("dead") }))
}

#[async_trait]
impl Backend for Fake {
    fn paths(&self) -> &'static PathTable {
        PATHS
    }

    async fn handle(&self, _request: Request) -> Result<Response, Error> {
        let name = MADE.fetch_add(1, Ordering::Relaxed).to_string();
        let left = END.load(Ordering::SeqCst) - self.clock.now().as_millisecond();
        let made = name.clone();
        let create = async move {
            OUTSIDE.lock().insert(made, 0);
            Ok(())
        };
        Ok(Response {
            issue: Some(Issue {
                internal: Map::from_iter([("name".to_owned(), json!(name))]),
                data: json!({ "username": name }).into(),
                ttl: Some(Duration::from_millis(u64::try_from(left).unwrap())),
                max_ttl: None,
                renewable: true,
                create: Box::new(|| Box::pin(create)),
            }),
            ..Response::default()
        })
    }

    async fn renew(&self, _internal: &Map<String, Value>, _ttl: Duration) -> Result<(), Error> {
        Ok(())
    }

    async fn revoke(&self, internal: &Map<String, Value>) -> Result<(), Error> {
        if self.dead && DEAD.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let mut outside = OUTSIDE.lock();
        let times = outside.get_mut(internal["name"].as_str().unwrap()).unwrap();
        *times += 1;
        if *times == 1 {
            REVOKED.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// A replica on this etcd.
pub struct Replica {
    pub core: Arc<Core>,
    threads: Option<Runtime>,
}

impl Replica {
    pub async fn start(etcd: &Etcd, clock: &Arc<Moved>, name: &str, limits: Limits) -> Self {
        let config = etcd.config("storm/");
        let threads = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let core = threads.spawn(open(config, clock.clone(), name.to_owned(), limits)).await.unwrap();
        Self { core, threads: Some(threads) }
    }

    pub fn reads_memory(&self) -> bool {
        self.core.config().barrier.status().is_some_and(|status| status.reads_memory)
    }

    /// Its id among the replicas.
    pub fn member(&self) -> Option<String> {
        holdfast_logical::Store::member(&*self.core.config().barrier)
    }
}

/// As by SIGKILL: no task of it goes on.
impl Drop for Replica {
    fn drop(&mut self) {
        self.threads.take().unwrap().shutdown_background();
    }
}

async fn open(config: Config, clock: Arc<Moved>, name: String, limits: Limits) -> Arc<Core> {
    let address = format!("127.0.0.1:{}", free_port());
    let storage = Arc::new(EtcdStorage::connect(config).await.unwrap());
    let options = Options {
        instance: name.clone(),
        peers: Some(Arc::new(TlsNet { bind: address.parse().unwrap(), advertised: address.clone() })),
        ..Options::default()
    };
    let entropy = Arc::new(SystemEntropy);
    let barrier = Barrier::open_with(storage, clock.clone(), entropy.clone(), options);
    let seal = Arc::new(StaticSeal::new(&SecretBytes::new([7; 32]), "storm", entropy.clone()).unwrap());
    let registry = Registry::new().with(Class::Secret, "fake", fake);
    let core = Core::new(CoreConfig {
        limits,
        storage_kind: "etcd".to_owned(),
        hostname: name,
        ..config_of(barrier, seal, registry, clock, entropy)
    });
    tokio::spawn(core.clone().run(CancellationToken::new()));
    core
}

pub fn raw(token: &str, verb: Verb, path: &str, body: Value) -> Raw {
    let mut raw = Raw::new(holdfast_base::id::uuid(&SystemEntropy), verb, path);
    raw.token = (!token.is_empty()).then(|| SecretString::new(token));
    raw.body = body.as_object().cloned().unwrap_or_default();
    raw
}

pub async fn ask(core: &Arc<Core>, token: &str, verb: Verb, path: &str, body: Value) -> Value {
    match core.handle(raw(token, verb, path, body)).await {
        Answer::Envelope { envelope, .. } => serde_json::to_value(&*envelope).unwrap(),
        Answer::Bare { body, .. } => body,
        Answer::Empty => Value::Null,
        other => panic!("{path}: {other:?}"),
    }
}

pub fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

pub fn percentile(times: &mut [Duration], of_hundred: usize) -> Duration {
    times.sort();
    times.get((times.len() * of_hundred / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}
