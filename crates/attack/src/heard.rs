//! Listeners of the host that nobody inside may reach.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener},
    },
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often is looked whether nobody needs an answer any more.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// What everybody is told, so that who asked need not wait.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Listeners on every kind of address that this host has for itself.
#[derive(Debug)]
pub(crate) struct Listeners {
    streams: Vec<SocketAddr>,
    connections: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    answering: Option<JoinHandle<()>>,
    datagrams: Vec<SocketAddr>,
    unix: Vec<UnixListener>,
    unix_datagrams: UnixDatagram,
}

impl Listeners {
    /// Listens on free ports, at sockets in `folder`, and at an abstract name.
    pub(crate) fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let mut streams = Vec::new();
        let mut datagrams = Vec::new();
        let mut addresses = vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        addresses.extend(own_address());
        for address in addresses {
            // A host without one of these has nothing to reach there.
            if let Ok(listener) = TcpListener::bind((address, 0)) {
                listener.set_nonblocking(true)?;
                streams.push(listener);
            }
            if let Ok(socket) = UdpSocket::bind((address, 0)) {
                socket.set_nonblocking(true)?;
                datagrams.push(socket);
            }
        }
        let unix = vec![
            UnixListener::bind(folder.join("socket"))?,
            UnixListener::bind_addr(&UnixAddress::from_abstract_name(name)?)?,
        ];
        for listener in &unix {
            listener.set_nonblocking(true)?;
        }
        let unix_datagrams = UnixDatagram::bind(folder.join("log"))?;
        unix_datagrams.set_nonblocking(true)?;
        let addresses = streams.iter().map(TcpListener::local_addr);
        let addresses = addresses.collect::<io::Result<_>>()?;
        let datagram_addresses = datagrams.iter().map(UdpSocket::local_addr);
        let datagram_addresses = datagram_addresses.collect::<io::Result<_>>()?;
        let connections = Arc::<Mutex<Vec<String>>>::default();
        let over = Arc::<AtomicBool>::default();
        let answering = {
            let (connections, over) = (Arc::clone(&connections), Arc::clone(&over));
            std::thread::spawn(move || answer(&streams, &datagrams, &connections, &over))
        };
        Ok(Self {
            streams: addresses,
            connections,
            over,
            answering: Some(answering),
            datagrams: datagram_addresses,
            unix,
            unix_datagrams,
        })
    }

    /// Where connections can be made.
    pub(crate) fn streams(&self) -> Vec<SocketAddr> {
        let mut addresses = self.streams.clone();
        if let Some(first) = addresses.first() {
            // The host's own address in other words.
            addresses.push((Ipv4Addr::UNSPECIFIED, first.port()).into());
        }
        addresses
    }

    /// Where datagrams can be sent.
    pub(crate) fn datagrams(&self) -> Vec<SocketAddr> {
        self.datagrams.clone()
    }

    /// What arrived since the last look.
    pub(crate) fn heard(&self) -> Vec<String> {
        let mut heard = match self.connections.lock() {
            Ok(mut connections) => std::mem::take(&mut *connections),
            Err(broken) => std::mem::take(&mut *broken.into_inner()),
        };
        for listener in &self.unix {
            while listener.accept().is_ok() {
                heard.push("a connection reached a unix socket".to_owned());
            }
        }
        while self.unix_datagrams.recv(&mut [0; 512]).is_ok() {
            heard.push("a datagram reached a unix socket".to_owned());
        }
        heard
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(answering) = self.answering.take() {
            let _ = answering.join();
        }
    }
}

/// Notes and answers connections and datagrams until it is over.
fn answer(
    streams: &[TcpListener],
    datagrams: &[UdpSocket],
    connections: &Mutex<Vec<String>>,
    over: &AtomicBool,
) {
    while !over.load(Ordering::Relaxed) {
        let streams_ready = streams
            .iter()
            .map(|stream| PollFd::new(stream, PollFlags::IN));
        let datagrams_ready = datagrams
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN));
        let mut ready: Vec<_> = streams_ready.chain(datagrams_ready).collect();
        let _ = poll(&mut ready, Some(&TICK));
        for socket in datagrams {
            while let Ok((length, from)) = socket.recv_from(&mut [0; 512]) {
                if let Ok(mut connections) = connections.lock() {
                    connections.push(format!("a datagram of {length} bytes came from {from}"));
                }
                let _ = socket.send_to(ANSWER, from);
            }
        }
        for listener in streams {
            while let Ok((mut connection, from)) = listener.accept() {
                let to = listener.local_addr().map(|to| to.to_string());
                let to = to.unwrap_or_else(|_| "the host".to_owned());
                if let Ok(mut connections) = connections.lock() {
                    connections.push(format!("a connection from {from} reached {to}"));
                }
                let _ = connection.write_all(ANSWER);
            }
        }
    }
}

/// The address that this host has in its network. Nothing is sent: connecting
/// a datagram socket only chooses a route.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
