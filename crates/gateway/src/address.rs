use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::GatewayError;

/// Why `address` must not be dialled for a name that DNS resolved, if it must
/// not: only public unicast addresses that are not this host's own may be.
///
/// The ranges are those of the IANA special-purpose registries (RFC 6890).
pub(crate) fn refusal(address: IpAddr, own: &[IpAddr]) -> Option<&'static str> {
    if own.contains(&address) {
        return Some("an address of this machine");
    }
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => refusal_v6(address),
    }
}

/// The same for an address in a network that the user wrote: private ones are
/// meant then, but not this machine, nor what is next to it without a router.
pub(crate) fn refusal_in_network(address: IpAddr, own: &[IpAddr]) -> Option<&'static str> {
    let private = match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    };
    refusal(address, own).filter(|_| !private || own.contains(&address))
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0, ..) => Some("an unspecified address"),
        (127, ..) => Some("a loopback address"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("a private address"),
        (100, 64..=127, _) => Some("a carrier-grade NAT address"),
        (169, 254, _) => Some("a link-local or metadata address"),
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => {
            Some("a special-purpose address")
        }
        (224..=239, ..) => Some("a multicast address"),
        (240..=255, ..) => Some("a reserved address"),
        _ => None,
    }
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0xffff | 0, ..] => Some("a loopback, unspecified or IPv4-mapped address"),
        [0x64, 0xff9b, ..] => Some("a NAT64 address"),
        [0xfc00..=0xfdff, ..] => Some("a private address"),
        [0xfe80..=0xfeff, ..] => Some("a link-local or site-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        [0x2002, ..] => Some("a 6to4 address"),
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => {
            Some("a special-purpose address")
        }
        [0x2000..=0x3fff, ..] => None,
        _ => Some("an address outside the global unicast range"),
    }
}

/// Every address that this host's kernel answers for, read from `/proc/net`.
///
/// Call it before the process is sealed.
pub fn own_addresses() -> Result<Vec<IpAddr>, GatewayError> {
    let read = |path: &'static str| {
        std::fs::read_to_string(path).map_err(|source| GatewayError::OwnAddresses { path, source })
    };
    let mut addresses = local_v4(&read("/proc/net/fib_trie")?);
    // Absent where the kernel has no IPv6.
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        addresses.extend(local_v6(&read("/proc/net/if_inet6")?));
    }
    Ok(addresses)
}

/// In a FIB trie, `|-- ADDRESS` is followed by `/32 host LOCAL` for each
/// address of the host itself.
fn local_v4(trie: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let mut last = None;
    for line in trie.lines() {
        if let Some((_, text)) = line.split_once("|-- ") {
            last = text.trim().parse::<IpAddr>().ok();
        } else if line.trim() == "/32 host LOCAL"
            && let Some(address) = last
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

fn local_v6(table: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let digits = line.split_whitespace().next()?;
        u128::from_str_radix(digits, 16)
            .ok()
            .map(|bits| IpAddr::V6(bits.into()))
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_that_leads_back_is_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "198.18.0.1",
            "198.19.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(refusal(text.parse().unwrap(), &[]).is_some(), "{text}");
        }
    }

    #[test]
    fn public_addresses_pass_unless_they_are_our_own() {
        for text in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            let address = text.parse().unwrap();
            assert_eq!(refusal(address, &[]), None, "{text}");
            assert!(refusal(address, &[address]).is_some(), "{text}");
        }
    }

    #[test]
    fn the_kernels_tables_are_read() {
        let trie = "  |-- 127.0.0.1\n        /32 host LOCAL\n  |-- 127.255.255.255\n        \
                    /32 link BROADCAST\n  |-- 8.8.4.4\n        /32 host LOCAL\n";
        let expected: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "8.8.4.4".parse().unwrap()];
        assert_eq!(local_v4(trie), expected);
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(local_v6(table), vec!["::1".parse::<IpAddr>().unwrap()]);
        own_addresses().unwrap();
    }
}
