//! Whose an address is.

use ipnet::IpNet;
use std::net::IpAddr;

/// What one holder of an address has to itself: a single IPv4 address, but at least a whole /64 of IPv6.
#[cfg(feature = "server")]
pub fn network(address: IpAddr) -> IpAddr {
    // An IPv4 peer of a socket that takes both shows itself as IPv6, and all of them as one /64.
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            std::net::Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
        }
    }
}

/// Whether an address is of one of the networks.
pub fn is_of(address: IpAddr, networks: &[IpNet]) -> bool {
    // An IPv4 peer of a socket that takes both shows itself as IPv6.
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_ipv4_or_a_network_of_ipv6() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2:ffff::1"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:3::1"), "2001:db8:1:3::");
    }
}
