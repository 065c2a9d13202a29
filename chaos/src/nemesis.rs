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

/// Does what the plan says, at its times, and mends everything at the end. When the last fault was over.
pub async fn unleash(cluster: &mut Cluster, plan: &Plan) -> anyhow::Result<Instant> {
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
            Turn::Begin(index) => begin(cluster, plan.steps[index].fault, &mut leaders[index]).await?,
            Turn::End(index) => end(cluster, plan.steps[index].fault, leaders[index]).await?,
        }
    }
    let over = Instant::now();
    heal(cluster).await?;
    Ok(over)
}

/// Ends all faults that may still be there.
pub async fn heal(cluster: &mut Cluster) -> anyhow::Result<()> {
    for member in 0..MEMBERS {
        cluster.etcd.members()[member].process.resume();
        cluster.etcd.start_member(member)?;
    }
    for replica in &mut cluster.replicas {
        replica.process.resume();
        replica.process.start()?;
        let links = replica.store.iter().chain([&replica.clients, &replica.peers]);
        links.for_each(|link| link.set(Weather::default()));
    }
    cluster.etcd.wait_for_leader().await?;
    cluster.etcd.replace_lost().await?;
    cluster.etcd.set_full(false).await
}

async fn begin(cluster: &mut Cluster, fault: Fault, leader: &mut Option<usize>) -> anyhow::Result<()> {
    if matches!(fault, Fault::KillLeader | Fault::PauseLeader) {
        *leader = cluster.etcd.leader().await;
    }
    match fault {
        Fault::KillReplica(replica) => cluster.replicas[replica].process.kill(),
        Fault::StopReplica(replica) => cluster.replicas[replica].process.stop().await,
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
        Fault::LoseMember(member) => cluster.etcd.lose(member)?,
        Fault::DamageMember(member) => cluster.etcd.damage(member)?,
        Fault::CutSide(replica, other) => {
            let member = busiest(&cluster.replicas[replica].store).await;
            cluster.replicas[replica].store[member].set(cut(Way::Both));
            cut_pair(cluster, replica, other, cut(Way::Both));
        }
        Fault::MuteWatch(replica) => {
            let member = busiest(&cluster.replicas[replica].store).await;
            cluster.replicas[replica].store[member].set(Weather { watch_held: true, ..Weather::default() });
        }
        // Refused if there is no leader just now; then there is another fault already.
        Fault::Full => drop(cluster.etcd.set_full(true).await),
        Fault::Compact => drop(cluster.etcd.compact().await),
        Fault::Defragment(member) => drop(cluster.etcd.defragment(member).await),
        Fault::DeleteMember(number) => drop(delete_member(cluster, number).await),
        _ => set_weather(cluster, fault, weather(fault)),
    }
    Ok(())
}

/// The link with the most traffic just now.
async fn busiest(links: &[Link]) -> usize {
    let before: Vec<u64> = links.iter().map(Link::carried).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let traffic = |index: &usize| links[*index].carried() - before[*index];
    (0..links.len()).max_by_key(traffic).unwrap_or_default()
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
        Fault::KillReplica(replica) | Fault::StopReplica(replica) => cluster.replicas[replica].process.start()?,
        Fault::PauseReplica(replica) => cluster.replicas[replica].process.resume(),
        Fault::KillMember(member) => cluster.etcd.start_member(member)?,
        Fault::PauseMember(member) => cluster.etcd.members()[member].process.resume(),
        Fault::KillLeader | Fault::PauseLeader => {
            if let Some(leader) = leader {
                cluster.etcd.start_member(leader)?;
                cluster.etcd.members()[leader].process.resume();
            }
        }
        Fault::NoQuorum => {
            for member in 0..2 {
                cluster.etcd.start_member(member)?;
            }
        }
        // If the others have no leader just now, it is done at the end.
        Fault::LoseMember(member) | Fault::DamageMember(member) => drop(cluster.etcd.replace(member).await),
        Fault::CutSide(replica, other) => {
            cluster.replicas[replica].store.iter().for_each(|link| link.set(Weather::default()));
            cut_pair(cluster, replica, other, Weather::default());
        }
        Fault::ResetStore(_)
        | Fault::HalfCloseStore(_)
        | Fault::DeleteMember(_)
        | Fault::Compact
        | Fault::Defragment(_) => {}
        Fault::Full => drop(cluster.etcd.set_full(false).await),
        _ => set_weather(cluster, fault, Weather::default()),
    }
    Ok(())
}

fn weather(fault: Fault) -> Weather {
    match fault {
        Fault::CutStore(_, way)
        | Fault::CutMember(_, _, way)
        | Fault::CutClients(_, way)
        | Fault::CutPeers(_, way)
        | Fault::CutPair(_, _, way) => cut(way),
        Fault::SlowStore(delay) | Fault::SlowStoreOf(_, delay) | Fault::SlowReplica(_, delay) => {
            Weather { delay: Duration::from_millis(delay), ..Weather::default() }
        }
        _ => Weather::default(),
    }
}

fn cut(way: Way) -> Weather {
    Weather { forward_held: way != Way::Back, back_held: way != Way::There, ..Weather::default() }
}

fn set_weather(cluster: &Cluster, fault: Fault, weather: Weather) {
    let set = |links: &mut dyn Iterator<Item = &Link>| links.for_each(|link| link.set(weather));
    let replicas = &cluster.replicas;
    match fault {
        Fault::CutStore(replica, _) | Fault::SlowStoreOf(replica, _) | Fault::MuteWatch(replica) => {
            set(&mut replicas[replica].store.iter());
        }
        Fault::CutMember(replica, member, _) => replicas[replica].store[member % MEMBERS].set(weather),
        Fault::CutClients(replica, _) => replicas[replica].clients.set(weather),
        Fault::CutPeers(replica, _) => replicas[replica].peers.set(weather),
        Fault::CutPair(one, other, _) => cut_pair(cluster, one, other, weather),
        Fault::SlowStore(_) => set(&mut replicas.iter().flat_map(|replica| &replica.store)),
        Fault::SlowReplica(replica, _) => set(&mut [&replicas[replica].clients, &replicas[replica].peers].into_iter()),
        _ => {}
    }
}

/// Each of two replicas connects to the other.
fn cut_pair(cluster: &Cluster, one: usize, other: usize, weather: Weather) {
    cluster.replicas[other].peers.set_for(one, weather);
    cluster.replicas[one].peers.set_for(other, weather.turned());
}
