//! Ports of a sandbox that programs of this machine can reach, at 127.0.0.1.
//!
//! A connection that is accepted out here is joined to one that the anchor's
//! socket makes in there. Bytes are moved and not read; nobody inside takes
//! part in it, and nothing but the accepted connection is reached from inside.

use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    str::FromStr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stockade_audit::RecorderClient;
use stockade_sandbox::{CAPTURE_PORT, InnerSockets};
use stockade_types::{Event, EventKind};

use crate::error::SupervisorError;

/// Connections of a task at once; more are closed at once.
const CONNECTIONS_MAX: usize = 128;
/// For connections to end, and to be recorded, once everything inside has.
const LAST_OUTCOMES: Duration = Duration::from_secs(2);
/// So that a lack of descriptors does not spin.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
/// Inside, DNS and every captured connection end at these.
const OWN_PORTS: [u16; 2] = [53, CAPTURE_PORT];

/// A port of the sandbox, and where it can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The port at 127.0.0.1 of this machine; 0 takes any that is free.
    pub port: u16,
    /// The port inside.
    pub inside: u16,
}

/// Why a text is no port to publish.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishedError {
    /// It is not a number where one belongs.
    #[error("write a port from 1 to 65535, as in `3000`, or two, as in `8080:3000`")]
    Number,
    /// It names an address.
    #[error("a port is published at 127.0.0.1 only; leave the address out")]
    Address,
    /// It is a port of the sandbox's own network.
    #[error("port {0} inside belongs to the sandbox itself; choose another for the server")]
    Own(u16),
}

impl FromStr for Published {
    type Err = PublishedError;

    /// Reads `[HOST_PORT:]PORT`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.matches(':').count() > 1 || text.contains('.') {
            return Err(PublishedError::Address);
        }
        let (port, inside) = text.split_once(':').unwrap_or((text, text));
        let inside = number(inside).filter(|inside| *inside != 0);
        let published = Self {
            port: number(port).ok_or(PublishedError::Number)?,
            inside: inside.ok_or(PublishedError::Number)?,
        };
        if OWN_PORTS.contains(&published.inside) {
            return Err(PublishedError::Own(published.inside));
        }
        Ok(published)
    }
}

fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

impl fmt::Display for Published {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            0 => write!(formatter, "a free port of 127.0.0.1")?,
            port => write!(formatter, "127.0.0.1:{port}")?,
        }
        write!(formatter, " leads to port {} inside", self.inside)
    }
}

impl Published {
    /// The same for a contract, with who may use it.
    pub(crate) fn in_words(self) -> String {
        format!("{self}, for every program of this machine")
    }
}

/// Ports that were taken out here and are not served yet.
pub(crate) struct Ports(Vec<(Arc<TcpListener>, Published)>);

impl Ports {
    /// Takes them all, or none.
    pub(crate) fn take(published: &[Published]) -> Result<Self, SupervisorError> {
        let take = |published: &Published| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, published.port));
            let taken = listener.and_then(|listener| {
                let port = listener.local_addr()?.port();
                Ok((Arc::new(listener), Published { port, ..*published }))
            });
            taken.map_err(|source| SupervisorError::Port {
                port: published.port,
                inside: published.inside,
                source,
            })
        };
        let taken: Result<_, _> = published.iter().map(take).collect();
        taken.map(Self)
    }

    /// Which they are.
    pub(crate) fn published(&self) -> Vec<Published> {
        self.0.iter().map(|(_, published)| *published).collect()
    }

    /// Joins connections from now on.
    pub(crate) fn serve(
        self,
        sockets: &InnerSockets,
        record: &RecorderClient,
    ) -> Result<Publisher, SupervisorError> {
        let publisher = Publisher {
            record: Arc::new(Mutex::new(Some(record.clone()))),
            listeners: self.0.iter().map(|(taken, _)| Arc::clone(taken)).collect(),
            open: Arc::default(),
            next: Arc::new(AtomicU64::new(1)),
        };
        for (listener, published) in self.0 {
            if !publisher.note(EventKind::Published, json!(published)) {
                let reason = "a published port could not be recorded".to_owned();
                return Err(SupervisorError::Record(reason));
            }
            let (publisher, sockets) = (publisher.clone(), sockets.clone());
            std::thread::spawn(move || {
                loop {
                    match listener.accept() {
                        Ok((stream, _)) => publisher.accept(stream, published, &sockets),
                        // It listens no more.
                        Err(error) if error.kind() == ErrorKind::InvalidInput => return,
                        Err(_) => std::thread::sleep(PAUSE_AFTER_FAILURE),
                    }
                }
            });
        }
        Ok(publisher)
    }
}

/// Joins connections to published ports; clones share its state.
#[derive(Clone)]
pub(crate) struct Publisher {
    /// Gone once the task has ended: nothing is joined that is not recorded.
    record: Arc<Mutex<Option<RecorderClient>>>,
    listeners: Vec<Arc<TcpListener>>,
    open: Arc<Open>,
    /// The number of the next connection, by which its two events are known.
    next: Arc<AtomicU64>,
}

/// Connections that have not ended, as they were accepted.
#[derive(Default)]
struct Open {
    streams: Mutex<Vec<Arc<TcpStream>>>,
    changed: Condvar,
}

impl Publisher {
    /// Accepts no more, cuts every connection, records that, and then nothing.
    pub(crate) fn close(&self) {
        for listener in &self.listeners {
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
        let open = self.open.lock();
        for stream in &*open {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let emptied = |open: &mut Vec<_>| !open.is_empty();
        drop(
            self.open
                .changed
                .wait_timeout_while(open, LAST_OUTCOMES, emptied),
        );
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self, kind: EventKind, body: Value) -> bool {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = record
            .as_ref()
            .map(|record| record.record(&Event::new(kind, body)));
        matches!(recorded, Some(Ok(_)))
    }

    fn accept(&self, outer: TcpStream, published: Published, sockets: &InnerSockets) {
        let Some(place) = Place::take(&self.open, outer) else {
            return;
        };
        let (publisher, sockets) = (self.clone(), sockets.clone());
        std::thread::spawn(move || publisher.join(&place.stream, published, &sockets));
    }

    /// Moves bytes between `outer` and a connection inside until both ends are
    /// done.
    fn join(&self, outer: &TcpStream, published: Published, sockets: &InnerSockets) {
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        let body = json!({
            "request": request, "port": published.port, "inside": published.inside,
        });
        if !self.note(EventKind::InboundConnection, body.clone()) {
            return;
        }
        let mut outcome = body;
        match connect(sockets, published.inside) {
            Ok(inner) => {
                let (received, sent) = exchange(outer, &inner);
                outcome["received"] = json!(received);
                outcome["sent"] = json!(sent);
                outcome["ended"] = json!("complete");
            }
            Err(error) => {
                outcome["ended"] = json!("unanswered");
                outcome["error"] = json!(error.to_string());
            }
        }
        self.note(EventKind::InboundOutcome, outcome);
    }
}

/// A place among the connections of a task.
struct Place {
    open: Arc<Open>,
    stream: Arc<TcpStream>,
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<TcpStream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn take(open: &Arc<Open>, stream: TcpStream) -> Option<Self> {
        let mut streams = open.lock();
        if streams.len() >= CONNECTIONS_MAX {
            return None;
        }
        let stream = Arc::new(stream);
        streams.push(Arc::clone(&stream));
        Some(Self {
            open: Arc::clone(open),
            stream,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let own = |stream: &Arc<TcpStream>| Arc::ptr_eq(stream, &self.stream);
        self.open.lock().retain(|stream| !own(stream));
        self.open.changed.notify_all();
    }
}

/// Servers of today may listen at either of a sandbox's loopback addresses.
fn connect(sockets: &InnerSockets, port: u16) -> std::io::Result<TcpStream> {
    let connected = sockets.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    connected.or_else(|error| {
        let other = sockets.connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
        other.map_err(|_| error)
    })
}

/// Moves bytes both ways until both ends are done; how many went in and out.
fn exchange(outer: &TcpStream, inner: &TcpStream) -> (u64, u64) {
    std::thread::scope(|scope| {
        let inward = scope.spawn(|| pass(outer, inner));
        let sent = pass(inner, outer);
        (inward.join().unwrap_or_default(), sent)
    })
}

/// Passes on what comes from `from`, and its end; how many bytes.
fn pass(mut from: &TcpStream, mut to: &TcpStream) -> u64 {
    let mut buffer = [0; 16 * 1024];
    let mut passed = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return passed;
            }
            Ok(length) if to.write_all(&buffer[..length]).is_ok() => passed += length as u64,
            // Nobody is left on one side.
            Ok(_) | Err(_) => {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return passed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_alone_or_with_another_out_here() {
        let read = |text: &str| text.parse::<Published>().map(|p| (p.port, p.inside));
        assert_eq!(read("3000"), Ok((3000, 3000)));
        assert_eq!(read("8080:3000"), Ok((8080, 3000)));
        assert_eq!(read("0:3000"), Ok((0, 3000)));
        for text in [
            "", "0", "x", "+1", "65536", "3000:", ":3000", "3000:0", "3000:x", " 3000",
        ] {
            assert_eq!(read(text), Err(PublishedError::Number), "{text}");
        }
        for text in ["0.0.0.0:80:80", "::1:80", "127.0.0.1:80"] {
            assert_eq!(read(text), Err(PublishedError::Address), "{text}");
        }
        for port in OWN_PORTS {
            let own = Err(PublishedError::Own(port));
            assert_eq!(read(&format!("8080:{port}")), own);
        }
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let open = Arc::default();
        let take = || Place::take(&open, stream.try_clone().unwrap());
        let places: Vec<_> = std::iter::from_fn(take).collect();
        assert_eq!(places.len(), CONNECTIONS_MAX);
        drop(places);
        assert!(take().is_some());
    }
}
