//! The client: what runs inside a task, and on the host through a peer.

use std::{
    io::{self, BufReader, Write},
    net::{TcpStream, ToSocketAddrs},
    path::Path,
    sync::{Arc, Barrier},
    time::{Duration, Instant, SystemTime},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::{
    http::{Head, garbled, send},
    job::{Job, LARGE, MARK, MODEL, Told, Way, Work},
};

/// Where programs inside find whom to believe.
const TRUST: &str = "SSL_CERT_FILE";
/// Where an agent finds its key.
const KEY: &str = "ANTHROPIC_API_KEY";
/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;
/// Longer than any pause.
const PATIENCE: Duration = Duration::from_mins(2);

/// Does what `text` says, and prints what came of it.
pub(crate) fn run(text: &str) -> io::Result<()> {
    let client = Client::new(serde_json::from_str(text)?)?;
    let started = Instant::now();
    let mut told = client.work()?;
    told.micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let text = serde_json::to_vec(&told)?;
    send(&mut io::stdout().lock(), &text)
}

struct Client {
    job: Job,
    tls: Arc<ClientConfig>,
}

/// A connection to a host.
struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    host: String,
}

impl Client {
    fn new(job: Job) -> io::Result<Self> {
        let by_environment = std::env::var_os(TRUST).map(Into::into);
        let trust = job.trust.clone().or(by_environment);
        let trust = trust.ok_or_else(|| garbled("nobody is to be believed"))?;
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots(&trust)?)
            .with_no_client_auth();
        // Who comes anew is not remembered.
        tls.resumption = Resumption::disabled();
        Ok(Self {
            job,
            tls: Arc::new(tls),
        })
    }

    fn work(&self) -> io::Result<Told> {
        match &self.job.work {
            Work::KeptAlive {
                connections,
                batches,
                requests,
            } => self.kept_alive(*connections, *batches, requests / connections),
            Work::NewHosts { hosts, batch } => self.new_hosts(hosts, *batch),
            Work::Download => {
                let mut connection = self.connect(&self.job.host)?;
                connection.mark()?;
                connection.get(LARGE)?;
                connection.mark()?;
                Ok(Told::default())
            }
            Work::Events { count } => self.events(*count),
            Work::Spend { requests } => self.spend(*requests),
        }
    }

    fn connect(&self, host: &str) -> io::Result<Connection> {
        let address = match self.job.way {
            Way::Named => (host, 443).to_socket_addrs()?.next(),
            Way::At(address) | Way::Proxy(address, _) => Some(address),
        };
        let address = address.ok_or_else(|| garbled("the name has no address"))?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        if let Way::Proxy(_, port) = self.job.way {
            let ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
            stream.write_all(ask.as_bytes())?;
            // Nothing follows until we begin.
            let head = Head::read(&mut BufReader::new(&stream))?;
            if head.is_none_or(|head| head.second() != "200") {
                return Err(garbled("the proxy does not connect"));
            }
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session =
            ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        let stream = StreamOwned::new(session, stream);
        // Who was told a port does not take the host without it for the same.
        let host = match self.job.way {
            Way::Proxy(_, port) => format!("{host}:{port}"),
            Way::Named | Way::At(_) => host.to_owned(),
        };
        Ok(Connection {
            stream: BufReader::with_capacity(BUFFER, stream),
            host,
        })
    }

    fn kept_alive(&self, connections: u32, batches: u32, requests: u32) -> io::Result<Told> {
        let barrier = Barrier::new(connections as usize);
        let one = |is_first: bool| {
            let begun = self.connect(&self.job.host).and_then(|mut connection| {
                connection.get("/warm")?;
                Ok(connection)
            });
            // Who failed still comes to every meeting.
            let mut state = begun;
            for _ in 0..batches {
                if is_first && let Ok(connection) = &mut state {
                    state = connection.mark().and(state);
                }
                barrier.wait();
                for _ in 0..requests {
                    if let Ok(connection) = &mut state {
                        state = connection.get("/small").and(state);
                    }
                }
                barrier.wait();
            }
            if is_first && let Ok(connection) = &mut state {
                state = connection.mark().and(state);
            }
            state.map(drop)
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..connections)
                .map(|number| scope.spawn(move || one(number == 0)))
                .collect();
            for thread in all {
                thread.join().map_err(|_| garbled("a thread panicked"))??;
            }
            Ok(Told::default())
        })
    }

    fn new_hosts(&self, hosts: &[String], batch: u32) -> io::Result<Told> {
        let mut marks = self.connect(&self.job.host)?;
        marks.get("/warm")?;
        marks.mark()?;
        for hosts in hosts.chunks(batch as usize) {
            for host in hosts {
                self.connect(host)?.get("/small")?;
            }
            marks.mark()?;
        }
        Ok(Told::default())
    }

    fn events(&self, count: u32) -> io::Result<Told> {
        let mut connection = self.connect(&self.job.host)?;
        connection.ask_model(count, true, "events")?;
        let head = connection.head()?;
        let mut told = Told::default();
        head.body(&mut connection.stream, |part| {
            let now = now();
            let text = String::from_utf8_lossy(part);
            for sent in text.split("sent ").skip(1) {
                let digits: String = sent.chars().take_while(char::is_ascii_digit).collect();
                if let Ok(sent) = digits.parse::<u64>() {
                    let delay = now.saturating_sub(sent) / 1_000;
                    told.delays.push(u32::try_from(delay).unwrap_or(u32::MAX));
                }
            }
        })?;
        Ok(told)
    }

    fn spend(&self, requests: u32) -> io::Result<Told> {
        let barrier = Barrier::new(requests as usize);
        let one = |number: u32| {
            let connection = self.connect(&self.job.host);
            barrier.wait();
            let mut connection = connection?;
            connection.ask_model(SPENT_TOKENS, false, &format!("request {number}"))?;
            let head = connection.head()?;
            head.body(&mut connection.stream, |_| ())?;
            Ok::<bool, io::Error>(head.second() == "200")
        };
        let one = &one;
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..requests)
                .map(|number| scope.spawn(move || one(number)))
                .collect();
            let mut told = Told::default();
            for thread in all {
                let passed = thread.join().map_err(|_| garbled("a thread panicked"))??;
                told.passed += u32::from(passed);
                told.refused += u32::from(!passed);
            }
            Ok(told)
        })
    }
}

/// What a request may have the model write: some sixty of them are a dollar.
const SPENT_TOKENS: u32 = 1_000;

impl Connection {
    /// Asks for `path`, which must be there.
    fn get(&mut self, path: &str) -> io::Result<()> {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        send(self.stream.get_mut(), ask.as_bytes())?;
        let head = self.head()?;
        head.body(&mut self.stream, |_| ())?;
        if head.second() == "200" {
            return Ok(());
        }
        Err(garbled(&format!("{path} of {}: {}", self.host, head.first)))
    }

    fn mark(&mut self) -> io::Result<()> {
        self.get(MARK)
    }

    fn head(&mut self) -> io::Result<Head> {
        Head::read(&mut self.stream)?.ok_or_else(|| garbled("the connection ended"))
    }

    fn ask_model(&mut self, tokens: u32, stream: bool, text: &str) -> io::Result<()> {
        let body = serde_json::json!({
            "model": "claude-sonnet-4-5", "max_tokens": tokens, "stream": stream,
            "messages": [{ "role": "user", "content": text }],
        });
        let body = body.to_string();
        let key = std::env::var(KEY).unwrap_or_default();
        let ask = format!(
            "POST {MODEL} HTTP/1.1\r\nHost: {}\r\nx-api-key: {key}\r\n\
             anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        send(self.stream.get_mut(), ask.as_bytes())
    }
}

/// The time of the machine, in nanoseconds; inside it is the same.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

fn roots(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
        roots
            .add(certificate.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    Ok(roots)
}
