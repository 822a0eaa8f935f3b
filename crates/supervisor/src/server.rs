//! A server that a person named for their secrets, asked for JSON by a process
//! of its own that ends when it has answered.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{StatusCode, header, request::Builder};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::Value;
use stockade_gateway::{GatewayError, Resolver, Scheme, SystemResolver, Upstream, UpstreamHost};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

const REPLY_MAX: usize = 1 << 20;
const REPLY_WAIT: Duration = Duration::from_secs(20);
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Why a server gave no answer. No message holds what was sent or answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("{host} cannot be reached: {reason}")]
    Connect { host: String, reason: String },
    #[error("{host} does not prove by a certificate that it is trusted ({reason}); {mend}")]
    Untrusted {
        host: String,
        reason: String,
        mend: &'static str,
    },
    #[error("its reply cannot be read: {0}")]
    Reply(String),
    #[error("it does not answer in time")]
    TooLate,
    #[error("{0}")]
    Resolver(GatewayError),
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Where it is, and whom to believe about it. Nothing is read from files once
/// this is there.
pub(crate) struct Server {
    upstream: Upstream,
    resolver: SystemResolver,
    tls: Arc<ClientConfig>,
    mend: &'static str,
}

impl Server {
    /// The server at `upstream`, believed by `roots`; where these do not do,
    /// `mend` says how to name others.
    pub(crate) fn new(
        upstream: Upstream,
        roots: RootCertStore,
        mend: &'static str,
    ) -> Result<Self, ServerError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        Ok(Self {
            upstream,
            resolver: SystemResolver::new().map_err(ServerError::Resolver)?,
            tls: Arc::new(versions.with_root_certificates(roots).with_no_client_auth()),
            mend,
        })
    }

    /// What it answers to `request`, whose path is `path`; of a reply that is no
    /// success, the status alone.
    pub(crate) async fn ask(
        &self,
        request: Builder,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Value), ServerError> {
        let asking = self.ask_once(request, path, body);
        timeout(REPLY_WAIT, asking)
            .await
            .unwrap_or(Err(ServerError::TooLate))
    }

    async fn ask_once(
        &self,
        request: Builder,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Value), ServerError> {
        let failed = |error: hyper::Error| ServerError::Reply(error.to_string());
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(io).await.map_err(failed)?;
        let connection = tokio::spawn(connection);
        let host = format!("{}:{}", self.upstream.host, self.upstream.port);
        let request = request
            .uri(format!("{}{path}", self.upstream.path_prefix))
            .header(header::HOST, host)
            .body(Full::new(body))
            .map_err(|error| ServerError::Reply(error.to_string()))?;
        let reply = sender.send_request(request).await.map_err(failed)?;
        let status = reply.status();
        if !status.is_success() || status == StatusCode::NO_CONTENT {
            return Ok((status, Value::Null));
        }
        let body = Limited::new(reply.into_body(), REPLY_MAX).collect().await;
        connection.abort();
        let body = body.map_err(|error| ServerError::Reply(error.to_string()))?;
        // What is wrong with it might be told with the value.
        let body = serde_json::from_slice(&body.to_bytes())
            .map_err(|_| ServerError::Reply("it is not JSON".to_owned()))?;
        Ok((status, body))
    }

    async fn connect(&self) -> Result<Box<dyn Duplex>, ServerError> {
        let host = || self.upstream.host.to_string();
        let tcp = timeout(CONNECT_WAIT, self.dial()).await;
        let tcp = tcp.unwrap_or_else(|elapsed| Err(elapsed.to_string()));
        let tcp = tcp.map_err(|reason| ServerError::Connect {
            host: host(),
            reason,
        })?;
        if self.upstream.scheme == Scheme::Http {
            return Ok(Box::new(tcp));
        }
        let untrusted = |reason: String| ServerError::Untrusted {
            host: host(),
            reason,
            mend: self.mend,
        };
        let name = match &self.upstream.host {
            UpstreamHost::Address(address) => ServerName::IpAddress((*address).into()),
            UpstreamHost::Name(name) => ServerName::try_from(name.to_string())
                .map_err(|error| untrusted(error.to_string()))?,
        };
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp);
        let stream = stream.await.map_err(|error| untrusted(error.to_string()))?;
        Ok(Box::new(stream))
    }

    /// A connection to the place that the user named, wherever that is.
    async fn dial(&self) -> Result<TcpStream, String> {
        let addresses: Vec<IpAddr> = match &self.upstream.host {
            UpstreamHost::Address(address) => vec![*address],
            UpstreamHost::Name(_) if self.upstream.host.is_loopback() => {
                vec![Ipv4Addr::LOCALHOST.into()]
            }
            UpstreamHost::Name(name) => {
                let found = self.resolver.resolve(name).await;
                found.map_err(|error| error.to_string())?
            }
        };
        let mut reason = "it has no address".to_owned();
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, self.upstream.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
