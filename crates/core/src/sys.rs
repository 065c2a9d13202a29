//! The paths below `sys/`, one file per noun. Those that need no token are in [`crate::lifecycle`].

mod audit;
mod bindings;
mod capabilities;
mod events;
mod explain;
mod internal;
pub(crate) mod keyholders;
mod keys;
mod leases;
mod locked_users;
mod mounts;
mod namespaces;
mod passwords;
mod plugins;
mod policies;
mod quotas;
mod raw;
mod remount;
mod server;
mod snapshots;
mod tools;
mod wire;
mod wrapping;

use holdfast_logical::table::row;

use crate::call::Noun;

/// All nouns, in the order in which they are tried.
pub const NOUNS: &[Noun] = &[
    Noun { rows: mounts::ROWS, handle: |call| Box::pin(mounts::handle(call)) },
    Noun { rows: namespaces::ROWS, handle: |call| Box::pin(namespaces::handle(call)) },
    Noun { rows: remount::ROWS, handle: |call| Box::pin(remount::handle(call)) },
    Noun { rows: explain::ROWS, handle: |call| Box::pin(explain::handle(call)) },
    Noun { rows: policies::ROWS, handle: |call| Box::pin(policies::handle(call)) },
    Noun { rows: passwords::ROWS, handle: |call| Box::pin(passwords::handle(call)) },
    Noun { rows: capabilities::ROWS, handle: |call| Box::pin(capabilities::handle(call)) },
    Noun { rows: snapshots::ROWS, handle: |call| Box::pin(snapshots::handle(call)) },
    Noun { rows: leases::ROWS, handle: |call| Box::pin(leases::handle(call)) },
    Noun { rows: bindings::ROWS, handle: |call| Box::pin(bindings::handle(call)) },
    Noun { rows: locked_users::ROWS, handle: |call| Box::pin(locked_users::handle(call)) },
    Noun { rows: wrapping::ROWS, handle: |call| Box::pin(wrapping::handle(call)) },
    Noun { rows: audit::ROWS, handle: |call| Box::pin(audit::handle(call)) },
    Noun { rows: keyholders::ROWS, handle: |call| Box::pin(keyholders::handle(call)) },
    Noun { rows: keys::ROWS, handle: |call| Box::pin(keys::handle(call)) },
    Noun { rows: tools::ROWS, handle: |call| Box::pin(tools::handle(call)) },
    Noun { rows: quotas::ROWS, handle: |call| Box::pin(quotas::handle(call)) },
    Noun { rows: wire::ROWS, handle: |call| Box::pin(wire::handle(call)) },
    Noun { rows: server::ROWS, handle: |call| Box::pin(server::handle(call)) },
    Noun { rows: plugins::ROWS, handle: |call| Box::pin(plugins::handle(call)) },
    Noun { rows: raw::ROWS, handle: |call| Box::pin(raw::handle(call)) },
    Noun { rows: events::ROWS, handle: |call| Box::pin(events::handle(call)) },
    Noun { rows: internal::ROWS, handle: |call| Box::pin(internal::handle(call)) },
];

#[cfg(test)]
mod tests {
    use holdfast_logical::Row;

    use super::*;

    #[test]
    fn no_path_is_listed_twice_and_literals_come_before_captures() {
        let rows: Vec<&Row> = NOUNS.iter().flat_map(|noun| noun.rows).collect();
        for (at, row) in rows.iter().enumerate() {
            let example = row.pattern.replace([':', '*'], "");
            let first = rows.iter().position(|other| other.matches(&example).is_some());
            assert_eq!(first, Some(at), "{example} is taken by {:?}", first.map(|at| rows[at].pattern));
        }
    }
}
