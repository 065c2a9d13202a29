//! The faults whose cost is measured, as data. Numbers are those of docs/reliability.md.

use std::time::Duration;

use crate::plan::{Fault, Step, Way};

/// One of them.
pub struct Row {
    /// Of the fault matrix.
    pub number: &'static str,
    /// In words.
    pub what: &'static str,
    /// What goes wrong, and when.
    pub steps: &'static [Step],
    /// The replica that it happens to, if it is one.
    pub at: Option<usize>,
    /// So many MiB that are not ours are in the store.
    pub ballast: usize,
}

/// The replica that it happens to.
const VICTIM: usize = 2;
const OTHERS: [usize; 2] = [0, 1];
/// Who leads, and whom all replicas talk to; and one who follows.
const LEADER: usize = 0;
const FOLLOWER: usize = 1;
const LAST: usize = 2;

/// All of them.
pub const ROWS: &[Row] = &[
    of_replica("—", "a replica is killed", &[step(0, 8000, Fault::KillReplica(VICTIM))]),
    of_replica("—", "a replica is stopped (SIGTERM)", &[step(0, 8000, Fault::StopReplica(VICTIM))]),
    of_store("FM01", "etcd's leader is killed", &[step(0, 8000, Fault::KillLeader)]),
    of_store("FM02", "etcd's leader is stopped (SIGSTOP) for 8 s", &[step(0, 8000, Fault::PauseLeader)]),
    of_store("FM03", "two of three members are killed, for 20 s", &[step(0, 20_000, Fault::NoQuorum)]),
    of_replica("FM05", "a replica is cut from etcd for 8 s", &[step(0, 8000, Fault::CutStore(VICTIM, Way::Both))]),
    of_replica("FM05", "… its requests only", &[step(0, 8000, Fault::CutStore(VICTIM, Way::There))]),
    of_replica("FM05", "… etcd's answers only", &[step(0, 8000, Fault::CutStore(VICTIM, Way::Back))]),
    of_replica(
        "FM06",
        "a replica is cut from both others for 8 s",
        &[
            step(0, 8000, Fault::CutPair(VICTIM, OTHERS[0], Way::Both)),
            step(0, 8000, Fault::CutPair(VICTIM, OTHERS[1], Way::Both)),
        ],
    ),
    of_replica(
        "FM06",
        "a replica is cut from one other for 8 s",
        &[step(0, 8000, Fault::CutPair(VICTIM, OTHERS[0], Way::Both))],
    ),
    of_replica(
        "FM06",
        "… and from the member of etcd that it talks to",
        &[step(0, 8000, Fault::CutSide(VICTIM, OTHERS[0]))],
    ),
    of_replica(
        "FM07",
        "a replica is cut from its clients for 8 s",
        &[step(0, 8000, Fault::CutClients(VICTIM, Way::Both))],
    ),
    of_replica("FM08", "a replica is stopped (SIGSTOP) for 8 s", &[step(0, 8000, Fault::PauseReplica(VICTIM))]),
    of_store("FM09", "the record of a replica is deleted by hand", &[step(0, 8000, Fault::DeleteMember(0))]),
    of_replica(
        "FM10",
        "history is compacted while a replica is cut from etcd for 2 s",
        &[
            step(0, 2000, Fault::CutStore(VICTIM, Way::Both)),
            step(1800, 100, Fault::Compact),
            // What etcd has sent already does not count as read.
            step(1900, 50, Fault::ResetStore(VICTIM)),
        ],
    ),
    of_replica("FM11", "a replica's watch is silent for 15 s", &[step(0, 15_000, Fault::MuteWatch(VICTIM))]),
    of_replica(
        "FM11",
        "a replica hears from etcd a second late for 8 s",
        &[step(0, 8000, Fault::SlowStoreOf(VICTIM, 1000))],
    ),
    of_replica(
        "FM12",
        "a replica's only member of etcd is one that was stopped for 4 s",
        &[
            step(0, 4000, Fault::PauseMember(FOLLOWER)),
            step(0, 15_000, Fault::CutMember(VICTIM, LEADER, Way::Both)),
            step(0, 15_000, Fault::CutMember(VICTIM, LAST, Way::Both)),
        ],
    ),
    of_store("FM13", "etcd is full for 4 s", &[step(0, 4000, Fault::Full)]),
    Row {
        number: "FM16",
        what: "each member is defragmented, 256 MiB",
        steps: &[
            step(0, 1000, Fault::Defragment(LAST)),
            step(3000, 1000, Fault::Defragment(FOLLOWER)),
            step(6000, 1000, Fault::Defragment(LEADER)),
        ],
        at: None,
        ballast: 256,
    },
    of_store(
        "FM17",
        "a member's data is deleted; it is added anew 4 s later",
        &[step(0, 4000, Fault::LoseMember(LAST))],
    ),
    of_store("FM17", "the same of the leader", &[step(0, 4000, Fault::LoseMember(LEADER))]),
    of_store(
        "FM17",
        "the database of a member is damaged; it is added anew 4 s later",
        &[step(0, 4000, Fault::DamageMember(LAST))],
    ),
    of_store("FM17", "the same of the leader", &[step(0, 4000, Fault::DamageMember(LEADER))]),
];

const fn of_replica(number: &'static str, what: &'static str, steps: &'static [Step]) -> Row {
    Row { number, what, steps, at: Some(VICTIM), ballast: 0 }
}

const fn of_store(number: &'static str, what: &'static str, steps: &'static [Step]) -> Row {
    Row { number, what, steps, at: None, ballast: 0 }
}

const fn step(at: u64, lasts: u64, fault: Fault) -> Step {
    Step { at: Duration::from_millis(at), lasts: Duration::from_millis(lasts), fault }
}
