//! Addresses that follow from a network in CIDR notation.

use std::net::IpAddr;

/// The `index`-th address of network `cidr`, counted from its first address (index 0 is the network itself).
/// None when `cidr` is no network or has no such address.
pub fn nth_address(cidr: &str, index: u32) -> Option<IpAddr> {
    let (network, prefix) = cidr.split_once('/')?;
    let prefix: u32 = prefix.parse().ok()?;
    match network.parse::<IpAddr>().ok()? {
        IpAddr::V4(network) => {
            let host_bits = 32u32.checked_sub(prefix)?;
            if host_bits < 32 && u64::from(index) >= 1u64 << host_bits {
                return None;
            }
            Some(IpAddr::V4(network.to_bits().checked_add(index)?.into()))
        }
        IpAddr::V6(network) => Some(IpAddr::V6(
            network.to_bits().checked_add(u128::from(index))?.into(),
        )),
    }
}

/// Whether `address` is in network `cidr`. Nothing is in what is no network.
pub fn contains(cidr: &str, address: IpAddr) -> bool {
    let Some((network, prefix)) = cidr.split_once('/') else {
        return false;
    };
    let (Ok(network), Ok(prefix)) = (network.parse::<IpAddr>(), prefix.parse::<u32>()) else {
        return false;
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            prefix <= 32 && {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            prefix <= 128 && {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_service_network() {
        assert_eq!(nth_address("10.96.0.0/16", 1), "10.96.0.1".parse().ok());
        assert_eq!(nth_address("10.96.0.0/28", 10), "10.96.0.10".parse().ok());
        assert_eq!(nth_address("10.96.0.0/29", 10), None);
        assert_eq!(nth_address("fd00::/108", 10), "fd00::a".parse().ok());
        assert_eq!(nth_address("nonsense", 1), None);
    }

    #[test]
    fn addresses_in_a_network() {
        let is_in = |cidr: &str, address: &str| contains(cidr, address.parse().unwrap());
        assert!(is_in("10.77.0.0/16", "10.77.255.255"));
        assert!(!is_in("10.77.0.0/16", "10.78.0.0"));
        assert!(is_in("0.0.0.0/0", "203.0.113.7"));
        assert!(is_in("10.77.0.13/32", "10.77.0.13"));
        assert!(is_in("fd00::/8", "fd12::1"));
        assert!(!is_in("fd00::/8", "fc00::1"));
        assert!(!is_in("10.77.0.0/16", "fd00::1"));
        for nonsense in ["10.77.0.0", "10.77.0.0/33", "x/8", "10.77.0.0/-1", ""] {
            assert!(!is_in(nonsense, "10.77.0.1"), "{nonsense}");
        }
    }
}
