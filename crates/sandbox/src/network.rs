//! The network that a sandbox sees: `lo` alone, every address local, every
//! TCP connection redirected to listeners that are accepted on outside.
//!
//! Routes of type `local` make the kernel take any address for its own
//! ("AnyIP"), so a connection to it reaches `lo`; one nftables rule sends it
//! to the capture port, and `SO_ORIGINAL_DST` tells where it wanted to go.
//! The listeners are made here once and handed out; a socket belongs to the
//! namespace in which it was made, wherever it is used.

mod netlink;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::{
    error::{During, Layer, SandboxError},
    kernel,
};

/// The port to which connections are redirected.
pub const CAPTURE_PORT: u16 = 15_001;
/// The port of DNS; the stub answers at 127.0.0.1.
const DNS_PORT: u16 = 53;
/// Captured without nftables, where the kernel has none.
const PLAIN_PORTS: [u16; 2] = [443, 80];

/// Connections that wait to be accepted, as many as the standard library lets.
const WAITING: i32 = 128;

/// How connections are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capture {
    /// Every port, by an nftables redirect.
    EveryPort,
    /// Ports 80 and 443 only, because the kernel has no nf_tables; others are
    /// unreachable.
    WebPortsOnly,
}

/// The sockets that belong to the sandbox's network and are served outside.
#[derive(Debug)]
pub struct Listeners {
    /// Where captured connections arrive.
    pub tcp: Vec<TcpListener>,
    /// Where DNS questions arrive over UDP.
    pub dns_udp: UdpSocket,
    /// Where DNS questions arrive over TCP.
    pub dns_tcp: TcpListener,
}

impl Listeners {
    /// Its sockets, to be passed to another process.
    pub fn into_descriptors(self) -> Vec<OwnedFd> {
        let mut descriptors = vec![self.dns_udp.into(), self.dns_tcp.into()];
        descriptors.extend(self.tcp.into_iter().map(OwnedFd::from));
        descriptors
    }

    /// What [`into_descriptors`](Self::into_descriptors) passed on; `None` if
    /// some are missing.
    pub fn from_descriptors(descriptors: impl IntoIterator<Item = OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        Some(Self {
            dns_udp: descriptors.next()?.into(),
            dns_tcp: descriptors.next()?.into(),
            tcp: descriptors.map(Into::into).collect(),
        })
    }
}

/// Where a connection wanted to go that arrived at one of [`Listeners::tcp`]. Of one that
/// was redirected the kernel's connection tracker knows; one to a port that is served
/// plainly arrived where it wanted to go.
///
/// # Errors
///
/// Who dialled the capture port itself was not redirected.
pub fn original_destination(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let arrived = SocketAddr::try_from(rustix::net::getsockname(socket)?)?;
    if arrived.port() != CAPTURE_PORT {
        return Ok(arrived);
    }
    let wanted = kernel::original_destination(socket)?;
    if wanted == arrived {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(wanted)
}

/// Sets up the current network namespace, which must be new, with nothing but
/// `lo`.
pub(crate) fn set_up_closed() -> Result<(), SandboxError> {
    netlink::bring_up_loopback().during(Layer::Network, "bring up lo")
}

/// Sets up the current network namespace, which must be new.
pub(crate) fn set_up() -> Result<(Listeners, Capture), SandboxError> {
    netlink::bring_up_loopback().during(Layer::Network, "bring up lo")?;
    netlink::add_ordinary_address().during(Layer::Network, "give lo an address")?;
    netlink::make_every_address_local().during(Layer::Network, "make every address local")?;
    let dns = SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT));
    let dns_udp = UdpSocket::bind(dns).during(Layer::Network, "open the DNS socket")?;
    let dns_tcp = TcpListener::bind(dns).during(Layer::Network, "open the DNS listener")?;
    let (tcp, capture) = match netlink::redirect_tcp(CAPTURE_PORT) {
        Ok(()) => (redirected()?, Capture::EveryPort),
        Err(_) => (plain()?, Capture::WebPortsOnly),
    };
    Ok((
        Listeners {
            tcp,
            dns_udp,
            dns_tcp,
        },
        capture,
    ))
}

fn redirected() -> Result<Vec<TcpListener>, SandboxError> {
    let bind = |address: SocketAddr| TcpListener::bind(address);
    let mut listeners = vec![
        bind((Ipv4Addr::LOCALHOST, CAPTURE_PORT).into())
            .during(Layer::Network, "open the capture listener")?,
    ];
    // A kernel without IPv6 has nothing to capture there.
    listeners.extend(bind((Ipv6Addr::LOCALHOST, CAPTURE_PORT).into()).ok());
    Ok(listeners)
}

fn plain() -> Result<Vec<TcpListener>, SandboxError> {
    let mut listeners = Vec::new();
    for port in PLAIN_PORTS {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .during(Layer::Network, format!("open the listener of port {port}"));
        listeners.push(listener?);
        // A kernel without IPv6 has nothing to capture there.
        listeners.extend(of_ipv6_alone(port).ok());
    }
    Ok(listeners)
}

/// A listener beside that of IPv4, which has the port already.
fn of_ipv6_alone(port: u16) -> io::Result<TcpListener> {
    let (family, kind) = (AddressFamily::INET6, SocketType::STREAM);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    listen(&socket, WAITING)?;
    Ok(socket.into())
}
