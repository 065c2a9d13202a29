//! Leases at scale: many that end at the same moment, many that are renewed at once, and a database that hangs meanwhile.
//!
//! The core in this process, on a real etcd, with an engine that has nothing outside, so that what is measured is ours.
//! `HOLDFAST_STORM` is the number of leases (`make lease-storm`: 100,000); without it a short form runs, which asserts
//! what must hold at any speed and prints the rest.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::StreamExt;
use holdfast_barrier::{Barrier, Options};
use holdfast_base::{Clock, SystemClock, SystemEntropy, Timestamp};
use holdfast_core::{
    Answer, Class, Core, CoreConfig, Metrics, NoProcess, OPEN_AUDIT, Raw, Registry, SYSTEM_TTL, Verb, admission::Limits,
};
use holdfast_logical::{
    Auth, Backend, Error, Issue, MountInfo, Operation, PathTable, Request, Response, Row, Services,
};
use holdfast_seal::StaticSeal;
use holdfast_secret::{SecretBytes, SecretString};
use holdfast_storage_etcd::{Config, EtcdStorage};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::fixture::{SOON, etcd::Etcd};

/// Whom the engine has made, by name of the mount, and how often each was revoked.
static OUTSIDE: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);
/// Names that are gone.
static REVOKED: AtomicUsize = AtomicUsize::new(0);
static MADE: AtomicU64 = AtomicU64::new(0);
/// When all leases end, in milliseconds since 1970.
static END: AtomicI64 = AtomicI64::new(0);
/// Mounts of the name `dead/` do not answer.
static DEAD: AtomicBool = AtomicBool::new(true);

fn leases_wanted(short: usize) -> usize {
    std::env::var("HOLDFAST_STORM").ok().and_then(|number| number.parse().ok()).unwrap_or(short)
}

/// The machine's clock, moved.
#[derive(Default)]
struct Moved(AtomicU64);

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
async fn replica(etcd: &Etcd, clock: &Arc<Moved>, name: &str, limits: Limits) -> (Arc<Core>, CancellationToken) {
    let read = |name: &str| std::fs::read_to_string(etcd.folder().join(name)).unwrap();
    let storage = EtcdStorage::connect(Config {
        endpoints: vec![etcd.endpoint()],
        ca_pem: Some(read("ca.crt")),
        cert_pem: Some(read("client.crt")),
        key_pem: Some(SecretString::new(read("client.key"))),
        prefix: "storm/".to_owned(),
        ..Config::default()
    });
    let (storage, entropy) = (Arc::new(storage.await.unwrap()), Arc::new(SystemEntropy));
    let options = Options { instance: name.to_owned(), ..Options::default() };
    let core = Core::new(CoreConfig {
        limits,
        barrier: Barrier::open_with(storage, clock.clone(), entropy.clone(), options),
        seal: Arc::new(StaticSeal::new(&SecretBytes::new([7; 32]), "storm", entropy.clone()).unwrap()),
        previous_seal: None,
        registry: Registry::new().with(Class::Secret, "fake", fake),
        open_audit: OPEN_AUDIT,
        audit: Default::default(),
        clock: clock.clone(),
        entropy,
        process: Arc::new(NoProcess),
        raw_storage: false,
        metrics: Metrics::default(),
        default_lease_ttl: SYSTEM_TTL,
        max_lease_ttl: SYSTEM_TTL,
        lockouts: Default::default(),
        cluster_name: String::new(),
        version: "1.0.0".to_owned(),
        build_date: String::new(),
        storage_kind: "etcd".to_owned(),
        api_addr: String::new(),
        hostname: name.to_owned(),
        initialize: Vec::new(),
    });
    let shutdown = CancellationToken::new();
    tokio::spawn(core.clone().run(shutdown.clone()));
    (core, shutdown)
}

fn raw(token: &str, verb: Verb, path: &str, body: Value) -> Raw {
    let mut raw = Raw::new(holdfast_base::id::uuid(&SystemEntropy), verb, path);
    raw.token = (!token.is_empty()).then(|| SecretString::new(token));
    raw.body = body.as_object().cloned().unwrap_or_default();
    raw
}

async fn ask(core: &Arc<Core>, token: &str, verb: Verb, path: &str, body: Value) -> Value {
    match core.handle(raw(token, verb, path, body)).await {
        Answer::Envelope { envelope, .. } => serde_json::to_value(&*envelope).unwrap(),
        Answer::Bare { body, .. } => body,
        Answer::Empty => Value::Null,
        other => panic!("{path}: {other:?}"),
    }
}

async fn until(what: &str, within: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < within, "it does not come true that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

fn percentile(times: &mut [Duration], of_hundred: usize) -> Duration {
    times.sort();
    times.get((times.len() * of_hundred / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Reads and writes until told to stop; how long each took.
async fn probe(core: Arc<Core>, root: String, stop: CancellationToken) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.is_cancelled() {
        let begun = Instant::now();
        ask(&core, &root, Verb::Write, "cubbyhole/probe", json!({"n": took.len()})).await;
        ask(&core, &root, Verb::Read, "cubbyhole/probe", json!({})).await;
        took.push(begun.elapsed() / 2);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took
}

/// One test, as the engine's outside is one: expiry, then renewals, on what is left.
#[tokio::test(flavor = "multi_thread")]
async fn leases_that_end_or_are_renewed_at_once() {
    let wanted = leases_wanted(1_000);
    let (etcd, clock) = (Etcd::start().await, Arc::new(Moved::default()));
    let limits = Limits { renewals: if wanted < 10_000 { 4 } else { 256 }, ..Limits::default() };
    let (first, end) = replica(&etcd, &clock, "first", limits).await;
    let made = ask(&first, "", Verb::Write, "sys/init", json!({})).await;
    let root = made["root_token"].as_str().unwrap().to_owned();
    let (second, _second_end) = replica(&etcd, &clock, "second", limits).await;
    until("both serve", SOON, async || first.is_unsealed() && second.is_unsealed()).await;
    for mount in ["storm", "dead"] {
        ask(&first, &root, Verb::Write, &format!("sys/mounts/{mount}"), json!({"type": "fake"})).await;
    }

    END.store((clock.now() + Duration::from_secs(24 * 3600)).as_millisecond(), Ordering::SeqCst);
    let stuck = (wanted / 20).max(100);
    let begun = Instant::now();
    let paths = (0..wanted).map(|_| "storm/creds/a").chain((0..stuck).map(|_| "dead/creds/a"));
    let issued: Vec<(bool, String)> = futures::stream::iter(paths)
        .map(|path| {
            let (core, root) = (first.clone(), root.clone());
            async move {
                let made = ask(&core, &root, Verb::Read, path, json!({})).await;
                (path.starts_with("dead"), made["lease_id"].as_str().unwrap().to_owned())
            }
        })
        .buffer_unordered(64)
        .collect()
        .await;
    println!("{} leases made in {:?}", issued.len(), begun.elapsed());
    let counted = ask(&first, &root, Verb::Read, "sys/leases/count", json!({})).await;
    println!("counted: {}", counted["data"]);

    renewals(&first, &root, &issued, wanted).await;
    expiry(&etcd, &clock, [&first, &second], &root, wanted, limits, &end).await;
}

/// All clients renew within a second; those who are sent away come back when they were told to.
async fn renewals(core: &Arc<Core>, root: &str, issued: &[(bool, String)], wanted: usize) {
    let (begun, shed, longest) = (Instant::now(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = issued
        .iter()
        .filter(|(dead, _)| !dead)
        .enumerate()
        .map(|(number, (_, lease))| {
            let offset = Duration::from_micros(1_000_000 * number as u64 / wanted as u64);
            let (core, root, lease) = (core.clone(), root.to_owned(), lease.clone());
            let (shed, longest) = (shed.clone(), longest.clone());
            tokio::spawn(async move {
                tokio::time::sleep(offset).await;
                loop {
                    // A day, as at the start: all end together again.
                    let body = json!({"lease_id": lease, "increment": "86400"});
                    let mut asked = raw(&root, Verb::Write, "sys/leases/renew", body);
                    let greeting = core.greet(&asked).await;
                    if greeting.refusal.is_some() {
                        shed.fetch_add(1, Ordering::Relaxed);
                        let (_, seconds) = greeting.headers.iter().find(|(name, _)| *name == "retry-after").unwrap();
                        let seconds: u64 = seconds.parse().unwrap();
                        longest.fetch_max(seconds, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_secs(seconds)).await;
                        continue;
                    }
                    asked.permit = greeting.permit;
                    match core.handle(asked).await {
                        Answer::Envelope { .. } => return,
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let (took, shed) = (begun.elapsed(), shed.load(Ordering::Relaxed));
    println!("{wanted} renewals settled in {took:?}; {shed} were sent away, at most for {longest:?} s");
    assert!(shed > 0, "nobody was sent away");
    if wanted < 10_000 {
        assert!(took < SOON * 4, "{took:?}");
    }
}

/// All leases end in one second, on two replicas, beside a mount that does not answer.
async fn expiry(
    etcd: &Etcd,
    clock: &Arc<Moved>,
    [first, second]: [&Arc<Core>; 2],
    root: &str,
    wanted: usize,
    limits: Limits,
    end: &CancellationToken,
) {
    let (stop, before) = (CancellationToken::new(), resident_bytes());
    let probes = tokio::spawn(probe(first.clone(), root.to_owned(), stop.clone()));
    clock.0.fetch_add(25 * 3600 * 1000, Ordering::SeqCst);
    let within = if wanted < 10_000 { SOON * 6 } else { Duration::from_secs(900) };
    // The clock went over a day of minutes: the first look at them all is not part of the storm.
    until("the first is revoked", within, async || REVOKED.load(Ordering::SeqCst) > 0).await;
    let begun = Instant::now();
    until("half of the leases are revoked", within, async || REVOKED.load(Ordering::SeqCst) >= wanted / 2).await;
    let half = begun.elapsed();
    // One more comes, into the storm.
    let restarted = Instant::now();
    let (third, _third_end) = replica(etcd, clock, "third", limits).await;
    until("the third serves", SOON * 2, async || third.is_unsealed()).await;
    ask(&third, root, Verb::Read, "auth/token/lookup-self", json!({})).await;
    let takeover = restarted.elapsed();
    until("all leases are revoked", within, async || REVOKED.load(Ordering::SeqCst) >= wanted).await;
    let drained = begun.elapsed();
    stop.cancel();
    let mut times = probes.await.unwrap();
    let (median, slow) = (percentile(&mut times, 50), percentile(&mut times, 99));
    let grown = resident_bytes().saturating_sub(before) >> 20;
    println!(
        "{wanted} leases drained in {drained:?} (half in {half:?}), {} requests meanwhile: p50 {median:?}, p99 {slow:?}; \
         a replica that started served after {takeover:?}; memory grew by {grown} MiB",
        times.len() * 2,
    );
    let twice = OUTSIDE.lock().values().filter(|times| **times > 1).count();
    assert_eq!(twice, 0, "revoked twice although nobody died");
    // What does not answer is still there, and goes when it answers.
    DEAD.store(false, Ordering::SeqCst);
    let left = async || ask(second, root, Verb::Read, "sys/fsck", json!({})).await["data"]["leases"] == 0;
    if wanted < 10_000 {
        clock.0.fetch_add(2 * 3600 * 1000, Ordering::SeqCst);
        until("the mount that hung is drained", SOON * 6, left).await;
        let found = ask(second, root, Verb::Read, "sys/fsck", json!({})).await;
        assert_eq!(found["data"]["clean"], true, "{found}");
    }
    end.cancel();
}
