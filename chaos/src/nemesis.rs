//! Carries out a plan.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    cluster::Cluster,
    etcd::MEMBERS,
    link::{Ending, Link, Weather},
    plan::{Fault, Plan, Way},
};

enum Turn {
    Begin(usize),
    End(usize),
}

/// Does what the plan says, at its times, and mends everything at the end.
pub async fn unleash(cluster: &mut Cluster, plan: &Plan) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut turns: Vec<(Duration, Turn)> = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        turns.push((step.at, Turn::Begin(index)));
        turns.push((step.at + step.lasts, Turn::End(index)));
    }
    turns.sort_by_key(|(at, _)| *at);
    // Which member led when a fault of the leader began.
    let mut leaders = vec![None; plan.steps.len()];
    for (at, turn) in turns {
        tokio::time::sleep_until(start + at).await;
        match turn {
            Turn::Begin(index) => begin(cluster, plan.steps[index].fault, &mut leaders[index]).await,
            Turn::End(index) => end(cluster, plan.steps[index].fault, leaders[index]).await?,
        }
    }
    heal(cluster).await
}

/// Ends all faults that may still be there.
pub async fn heal(cluster: &mut Cluster) -> anyhow::Result<()> {
    for member in cluster.etcd.members() {
        member.process.resume();
        member.process.start()?;
    }
    for replica in &mut cluster.replicas {
        replica.process.resume();
        replica.process.start()?;
        let links = replica.store.iter().chain([&replica.clients, &replica.peers]);
        links.for_each(|link| link.set(Weather::default()));
    }
    cluster.etcd.wait_for_leader().await?;
    cluster.etcd.set_full(false).await
}

async fn begin(cluster: &mut Cluster, fault: Fault, leader: &mut Option<usize>) {
    if matches!(fault, Fault::KillLeader | Fault::PauseLeader) {
        *leader = cluster.etcd.leader().await;
    }
    match fault {
        Fault::KillReplica(replica) => cluster.replicas[replica].process.kill(),
        Fault::PauseReplica(replica) => cluster.replicas[replica].process.pause(),
        Fault::KillMember(member) => cluster.etcd.members()[member].process.kill(),
        Fault::PauseMember(member) => cluster.etcd.members()[member].process.pause(),
        Fault::KillLeader => {
            if let Some(leader) = *leader {
                cluster.etcd.members()[leader].process.kill();
            }
        }
        Fault::PauseLeader => {
            if let Some(leader) = *leader {
                cluster.etcd.members()[leader].process.pause();
            }
        }
        Fault::NoQuorum => cluster.etcd.members()[..2].iter_mut().for_each(|member| member.process.kill()),
        Fault::ResetStore(replica) => cluster.replicas[replica].store.iter().for_each(|link| link.end(Ending::Reset)),
        Fault::HalfCloseStore(replica) => {
            cluster.replicas[replica].store.iter().for_each(|link| link.end(Ending::HalfClose));
        }
        // Refused if there is no leader just now; then there is another fault already.
        Fault::Full => drop(cluster.etcd.set_full(true).await),
        Fault::DeleteMember(number) => drop(delete_member(cluster, number).await),
        _ => set_weather(cluster, fault, weather(fault)),
    }
}

async fn delete_member(cluster: &Cluster, number: usize) -> anyhow::Result<()> {
    let members = cluster.etcd.range("holdfast/member/").await?;
    match members.get(number % members.len().max(1)) {
        Some(member) => cluster.etcd.delete(&member.key).await,
        None => Ok(()),
    }
}

async fn end(cluster: &mut Cluster, fault: Fault, leader: Option<usize>) -> anyhow::Result<()> {
    match fault {
        Fault::KillReplica(replica) => cluster.replicas[replica].process.start()?,
        Fault::PauseReplica(replica) => cluster.replicas[replica].process.resume(),
        Fault::KillMember(member) => cluster.etcd.members()[member].process.start()?,
        Fault::PauseMember(member) => cluster.etcd.members()[member].process.resume(),
        Fault::KillLeader | Fault::PauseLeader => {
            if let Some(leader) = leader {
                cluster.etcd.members()[leader].process.start()?;
                cluster.etcd.members()[leader].process.resume();
            }
        }
        Fault::NoQuorum => {
            for member in &mut cluster.etcd.members()[..2] {
                member.process.start()?;
            }
        }
        Fault::ResetStore(_) | Fault::HalfCloseStore(_) | Fault::DeleteMember(_) => {}
        Fault::Full => drop(cluster.etcd.set_full(false).await),
        _ => set_weather(cluster, fault, Weather::default()),
    }
    Ok(())
}

fn weather(fault: Fault) -> Weather {
    match fault {
        Fault::CutStore(_, way) | Fault::CutMember(_, _, way) | Fault::CutClients(_, way) | Fault::CutPeers(_, way) => {
            let (forward_held, back_held) = (way != Way::Back, way != Way::There);
            Weather { forward_held, back_held, delay: Duration::ZERO }
        }
        Fault::SlowStore(delay) | Fault::SlowReplica(_, delay) => {
            Weather { delay: Duration::from_millis(delay), ..Weather::default() }
        }
        _ => Weather::default(),
    }
}

fn set_weather(cluster: &Cluster, fault: Fault, weather: Weather) {
    let set = |links: &mut dyn Iterator<Item = &Link>| links.for_each(|link| link.set(weather));
    let replicas = &cluster.replicas;
    match fault {
        Fault::CutStore(replica, _) => set(&mut replicas[replica].store.iter()),
        Fault::CutMember(replica, member, _) => replicas[replica].store[member % MEMBERS].set(weather),
        Fault::CutClients(replica, _) => replicas[replica].clients.set(weather),
        Fault::CutPeers(replica, _) => replicas[replica].peers.set(weather),
        Fault::SlowStore(_) => set(&mut replicas.iter().flat_map(|replica| &replica.store)),
        Fault::SlowReplica(replica, _) => set(&mut [&replicas[replica].clients, &replicas[replica].peers].into_iter()),
        _ => {}
    }
}
