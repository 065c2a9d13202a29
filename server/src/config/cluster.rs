//! How servers that share a store find each other, and how they read.

use std::net::SocketAddr;

use super::{Address, Config, Error, Stanza, StorageConfig, resolve};

/// The port of servers to each other, where nothing says one.
const PORT: u16 = 8201;

/// How reads are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// From memory, while the store's word holds that this server may; else as [`ReadMode::Barrier`].
    #[default]
    Cached,
    /// The store is asked how far it is before each request.
    Barrier,
}

/// Keys about other servers.
#[derive(Clone, Debug, Default)]
pub struct ClusterConfig {
    /// Where other servers find this one, as written.
    pub addr: Option<String>,
    /// How reads are answered.
    pub read_mode: ReadMode,
}

/// Where to listen to other servers, and what to tell them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddresses {
    /// The socket.
    pub bind: SocketAddr,
    /// `host:port`.
    pub advertised: String,
}

impl ClusterConfig {
    /// Reads the keys at the top level.
    pub fn read(&mut self, top: &Stanza<'_>) -> Result<(), Error> {
        if let Some(addr) = top.string("cluster_addr")? {
            self.addr = Some(addr);
        }
        match top.string("read_mode")?.as_deref() {
            None => {}
            Some("cached") => self.read_mode = ReadMode::Cached,
            Some("barrier") => self.read_mode = ReadMode::Barrier,
            Some(other) => {
                return Err(top.wrong("read_mode", format!("{other:?} is not known; use cached or barrier")).into());
            }
        }
        Ok(())
    }
}

impl Config {
    /// Where servers talk to each other; `None` if nothing says where, or if there can be one server only.
    pub fn peers(&self) -> Option<PeerAddresses> {
        if !matches!(self.storage, Some(StorageConfig::Etcd(_))) {
            return None;
        }
        let explicit = self.listeners.iter().find_map(|listener| listener.cluster_address);
        let advertised = match (&self.cluster.addr, explicit) {
            (Some(addr), _) => host_and_port(addr),
            (None, Some(bind)) if !bind.ip().is_unspecified() => bind.to_string(),
            (None, Some(bind)) => format!("{}:{}", host(self.api_addr.as_deref()?)?, bind.port()),
            (None, None) => return None,
        };
        let beside = self.listeners.iter().find_map(|listener| match &listener.address {
            Address::Tcp(address) => Some(SocketAddr::new(address.ip(), address.port().checked_add(1)?)),
            Address::Unix(_) => None,
        });
        let bind = explicit.or(beside).or_else(|| resolve(&format!(":{PORT}")).ok())?;
        Some(PeerAddresses { bind, advertised })
    }
}

/// `host:port` of an address with or without scheme, port and path. An IPv6 address may go without brackets if a port follows.
fn host_and_port(addr: &str) -> String {
    let authority = authority(addr);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => authority.to_owned(),
        },
        _ => format!("{authority}:{PORT}"),
    }
}

fn host(addr: &str) -> Option<&str> {
    let authority = authority(addr);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    (!host.is_empty()).then_some(host)
}

fn authority(addr: &str) -> &str {
    let rest = addr.split_once("://").map_or(addr, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_vault_writes_them() {
        for (given, host_port) in [
            ("https://10.0.0.1:8201", "10.0.0.1:8201"),
            ("https://a.b.svc/", "a.b.svc:8201"),
            ("a:1", "a:1"),
            ("https://[::1]:8201", "[::1]:8201"),
            ("https://fd00::7:8201", "[fd00::7]:8201"),
        ] {
            assert_eq!(host_and_port(given), host_port, "{given}");
        }
        assert_eq!((host("https://a:8200"), host("https://a"), host("")), (Some("a"), Some("a"), None));
    }
}
