use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use rustix::thread::UnshareFlags;

use super::{
    Probe, WALL,
    child::{enter, in_child},
    words,
};
use crate::{
    error::{During, Layer, SandboxError},
    layers,
    network::{self, Capture},
    spec::Identity,
};

/// The name of the first probe.
pub(super) const NAME: &str = "network namespace";
/// The name of the second.
pub(super) const CAPTURE: &str = "capture of every port";
/// What is lost without the second.
pub(super) const CAPTURE_COST: &str = layers::WITHOUT_REDIRECT;

/// Addresses that exist nowhere (RFC 5737, RFC 3849).
const NOWHERE_4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const NOWHERE_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// Longer than a connection on one machine takes.
const LONGEST: Duration = Duration::from_secs(2);

/// A connection to anywhere, over HTTPS's port, arrives at the listeners.
pub(super) fn probe(stand_in: Option<Identity>) -> Probe {
    match in_child(|| connect(stand_in, NOWHERE_4, 443)) {
        Ok(_) => {
            let other = in_child(|| connect(stand_in, NOWHERE_6, 443));
            let detail = match other {
                Ok(_) => "connections arrive where they are judged, over IPv4 and IPv6",
                Err(_) => "connections arrive where they are judged; IPv6 leads nowhere",
            };
            Probe::works(NAME, detail, WALL)
        }
        Err(error) => Probe::missing(NAME, words(&error))
            .fix("the kernel needs CONFIG_NET_NS and IPv4 on lo".to_owned()),
    }
}

/// So does one to a port that no listener of ours was opened for.
pub(super) fn capture(stand_in: Option<Identity>) -> Probe {
    match in_child(|| connect(stand_in, NOWHERE_4, 8443)) {
        Ok(_) => Probe::works(
            CAPTURE,
            "an nf_tables redirect, set by netlink",
            CAPTURE_COST,
        ),
        Err(error) => Probe::weaker(
            CAPTURE,
            format!("the kernel took no nf_tables redirect ({})", words(&error)),
            CAPTURE_COST,
        )
        .fix("sudo modprobe -a nf_tables nft_chain_nat nft_redir".to_owned()),
    }
}

/// Connects from a sandbox's network to `address`, and looks where the
/// connection arrives and what it says it wanted.
fn connect(
    stand_in: Option<Identity>,
    address: IpAddr,
    port: u16,
) -> Result<Capture, SandboxError> {
    enter(stand_in, UnshareFlags::NEWNET)?;
    let (listeners, capture) = network::set_up()?;
    let wanted = SocketAddr::new(address, port);
    let step = format!("connect to {wanted}");
    let _connection =
        TcpStream::connect_timeout(&wanted, LONGEST).during(Layer::Network, &*step)?;
    let arrived = listeners
        .tcp
        .iter()
        .find_map(|listener| accept(listener).ok());
    let arrived = arrived.ok_or(io::ErrorKind::TimedOut);
    let arrived = arrived
        .map_err(io::Error::from)
        .during(Layer::Network, "accept the connection")?;
    let said = network::original_destination(arrived.as_fd())
        .during(Layer::Network, "ask where the connection wanted to go")?;
    if said != wanted {
        return Err(io::Error::other(format!("it says {said}"))).during(Layer::Network, step);
    }
    Ok(capture)
}

/// A connection that waits at `listener`.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let (stream, _) = listener.accept()?;
    Ok(stream)
}
