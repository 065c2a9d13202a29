//! The caller's address behind proxies that are trusted to tell it.

use std::{net::IpAddr, str::FromStr};

use crate::request::Reject;

/// A block of addresses: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// Whose `X-Forwarded-For` is believed (`x_forwarded_for_*` of a listener).
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    /// Addresses of the proxies. Empty: the header is ignored.
    pub authorized: Vec<Network>,
    /// How many entries at the end of the header are proxies too.
    pub hop_skips: usize,
    /// Refuse an authorised proxy that does not send the header.
    pub reject_not_present: bool,
    /// Refuse the header from anyone else (otherwise it is ignored).
    pub reject_not_authorized: bool,
}

/// The text is no address and no block of addresses.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not an address or a block such as 10.0.0.0/8")]
pub struct ParseNetworkError {
    text: String,
}

// === impl Network ===

impl Network {
    /// Is the address in the block? An IPv4 address in IPv6 clothes counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - self.bits.min(32);
                (u64::from(own.to_bits()) >> shift) == (u64::from(other.to_bits()) >> shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                self.bits == 0 || differ >> (128 - self.bits.min(128)) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        let fail = || ParseNetworkError { text: text.to_owned() };
        let (address, bits) = text.trim().split_once('/').map_or((text.trim(), None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| fail())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| fail())?,
            None => most,
        };
        if bits > most {
            return Err(fail());
        }
        Ok(Self { address, bits })
    }
}

// === impl TrustedProxies ===

impl Default for TrustedProxies {
    fn default() -> Self {
        Self { authorized: Vec::new(), hop_skips: 0, reject_not_present: true, reject_not_authorized: true }
    }
}

impl TrustedProxies {
    /// The caller's address: the peer's, or what a trusted peer says. `header` is every value of the header in order,
    /// `None` when it was not sent.
    pub fn caller(&self, peer: IpAddr, header: Option<&str>) -> Result<IpAddr, Reject> {
        let peer = peer.to_canonical();
        if self.authorized.is_empty() {
            return Ok(peer);
        }
        if !self.authorized.iter().any(|network| network.contains(peer)) {
            return match header {
                Some(_) if self.reject_not_authorized => {
                    Err(Reject::bad("client address not authorized for x-forwarded-for and reject set"))
                }
                _ => Ok(peer),
            };
        }
        let Some(header) = header else {
            return if self.reject_not_present {
                Err(Reject::bad("missing x-forwarded-for header and configured to reject when not present"))
            } else {
                Ok(peer)
            };
        };
        let hops: Vec<&str> = header.split(',').map(str::trim).collect();
        let hop = hops.len().checked_sub(self.hop_skips + 1).and_then(|index| hops.get(index));
        let hop =
            hop.ok_or_else(|| Reject::bad("malformed x-forwarded-for: it has fewer hops than are to be skipped"))?;
        hop.parse::<IpAddr>()
            .map(|address| address.to_canonical())
            .map_err(|_| Reject::bad("malformed x-forwarded-for: an entry is not an address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_contain_their_addresses() {
        for (block, address, expected) in [
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "2001:db8::1", true),
        ] {
            assert_eq!(block.parse::<Network>().unwrap().contains(ip(address)), expected, "{block} {address}");
        }
        for bad in ["10.0.0.0/33", "x", "10.0.0.0/", "::/129"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        let untold = TrustedProxies::default();
        assert_eq!(untold.caller(ip("9.9.9.9"), Some("1.1.1.1")).unwrap(), ip("9.9.9.9"));

        let mut proxies =
            TrustedProxies { authorized: vec!["10.0.0.0/8".parse().unwrap()], ..TrustedProxies::default() };
        assert_eq!(proxies.caller(ip("10.0.0.1"), Some("6.6.6.6, 1.1.1.1")).unwrap(), ip("1.1.1.1"));
        assert!(proxies.caller(ip("9.9.9.9"), Some("1.1.1.1")).is_err());
        assert!(proxies.caller(ip("10.0.0.1"), None).is_err());
        assert!(proxies.caller(ip("10.0.0.1"), Some("nonsense")).is_err());
        proxies.reject_not_authorized = false;
        assert_eq!(proxies.caller(ip("9.9.9.9"), Some("1.1.1.1")).unwrap(), ip("9.9.9.9"));
        proxies.hop_skips = 1;
        assert_eq!(proxies.caller(ip("10.0.0.1"), Some("6.6.6.6, 1.1.1.1")).unwrap(), ip("6.6.6.6"));
        assert!(proxies.caller(ip("10.0.0.1"), Some("1.1.1.1")).is_err());
    }
}
