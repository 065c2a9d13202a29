//! How long mounts took to answer: `route.<operation>.<mount>` of Vault. The times are kept with the mounts, so there are no
//! more of them than mounts, and they go with them.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use holdfast_logical::Operation;

use crate::Core;

const OPERATIONS: [Operation; 8] = [
    Operation::Create,
    Operation::Read,
    Operation::Update,
    Operation::Patch,
    Operation::Delete,
    Operation::List,
    Operation::Scan,
    Operation::Help,
];

/// Most names that are told, the busiest: whoever scrapes keeps each for long.
const MOST: usize = 1000;

/// Of one mount, by operation.
#[derive(Debug, Default)]
pub struct Times([(AtomicU64, AtomicU64); OPERATIONS.len()]);

/// Requests of one operation that a mount answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// How many.
    pub count: u64,
    /// How long they took, all together.
    pub took: Duration,
}

impl Times {
    /// One more.
    pub fn answered(&self, operation: Operation, took: Duration) {
        let Some(at) = OPERATIONS.iter().position(|known| *known == operation) else { return };
        if let Some((count, micros)) = self.0.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
            micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    fn all(&self) -> impl Iterator<Item = (Operation, Answered)> {
        OPERATIONS.into_iter().zip(&self.0).filter_map(|(operation, (count, micros))| {
            let (count, took) = (count.load(Ordering::Relaxed), Duration::from_micros(micros.load(Ordering::Relaxed)));
            (count > 0).then_some((operation, Answered { count, took }))
        })
    }
}

impl Core {
    /// What its mounts answered, by the names of metrics: `route_read_secret_`. None while it is sealed.
    pub fn routes(&self) -> Vec<(String, Answered)> {
        let Some(open) = self.open() else { return Vec::new() };
        let router = open.mounts.cached();
        let mounts = router.all().flat_map(|mounted| {
            let path = mounted.info.full_path();
            mounted.times.all().map(move |(operation, answered)| (name(operation, &path), answered))
        });
        busiest(mounts, MOST)
    }
}

/// What has one name is told together.
fn busiest(all: impl Iterator<Item = (String, Answered)>, most: usize) -> Vec<(String, Answered)> {
    let mut names: BTreeMap<String, Answered> = BTreeMap::new();
    for (name, more) in all {
        let sum = names.entry(name).or_default();
        *sum = Answered { count: sum.count + more.count, took: sum.took + more.took };
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(_, answered)| std::cmp::Reverse(answered.count));
    names.truncate(most);
    names
}

/// As Vault's Prometheus sink makes it of `route.read.secret-`.
fn name(operation: Operation, path: &str) -> String {
    let path: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("route_{}_{path}", operation.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_vaults_and_what_shares_one_is_added() {
        let times = Times::default();
        times.answered(Operation::Read, Duration::from_micros(5));
        times.answered(Operation::Read, Duration::from_micros(7));
        times.answered(Operation::List, Duration::from_micros(1));
        let all = |path: &'static str| times.all().map(move |(operation, answered)| (name(operation, path), answered));
        let both = busiest(all("auth/user-pass/").chain(all("auth/user_pass/")), 1);
        let answered = Answered { count: 4, took: Duration::from_micros(24) };
        assert_eq!(both, [("route_read_auth_user_pass_".to_owned(), answered)]);
        assert_eq!(busiest(all("a/"), 10).len(), 2);
    }
}
