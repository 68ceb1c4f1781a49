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

/// How many leading bits the addresses of network `cidr` share. None when it is no network.
pub fn prefix_length(cidr: &str) -> Option<u8> {
    cidr.split_once('/')?.1.parse().ok()
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
        assert_eq!(prefix_length("10.96.0.0/16"), Some(16));
        assert_eq!(prefix_length("nonsense"), None);
    }
}
