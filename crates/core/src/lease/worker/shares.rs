//! Who works on what: the entries of the index are divided into shares, and each share has an owner.
//!
//! There is no election. The owner of a share is chosen by rendezvous hashing over the members that are in the store, and
//! claims it in a record, by compare, when the owner before it is no member any more or hands it over. Ids of members are
//! never used twice, so one that is gone stays gone. What a worker begins is committed under the condition that the claim
//! still stands.

use std::{collections::HashMap, time::Duration};

use futures::future::try_join_all;
use holdfast_barrier::view::{Check, Revision, StoreError, Txn};
use serde::{Deserialize, Serialize};

use super::Guard;
use crate::lease::{Leases, Members};

/// Number of shares.
const SHARES: u8 = 16;

/// Longest time that a look may take: it must not hold up the work.
const PATIENCE: Duration = Duration::from_secs(5);

/// The claim of a share.
#[derive(Serialize, Deserialize)]
struct Owner {
    member: String,
}

/// The shares of this replica.
#[derive(Default)]
pub(super) struct Shares {
    /// There are members; else everything is ours.
    divided: bool,
    /// Ours, and the revisions of our claims.
    own: HashMap<u8, Revision>,
}

impl Shares {
    /// One tick: claims what is ours and hands over what is not. Whether some became ours.
    pub async fn look(&mut self, leases: &Leases) -> Result<bool, StoreError> {
        let look = async {
            let Some(members) = leases.backends.members().await? else { return Ok(None) };
            let shares = (0..SHARES).map(|share| take(leases, &members, share));
            Ok(Some(try_join_all(shares).await?))
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(Ok(Some(taken))) => {
                self.divided = true;
                let own = taken.into_iter().flatten().collect();
                let before = std::mem::replace(&mut self.own, own);
                Ok(self.own.keys().any(|share| !before.contains_key(share)))
            }
            Ok(Ok(None)) => Ok(false),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StoreError::Unavailable("the members are not known in time".to_owned())),
        }
    }

    /// The condition for work on the entry of a path; `None`: it is somebody else's.
    pub fn guard(&self, path: &str) -> Option<Guard> {
        if !self.divided {
            return Some(None);
        }
        let share = share_of(path);
        self.own.get(&share).map(|revision| Some((owner_path(share), Check::At(*revision))))
    }
}

/// What becomes of a share; our claim of it, if it is ours.
async fn take(leases: &Leases, members: &Members, share: u8) -> Result<Option<(u8, Revision)>, StoreError> {
    let (view, path) = (&leases.view, owner_path(share));
    let stored = view.get_json::<Owner>(&path).await?;
    let wanted = chosen(members, share);
    let ours = wanted == members.own;
    let to = match &stored {
        Some((owner, revision)) if owner.member == members.own && ours => return Ok(Some((share, *revision))),
        Some((owner, _)) if owner.member == members.own => wanted,
        Some((owner, _)) if members.all.contains(&owner.member) => return Ok(None),
        _ if ours => &members.own,
        _ => return Ok(None),
    };
    let mut txn = Txn::new();
    txn.check(view.path(&path), stored.map_or(Check::Absent, |(_, revision)| Check::At(revision)));
    txn.put_json(view.path(&path), &Owner { member: to.to_owned() })?;
    match view.commit(txn).await {
        Ok(revision) => Ok(ours.then_some((share, revision))),
        Err(StoreError::Conflict) => Ok(None),
        Err(error) => Err(error),
    }
}

fn owner_path(share: u8) -> String {
    format!("owner/{share:02}")
}

/// The share of an entry: by all of its name but the time, so that it stays when the entry moves.
fn share_of(path: &str) -> u8 {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.split_once('-').map_or(name, |(_, name)| name);
    u8::try_from(hash(name.bytes()) % u64::from(SHARES)).unwrap_or(0)
}

/// The member with the highest hash together with the share.
fn chosen(members: &Members, share: u8) -> &str {
    let weight = |member: &&String| hash(member.bytes().chain([share]));
    members.all.iter().max_by_key(weight).map_or(members.own.as_str(), String::as_str)
}

/// FNV-1a, with its bits mixed at the end: the same on every replica of every version.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let mixed = bytes
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(all: &[&str]) -> Members {
        Members { own: all[0].to_owned(), all: all.iter().map(|id| (*id).to_owned()).collect() }
    }

    #[test]
    fn a_member_that_goes_leaves_the_shares_of_the_others() {
        let (three, two) = (members(&["a1", "b2", "c3"]), members(&["a1", "b2"]));
        for share in 0..SHARES {
            let before = chosen(&three, share);
            if before != "c3" {
                assert_eq!(chosen(&two, share), before);
            }
        }
        let of = |member: &str| (0..SHARES).filter(|share| chosen(&three, *share) == member).count();
        assert!(["a1", "b2", "c3"].iter().all(|member| of(member) >= 2), "{:?}", ["a1", "b2", "c3"].map(of));
    }

    #[test]
    fn entries_are_spread_over_all_shares_and_stay_in_theirs() {
        let mut found = [0; SHARES as usize];
        for number in 0..1600 {
            let name = format!("ldatabase\u{1f}creds\u{1f}{number}");
            let (early, late) = (format!("due/0/00000000000001-{name}"), format!("due/9/00000000000009-{name}"));
            assert_eq!(share_of(&early), share_of(&late));
            found[usize::from(share_of(&early))] += 1;
        }
        assert!(found.iter().all(|count| (40..200).contains(count)), "{found:?}");
    }
}
