//! The scripted model server: HTTP/1.1 over a listener of the caller's, with
//! or without TLS.
//!
//! It keeps no state but its [`Transcript`]: which turn a request gets is told
//! from the history in the request itself.

mod http_service;
mod route;
mod run;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use stockade_types::Redacted;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

pub use self::run::{RunError, RunOptions, TlsFiles, run_from_options};
use crate::{
    script::Script,
    transcript::{Canary, Transcript},
};

/// The most connections at a time; more wait in the listener's queue.
const CONNECTIONS_MAX: usize = 512;
/// The most bytes of a request's body unless [`ServerOptions`] says otherwise.
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// How long a client may take for its TLS handshake and its headers.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// How long to wait when the process has no descriptor left to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the server does not run (any more).
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No address to listen on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("cannot accept connections any more: {0}")]
    Accept(std::io::Error),
    /// The script still has variables.
    #[error("the script `{script}` needs values for its variables first: {}", variables.join(", "))]
    OpenVariables {
        /// The script.
        script: String,
        /// What is missing.
        variables: Vec<String>,
    },
}

/// What to play, and to whom.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What to play.
    pub script: Script,
    /// The only key that is accepted, in whichever header the API has it.
    pub key: Redacted<String>,
    /// Texts that must not arrive.
    pub canaries: Vec<Canary>,
    /// Where the exchanges are written down.
    pub transcript: Transcript,
    /// The most bytes of a request's body.
    pub body_bytes_max: usize,
    /// Serve HTTPS with this configuration; HTTP if absent.
    pub tls: Option<Arc<ServerConfig>>,
}

impl ServerOptions {
    /// Plays `script` over HTTP to whoever has `key`.
    pub fn new(script: Script, key: &str) -> Self {
        Self {
            script,
            key: Redacted::new(key.to_owned()),
            canaries: Vec::new(),
            transcript: Transcript::default(),
            body_bytes_max: BODY_BYTES_MAX,
            tls: None,
        }
    }
}

/// What the connections share.
struct State {
    options: ServerOptions,
    serial: AtomicU64,
}

/// Serves until the listener breaks. Dropping the future closes every
/// connection.
pub async fn serve(listener: TcpListener, options: ServerOptions) -> Result<(), ServerError> {
    if !options.script.variables().is_empty() {
        return Err(ServerError::OpenVariables {
            script: options.script.name().to_owned(),
            variables: options.script.variables().to_vec(),
        });
    }
    let acceptor = options.tls.clone().map(TlsAcceptor::from);
    let state = Arc::new(State {
        options,
        serial: AtomicU64::new(0),
    });
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&state)));
            }
            Err(error) if is_passing(&error) => tokio::time::sleep(ACCEPT_PAUSE).await,
            Err(error) => return Err(ServerError::Accept(error)),
        }
    }
}

/// Whether a failed accept says nothing about the next one.
fn is_passing(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(
            Errno::CONNABORTED
                | Errno::INTR
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOBUFS
                | Errno::NOMEM
        )
    )
}

async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    // A latency measure only; nothing is lost where it is not to be had.
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => requests(stream, state).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(HEADER_TIME, acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = handshake {
                requests(stream, state).await;
            }
        }
    }
}

async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let service = service_fn(|request| http_service::answer(Arc::clone(&state), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off concerns only itself; what it asked for is in
    // the transcript.
    let _ = connection.await;
}

/// A server on a loopback port of its own, stopped when dropped.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    transcript: Transcript,
    secure: bool,
    task: JoinHandle<Result<(), ServerError>>,
}

impl ServerHandle {
    /// Starts a server on `127.0.0.1` and a free port.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let failed = |source| ServerError::Listen {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let transcript = options.transcript.clone();
        let secure = options.tls.is_some();
        let task = tokio::spawn(serve(listener, options));
        Ok(Self {
            address,
            transcript,
            secure,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for clients, without a path.
    pub fn base_url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// What has arrived so far.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
