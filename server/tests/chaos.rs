//! Short chaos runs and the named attacks on the store; `make chaos` makes longer ones.

use std::{path::PathBuf, time::Duration};

use holdfast_chaos::{
    cluster::{Cluster, Mode, Settings},
    etcd::Disk,
    failover::rows::ROWS,
    plan::{Plan, Step},
    run::{Report, run},
    scenarios,
    verdict::build_checker,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::fixture::{cache, find_tool, folder};

/// What somebody does to the store must be known everywhere within this.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// Six servers are enough at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

struct Ground {
    settings: Settings,
    checker: PathBuf,
    _tools: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Ground {
    async fn new(mode: Mode) -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        let tools = folder();
        let settings = Settings {
            holdfast: env!("CARGO_BIN_EXE_holdfast").into(),
            etcd: find_tool("HOLDFAST_ETCD", "etcd", &[cache().join("bin")], "make tools"),
            mode,
            election: Duration::from_millis(500),
            disk: Disk::Unsynced,
            variables: Vec::new(),
        };
        let checker = build_checker(tools.path()).await.unwrap();
        Self { settings, checker, _tools: tools, _alone: alone }
    }
}

#[tokio::test]
async fn a_seeded_run_is_linearizable_in_both_modes() {
    for mode in [Mode::Cached, Mode::Barrier] {
        let ground = Ground::new(mode).await;
        let report = run(&ground.settings, Plan::of(7, Duration::from_secs(8)), &ground.checker).await.unwrap();
        assert!(report.is_good(), "{mode:?}\n{report}");
    }
}

/// The watch of a replica cannot go on where it was: the store has dropped what lies between.
#[tokio::test]
async fn history_that_is_compacted_behind_a_replica_is_read_anew() {
    let said = judged("FM10").await;
    assert!(said.contains("history is compacted"), "no watch met it:\n{said}");
}

/// Its connection stands and tells nothing, while the store answers everything else.
#[tokio::test]
async fn a_watch_that_falls_silent_is_left_for_another_member() {
    let said = judged("FM11").await;
    let left = ["has fallen silent", "it lagged behind"];
    assert!(left.iter().any(|why| said.contains(why)), "no watch was left:\n{said}");
}

#[tokio::test]
async fn a_watch_that_goes_on_at_a_member_that_was_behind_misses_nothing() {
    judged("FM12").await;
}

#[tokio::test]
async fn a_member_that_writes_its_database_anew_delays_and_nothing_more() {
    judged("FM16").await;
}

/// A follower, the leader, and the same with a database in which pages are overwritten.
#[tokio::test]
async fn a_member_that_loses_its_data_is_replaced() {
    judged("FM17").await;
}

/// All rows of this number, one after the other in a run: all is linearizable. What the replicas said.
async fn judged(number: &str) -> String {
    let ground = Ground::new(Mode::Cached).await;
    let mut cluster = Cluster::start(&ground.settings).await.unwrap();
    cluster.etcd.lead(0).await.unwrap();
    let (mut steps, mut begin) = (Vec::new(), Duration::ZERO);
    for row in ROWS.iter().filter(|row| row.number == number) {
        cluster.etcd.put_ballast(row.ballast / 4).await.unwrap();
        steps.extend(row.steps.iter().map(|step| Step { at: begin + step.at, ..*step }));
        begin = steps.iter().map(|step| step.at + step.lasts).max().unwrap() + Duration::from_secs(1);
    }
    let report = scenarios::faults(&mut cluster, &steps, &ground.checker).await;
    if !report.as_ref().is_ok_and(Report::is_good) {
        cluster.keep_folder();
    }
    let report = report.unwrap();
    assert!(report.is_good(), "{number}\n{report}");
    cluster.replicas.iter().map(|replica| replica.process.said()).collect()
}

/// Who asks the store before each read rests nothing on its record but writes, so this is tried where memory is read.
#[tokio::test]
async fn member_records_may_be_deleted_by_hand() {
    let ground = Ground::new(Mode::Cached).await;
    let mut cluster = Cluster::start(&ground.settings).await.unwrap();
    let report = scenarios::members_deleted(&mut cluster, &ground.checker).await.unwrap();
    assert!(report.is_good(), "{report}");
}

/// Late: the revision is beyond what was lost when it is looked at again.
#[tokio::test]
async fn a_store_that_goes_back_takes_all_replicas_with_it() {
    for (mode, late) in [(Mode::Cached, false), (Mode::Cached, true), (Mode::Barrier, true)] {
        let ground = Ground::new(mode).await;
        let mut cluster = Cluster::start(&ground.settings).await.unwrap();
        let report = scenarios::store_goes_back(&mut cluster, &ground.checker, late).await;
        if report.is_err() {
            cluster.keep_folder();
        }
        let report = report.unwrap();
        assert!(report.is_good(), "{mode:?}, late: {late}\n{report}");
    }
}

#[tokio::test]
async fn a_revoked_token_that_is_put_back_is_refused_and_reported() {
    for mode in [Mode::Cached, Mode::Barrier] {
        let ground = Ground::new(mode).await;
        let mut cluster = Cluster::start(&ground.settings).await.unwrap();
        let took = scenarios::revoked_token_put_back(&mut cluster).await.unwrap();
        println!("{mode:?}: refused and reported by all replicas within {took:?}");
        assert!(took <= KNOWN_WITHIN, "{mode:?}: {took:?}");
    }
}
