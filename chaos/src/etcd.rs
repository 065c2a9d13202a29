//! Three real etcd members: how they run, how they lose data and get it back ([`loss`]), and what a foreign client does to them
//! ([`gateway`]).

mod gateway;
mod loss;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::ensure;
pub use gateway::Stored;
use serde_json::json;

use crate::process::{Process, free_port};

/// Members of the store.
pub const MEMBERS: usize = 3;
/// The store gets as long to elect its first leader.
const FIRST_LEADER: Duration = Duration::from_secs(60);

/// The members.
pub struct Etcd {
    members: Vec<Member>,
}

/// One of them.
pub struct Member {
    /// The program.
    pub process: Process,
    /// Where it serves clients, without a proxy.
    pub port: u16,
    peer_url: String,
    data: PathBuf,
    /// Its data is gone or damaged: it may not start under its old id.
    lost: bool,
}

/// What members do with their disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// They never wait for it: a killed process loses nothing that the kernel has.
    Unsynced,
    /// They do.
    Synced,
}

impl Etcd {
    /// Starts all members and waits for a leader.
    pub async fn start(program: &Path, folder: &Path, election: Duration, disk: Disk) -> anyhow::Result<Self> {
        let ports: Vec<(u16, u16)> =
            (0..MEMBERS).map(|_| Ok((free_port()?, free_port()?))).collect::<std::io::Result<_>>()?;
        let peers: Vec<String> =
            ports.iter().enumerate().map(|(index, (_, peer))| format!("m{index}=http://127.0.0.1:{peer}")).collect();
        let mut members = Vec::new();
        for (index, (client, peer)) in ports.iter().enumerate() {
            let (url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let data = folder.join(format!("etcd-{index}"));
            let mut arguments = vec![
                format!("--name=m{index}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={url}"),
                format!("--advertise-client-urls={url}"),
                format!("--listen-peer-urls={peer_url}"),
                format!("--initial-advertise-peer-urls={peer_url}"),
                format!("--initial-cluster={}", peers.join(",")),
                format!("--election-timeout={}", election.as_millis()),
                format!("--heartbeat-interval={}", election.as_millis() / 10),
                "--log-level=warn".to_owned(),
            ];
            if disk == Disk::Unsynced {
                arguments.push("--unsafe-no-fsync".to_owned());
            }
            let mut process = Process::new(program, arguments, folder.join(format!("etcd-{index}.log")));
            process.start()?;
            members.push(Member { process, port: *client, peer_url, data, lost: false });
        }
        let etcd = Self { members };
        etcd.wait_for_leader().await?;
        Ok(etcd)
    }

    /// The members.
    pub fn members(&mut self) -> &mut [Member] {
        &mut self.members
    }

    /// Where they serve clients, without a proxy.
    pub fn ports(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.port).collect()
    }

    /// Waits until a write goes through.
    pub async fn wait_for_leader(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + FIRST_LEADER;
        while let Err(error) = self.delete(b"never").await {
            if Instant::now() > deadline {
                return Err(error.context("etcd elects no leader"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Index of the leader, if one is known.
    pub async fn leader(&self) -> Option<usize> {
        for (index, member) in self.members.iter().enumerate() {
            let status = gateway::post(member.port, "maintenance/status", &json!({})).await.unwrap_or_default();
            if status["leader"].is_string() && status["leader"] == status["header"]["member_id"] {
                return Some(index);
            }
        }
        None
    }

    /// Makes a member the leader.
    pub async fn lead(&self, index: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + FIRST_LEADER;
        while self.leader().await != Some(index) {
            ensure!(Instant::now() < deadline, "member {index} does not come to lead");
            // The leader of a moment ago may refuse.
            let _ = self.hand_over(index).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Elections so far.
    pub async fn term(&self) -> anyhow::Result<u64> {
        let status = self.ask("maintenance/status", json!({})).await?;
        Ok(status["raftTerm"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default())
    }

    /// Starts a member that does not run, unless it has no data under its id.
    pub fn start_member(&mut self, index: usize) -> anyhow::Result<()> {
        let member = &mut self.members[index];
        if member.lost { Ok(()) } else { member.process.start() }
    }

    /// From now on each wait of a member for its disk takes so much longer; without, members run as they are. Needs strace, which
    /// may trace what it starts. All members start anew.
    pub async fn slow_disks(&mut self, delay: Option<Duration>) -> anyhow::Result<()> {
        let calls = "fdatasync,fsync";
        let runner = delay.map(|delay| {
            let slow = format!("inject={calls}:delay_exit={}", delay.as_micros());
            let strace = format!("strace -f --seccomp-bpf -qqq -o /dev/null -e trace={calls} -e {slow}");
            // The member dies with its tracer, whatever kills that one.
            format!("{strace} setpriv --pdeathsig KILL").split(' ').map(str::to_owned).collect::<Vec<_>>()
        });
        for member in &mut self.members {
            member.process.stop().await;
            member.process.run_by(runner.as_deref().unwrap_or_default());
        }
        for member in &mut self.members {
            member.process.start()?;
        }
        self.wait_for_leader().await
    }

    /// Stops all members, keeps a copy of their data, starts them again.
    pub async fn back_up(&mut self, to: &Path) -> anyhow::Result<()> {
        self.exchange(copy_folder, to).await
    }

    /// Stops all members, puts the copy in place of their data, starts them again: ids stay, revisions go back.
    pub async fn restore(&mut self, from: &Path) -> anyhow::Result<()> {
        let replace = |data: &Path, copy: &Path| {
            std::fs::remove_dir_all(data)?;
            copy_folder(copy, data)
        };
        self.exchange(replace, from).await
    }

    async fn exchange(
        &mut self,
        work: impl Fn(&Path, &Path) -> std::io::Result<()>,
        other: &Path,
    ) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.process.stop().await;
        }
        for (index, member) in self.members.iter_mut().enumerate() {
            work(&member.data, &other.join(format!("copy-{index}")))?;
            member.process.start()?;
        }
        self.wait_for_leader().await
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
