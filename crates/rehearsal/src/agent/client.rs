//! The agent's side of the Messages API: one connection a request, no retry,
//! no redirect, no proxy.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;
use stockade_types::Redacted;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{AgentOptions, ResolveError, resolver};

const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Where distributions keep the certificate authorities.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Why the model did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an `http://` or `https://` URL with a host.
    #[error("the base URL `{0}` is not an http or https URL")]
    BaseUrl(String),
    /// The certificate authorities cannot be read.
    #[error("cannot read certificate authorities from {}: {source}", path.display())]
    Certificates {
        /// The bundle.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The host has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No connection.
    #[error("cannot connect to {host}: {source}")]
    Connect {
        /// The model's host.
        host: String,
        /// What the system or TLS said.
        source: std::io::Error,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the exchange with {host} failed: {source}")]
    Exchange {
        /// The model's host.
        host: String,
        /// What went wrong.
        source: hyper::Error,
    },
    /// The request cannot be built (a key that is no header value).
    #[error("cannot build the request: {0}")]
    Request(#[from] http::Error),
    /// The answer is too large or broke off.
    #[error("cannot read the answer of {host}: {reason}")]
    Body {
        /// The model's host.
        host: String,
        /// What went wrong.
        reason: String,
    },
    /// No answer in time.
    #[error("{host} did not answer within {} s", time.as_secs())]
    Timeout {
        /// The model's host.
        host: String,
        /// How long was waited.
        time: Duration,
    },
    /// The API refused the request.
    #[error("API error {status}: {message}")]
    Api {
        /// The HTTP status.
        status: u16,
        /// What the API says, verbatim.
        message: String,
    },
    /// The answer is not JSON.
    #[error("the answer of {host} is not JSON: {source}")]
    Json {
        /// The model's host.
        host: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

pub(super) struct Client {
    url: Uri,
    host: String,
    port: u16,
    key: Redacted<String>,
    nameservers: Vec<SocketAddr>,
    time: Duration,
    tls: Option<TlsConnector>,
}

impl Client {
    pub(super) fn new(options: &AgentOptions) -> Result<Self, ClientError> {
        let invalid = || ClientError::BaseUrl(options.base_url.clone());
        let url = format!("{}/v1/messages", options.base_url.trim_end_matches('/'));
        let url: Uri = url.parse().map_err(|_| invalid())?;
        let host = url.host().ok_or_else(invalid)?.to_owned();
        let tls = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Some(connector(options)?),
            Some(scheme) if *scheme == Scheme::HTTP => None,
            _ => return Err(invalid()),
        };
        Ok(Self {
            port: url
                .port_u16()
                .unwrap_or(if tls.is_some() { 443 } else { 80 }),
            url,
            host,
            key: options.key.clone(),
            nameservers: options.nameservers.clone(),
            time: options.request_time,
            tls,
        })
    }

    /// Sends `body` and gives back the model's message.
    pub(super) async fn message(&self, body: &Value) -> Result<Value, ClientError> {
        match tokio::time::timeout(self.time, self.exchange(body)).await {
            Ok(message) => message,
            Err(_) => Err(ClientError::Timeout {
                host: self.host.clone(),
                time: self.time,
            }),
        }
    }

    async fn exchange(&self, body: &Value) -> Result<Value, ClientError> {
        let failed = |source| ClientError::Connect {
            host: self.host.clone(),
            source,
        };
        let plain_host = self.host.trim_matches(['[', ']']);
        let addresses = resolver::addresses(plain_host, &self.nameservers).await?;
        let addresses: Vec<SocketAddr> = addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, self.port))
            .collect();
        let stream = TcpStream::connect(&addresses[..]).await.map_err(failed)?;
        match &self.tls {
            None => self.send(stream, body).await,
            Some(connector) => {
                let name = ServerName::try_from(plain_host.to_owned())
                    .map_err(|error| failed(std::io::Error::other(error)))?;
                self.send(connector.connect(name, stream).await.map_err(failed)?, body)
                    .await
            }
        }
    }

    async fn send<S>(&self, stream: S, body: &Value) -> Result<Value, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let failed = |source| ClientError::Exchange {
            host: self.host.clone(),
            source,
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let connection = tokio::spawn(connection);
        let authority = self
            .url
            .authority()
            .map_or("", |authority| authority.as_str());
        let request = Request::post(self.url.path())
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("stockade-rehearsal-agent/", env!("CARGO_PKG_VERSION")),
            )
            .header("anthropic-version", "2023-06-01")
            .header("x-api-key", self.key.expose())
            .body(Full::new(Bytes::from(body.to_string())))?;
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let collected = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let bytes = collected
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| ClientError::Body {
                host: self.host.clone(),
                reason: error.to_string(),
            });
        connection.abort();
        self.read(status, &bytes?)
    }

    fn read(&self, status: StatusCode, bytes: &[u8]) -> Result<Value, ClientError> {
        let parsed = serde_json::from_slice::<Value>(bytes);
        if status.is_success() {
            return parsed.map_err(|source| ClientError::Json {
                host: self.host.clone(),
                source,
            });
        }
        let told = parsed
            .ok()
            .and_then(|body| body["error"]["message"].as_str().map(str::to_owned));
        let message = told.unwrap_or_else(|| "the server gave no reason".to_owned());
        Err(ClientError::Api {
            status: status.as_u16(),
            message,
        })
    }
}

fn connector(options: &AgentOptions) -> Result<TlsConnector, ClientError> {
    let path = options
        .certificates
        .clone()
        .or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()));
    let path = path.unwrap_or_else(|| PathBuf::from("/etc/ssl/certs/ca-certificates.crt"));
    let failed = |source| ClientError::Certificates {
        path: path.clone(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path).map_err(failed)? {
        // Bundles hold old certificates that cannot be used; the others can.
        let _ = roots.add(certificate.map_err(failed)?);
    }
    if roots.is_empty() {
        return Err(failed(rustls_pki_types::pem::Error::NoItemsFound));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
