//! Leases at scale: many that end at the same moment, many that are renewed at once, and a database that hangs meanwhile;
//! beside many more that end some day. While the work is done one replica comes, and one is killed.
//!
//! The core in this process, on a real etcd, with an engine that has nothing outside, so that what is measured is ours.
//! `HOLDFAST_STORM` is the number of leases (`make lease-storm`: 100,000), `HOLDFAST_STORED` that of those that end some
//! day; without them a short form runs, which asserts what must hold at any speed and prints the rest.

mod stored;
mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use holdfast_base::Clock;
use holdfast_core::{Answer, Core, Error, Verb, admission::Limits};
use holdfast_logical::{Error as Unanswered, View};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::world::{DEAD, END, Moved, OUTSIDE, REVOKED, Replica, ask, percentile, raw, resident_bytes};
use crate::fixture::{SOON, etcd::Etcd, until};

/// Leases of a mount that one replica works on at a time: so many may be revoked again when it is killed.
const AT_A_TIME: usize = 64;

/// Nobody else takes up what a killed replica had begun for so long.
const CLAIM: Duration = Duration::from_secs(60);

fn number(variable: &str, short: usize) -> usize {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(short)
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

/// What the storm goes over.
struct Site {
    etcd: Etcd,
    clock: Arc<Moved>,
    limits: Limits,
    root: String,
    /// Leases that end at once.
    wanted: usize,
    /// Leases that end some day.
    stored: usize,
}

impl Site {
    async fn replica(&self, name: &str) -> Replica {
        Replica::start(&self.etcd, &self.clock, name, self.limits).await
    }

    /// How long something may take.
    fn patience(&self) -> Duration {
        if self.wanted < 10_000 { SOON * 6 } else { Duration::from_secs(900) }
    }
}

/// One test, as the engine's outside is one: expiry, then renewals, on what is left.
#[tokio::test(flavor = "multi_thread")]
async fn leases_that_end_or_are_renewed_at_once() {
    let wanted = number("HOLDFAST_STORM", 1_000);
    let limits = Limits { renewals: if wanted < 10_000 { 4 } else { 256 }, ..Limits::default() };
    let mut site = Site {
        etcd: Etcd::start_large().await,
        clock: Arc::default(),
        limits,
        root: String::new(),
        wanted,
        stored: number("HOLDFAST_STORED", 200),
    };
    let first = site.replica("first").await;
    let made = ask(&first.core, "", Verb::Write, "sys/init", json!({})).await;
    site.root = made["root_token"].as_str().unwrap().to_owned();
    let second = site.replica("second").await;
    until("both serve", SOON, async || first.core.is_unsealed() && second.core.is_unsealed()).await;
    until("both read from memory", SOON, async || first.reads_memory() && second.reads_memory()).await;
    for mount in ["storm", "dead"] {
        ask(&first.core, &site.root, Verb::Write, &format!("sys/mounts/{mount}"), json!({"type": "fake"})).await;
    }

    store(&site, &first.core).await;
    let issued = issue(&site, &first.core).await;
    renewals(&site, &first.core, &issued).await;
    expiry(&site, &first, second).await;
}

/// Leases that end weeks from now.
async fn store(site: &Site, core: &Arc<Core>) {
    let (begun, before) = (Instant::now(), resident_bytes());
    let mount = ask(core, &site.root, Verb::Read, "sys/mounts/storm", json!({})).await;
    stored::preload(core, &*site.clock, mount["data"]["uuid"].as_str().unwrap(), site.stored).await;
    let grown = resident_bytes().saturating_sub(before) >> 20;
    println!("{} leases stored in {:?}; memory grew by {grown} MiB", site.stored, begun.elapsed());
    if site.stored > 0 {
        let body = json!({"lease_id": stored::id(site.stored / 2)});
        let found = ask(core, &site.root, Verb::Write, "sys/leases/lookup", body).await;
        assert_eq!(found["data"]["renewable"], true, "{found}");
    }
}

/// Leases that end a day from now, all in one second: whether they are of the mount that hangs, and their ids.
async fn issue(site: &Site, core: &Arc<Core>) -> Vec<(bool, String)> {
    END.store((site.clock.now() + Duration::from_secs(24 * 3600)).as_millisecond(), Ordering::SeqCst);
    let stuck = (site.wanted / 20).max(100);
    let begun = Instant::now();
    let paths = (0..site.wanted).map(|_| "storm/creds/a").chain((0..stuck).map(|_| "dead/creds/a"));
    let issued: Vec<(bool, String)> = futures::stream::iter(paths)
        .map(|path| async move {
            let made = ask(core, &site.root, Verb::Read, path, json!({})).await;
            (path.starts_with("dead"), made["lease_id"].as_str().unwrap().to_owned())
        })
        .buffer_unordered(64)
        .collect()
        .await;
    println!("{} leases made in {:?}", issued.len(), begun.elapsed());
    let counted = ask(core, &site.root, Verb::Read, "sys/leases/count", json!({})).await;
    println!("counted: {}", counted["data"]);
    issued
}

/// All clients renew within a second; those who are sent away come back when they were told to.
async fn renewals(site: &Site, core: &Arc<Core>, issued: &[(bool, String)]) {
    let (wanted, root) = (site.wanted, &site.root);
    let (begun, shed, longest) = (Instant::now(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let unanswered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = issued
        .iter()
        .filter(|(dead, _)| !dead)
        .enumerate()
        .map(|(number, (_, lease))| {
            let offset = Duration::from_micros(1_000_000 * number as u64 / wanted as u64);
            let (core, root, lease) = (core.clone(), root.clone(), lease.clone());
            let (shed, longest, unanswered) = (shed.clone(), longest.clone(), unanswered.clone());
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
                        // The store did not answer in time: a client tries again.
                        Answer::Error(Error::Logical(Unanswered::Unavailable(_))) => {
                            unanswered.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
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
    println!(
        "{wanted} renewals settled in {took:?}; {shed} were sent away, at most for {longest:?} s, and {unanswered:?} not answered by the store"
    );
    assert!(shed > 0, "nobody was sent away");
    if wanted < 10_000 {
        assert!(took < SOON * 4, "{took:?}");
    }
}

/// All leases end in one second, on two replicas, beside a mount that does not answer. One more comes, into the storm, and
/// one of the first two is killed.
async fn expiry(site: &Site, first: &Replica, second: Replica) {
    let (stop, before, within) = (CancellationToken::new(), resident_bytes(), site.patience());
    let probes = tokio::spawn(probe(first.core.clone(), site.root.clone(), stop.clone()));
    let revoked = || REVOKED.load(Ordering::SeqCst);
    site.clock.0.fetch_add(25 * 3600 * 1000, Ordering::SeqCst);
    // The clock went over a day of minutes: the first look at them all is not part of the storm.
    until("the first is revoked", within, async || revoked() > 0).await;
    let begun = Instant::now();
    until("a quarter of the leases is revoked", within, async || revoked() >= site.wanted / 4).await;
    let (restarted, small) = (Instant::now(), resident_bytes());
    let third = site.replica("third").await;
    until("the third serves", SOON * 2, async || third.core.is_unsealed()).await;
    ask(&third.core, &site.root, Verb::Read, "auth/token/lookup-self", json!({})).await;
    let (serves, larger) = (restarted.elapsed(), resident_bytes().saturating_sub(small) >> 20);

    until("half of the leases are revoked", within, async || revoked() >= site.wanted / 2).await;
    let (half, killed) = (begun.elapsed(), second.member().unwrap());
    assert_eq!(twice(), 0, "revoked twice although nobody died");
    let (died, read_memory) = (Instant::now(), second.reads_memory());
    drop(second);
    let taken_over =
        until("its shares are taken over", within, async || !owners(&first.core).await.contains(&killed)).await;
    // One that does not read from memory is forgotten after half a minute only.
    println!(
        "one was killed {:?} after the first revocation (reads from memory: {read_memory}); its shares were taken over \
         {taken_over:?} later",
        died - begun
    );
    until("nearly all leases are revoked", within, async || revoked() + AT_A_TIME >= site.wanted).await;
    let drained = begun.elapsed();
    stop.cancel();
    // What it had begun when it was killed.
    site.clock.0.fetch_add(u64::try_from(CLAIM.as_millis()).unwrap(), Ordering::SeqCst);
    until("all leases are revoked", within, async || revoked() >= site.wanted).await;
    let mut times = probes.await.unwrap();
    let (median, slow) = (percentile(&mut times, 50), percentile(&mut times, 99));
    let grown = resident_bytes().saturating_sub(before) >> 20;
    println!(
        "{} leases drained in {drained:?} (half in {half:?}), {} requests meanwhile: p50 {median:?}, p99 {slow:?}; \
         a replica that started served after {serves:?}, with {larger} MiB; memory grew by {grown} MiB; {} revoked twice",
        site.wanted,
        times.len() * 2,
        twice(),
    );
    assert!(twice() <= AT_A_TIME, "{} were revoked twice, more than were begun when one died", twice());
    everything_goes(site, &third.core).await;
}

/// How many the engine was told to revoke more than once.
fn twice() -> usize {
    OUTSIDE.lock().values().filter(|times| **times > 1).count()
}

/// The members that have claimed the shares of the work.
async fn owners(core: &Arc<Core>) -> Vec<String> {
    let view = View::new(core.config().barrier.clone(), "lease/owner/");
    let mut owners = Vec::new();
    for share in view.list("", "", 0).await.unwrap_or_default() {
        if let Ok(Some((claim, _))) = view.get_json::<Value>(&share).await {
            owners.push(claim["member"].as_str().unwrap().to_owned());
        }
    }
    owners
}

/// What did not answer goes when it answers; what ends some day stays.
async fn everything_goes(site: &Site, core: &Arc<Core>) {
    DEAD.store(false, Ordering::SeqCst);
    site.clock.0.fetch_add(2 * 3600 * 1000, Ordering::SeqCst);
    let stored = u64::try_from(site.stored).unwrap();
    let left = async || {
        let counted = ask(core, &site.root, Verb::Read, "sys/leases/count", json!({})).await;
        counted["data"]["lease_count"] == stored || counted["data"]["counters"]["lease_count"] == stored
    };
    until("the mount that hung is drained", site.patience(), left).await;
    if site.stored < 10_000 {
        let found = ask(core, &site.root, Verb::Read, "sys/fsck", json!({})).await;
        assert_eq!((&found["data"]["clean"], &found["data"]["leases"]), (&json!(true), &json!(stored)), "{found}");
    }
}
