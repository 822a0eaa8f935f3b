//! Names: asking whoever answers them here, and reaching what they are said to be.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use stockade_attempt::{Named, RESOLVER};

use crate::{report::Report, sockets::converse};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where resolvers listen.
const PORT: u16 = 53;

pub(crate) fn ask(names: &[Named], report: &Report) {
    for Named { name, port, text } in names {
        let found = look_up(name);
        let reached = match &found {
            Ok(address) => converse(SocketAddr::new((*address).into(), *port), text),
            Err(error) => Err(io::Error::from_raw_os_error(
                error.raw_os_error().unwrap_or(libc::ENOENT),
            )),
        };
        report.tried(format!("have {name} looked up"), found);
        report.tried(format!("reach {name} at port {port}"), reached);
    }
}

/// Asks every resolver; the first address that one of them says.
fn look_up(name: &str) -> io::Result<Ipv4Addr> {
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for resolver in resolvers() {
        match ask_one(resolver, name) {
            Ok(address) => return Ok(address),
            Err(error) => last = error,
        }
    }
    // A wait that was too long has no number of its own.
    Err(match last.raw_os_error() {
        Some(_) => last,
        None => io::Error::from_raw_os_error(libc::ENOENT),
    })
}

/// The one of the control, or those of resolv.conf(5).
fn resolvers() -> Vec<SocketAddr> {
    let named = std::env::var(RESOLVER).ok();
    if let Some(address) = named.and_then(|address| address.parse().ok()) {
        return vec![address];
    }
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let named = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver "));
    let addresses = named.filter_map(|address| address.trim().parse::<IpAddr>().ok());
    addresses.map(|address| (address, PORT).into()).collect()
}

/// One question for an address (RFC 1035, 4.1), and the last four bytes of an answer
/// that has one.
fn ask_one(resolver: SocketAddr, name: &str) -> io::Result<Ipv4Addr> {
    const COUNT_OF_ANSWERS: usize = 7;
    let mut question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        question.push(u8::try_from(label.len()).map_err(io::Error::other)?);
        question.extend(label.as_bytes());
    }
    question.extend(b"\0\0\x01\0\x01");
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(resolver)?;
    socket.send(&question)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    let address = answer
        .get(..length)
        .filter(|answer| answer.get(COUNT_OF_ANSWERS).is_some_and(|count| *count > 0))
        .and_then(|answer| answer.last_chunk::<4>());
    address
        .map(|bytes| Ipv4Addr::from(*bytes))
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}
