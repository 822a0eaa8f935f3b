use std::{future::Future, io, net::SocketAddr, os::fd::BorrowedFd, sync::Arc, time::Duration};

use stockade_approval::Ask;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};

use crate::{
    authority::CertificateAuthority,
    connection::{self, Shared},
    dns::{self, FakeAddresses},
    error::GatewayError,
    exchange::{Court, Gatekeeper},
    hook::{Adviser, Hooks},
    mcp::McpServers,
    meter::Meter,
    outbound::OwnSources,
    policy::Policy,
    record::{self, EventSink, Record},
    rules::LiveRules,
    secrets::{LiveSecrets, SecretSource},
    settings::Settings,
    upstream::UpstreamAccess,
};

/// Connections of one task at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 512;
/// So that a lack of descriptors does not spin.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
/// For the last outcomes to reach the record.
const LAST_OUTCOMES: Duration = Duration::from_secs(5);

/// Where a captured connection wanted to go.
pub trait OriginalDestination: Send + Sync {
    /// The address that the client inside dialled to get the accepted `socket`. An error
    /// means that it dialled the listener itself; the connection is closed.
    fn of(&self, socket: BorrowedFd<'_>) -> io::Result<SocketAddr>;
}

/// Sockets that were bound inside the sandbox's network namespace.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Where all TCP from inside is redirected to.
    pub tcp: Vec<std::net::TcpListener>,
    /// DNS over UDP.
    pub dns_udp: Vec<std::net::UdpSocket>,
    /// DNS over TCP.
    pub dns_tcp: Vec<std::net::TcpListener>,
}

/// One task's gateway, ready to serve.
pub struct Gateway {
    /// What the supervisor decided.
    pub settings: Settings,
    /// The rules that are in force; they may change meanwhile.
    pub rules: LiveRules,
    /// The secrets that may be used; they may be taken back meanwhile.
    pub secrets: LiveSecrets,
    /// Who knows their values.
    pub source: Arc<dyn SecretSource>,
    /// Who knows the fingerprints of the repository's own files.
    pub sources: Arc<dyn OwnSources>,
    /// Who asks a person.
    pub ask: Arc<dyn Ask>,
    /// The task's certificate authority.
    pub authority: CertificateAuthority,
    /// Sockets from inside.
    pub listeners: Listeners,
    /// Sockets of further networks of the task, served from when they come.
    pub more: mpsc::UnboundedReceiver<Listeners>,
    /// How upstreams are reached.
    pub upstream: UpstreamAccess,
    /// Where events go.
    pub sink: Arc<dyn EventSink>,
    /// Who knows prices and caps.
    pub meter: Arc<dyn Meter>,
    /// Who knows the task's policy.
    pub policy: Arc<dyn Policy>,
    /// Who answers agents' hooks.
    pub adviser: Arc<dyn Adviser>,
    /// Who holds the task's MCP servers.
    pub mcp: Arc<dyn McpServers>,
    /// How a connection's destination is told.
    pub original_destination: Arc<dyn OriginalDestination>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Gateway")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Serves until `stop` resolves; then cuts every connection, waits a few
    /// seconds for outcomes to be recorded, and returns.
    ///
    /// Failures of single connections end those only. It must run inside a
    /// tokio runtime with I/O and time enabled.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), GatewayError> {
        let names = Arc::new(FakeAddresses::default());
        let (record, outcomes) = Record::new(Arc::clone(&self.sink));
        let gatekeeper = Gatekeeper::new(
            self.settings,
            Court {
                rules: self.rules,
                secrets: self.secrets,
                source: self.source,
                sources: self.sources,
                ask: self.ask,
                meter: Arc::clone(&self.meter),
                policy: self.policy,
            },
            &Arc::new(self.upstream),
            record,
        )?;
        let shared = Arc::new(Shared {
            gatekeeper,
            authority: self.authority,
            names: Arc::clone(&names),
            hooks: Hooks::new(self.adviser),
            mcp: self.mcp,
            original_destination: self.original_destination,
        });
        let mut servers = Servers {
            running: JoinSet::new(),
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            shared,
            names,
        };
        servers.serve(self.listeners)?;
        let writer = tokio::spawn(record::write_outcomes(self.sink, self.meter, outcomes));
        let mut more = self.more;
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(listeners) = more.recv() => servers.serve(listeners)?,
            }
        }
        servers.shut_down().await;
        // It ends when the last connection has let go of the record.
        drop(timeout(LAST_OUTCOMES, writer).await);
        Ok(())
    }
}

/// What serves the sockets of a task's networks.
struct Servers {
    running: JoinSet<()>,
    permits: Arc<Semaphore>,
    shared: Arc<Shared>,
    names: Arc<FakeAddresses>,
}

impl Servers {
    fn serve(&mut self, listeners: Listeners) -> Result<(), GatewayError> {
        let names = || Arc::clone(&self.names);
        for socket in listeners.dns_udp {
            self.running.spawn(dns::serve_udp(udp(socket)?, names()));
        }
        for listener in listeners.dns_tcp {
            let listener = tcp(listener, "DNS over TCP")?;
            self.running.spawn(dns::serve_tcp(listener, names()));
        }
        for listener in listeners.tcp {
            let listener = tcp(listener, "TCP")?;
            let (shared, permits) = (Arc::clone(&self.shared), Arc::clone(&self.permits));
            self.running.spawn(accept(listener, shared, permits));
        }
        Ok(())
    }

    /// Cuts every connection.
    async fn shut_down(mut self) {
        self.running.shutdown().await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, permits: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    connection::serve(stream, shared).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
        }
    }
}

fn tcp(listener: std::net::TcpListener, which: &'static str) -> Result<TcpListener, GatewayError> {
    listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|source| GatewayError::Listener { which, source })
}

fn udp(socket: std::net::UdpSocket) -> Result<UdpSocket, GatewayError> {
    socket
        .set_nonblocking(true)
        .and_then(|()| UdpSocket::from_std(socket))
        .map_err(|source| GatewayError::Listener {
            which: "DNS over UDP",
            source,
        })
}
