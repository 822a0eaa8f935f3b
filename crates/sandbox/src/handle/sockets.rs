//! Sockets in the network of a sandbox that runs.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    net::{connect, sockopt::socket_error},
};

use super::fresh::{Line, lock};
use crate::anchor::{Ask, Told};

/// How long a server inside may take to accept a connection.
const ACCEPTED: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// Connects to servers in the network of a task's first sandbox; clones
/// connect to the same. Nobody inside takes part: the anchor makes the sockets.
#[derive(Clone, Debug)]
pub struct InnerSockets(Arc<Mutex<Line>>);

impl InnerSockets {
    pub(super) fn new(line: Arc<Mutex<Line>>) -> Self {
        Self(line)
    }

    /// Connects to `address` inside. Whatever it is, it is one of the sandbox.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.open(address.ip())?;
        match connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                let mut events = [PollFd::new(&socket, PollFlags::OUT)];
                let ready = loop {
                    match poll(&mut events, Some(&ACCEPTED)) {
                        Err(Errno::INTR) => {}
                        other => break other?,
                    }
                };
                if ready == 0 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                socket_error(&socket)??;
            }
            Err(error) => return Err(error.into()),
        }
        let flags = fcntl_getfl(&socket)?;
        fcntl_setfl(&socket, flags - OFlags::NONBLOCK)?;
        Ok(TcpStream::from(socket))
    }

    /// A socket of the family of `address` that blocks nobody.
    fn open(&self, address: IpAddr) -> io::Result<OwnedFd> {
        let ask = Ask::Socket {
            v6: address.is_ipv6(),
        };
        let (told, descriptors) = lock(&self.0).ask(&ask)?;
        match (told, <[OwnedFd; 1]>::try_from(descriptors)) {
            (Told::Socket, Ok([socket])) => Ok(socket),
            (Told::NoSocket(reason), _) => Err(io::Error::other(reason)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
