//! Named attacks on the store, each with what must be seen.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use holdfast_client::{Call, Client};
use holdfast_secret::SecretString;
use http::Method;
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    etcd::Stored,
    history::History,
    link::Weather,
    nemesis,
    plan::{Fault, Plan, REPLICAS, Step},
    run::{Report, judge_run},
    workload::{self, Workload},
};

/// For what must happen, on a slow machine.
const SOON: Duration = Duration::from_secs(30);
/// What the log says of a value that no replica wrote.
const REPORT: &str = "changed by somebody else";

/// Deletes the records of members by hand, one after the other, while clients are at work.
pub async fn members_deleted(cluster: &mut Cluster, checker: &Path) -> anyhow::Result<Report> {
    let step = |index: u64| Step {
        at: Duration::from_millis(1500 * index),
        lasts: Duration::from_millis(500),
        fault: Fault::DeleteMember(usize::try_from(index).unwrap_or_default()),
    };
    faults(cluster, &(0..REPLICAS as u64).map(step).collect::<Vec<_>>(), checker).await
}

/// Named faults while clients are at work.
pub async fn faults(cluster: &mut Cluster, steps: &[Step], checker: &Path) -> anyhow::Result<Report> {
    let plan = Plan { seed: 3, election: Duration::from_millis(500), steps: steps.to_vec() };
    judge_run(cluster, plan, checker).await
}

/// Puts an older copy of the data under the running etcd members. With `late`, one replica comes back to the store only when
/// the others have written more than was lost: for it no revision went back.
///
/// Every replica must serve what the copy holds, and from then on all is linearizable again.
pub async fn store_goes_back(cluster: &mut Cluster, checker: &Path, late: bool) -> anyhow::Result<Report> {
    workload::prepare(cluster).await?;
    let clients = (0..REPLICAS).map(|replica| cluster.patient(replica)).collect::<anyhow::Result<Vec<_>>>()?;
    write(&clients[0], "kept", "old").await?;
    let copy = cluster.folder().join("copy");
    cluster.etcd.back_up(&copy).await?;
    cluster.wait_until_serving().await?;
    for number in 0..5 {
        write(&clients[number % REPLICAS], "lost", &format!("{number}")).await?;
        write(&clients[number % REPLICAS], "kept", "new").await?;
    }
    for client in &clients {
        ensure!(value(client, "kept").await?.as_deref() == Some("new"), "a write is not seen");
    }
    let cut = Weather { forward_held: true, back_held: true, ..Weather::default() };
    let last = &cluster.replicas[REPLICAS - 1].store;
    if late {
        last.iter().for_each(|link| link.set(cut));
    }
    cluster.etcd.restore(&copy).await?;
    if late {
        let deadline = Instant::now() + SOON;
        let mut written = 0;
        while written < 40 {
            written += usize::from(write(&clients[0], "since", &format!("{written}")).await.is_ok());
            ensure!(Instant::now() < deadline, "no writes after the store went back");
        }
        nemesis::heal(cluster).await?;
    }
    let deadline = Instant::now() + SOON;
    for (replica, client) in clients.iter().enumerate() {
        loop {
            let (kept, lost) = (value(client, "kept").await, value(client, "lost").await);
            match (kept, lost) {
                (Ok(Some(kept)), Ok(None)) if kept == "old" => break,
                (kept, lost) => ensure!(
                    Instant::now() < deadline,
                    "replica {replica} shows what the store no longer holds: kept {kept:?}, lost {lost:?}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let plan = Plan { seed: 2, election: Duration::from_millis(500), steps: Vec::new() };
    let history = Arc::new(History::default());
    let workload = Workload::start(cluster, plan.seed, history.clone()).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let strange = workload.stop().await;
    let mut report = crate::run::report(cluster, plan, &history, strange, checker).await?;
    // A store that went back has old records of lanes, too: that a replica says so is right.
    report.alarms.retain(|line| !line.contains(crate::run::LANE_JUMPED));
    Ok(report)
}

/// Puts the stored bytes of a revoked token back. It works at no replica at any time; how long it took until each had reported
/// every value that was put back, and refused the token after that.
pub async fn revoked_token_put_back(cluster: &mut Cluster) -> anyhow::Result<Duration> {
    let clients = (0..REPLICAS).map(|replica| cluster.patient(replica)).collect::<anyhow::Result<Vec<_>>>()?;
    let before = cluster.etcd.range("holdfast/data/").await?;
    let body = json!({"policies": ["default"], "ttl": "10m"});
    let made = clients[0].envelope(post("auth/token/create", body)).await?.and_then(|answer| answer.auth);
    let token = SecretString::new(made.context("no token")?.client_token.as_str());
    let is_new = |item: &Stored| before.iter().all(|old| old.key != item.key);
    let bytes: Vec<Stored> = cluster.etcd.range("holdfast/data/").await?.into_iter().filter(is_new).collect();
    ensure!(!bytes.is_empty(), "a token leaves nothing in the store");
    for (replica, client) in clients.iter().enumerate() {
        let status = look_up(client, &token).await?;
        ensure!(status == 200, "the token does not work at replica {replica}: {status}");
    }
    clients[0].call(post("auth/token/revoke", json!({"token": token.expose()}))).await?.into_success("revoke")?;
    refused_by_all(&clients, &token).await?;
    let reported = |cluster: &Cluster| -> Vec<usize> {
        cluster.replicas.iter().map(|replica| replica.process.said().matches(REPORT).count()).collect()
    };
    let earlier = reported(cluster);
    let start = Instant::now();
    for item in &bytes {
        cluster.etcd.put(item).await?;
    }
    let deadline = start + SOON;
    while reported(cluster).iter().zip(&earlier).any(|(now, before)| now < &(before + bytes.len())) {
        ensure!(Instant::now() < deadline, "not every replica reports what was put back: {:?}", reported(cluster));
        refused_by_all(&clients, &token).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    refused_by_all(&clients, &token).await?;
    Ok(start.elapsed())
}

async fn refused_by_all(clients: &[Client], token: &SecretString) -> anyhow::Result<()> {
    for (replica, client) in clients.iter().enumerate() {
        let status = look_up(client, token).await?;
        ensure!(status >= 400, "a revoked token works at replica {replica}: {status}");
    }
    Ok(())
}

async fn look_up(client: &Client, token: &SecretString) -> anyhow::Result<u16> {
    let call = Call { path: "auth/token/lookup-self".into(), ..Call::default() };
    Ok(client.with_token(token.duplicate()).call(call).await?.status)
}

async fn write(client: &Client, name: &str, value: &str) -> anyhow::Result<()> {
    client.write(&format!("kv/data/{name}"), json!({"data": {"v": value}})).await?;
    Ok(())
}

async fn value(client: &Client, name: &str) -> anyhow::Result<Option<String>> {
    let data = client.read(&format!("kv/data/{name}")).await?.and_then(|answer| answer.data);
    Ok(data.and_then(|data| data["data"]["v"].as_str().map(str::to_owned)))
}

fn post(path: &str, body: Value) -> Call {
    Call { method: Method::POST, path: path.to_owned(), body: Some(body), ..Call::default() }
}
