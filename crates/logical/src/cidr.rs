//! Ranges of addresses: what tokens, roles and secret ids are bound to.

use std::net::IpAddr;

use crate::Error;

/// Refuses texts that are neither an address nor a range.
pub fn check(cidrs: &[String]) -> Result<(), Error> {
    match cidrs.iter().find(|cidr| parse(cidr).is_none()) {
        Some(cidr) => Err(Error::Invalid(format!("{cidr:?} is not an address or a range such as 10.0.0.0/8"))),
        None => Ok(()),
    }
}

/// Is the address within one of the ranges? No ranges: any address, also an unknown one.
pub fn allows(cidrs: &[String], address: Option<IpAddr>) -> bool {
    cidrs.is_empty() || address.is_some_and(|address| cidrs.iter().any(|cidr| contains(cidr, address)))
}

/// Lies every inner range within one of the outer ones? Anything lies within no ranges.
pub fn within(inner: &[String], outer: &[String]) -> bool {
    outer.is_empty() || inner.iter().all(|inner| outer.iter().any(|outer| covers(outer, inner)))
}

fn covers(outer: &str, inner: &str) -> bool {
    match (parse(outer), parse(inner)) {
        (Some((_, outer_bits)), Some((address, inner_bits))) => outer_bits <= inner_bits && contains(outer, address),
        _ => false,
    }
}

fn contains(cidr: &str, address: IpAddr) -> bool {
    let Some((network, bits)) = parse(cidr) else { return false };
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

fn parse(cidr: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match cidr.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (cidr, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= width)?,
        None => width,
    };
    Some((address, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_their_addresses_only() {
        let allows = |cidr: &str, address: &str| super::allows(&[cidr.to_owned()], address.parse().ok());
        assert!(allows("10.0.0.0/8", "10.1.2.3"));
        assert!(!allows("10.0.0.0/8", "11.1.2.3"));
        assert!(allows("0.0.0.0/0", "1.2.3.4"));
        assert!(allows("127.0.0.1", "127.0.0.1"));
        assert!(allows("127.0.0.1/32", "::ffff:127.0.0.1"));
        assert!(allows("fd00::/8", "fd12::1"));
        assert!(!allows("10.0.0.0/8", "no address"));
        assert!(check(&["10.0.0.0/33".to_owned()]).is_err());
    }

    #[test]
    fn smaller_ranges_lie_within_larger_ones() {
        let within = |inner: &str, outer: &str| super::within(&[inner.to_owned()], &[outer.to_owned()]);
        assert!(within("10.1.0.0/16", "10.0.0.0/8"));
        assert!(within("10.1.2.3", "10.0.0.0/8"));
        assert!(within("10.0.0.0/8", "10.0.0.0/8"));
        assert!(!within("10.0.0.0/7", "10.0.0.0/8"));
        assert!(!within("11.0.0.0/16", "10.0.0.0/8"));
        assert!(!within("fd00::/64", "0.0.0.0/0"));
        assert!(super::within(&["10.0.0.0/8".to_owned()], &[]));
        assert!(super::within(&[], &["10.0.0.0/8".to_owned()]));
    }
}
