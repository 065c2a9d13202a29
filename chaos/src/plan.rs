//! What goes wrong in a run, and when: a function of the seed alone.

use std::{fmt, time::Duration};

use crate::{dice::Dice, etcd::MEMBERS};

/// Replicas in a run.
pub const REPLICAS: usize = 3;
/// A pause that outlasts the time (3 s) for which a heartbeat entitles to cached reads, and the 3.8 s that others wait.
const BEYOND: Duration = Duration::from_millis(5000);
/// Other faults are long enough for a timeout or an election.
const SHORT: (Duration, Duration) = (Duration::from_millis(800), Duration::from_millis(3500));

/// Which way of a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Requests do not arrive.
    There,
    /// Answers do not arrive.
    Back,
    /// Neither.
    Both,
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of a replica; it starts again at the end.
    KillReplica(usize),
    /// SIGTERM of a replica; the same.
    StopReplica(usize),
    /// SIGSTOP of a replica, for longer than a cached read may rest on a heartbeat.
    PauseReplica(usize),
    /// kill -9 of an etcd member; it starts again at the end.
    KillMember(usize),
    /// kill -9 of whichever etcd member leads.
    KillLeader,
    /// SIGSTOP of an etcd member.
    PauseMember(usize),
    /// SIGSTOP of whichever etcd member leads.
    PauseLeader,
    /// kill -9 of two members: the store is not available.
    NoQuorum,
    /// kill -9 of an etcd member, whose data is gone; at the end it is removed from the cluster and added anew.
    LoseMember(usize),
    /// The same of one that starts with a damaged database first.
    DamageMember(usize),
    /// A member writes its database anew.
    Defragment(usize),
    /// All history of the store is dropped.
    Compact,
    /// A replica is cut from the whole store.
    CutStore(usize, Way),
    /// A replica is cut from one member of the store.
    CutMember(usize, usize, Way),
    /// A replica is cut from its clients.
    CutClients(usize, Way),
    /// What a replica hears of the others is cut.
    CutPeers(usize, Way),
    /// Two replicas are cut from each other, with the way from the first to the second: a third reaches both.
    CutPair(usize, usize, Way),
    /// A replica is cut from another one and from the member of the store that it talks to, at once.
    CutSide(usize, usize),
    /// The store answers late: each piece of data takes so many milliseconds more.
    SlowStore(u64),
    /// The same for one replica.
    SlowStoreOf(usize, u64),
    /// One replica is slow to reach: for others and for its clients.
    SlowReplica(usize, u64),
    /// The watch of a replica is silent while all else answers, and watches at other members do.
    MuteWatch(usize),
    /// All connections of a replica to the store get an RST.
    ResetStore(usize),
    /// The store sees a replica's connections end, the replica does not.
    HalfCloseStore(usize),
    /// The store says that it is full.
    Full,
    /// Somebody deletes the record of a member; the number picks one of those that are there.
    DeleteMember(usize),
}

/// A fault with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the start of the faults.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What goes wrong.
    pub fault: Fault,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of everything random in it.
    pub seed: u64,
    /// etcd's election timeout.
    pub election: Duration,
    /// In the order of their beginning.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The plan of a seed for about so long.
    pub fn of(seed: u64, length: Duration) -> Self {
        let mut dice = Dice::new(seed, 0);
        let elections = [500, 1000, 2000];
        let election = Duration::from_millis(elections[dice.index(elections.len())]);
        let (mut at, mut steps) = (Duration::ZERO, Vec::new());
        while at < length {
            let fault = Fault::roll(&mut dice);
            let lasts = fault.duration(&mut dice);
            steps.push(Step { at, lasts, fault });
            // One in three begins before the one before it has ended.
            let overlap = dice.percent(33);
            at += if overlap { lasts / 2 } else { lasts + dice.between(SHORT.0 / 2, SHORT.0 * 2) };
        }
        Self { seed, election, steps }
    }

    /// When the last fault is over.
    pub fn length(&self) -> Duration {
        self.steps.iter().map(|step| step.at + step.lasts).max().unwrap_or_default()
    }
}

impl Fault {
    fn roll(dice: &mut Dice) -> Self {
        let replica = dice.index(REPLICAS);
        let member = dice.index(MEMBERS);
        let other = (replica + 1 + dice.index(REPLICAS - 1)) % REPLICAS;
        let way = [Way::There, Way::Back, Way::Both][dice.index(3)];
        match dice.below(29) {
            0 => Self::KillReplica(replica),
            1 => [Self::KillReplica(replica), Self::StopReplica(replica)][dice.index(2)],
            2..=4 => Self::PauseReplica(replica),
            5 => Self::KillMember(member),
            6 => Self::KillLeader,
            7 => Self::PauseMember(member),
            8 => Self::PauseLeader,
            9 => Self::NoQuorum,
            10..=11 => Self::CutStore(replica, way),
            12 => Self::CutMember(replica, member, way),
            13 => Self::CutClients(replica, way),
            14..=15 => Self::CutPeers(replica, way),
            16 => Self::SlowStore(20 + dice.below(200)),
            17 => Self::SlowReplica(replica, 50 + dice.below(400)),
            18 => [Self::ResetStore(replica), Self::HalfCloseStore(replica)][dice.index(2)],
            19 => Self::Full,
            20 => Self::LoseMember(member),
            21 => Self::DamageMember(member),
            22 => [Self::Defragment(member), Self::Compact][dice.index(2)],
            23..=24 => Self::CutPair(replica, other, way),
            25 => Self::CutSide(replica, other),
            26 => Self::MuteWatch(replica),
            27 => Self::SlowStoreOf(replica, 50 + dice.below(1000)),
            _ => Self::DeleteMember(replica),
        }
    }

    fn duration(self, dice: &mut Dice) -> Duration {
        match self {
            Self::PauseReplica(_) | Self::MuteWatch(_) => dice.between(BEYOND, BEYOND + Duration::from_secs(2)),
            // Long enough to be evicted, or not.
            Self::CutStore(..) | Self::CutPeers(..) | Self::CutPair(..) | Self::CutSide(..) => {
                dice.between(SHORT.0, BEYOND + Duration::from_secs(1))
            }
            _ => dice.between(SHORT.0, SHORT.1),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, election timeout {} ms", self.seed, self.election.as_millis())?;
        for step in &self.steps {
            writeln!(f, "  {:>6} ms  {:>5} ms  {:?}", step.at.as_millis(), step.lasts.as_millis(), step.fault)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_everything() {
        let length = Duration::from_secs(30);
        assert_eq!(Plan::of(7, length), Plan::of(7, length));
        assert_ne!(Plan::of(7, length).steps, Plan::of(8, length).steps);
    }

    #[test]
    fn every_fault_comes_up() {
        let plans = (0..200).flat_map(|seed| Plan::of(seed, Duration::from_secs(20)).steps);
        let kinds: std::collections::HashSet<_> = plans.map(|step| std::mem::discriminant(&step.fault)).collect();
        assert_eq!(kinds.len(), 26);
    }
}
