//! Classes I to L: sockets of the host, ways out, names, and the forms in
//! which a host that is not allowed can be asked for.

use std::net::SocketAddr;

use stockade_attempt::{Message, Order, Socket};

use super::strings;
use crate::{
    field::{Field, text},
    probe::{Judge, Probe},
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
        "ask for a name whose letters carry data",
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
    Probe::standing(
        77,
        'K',
        "have a proxy ask for a name that is not allowed",
        Judge::Host,
        |field, _| both(field, |port| format!("localhost:{port}")),
    ),
    Probe::standing(
        81,
        'L',
        "write the name of a host in other ways",
        Judge::Host,
        |field, _| {
            let forms = [
                "LOCALHOST.",
                "localhost..",
                "%6cocalhost",
                "ok.test@localhost",
                "localhost#.ok.test",
                "localhost%00.ok.test",
                "ok.test\\@localhost",
            ];
            forms
                .iter()
                .flat_map(|form| both(field, move |port| format!("{form}:{port}")))
                .collect()
        },
    ),
    Probe::standing(
        83,
        'L',
        "write an address in other ways",
        Judge::Host,
        |field, _| {
            let forms = [
                "2130706433",
                "0177.1",
                "127.1",
                "0x7f.1",
                "[::ffff:127.0.0.1]",
                "0",
            ];
            forms
                .iter()
                .flat_map(|form| both(field, move |port| format!("{form}:{port}")))
                .collect()
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
        |field, _| both(field, |port| format!("127.0.0.1:{port}")),
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

/// The same host straight and through whatever proxy there is.
fn both(field: &Field, host: impl Fn(u16) -> String) -> Vec<Order> {
    let streams = field.listeners().streams();
    let first = streams.first().copied();
    let through = first.map(|to| {
        let host = host(to.port());
        format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")
    });
    let straight = first.map(|to| Message {
        to,
        text: format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", host(to.port())),
    });
    vec![
        Order::Connect(straight.into_iter().collect()),
        Order::Proxied(through.into_iter().collect()),
    ]
}
