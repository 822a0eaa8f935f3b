//! Sockets: which can be made, and what they reach.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{self as unix_net, UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    time::Duration,
};

use stockade_attempt::{End, Message, Socket};

use crate::{raw::call_apart, report::Report};

/// How long a connection or an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the answer to a datagram is waited for; most get none.
const ANSWER: Duration = Duration::from_millis(300);

pub(crate) fn make(sockets: &[Socket], report: &Report) {
    for socket in sockets {
        let arguments = [socket.family, socket.kind, socket.protocol].map(i64::from);
        let [family, kind, protocol] = arguments;
        report.ended(
            format!("make a {} socket", socket.name),
            call_apart(libc::SYS_socket, [family, kind, protocol, 0, 0, 0]),
        );
    }
}

pub(crate) fn unix(paths: &[String], names: &[String], report: &Report) {
    let by_path = paths
        .iter()
        .map(|path| (path.clone(), unix_net::SocketAddr::from_pathname(path)));
    let by_name = names.iter().map(|name| {
        (
            format!("@{name}"),
            unix_net::SocketAddr::from_abstract_name(name),
        )
    });
    for (name, address) in by_path.chain(by_name) {
        let stream = || {
            let mut stream = UnixStream::connect_addr(address.as_ref().map_err(again)?)?;
            stream.write_all(b"hello\n")
        };
        report.tried(format!("connect to {name}"), stream());
        let datagram = || {
            let socket = UnixDatagram::unbound()?;
            socket.send_to_addr(b"hello\n", address.as_ref().map_err(again)?)
        };
        report.tried(format!("send a datagram to {name}"), datagram());
    }
}

fn again(error: &io::Error) -> io::Error {
    error.kind().into()
}

pub(crate) fn connect(messages: &[Message], report: &Report) {
    for Message { to, text } in messages {
        report.tried(format!("connect to {to} by TCP"), converse(*to, text));
    }
}

/// Says something, and hears what comes back, so that whoever passes it on has
/// done so.
pub(crate) fn converse(to: SocketAddr, text: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = [0; 4096];
    let _ = stream.read(&mut answer);
    Ok(())
}

pub(crate) fn send(messages: &[Message], report: &Report) {
    for Message { to, text } in messages {
        let own: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let sent = UdpSocket::bind(own).and_then(|socket| {
            socket.send_to(text.as_bytes(), to)?;
            // Whoever passes datagrams on has done so when there is an answer.
            socket.set_read_timeout(Some(ANSWER))?;
            let _ = socket.recv(&mut [0; 512]);
            Ok(())
        });
        report.tried(format!("send a datagram to {to}"), sent);
    }
}

pub(crate) fn proxied(texts: &[String], report: &Report) {
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let set = |name: &str| std::env::var(name).or_else(|_| std::env::var(name.to_lowercase()));
    // Where there is no proxy, there is no such way.
    let proxy = names.iter().find_map(|name| set(name).ok());
    let proxy = proxy.unwrap_or_default();
    // The name of the user and the password, if any, are not needed to ask.
    let place = proxy.split_once("://").map_or(&*proxy, |(_, rest)| rest);
    let place = place.rsplit_once('@').map_or(place, |(_, rest)| rest);
    let place = place.trim_end_matches('/');
    let address = place.to_socket_addrs().map(|mut found| found.next());
    for text in texts {
        let line = text.lines().next().unwrap_or_default();
        let step = format!("ask the proxy to {line}");
        match &address {
            Ok(Some(address)) => report.tried(step, converse(*address, text)),
            _ if place.is_empty() => report.tell(step, End::Refused(libc::ENOENT)),
            _ => report.tell(step, End::Unable(format!("{place} is no address"))),
        }
    }
}

pub(crate) fn own(folders: &[String], report: &Report) {
    report.tried("make a pair of sockets", UnixStream::pair());
    for folder in folders {
        let path = Path::new(folder).join(format!("own-{}", std::process::id()));
        let met = UnixListener::bind(&path).and_then(|listener| {
            let stream = UnixStream::connect(&path)?;
            listener.accept()?;
            Ok(stream)
        });
        let _ = std::fs::remove_file(&path);
        report.tried(format!("meet at a socket in {folder}"), met);
    }
}

pub(crate) fn own_port(report: &Report) {
    let met = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
        let stream = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
        listener.accept()?;
        Ok(stream)
    });
    report.tried("meet at a port of loopback", met);
}
