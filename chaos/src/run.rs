//! One run: a cluster, clients, faults, and the verdict on what the clients saw.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    cluster::{Cluster, Settings},
    history::{Count, History},
    nemesis,
    plan::Plan,
    verdict::{Verdict, judge},
    workload::{self, Workload},
};

/// Before the first fault.
const WARM_UP: Duration = Duration::from_secs(3);
/// After the last one.
const COOL_DOWN: Duration = Duration::from_secs(2);
/// With fewer requests in a second before the first fault a run says nothing.
const LEAST_RATE: f64 = 30.0;

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// What went wrong, and when.
    pub plan: Plan,
    /// How many requests ended how.
    pub count: Count,
    /// Requests in a second before the first fault.
    pub rate: f64,
    /// On the histories.
    pub verdict: Verdict,
    /// Answers that no fault explains.
    pub strange: Vec<String>,
    /// What `fsck` found.
    pub fsck: Value,
    /// What replicas said of changes by somebody else, and of panics.
    pub alarms: Vec<String>,
}

impl Report {
    /// Too little happened for a verdict.
    pub fn is_void(&self) -> bool {
        self.rate < LEAST_RATE
    }

    /// Nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.verdict == Verdict::Linearizable
            && self.strange.is_empty()
            && self.alarms.is_empty()
            && self.fsck["clean"] == true
    }
}

/// Carries out a plan and judges it. What is needed to look at a bad run is left in its folder, which is named.
pub async fn run(settings: &Settings, plan: Plan, checker: &Path) -> anyhow::Result<Report> {
    let settings = Settings { election: plan.election, ..settings.clone() };
    let mut cluster = Cluster::start(&settings).await?;
    let outcome = judge_run(&mut cluster, plan, checker).await;
    if !outcome.as_ref().is_ok_and(Report::is_good) {
        cluster.keep_folder();
        eprintln!("logs and history are in {}", cluster.folder().display());
    }
    outcome
}

/// The same in a cluster that is there.
pub async fn judge_run(cluster: &mut Cluster, plan: Plan, checker: &Path) -> anyhow::Result<Report> {
    workload::prepare(cluster).await?;
    let history = Arc::new(History::default());
    let workload = Workload::start(cluster, plan.seed, history.clone()).await?;
    tokio::time::sleep(WARM_UP).await;
    history.mark_rate();
    nemesis::unleash(cluster, &plan).await?;
    cluster.wait_until_serving().await?;
    tokio::time::sleep(COOL_DOWN).await;
    let strange = workload.stop().await;
    report(cluster, plan, &history, strange, checker).await
}

/// Reads all registers once more, checks the store, and asks for the verdict.
pub async fn report(
    cluster: &Cluster,
    plan: Plan,
    history: &History,
    strange: Vec<String>,
    checker: &Path,
) -> anyhow::Result<Report> {
    workload::read_all(cluster, history).await?;
    let fsck = cluster.fsck().await?;
    let file = cluster.folder().join("history.jsonl");
    history.write(&file)?;
    let verdict = judge(checker, &file, &cluster.folder().join("violation.html")).await?;
    Ok(Report { plan, count: history.count(), rate: history.rate(), verdict, strange, fsck, alarms: alarms(cluster) })
}

/// Of the log line about a lane that does not go on where it was.
pub(crate) const LANE_JUMPED: &str = "does not follow the one before";

/// Lines of the replicas' logs that may not be there.
pub fn alarms(cluster: &Cluster) -> Vec<String> {
    let signs = ["changed by somebody else", LANE_JUMPED, "panicked at", "not authentic"];
    let said = cluster.replicas.iter().map(|replica| replica.process.said()).collect::<String>();
    said.lines().filter(|line| signs.iter().any(|sign| line.contains(sign))).map(str::to_owned).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan)?;
        let Count { ok, refused, unknown } = self.count;
        writeln!(
            f,
            "  {} requests ({ok} done, {refused} refused, {unknown} unknown), {:.0} a second before the faults",
            self.count.total(),
            self.rate
        )?;
        let verdict = match &self.verdict {
            Verdict::Linearizable => "linearizable",
            Verdict::Violated(said) | Verdict::Undecided(said) => said.trim_end(),
        };
        writeln!(f, "  {verdict}; fsck {}", if self.fsck["clean"] == true { "clean" } else { "NOT CLEAN" })?;
        if self.fsck["clean"] != true {
            writeln!(f, "  {}", self.fsck)?;
        }
        for line in self.strange.iter().chain(&self.alarms).take(20) {
            writeln!(f, "  ! {line}")?;
        }
        if self.is_void() {
            writeln!(f, "  void: less than {LEAST_RATE} requests a second before the faults")?;
        }
        Ok(())
    }
}
