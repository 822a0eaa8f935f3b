//! A resolver and a proxy without any rule: what the control of a probe has where a
//! sandbox may have its own, so that the same step succeeds where nothing guards.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often is looked whether nobody needs an answer any more.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// How long one end of a connection may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest request, in bytes.
const REQUEST_MAX: usize = 4096;
/// Where resolvers listen.
const PORT: u16 = 53;
/// Who answers names, one a line (resolv.conf(5)).
const RESOLVERS: &str = "/etc/resolv.conf";

/// Both, and what was asked.
#[derive(Debug)]
pub(crate) struct Open {
    proxy: SocketAddr,
    resolver: SocketAddr,
    is_the_machines: bool,
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    answering: Vec<JoinHandle<()>>,
}

impl Open {
    /// Listens on loopback; for names, where the machine asks for them, if nobody
    /// does so there. Only questions for names below `marker` are noted.
    pub(crate) fn listen(marker: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let the_machines = of_the_machine();
        let is_the_machines = the_machines.is_some();
        let socket = match the_machines {
            Some(socket) => socket,
            None => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
        };
        socket.set_nonblocking(true)?;
        let (proxy, resolver) = (listener.local_addr()?, socket.local_addr()?);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let over = Arc::<AtomicBool>::default();
        let passing = {
            let over = Arc::clone(&over);
            std::thread::spawn(move || pass_on(&listener, &over))
        };
        let naming = {
            let (asked, over) = (Arc::clone(&asked), Arc::clone(&over));
            let marker = marker.to_owned();
            std::thread::spawn(move || name(&socket, &marker, &asked, &over))
        };
        Ok(Self {
            proxy,
            resolver,
            is_the_machines,
            asked,
            over,
            answering: vec![passing, naming],
        })
    }

    pub(crate) fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    pub(crate) fn resolver(&self) -> SocketAddr {
        self.resolver
    }

    /// Whether the machine itself asks this resolver, and so any sandbox does that
    /// asks anybody.
    pub(crate) fn is_the_machines(&self) -> bool {
        self.is_the_machines
    }

    /// What was asked since the last look.
    pub(crate) fn heard(&self) -> Vec<String> {
        let mut asked = self.asked.lock();
        let asked = asked.as_mut().map(|asked| std::mem::take(&mut **asked));
        asked.unwrap_or_default()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for answering in self.answering.drain(..) {
            let _ = answering.join();
        }
    }
}

/// The place where the machine asks for names, if it is this machine and free.
fn of_the_machine() -> Option<UdpSocket> {
    let resolvers = std::fs::read_to_string(RESOLVERS).ok()?;
    let mut words = resolvers
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver "));
    words.find_map(|address| {
        let address: Ipv4Addr = address.trim().parse().ok()?;
        UdpSocket::bind((address, PORT)).ok()
    })
}

/// Says of every name that it is loopback, until it is over.
fn name(socket: &UdpSocket, marker: &str, asked: &Mutex<Vec<String>>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&TICK));
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let Some((name, answer)) = question.get(..length).and_then(answer) else {
                continue;
            };
            if let Ok(mut asked) = asked.lock()
                && name.contains(marker)
            {
                asked.push(format!("a resolver was asked for {name}"));
            }
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The name in a question of DNS, and the answer (RFC 1035, 4.1).
fn answer(question: &[u8]) -> Option<(String, Vec<u8>)> {
    const HEADER: usize = 12;
    const ADDRESS: [u8; 2] = [0, 1];
    let mut name = String::new();
    let mut rest = question.get(HEADER..)?;
    loop {
        let (length, after) = rest.split_first()?;
        if *length == 0 {
            rest = after;
            break;
        }
        let label = after.get(..usize::from(*length))?;
        name.push_str(&String::from_utf8_lossy(label));
        name.push('.');
        rest = after.get(usize::from(*length)..)?;
    }
    let is_for_address = rest.get(..2)? == ADDRESS;
    let asked = question.get(HEADER..question.len() - rest.len() + 4)?;
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_for_address), 0, 0, 0, 0]);
    answer.extend(asked);
    if is_for_address {
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    Some((name, answer))
}

/// Passes requests on to whatever they name, until it is over.
fn pass_on(listener: &TcpListener, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&TICK));
        while let Ok((connection, _)) = listener.accept() {
            // Whoever asked is told nothing and has to go on without.
            let _ = relay(connection);
        }
    }
}

/// Reads one request, sends it to its host, and brings back the answer.
fn relay(mut asking: TcpStream) -> io::Result<()> {
    asking.set_nonblocking(false)?;
    asking.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; REQUEST_MAX];
    let length = asking.read(&mut buffer)?;
    let request = buffer.get(..length).unwrap_or_default();
    let text = String::from_utf8_lossy(request);
    let named = text.split(' ').nth(1).unwrap_or_default();
    let (host, port) = host_in(named).ok_or(io::ErrorKind::InvalidInput)?;
    let address = address(&host).ok_or(io::ErrorKind::NotFound)?;
    let mut reached = TcpStream::connect_timeout(&(address, port).into(), PATIENCE)?;
    reached.set_read_timeout(Some(PATIENCE))?;
    reached.write_all(request)?;
    let length = reached.read(&mut buffer)?;
    asking.write_all(buffer.get(..length).unwrap_or_default())
}

/// The host in a URL or `host:port`, read as kindly as any program has ever read
/// one: what it is called after the last `@`, before `#` and a NUL, with percent
/// signs decoded and dots at the end dropped.
fn host_in(named: &str) -> Option<(String, u16)> {
    let named = named.strip_prefix("http://").unwrap_or(named);
    let named = named.split('/').next()?;
    let (host, port) = named.rsplit_once(':')?;
    let host = host.rsplit('@').next()?;
    let host = host.split(['#', '\\']).next()?;
    let host = host.split("%00").next()?;
    let mut plain = String::new();
    let mut rest = host;
    while let Some((before, after)) = rest.split_once('%') {
        let (code, after) = after.split_at_checked(2)?;
        plain.push_str(before);
        plain.push(char::from(u8::from_str_radix(code, 16).ok()?));
        rest = after;
    }
    plain.push_str(rest);
    let plain = plain.trim_end_matches('.');
    let plain = plain.trim_start_matches('[').trim_end_matches(']');
    Some((plain.to_ascii_lowercase(), port.parse().ok()?))
}

/// What a host is, as inet_aton(3) reads numbers: up to four parts, of which the
/// last fills what is left, each decimal, octal or hexadecimal.
fn address(host: &str) -> Option<IpAddr> {
    if host == "localhost" {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return Some(address.to_canonical());
    }
    let number = |part: &str| match part.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u32::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    };
    let parts: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last().filter(|_| parts.len() <= 4)?;
    let shifts = [24, 16, 8].into_iter();
    let bits = first
        .iter()
        .zip(shifts)
        .fold(*last, |bits, (part, shift)| bits | part << shift);
    Some(Ipv4Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_every_way_that_c_libraries_read_it() {
        for form in [
            "2130706433",
            "0177.1",
            "127.1",
            "0x7f.1",
            "127.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            assert_eq!(address(form), Some(Ipv4Addr::LOCALHOST.into()), "{form}");
        }
        assert_eq!(address("example.com"), None);
        assert_eq!(address("1.2.3.4.5"), None);
    }

    #[test]
    fn every_form_that_any_program_takes_for_a_host_is_taken_for_it() {
        for form in [
            "http://LOCALHOST.:1/",
            "localhost..:1",
            "%6cocalhost:1",
            "ok.test@localhost:1",
            "localhost#.ok.test:1",
            "localhost%00.ok.test:1",
            "ok.test\\@localhost:1",
        ] {
            let found = host_in(form);
            assert_eq!(found, Some(("localhost".to_owned(), 1)), "{form}");
        }
    }

    #[test]
    fn a_question_for_a_name_is_answered_with_loopback_and_another_with_nothing() {
        let mut question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02ab\x01c\0\0\x01\0\x01".to_vec();
        let (name, found) = answer(&question).unwrap();
        assert_eq!(name, "ab.c.");
        assert_eq!(found.get(..2), Some(&[0x12, 0x34][..]));
        assert!(found.ends_with(&[127, 0, 0, 1]));
        let kind = question.len() - 3;
        question[kind] = 28;
        assert_eq!(answer(&question).unwrap().1.get(7), Some(&0));
        assert_eq!(answer(&question[..14]), None);
    }
}
