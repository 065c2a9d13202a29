//! Members that lose their data, and what an operator does about it.
//!
//! A member that comes back without what it voted for could help to elect somebody who has forgotten a write. etcd refuses to
//! start it under its old id: it is removed from the cluster, and added anew with an empty folder.

use std::{
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::json;

use super::{Etcd, Member};

/// For the cluster to take a member.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the database's file.
const PAGE: u64 = 4096;

impl Etcd {
    /// Kills a member and deletes its data; not while another one is lost, as two of three cannot come back.
    pub fn lose(&mut self, index: usize) -> anyhow::Result<()> {
        match self.take_down(index) {
            Some(member) => Ok(remove(&member.data)?),
            None => Ok(()),
        }
    }

    /// Kills a member, overwrites every third page of its database and starts it; not while another one is lost.
    pub fn damage(&mut self, index: usize) -> anyhow::Result<()> {
        let Some(member) = self.take_down(index) else { return Ok(()) };
        // Without one it has just been added; it does not start as what it was.
        let Ok(file) = std::fs::File::options().write(true).open(member.data.join("member/snap/db")) else {
            return Ok(());
        };
        // The first two say where the others are.
        for page in (2..file.metadata()?.len() / PAGE).step_by(3) {
            file.write_all_at(&[0xa5; PAGE as usize], page * PAGE)?;
        }
        member.process.start()
    }

    /// Kills a member that is to lose its data, unless another one has lost its own.
    fn take_down(&mut self, index: usize) -> Option<&mut Member> {
        if self.members.iter().any(|member| member.lost) {
            return None;
        }
        let member = &mut self.members[index];
        member.process.kill();
        member.lost = true;
        Some(member)
    }

    /// Takes a member that lost its data out of the cluster and adds it anew, empty. The others must have a leader.
    pub async fn replace(&mut self, index: usize) -> anyhow::Result<()> {
        if !self.members[index].lost {
            return Ok(());
        }
        let member = &mut self.members[index];
        member.process.kill();
        remove(&member.data)?;
        let url = json!(member.peer_url);
        let listed = self.ask("cluster/member/list", json!({})).await?;
        let listed = listed["members"].as_array().context("no members")?;
        for old in listed.iter().filter(|old| old["peerURLs"][0] == url) {
            self.ask("cluster/member/remove", json!({"ID": old["ID"]})).await?;
        }
        self.ask("cluster/member/add", json!({"peerURLs": [url]})).await?;
        let member = &mut self.members[index];
        member.lost = false;
        member.process.add_argument("--initial-cluster-state=existing");
        member.process.start()
    }

    /// The same for all, as often as it takes.
    pub async fn replace_lost(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for index in 0..self.members.len() {
            while let Err(error) = self.replace(index).await {
                if Instant::now() > deadline {
                    return Err(error.context("a member that lost its data is not taken back"));
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }
}

fn remove(data: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(data) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
