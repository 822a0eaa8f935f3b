use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    address,
    error::{GatewayError, ResolveError},
    resolver::{Resolver, SystemResolver},
    rules::LiveRules,
    settings::{Scheme, Upstream, UpstreamHost},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const POOL_IDLE: Duration = Duration::from_mins(1);
const POOL_IDLE_MAX: usize = 8;
/// Addresses tried for one name.
const ATTEMPTS_MAX: usize = 4;

/// The root certificates that this host trusts, read once; call it before the
/// process is sealed.
pub fn system_roots() -> Result<RootCertStore, GatewayError> {
    let loaded = system_certificates();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(loaded.certs);
    if usable == 0 {
        let errors: Vec<_> = loaded
            .errors
            .iter()
            .take(3)
            .map(ToString::to_string)
            .collect();
        return Err(GatewayError::Roots {
            detail: errors.join("; "),
        });
    }
    Ok(roots)
}

/// The folder of certificates has what the bundle has, by two names each
/// (`update-ca-certificates(8)`); reading both takes ten times as long. What the
/// user chose by a variable is read as `OpenSSL` reads it.
fn system_certificates() -> CertificateResult {
    let is_chosen = [openssl_probe::ENV_CERT_FILE, openssl_probe::ENV_CERT_DIR]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    if !is_chosen && let Some(bundle) = openssl_probe::probe().cert_file {
        let loaded = load_certs_from_paths(Some(&bundle), None);
        if !loaded.certs.is_empty() {
            return loaded;
        }
    }
    load_native_certs()
}

/// Everything needed to reach an upstream, gathered before the process is
/// sealed.
pub struct UpstreamAccess {
    /// How names become addresses.
    pub resolver: Arc<dyn Resolver>,
    /// Whom to believe about an upstream's identity; of nobody if the host trusts
    /// nobody.
    pub roots: RootCertStore,
    /// This machine's own addresses, which no name may lead to.
    pub own_addresses: Vec<IpAddr>,
}

impl std::fmt::Debug for UpstreamAccess {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("UpstreamAccess")
            .finish_non_exhaustive()
    }
}

impl UpstreamAccess {
    /// Resolver, roots and addresses of this host.
    pub fn from_host() -> Result<Self, GatewayError> {
        Ok(Self {
            resolver: Arc::new(SystemResolver::new()?),
            // What is reached without TLS, or not at all, needs none.
            roots: system_roots().unwrap_or_else(|_| RootCertStore::empty()),
            own_addresses: address::own_addresses()?,
        })
    }
}

/// A client for one route: its connections carry one key and are shared with
/// nothing else.
pub(crate) type UpstreamClient = Client<Dialer, Full<Bytes>>;

pub(crate) fn client(dialer: Dialer) -> UpstreamClient {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_IDLE_MAX)
        .http1_max_buf_size(256 * 1024)
        .http2_adaptive_window(true)
        .http2_max_header_list_size(64 * 1024);
    builder.build(dialer)
}

/// Why an upstream could not be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("{host} resolves only to addresses that must not be dialled ({reason})")]
    Refused { host: String, reason: &'static str },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("cannot connect to {host}: {source}")]
    Connect { host: String, source: io::Error },
    #[error(
        "this machine trusts no authority that could vouch for {host}: install its package \
         ca-certificates, or name a file of certificates in SSL_CERT_FILE"
    )]
    NoRoots { host: String },
    #[error("TLS with {host} failed: {source}")]
    Tls { host: String, source: io::Error },
    #[error("{host} is not a name that a certificate can be checked for")]
    Name { host: String },
}

/// What every connection of a task to the outside needs.
#[derive(Clone)]
pub(crate) struct Connector {
    access: Arc<UpstreamAccess>,
    tls: Arc<ClientConfig>,
    rules: LiveRules,
}

impl Connector {
    pub(crate) fn new(access: Arc<UpstreamAccess>, rules: LiveRules) -> Result<Self, GatewayError> {
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| GatewayError::Tls {
                name: "every upstream".to_owned(),
                source,
            })?
            .with_root_certificates(access.roots.clone())
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            access,
            tls: Arc::new(tls),
            rules,
        })
    }

    /// What connects to `upstream`, and to nothing else.
    pub(crate) fn to(&self, upstream: Upstream) -> Dialer {
        Dialer {
            upstream: Arc::new(upstream),
            connector: self.clone(),
        }
    }

    /// Why `address`, which lies in a network that a rule names, must not be
    /// dialled all the same.
    pub(crate) fn refusal_in_network(&self, address: IpAddr) -> Option<&'static str> {
        address::refusal_in_network(address, &self.access.own_addresses)
    }

    fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let denied = || {
            let denied = self.rules.now().denies_address(address);
            denied.then_some("an address that a rule of this task denies")
        };
        address::refusal(address, &self.access.own_addresses).or_else(denied)
    }
}

/// Connects to one upstream: resolves, vets, and dials exactly a vetted
/// address.
#[derive(Clone)]
pub(crate) struct Dialer {
    upstream: Arc<Upstream>,
    connector: Connector,
}

impl Dialer {
    async fn connect(self) -> Result<UpstreamStream, DialError> {
        let host = || self.upstream.host.to_string();
        let tcp = self.dial(self.addresses().await?).await?;
        // Small requests must not wait for a full segment.
        let prepared = tcp.set_nodelay(true).and_then(|()| tcp.peer_addr());
        let dialled = prepared.map_err(|source| DialError::Connect {
            host: host(),
            source,
        })?;
        if self.upstream.scheme == Scheme::Http {
            return Ok(UpstreamStream {
                io: TokioIo::new(Box::new(tcp)),
                h2: false,
                dialled,
            });
        }
        if self.connector.access.roots.is_empty() {
            return Err(DialError::NoRoots { host: host() });
        }
        let name = match &self.upstream.host {
            UpstreamHost::Address(address) => ServerName::IpAddress((*address).into()),
            UpstreamHost::Name(name) => ServerName::try_from(name.to_string())
                .map_err(|_| DialError::Name { host: host() })?,
        };
        let handshake = TlsConnector::from(Arc::clone(&self.connector.tls)).connect(name, tcp);
        let stream = timeout(CONNECT_TIMEOUT, handshake)
            .await
            .unwrap_or_else(|elapsed| Err(elapsed.into()))
            .map_err(|source| DialError::Tls {
                host: host(),
                source,
            })?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(UpstreamStream {
            io: TokioIo::new(Box::new(stream)),
            h2,
            dialled,
        })
    }

    /// The addresses that may be dialled. One that the user wrote, and
    /// `localhost`, are taken as meant; what DNS says must be public.
    async fn addresses(&self) -> Result<Vec<IpAddr>, DialError> {
        let name = match &self.upstream.host {
            UpstreamHost::Address(address) => return Ok(vec![*address]),
            UpstreamHost::Name(_) if self.upstream.host.is_loopback() => {
                return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
            }
            UpstreamHost::Name(name) => name,
        };
        let found = timeout(
            CONNECT_TIMEOUT,
            self.connector.access.resolver.resolve(name),
        )
        .await;
        let found = found.unwrap_or_else(|_| {
            Err(ResolveError::Lookup {
                host: name.to_string(),
                detail: "no answer in time".into(),
            })
        })?;
        let mut refused = None;
        let mut vetted = found;
        vetted.retain(|address| {
            let reason = self.connector.refusal(*address);
            refused = refused.or(reason);
            reason.is_none()
        });
        vetted.truncate(ATTEMPTS_MAX);
        match (vetted.is_empty(), refused) {
            (false, _) => Ok(vetted),
            (true, Some(reason)) => Err(DialError::Refused {
                host: name.to_string(),
                reason,
            }),
            (true, None) => Err(DialError::NoAddress {
                host: name.to_string(),
            }),
        }
    }

    async fn dial(&self, addresses: Vec<IpAddr>) -> Result<TcpStream, DialError> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            let connect = TcpStream::connect(SocketAddr::new(address, self.upstream.port));
            match timeout(CONNECT_TIMEOUT, connect).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(source)) => last = source,
                Err(elapsed) => last = elapsed.into(),
            }
        }
        Err(DialError::Connect {
            host: self.upstream.host.to_string(),
            source: last,
        })
    }
}

impl tower_service::Service<Uri> for Dialer {
    type Response = UpstreamStream;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<UpstreamStream, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    /// The URL is not looked at: a dialer knows one upstream only.
    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to an upstream, with or without TLS.
pub(crate) struct UpstreamStream {
    io: TokioIo<Box<dyn Duplex>>,
    h2: bool,
    dialled: SocketAddr,
}

/// The address that a reply came from, among its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialled(pub(crate) SocketAddr);

impl Connection for UpstreamStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(Dialled(self.dialled));
        if self.h2 {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl Read for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for UpstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use stockade_types::HostName;

    use super::*;

    struct Fixed(Vec<IpAddr>);

    impl Resolver for Fixed {
        fn resolve<'a>(
            &'a self,
            _: &'a HostName,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send + 'a>> {
            Box::pin(async { Ok(self.0.clone()) })
        }
    }

    async fn addresses(url: &str, answer: &[&str]) -> Result<Vec<IpAddr>, DialError> {
        let answer = answer.iter().map(|text| text.parse().unwrap()).collect();
        let access = UpstreamAccess {
            resolver: Arc::new(Fixed(answer)),
            roots: RootCertStore::empty(),
            own_addresses: vec!["1.1.1.9".parse().unwrap()],
        };
        let rules = LiveRules::new(&[], &["1.0.0.0/24".parse().unwrap()]);
        Connector::new(Arc::new(access), rules)
            .unwrap()
            .to(url.parse().unwrap())
            .addresses()
            .await
    }

    #[tokio::test]
    async fn of_a_mixed_answer_only_public_addresses_are_dialled() {
        let answer = [
            "127.0.0.1",
            "169.254.169.254",
            "1.1.1.1",
            "1.1.1.9",
            "::ffff:10.0.0.1",
            "1.0.0.1",
        ];
        let kept = addresses("https://api.example.com", &answer).await.unwrap();
        assert_eq!(kept, ["1.1.1.1".parse::<IpAddr>().unwrap()]);
    }

    /// Answers in turn.
    struct Changing(Mutex<Vec<IpAddr>>);

    impl Resolver for Changing {
        fn resolve<'a>(
            &'a self,
            _: &'a HostName,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send + 'a>> {
            let next = self.0.lock().unwrap().remove(0);
            Box::pin(async move { Ok(vec![next]) })
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inwards_the_second_time_is_refused_then() {
        let answers = ["1.1.1.1", "127.0.0.1"].map(|text| text.parse().unwrap());
        let access = UpstreamAccess {
            resolver: Arc::new(Changing(Mutex::new(answers.to_vec()))),
            roots: RootCertStore::empty(),
            own_addresses: Vec::new(),
        };
        let dialer = Connector::new(Arc::new(access), LiveRules::default())
            .unwrap()
            .to("https://rebinding.test".parse().unwrap());
        assert_eq!(dialer.addresses().await.unwrap(), answers[..1]);
        let second = dialer.addresses().await.unwrap_err();
        assert!(matches!(second, DialError::Refused { .. }), "{second}");
    }

    #[tokio::test]
    async fn a_name_that_leads_only_inwards_is_refused() {
        let refused = addresses("https://api.example.com", &["10.0.0.1"])
            .await
            .unwrap_err();
        assert!(matches!(
            refused,
            DialError::Refused {
                reason: "a private address",
                ..
            }
        ));
        let empty = addresses("https://api.example.com", &[]).await.unwrap_err();
        assert!(matches!(empty, DialError::NoAddress { .. }));
    }

    #[tokio::test]
    async fn a_literal_and_localhost_are_taken_as_the_user_meant_them() {
        let literal = addresses("https://10.1.2.3:8443", &[]).await.unwrap();
        assert_eq!(literal, ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        let local = addresses("http://localhost:1", &["8.8.8.8"]).await.unwrap();
        assert!(local.iter().all(IpAddr::is_loopback));
    }
}
