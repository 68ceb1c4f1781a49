//! What CEL cannot say about a Machine: rules that need the cluster's settings.

use std::net::IpAddr;

use super::view::MachineView;
use crate::Gate;
use crate::network::contains;

/// An address that the cluster does not allow: credentials are never aimed at hosts that a tenant chooses freely.
pub(super) fn address(view: &MachineView) -> Option<Gate> {
    let spec = view.spec();
    let jumps = spec.ssh.iter().flat_map(|ssh| &ssh.jump);
    let addresses = std::iter::once(("spec.address", &spec.address))
        .chain(jumps.map(|jump| ("spec.ssh.jump", &jump.address)));
    for (field, text) in addresses {
        let gate = |message: String| {
            Some(Gate {
                reason: "InvalidSpec",
                message,
            })
        };
        let Ok(address) = text.parse::<IpAddr>() else {
            return gate(format!("{field} {text:?} is no IP address"));
        };
        if unusable(address) {
            return gate(format!("{field} {address} is not the address of a host"));
        }
        let allowed = &view.cluster.allowed_cidrs;
        if !allowed.is_empty() && !allowed.iter().any(|cidr| contains(cidr, address)) {
            return gate(format!(
                "{field} {address} is outside of the cluster's nodeOperator.allowedCIDRs ({})",
                allowed.join(", ")
            ));
        }
    }
    None
}

/// Addresses that lead to the operator itself, to nobody or to many. Link-local ones too: a cloud's metadata answers there.
fn unusable(address: IpAddr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("10.77.0.13", false)]
    #[case("fd00::13", false)]
    #[case("127.0.0.1", true)]
    #[case("169.254.169.254", true)]
    #[case("0.0.0.0", true)]
    #[case("224.0.0.1", true)]
    #[case("::1", true)]
    #[case("fe80::1", true)]
    #[case("::ffff:127.0.0.1", true)]
    fn addresses_of_hosts(#[case] text: &str, #[case] refused: bool) {
        assert_eq!(unusable(text.parse().unwrap()), refused);
    }
}
