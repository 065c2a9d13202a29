//! Which versions of etcd are good enough, and why not.

use crate::ConnectError;
use crate::connection::Connection;

/// First good patch of each minor version; later minor versions are good.
const GOOD: [(u32, u32); 3] = [(5, 33), (6, 14), (7, 1)];

/// Asks every endpoint for its version. At least one must answer, and none may be old.
pub async fn check(connection: &Connection, allow_old: bool) -> Result<(), ConnectError> {
    let mut silent = Vec::new();
    let mut answered = false;
    for (endpoint, status) in connection.status_of_all().await {
        match status {
            Ok(version) if allow_old || is_good(&version) => answered = true,
            Ok(version) => return Err(ConnectError::TooOld { endpoint, version }),
            Err(reason) => silent.push(format!("{endpoint}: {reason}")),
        }
    }
    if !answered {
        return Err(ConnectError::Unreachable(silent));
    }
    for reason in silent {
        tracing::warn!(%reason, "an etcd endpoint does not answer");
    }
    Ok(())
}

fn is_good(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = core.split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) = (numbers.next(), numbers.next(), numbers.next()) else {
        return false;
    };
    if major != 3 {
        return major > 3;
    }
    match GOOD.iter().find(|(known, _)| *known == minor) {
        Some((_, first)) => patch >= *first,
        None => minor > 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_first_good_patches() {
        for good in ["3.5.33", "3.6.14", "3.6.20", "3.7.1", "3.8.0", "4.0.0", "3.7.1-rc.1"] {
            assert!(is_good(good), "{good}");
        }
        for bad in ["3.4.99", "3.5.32", "3.6.13", "3.7.0", "", "banana"] {
            assert!(!is_good(bad), "{bad}");
        }
    }
}
