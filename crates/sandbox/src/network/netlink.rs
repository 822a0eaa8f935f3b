//! The five netlink messages that set up a sandbox's network, written out:
//! rtnetlink(7) for `lo` and routes, nfnetlink for one nftables chain.

use std::io;

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, socket_with},
};

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// The route protocol of netlink is number 0, which `None` stands for.
const ROUTE: Option<rustix::net::Protocol> = None;
/// Marks an attribute that holds attributes.
const NESTED: u16 = 0x8000;
const NLMSG_ERROR: u16 = 2;

/// One netlink message or a batch of them, under construction.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Message {
    /// Appends a message whose fixed part is `head` and whose attributes
    /// `attributes` writes.
    fn push(&mut self, kind: u16, flags: u16, head: &[u8], attributes: impl FnOnce(&mut Vec<u8>)) {
        self.sequence += 1;
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(head);
        attributes(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Sends the whole and reads `acknowledged` acknowledgements.
    fn exchange(&self, socket: &OwnedFd, acknowledged: usize) -> io::Result<()> {
        rustix::net::send(socket, &self.bytes, SendFlags::empty())?;
        let mut seen = 0;
        let mut buffer = [0; 8192];
        while seen < acknowledged {
            let (length, _) = rustix::net::recv(socket, &mut buffer, RecvFlags::empty())?;
            seen += errors(&buffer[..length])?;
        }
        Ok(())
    }
}

/// Counts the acknowledgements in `bytes`; the first refusal is an error.
fn errors(mut bytes: &[u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some((head, _)) = bytes.split_at_checked(20) {
        let word =
            |at: usize| i32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        if kind == NLMSG_ERROR {
            match word(16) {
                0 => count += 1,
                code => return Err(io::Error::from_raw_os_error(-code)),
            }
        }
        let length = usize::try_from(word(0))
            .unwrap_or(0)
            .max(16)
            .next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(count)
}

/// Appends an attribute.
fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Appends an attribute that holds those which `inner` writes.
fn nest(bytes: &mut Vec<u8>, kind: u16, inner: impl FnOnce(&mut Vec<u8>)) {
    let mut value = Vec::new();
    inner(&mut value);
    attribute(bytes, kind | NESTED, &value);
}

fn open(protocol: Option<rustix::net::Protocol>) -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )
}

/// `ip link set lo up`; `lo` is interface 1 in every network namespace.
pub(super) fn bring_up_loopback() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const IFF_UP: u32 = 1;
    let mut head = vec![0; 4];
    head.extend(1_i32.to_ne_bytes());
    head.extend(IFF_UP.to_ne_bytes());
    head.extend(IFF_UP.to_ne_bytes());
    let mut message = Message::default();
    message.push(RTM_NEWLINK, ACK, &head, |_| {});
    message.exchange(&open(ROUTE)?, 1)
}

/// `ip address add 192.0.2.1/32 dev lo`: with loopback addresses alone, libc
/// takes the machine for one without IPv4 and answers no name to programs that
/// ask with `AI_ADDRCONFIG` (getaddrinfo(3)). The address is one of those kept
/// for documentation (RFC 5737).
pub(super) fn add_ordinary_address() -> io::Result<()> {
    const RTM_NEWADDR: u16 = 20;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const ADDRESS: [u8; 4] = [192, 0, 2, 1];
    let family = u8::try_from(AddressFamily::INET.as_raw()).unwrap_or_default();
    let mut head = vec![family, 32, 0, 0];
    head.extend(1_u32.to_ne_bytes());
    let mut message = Message::default();
    message.push(RTM_NEWADDR, ACK | CREATE, &head, |bytes| {
        attribute(bytes, IFA_LOCAL, &ADDRESS);
        attribute(bytes, IFA_ADDRESS, &ADDRESS);
    });
    message.exchange(&open(ROUTE)?, 1)
}

/// `ip route add local 0.0.0.0/0 dev lo`, and the same for IPv6 if there is any.
pub(super) fn make_every_address_local() -> io::Result<()> {
    const RTM_NEWROUTE: u16 = 24;
    const RTA_OIF: u16 = 4;
    const TABLE_LOCAL: u8 = 255;
    const STATIC: u8 = 4;
    const SCOPE_HOST: u8 = 254;
    const LOCAL: u8 = 2;
    let socket = open(ROUTE)?;
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let number = u8::try_from(family.as_raw()).unwrap_or_default();
        let head = [
            number,
            0,
            0,
            0,
            TABLE_LOCAL,
            STATIC,
            SCOPE_HOST,
            LOCAL,
            0,
            0,
            0,
            0,
        ];
        let mut message = Message::default();
        message.push(RTM_NEWROUTE, ACK | CREATE, &head, |bytes| {
            attribute(bytes, RTA_OIF, &1_u32.to_ne_bytes());
        });
        match message.exchange(&socket, 1) {
            Err(error) if family == AddressFamily::INET => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Redirects every locally made TCP connection to `port`, but those to
/// 127.0.0.0/8 and `::1`, so that servers inside reach each other.
///
/// As nft(8) would write it:
/// `table inet stockade { chain capture { type nat hook output priority -100;
/// ip daddr 127.0.0.0/8 return; ip6 daddr ::1 return; meta l4proto tcp
/// redirect to :port } }`
pub(super) fn redirect_tcp(port: u16) -> io::Result<()> {
    const BATCH_BEGIN: u16 = 16;
    const BATCH_END: u16 = 17;
    const SUBSYSTEM: u16 = 10;
    const fn kind(message: u16) -> u16 {
        SUBSYSTEM << 8 | message
    }
    const NEW_TABLE: u16 = kind(0);
    const NEW_CHAIN: u16 = kind(3);
    const NEW_RULE: u16 = kind(6);
    const INET: [u8; 4] = [1, 0, 0, 0];
    const TABLE: &[u8] = b"stockade\0";
    const CHAIN: &[u8] = b"capture\0";

    let mut batch = Message::default();
    batch.push(BATCH_BEGIN, 0, &[0, 0, 0, 10], |_| {});
    batch.push(NEW_TABLE, CREATE | ACK, &INET, |bytes| {
        attribute(bytes, 1, TABLE);
    });
    batch.push(NEW_CHAIN, CREATE | ACK, &INET, |bytes| {
        attribute(bytes, 1, TABLE);
        attribute(bytes, 3, CHAIN);
        attribute(bytes, 7, b"nat\0");
        nest(bytes, 4, |hook| {
            attribute(hook, 1, &3_u32.to_be_bytes()); // NF_INET_LOCAL_OUT
            attribute(hook, 2, &(-100_i32).to_be_bytes()); // before NF_IP_PRI_NAT_SRC
        });
    });
    let mut ipv6_loopback = [0; 16];
    ipv6_loopback[15] = 1;
    let mut to_ipv4_loopback = Vec::new();
    expression::family_is(&mut to_ipv4_loopback, 2);
    expression::network_header_is(&mut to_ipv4_loopback, 16, &[127]);
    expression::stop(&mut to_ipv4_loopback);
    let mut to_ipv6_loopback = Vec::new();
    expression::family_is(&mut to_ipv6_loopback, 10);
    expression::network_header_is(&mut to_ipv6_loopback, 24, &ipv6_loopback);
    expression::stop(&mut to_ipv6_loopback);
    let mut tcp = Vec::new();
    expression::transport_is(&mut tcp, 6);
    expression::redirect(&mut tcp, port);
    let rules = [to_ipv4_loopback, to_ipv6_loopback, tcp];
    for rule in &rules {
        batch.push(NEW_RULE, CREATE | APPEND | ACK, &INET, |bytes| {
            attribute(bytes, 1, TABLE);
            attribute(bytes, 2, CHAIN);
            attribute(bytes, 4 | NESTED, rule);
        });
    }
    batch.push(BATCH_END, 0, &[0, 0, 0, 10], |_| {});
    batch.exchange(&open(Some(netlink::NETFILTER))?, 2 + rules.len())
}

/// Expressions of nftables rules; numbers are those of
/// `linux/netfilter/nf_tables.h`.
mod expression {
    use super::{attribute, nest};

    const REGISTER: [u8; 4] = 1_u32.to_be_bytes();

    fn named(list: &mut Vec<u8>, name: &[u8], data: impl FnOnce(&mut Vec<u8>)) {
        nest(list, 1, |element| {
            attribute(element, 1, name);
            nest(element, 2, data);
        });
    }

    fn load_meta(list: &mut Vec<u8>, key: u32) {
        named(list, b"meta\0", |data| {
            attribute(data, 2, &key.to_be_bytes());
            attribute(data, 1, &REGISTER);
        });
    }

    fn equals(list: &mut Vec<u8>, value: &[u8]) {
        named(list, b"cmp\0", |data| {
            attribute(data, 1, &REGISTER);
            attribute(data, 2, &0_u32.to_be_bytes());
            nest(data, 3, |nested| attribute(nested, 1, value));
        });
    }

    /// The packet is of this protocol family (NFPROTO_IPV4 = 2, _IPV6 = 10).
    pub(super) fn family_is(list: &mut Vec<u8>, family: u8) {
        load_meta(list, 15);
        equals(list, &[family]);
    }

    /// The packet's transport is this IP protocol.
    pub(super) fn transport_is(list: &mut Vec<u8>, protocol: u8) {
        load_meta(list, 16);
        equals(list, &[protocol]);
    }

    /// The network header has `value` at `offset`.
    pub(super) fn network_header_is(list: &mut Vec<u8>, offset: u32, value: &[u8]) {
        let length = u32::try_from(value.len()).unwrap_or_default();
        named(list, b"payload\0", |data| {
            attribute(data, 1, &REGISTER);
            attribute(data, 2, &1_u32.to_be_bytes());
            attribute(data, 3, &offset.to_be_bytes());
            attribute(data, 4, &length.to_be_bytes());
        });
        equals(list, value);
    }

    /// Leaves the chain.
    pub(super) fn stop(list: &mut Vec<u8>) {
        const RETURN: i32 = -5;
        named(list, b"immediate\0", |data| {
            attribute(data, 1, &0_u32.to_be_bytes());
            nest(data, 2, |value| {
                nest(value, 2, |verdict| {
                    attribute(verdict, 1, &RETURN.to_be_bytes());
                });
            });
        });
    }

    /// Sends the connection to `port` on this machine.
    pub(super) fn redirect(list: &mut Vec<u8>, port: u16) {
        const PORT_SPECIFIED: u32 = 2;
        named(list, b"immediate\0", |data| {
            attribute(data, 1, &REGISTER);
            nest(data, 2, |value| attribute(value, 1, &port.to_be_bytes()));
        });
        named(list, b"redir\0", |data| {
            attribute(data, 1, &REGISTER);
            attribute(data, 3, &PORT_SPECIFIED.to_be_bytes());
        });
    }
}
