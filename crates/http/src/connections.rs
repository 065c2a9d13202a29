//! How many connections are open, together and from one address.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

/// Counts connections.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection; counted as long as this lives.
#[derive(Debug)]
pub struct Counted {
    connections: Arc<Connections>,
    address: Option<IpAddr>,
}

impl Connections {
    /// Counts one more, if there are fewer than `most` and fewer than `most_of_one` from this address. Connections
    /// without an address (of a unix socket) count only together.
    pub fn count(self: &Arc<Self>, address: Option<IpAddr>, most: usize, most_of_one: usize) -> Option<Counted> {
        let mut counts = self.0.lock();
        if counts.all >= most {
            return None;
        }
        if let Some(address) = address {
            let of_one = counts.by_address.entry(address).or_default();
            if *of_one >= most_of_one {
                return None;
            }
            *of_one += 1;
        }
        counts.all += 1;
        Some(Counted { connections: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.connections.0.lock();
        counts.all -= 1;
        let Some(address) = self.address else { return };
        if let Some(of_one) = counts.by_address.get_mut(&address) {
            *of_one -= 1;
            if *of_one == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_ended_connections_do_not_count() {
        let connections = Arc::new(Connections::default());
        let (a, b) = (Some("10.0.0.1".parse().unwrap()), Some("10.0.0.2".parse().unwrap()));
        let first = connections.count(a, 3, 2).unwrap();
        let _second = connections.count(a, 3, 2).unwrap();
        assert!(connections.count(a, 3, 2).is_none(), "two of one address");
        let _third = connections.count(b, 3, 2).unwrap();
        assert!(connections.count(b, 3, 2).is_none(), "three together");
        assert!(connections.count(None, 3, 2).is_none(), "three together");
        drop(first);
        assert!(connections.count(None, 3, 2).is_some());
        assert!(connections.count(a, 3, 2).is_some());
    }
}
