//! HashiCorp Vault as a place where secrets are kept: a process of its own
//! that reads one field by Vault's documented HTTP API, prints it, and ends.
//!
//! It parses what a server says, so it is sealed before it asks, and holds no
//! more than the token and the value.

use std::{
    io::{self, Read, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use stockade_gateway::{Resolver, Scheme, SystemResolver, Upstream, UpstreamHost, system_roots};
use stockade_types::{Redacted, env};
use stockade_vault::HashicorpField;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Where Vault's own program keeps the token of a login, in the user's home.
const TOKEN_FILE: &str = ".vault-token";

/// A token, or a file of certificates, has fewer bytes.
const FILE_MAX: u64 = 1 << 20;
const REPLY_MAX: usize = 1 << 20;
const REPLY_WAIT: Duration = Duration::from_secs(20);
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Why Vault gave no value. No message holds token or value, nor what the
/// server says of itself.
#[derive(Debug, thiserror::Error)]
enum HashicorpError {
    #[error("VAULT_ADDR is not set; it names the server, such as https://vault.example.com:8200")]
    NoAddress,
    #[error("VAULT_ADDR: {0}")]
    Address(stockade_gateway::SettingsError),
    #[error(
        "there is no token: set VAULT_TOKEN, or log in (vault login), which writes {TOKEN_FILE}"
    )]
    NoToken,
    #[error("the token, or VAULT_NAMESPACE, cannot stand in a header")]
    Token,
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: there is no certificate in it", .0.display())]
    Certificates(PathBuf),
    #[error("{0}")]
    Host(stockade_gateway::GatewayError),
    #[error("{host} cannot be reached: {reason}")]
    Connect { host: String, reason: String },
    #[error(
        "{host} does not prove by a certificate that it is trusted ({reason}); VAULT_CACERT names a file with its authority"
    )]
    Untrusted { host: String, reason: String },
    #[error("its reply is not one of Vault's: {0}")]
    Reply(String),
    #[error("{0}")]
    Status(&'static str),
    #[error("it answers {0}")]
    Other(StatusCode),
    #[error("the secret has no field of that name")]
    NoField,
    #[error("the field is no text")]
    NoText,
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The `main` of the process: prints the value that `location` names or, if
/// that fails, why.
///
/// # Errors
/// If there is no value.
pub fn run(location: &Path) -> io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let field: HashicorpField = location
        .to_str()
        .unwrap_or_default()
        .parse()
        .map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut stdout = io::stdout();
    match runtime.block_on(read(&field)) {
        Ok(value) => stdout.write_all(value.expose().as_bytes()),
        Err(error) => {
            writeln!(stdout, "{error}")?;
            Err(io::Error::other(error))
        }
    }
}

async fn read(field: &HashicorpField) -> Result<Redacted<String>, HashicorpError> {
    let mut server = Server::of_environment()?;
    stockade_sandbox::seal(&[])?;
    let reply = server.ask(Method::GET, field.path()).await?;
    let value = match reply
        .pointer("/data/data")
        .and_then(|data| data.get(field.field()))
    {
        Some(Value::String(value)) => Redacted::new(value.clone()),
        Some(_) => return Err(HashicorpError::NoText),
        None => return Err(HashicorpError::NoField),
    };
    // The value is there, whatever becomes of this; a token may be allowed less.
    let _ = server.renew().await;
    Ok(value)
}

/// Vault, and who asks it.
struct Server {
    upstream: Upstream,
    token: HeaderValue,
    namespace: Option<HeaderValue>,
    resolver: SystemResolver,
    tls: Arc<ClientConfig>,
}

impl Server {
    /// The one that Vault's own variables name. Nothing is read from files
    /// afterwards.
    fn of_environment() -> Result<Self, HashicorpError> {
        let address = std::env::var(env::VAULT_ADDR).map_err(|_| HashicorpError::NoAddress)?;
        let upstream = address.parse().map_err(HashicorpError::Address)?;
        let in_header = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| HashicorpError::Token)?;
            value.set_sensitive(true);
            Ok::<_, HashicorpError>(value)
        };
        let namespace = std::env::var(env::VAULT_NAMESPACE)
            .ok()
            .filter(|name| !name.is_empty());
        Ok(Self {
            upstream,
            token: in_header(&token()?)?,
            namespace: namespace.as_deref().map(in_header).transpose()?,
            resolver: SystemResolver::new().map_err(HashicorpError::Host)?,
            tls: Arc::new(tls()?),
        })
    }

    /// What Vault answers to a request for `path`.
    async fn ask(&mut self, method: Method, path: &str) -> Result<Value, HashicorpError> {
        let asking = self.ask_once(method, path);
        timeout(REPLY_WAIT, asking)
            .await
            .unwrap_or_else(|_| Err(HashicorpError::Status("it does not answer in time")))
    }

    async fn ask_once(&mut self, method: Method, path: &str) -> Result<Value, HashicorpError> {
        let failed = |error: hyper::Error| HashicorpError::Reply(error.to_string());
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(io).await.map_err(failed)?;
        let connection = tokio::spawn(connection);
        let host = format!("{}:{}", self.upstream.host, self.upstream.port);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.upstream.path_prefix))
            .header(header::HOST, host)
            // Against requests that a browser was made to send.
            .header("x-vault-request", "true")
            .header("x-vault-token", self.token.clone());
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace.clone());
        }
        let request = request
            .body(Full::<Bytes>::default())
            .map_err(|error| HashicorpError::Reply(error.to_string()))?;
        let reply = sender.send_request(request).await.map_err(failed)?;
        let status = reply.status();
        if status != StatusCode::OK {
            return Err(refused(status));
        }
        let body = Limited::new(reply.into_body(), REPLY_MAX).collect().await;
        connection.abort();
        let body = body.map_err(|error| HashicorpError::Reply(error.to_string()))?;
        // What is wrong with it might be told with the value.
        serde_json::from_slice(&body.to_bytes())
            .map_err(|_| HashicorpError::Reply("not JSON".to_owned()))
    }

    /// Renews the token once half of its time is over, if that can be done.
    async fn renew(&mut self) -> Result<(), HashicorpError> {
        let known = self.ask(Method::GET, "auth/token/lookup-self").await?;
        let number = |name: &str| known["data"][name].as_u64().unwrap_or_default();
        let is_old = number("ttl") < number("creation_ttl") / 2;
        if known["data"]["renewable"] == true && is_old {
            self.ask(Method::POST, "auth/token/renew-self").await?;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Box<dyn Duplex>, HashicorpError> {
        let host = || self.upstream.host.to_string();
        let tcp = timeout(CONNECT_WAIT, self.dial()).await;
        let tcp = tcp.unwrap_or_else(|elapsed| Err(elapsed.to_string()));
        let tcp = tcp.map_err(|reason| HashicorpError::Connect {
            host: host(),
            reason,
        })?;
        if self.upstream.scheme == Scheme::Http {
            return Ok(Box::new(tcp));
        }
        let untrusted = |reason: String| HashicorpError::Untrusted {
            host: host(),
            reason,
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

/// What a status means, in words that help.
fn refused(status: StatusCode) -> HashicorpError {
    HashicorpError::Status(match status.as_u16() {
        403 => {
            "the token is too old, or has no right to read it (403); log in again, or ask for it"
        }
        404 => "there is nothing at that path, or its newest version was deleted (404)",
        503 => "Vault is sealed or under maintenance (503)",
        300..400 => "it sends elsewhere; VAULT_ADDR has to name the server that is active",
        _ => return HashicorpError::Other(status),
    })
}

/// The token, from the environment or from the file that a login leaves.
fn token() -> Result<Zeroizing<String>, HashicorpError> {
    if let Ok(token) = std::env::var(env::VAULT_TOKEN)
        && !token.is_empty()
    {
        return Ok(Zeroizing::new(token));
    }
    let home = std::env::var_os("HOME").ok_or(HashicorpError::NoToken)?;
    let path = Path::new(&home).join(TOKEN_FILE);
    match content(&path) {
        Ok(text) => Ok(Zeroizing::new(
            String::from_utf8_lossy(&text).trim().to_owned(),
        )),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Err(HashicorpError::NoToken),
        Err(source) => Err(HashicorpError::File { path, source }),
    }
}

/// Whom to believe: the system's authorities, or those that the user names.
fn tls() -> Result<ClientConfig, HashicorpError> {
    let roots = match std::env::var_os(env::VAULT_CACERT).map(PathBuf::from) {
        None => system_roots().map_err(HashicorpError::Host)?,
        Some(path) => {
            let pem = content(&path).map_err(|source| HashicorpError::File {
                path: path.clone(),
                source,
            })?;
            let mut roots = RootCertStore::empty();
            let (usable, _) =
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
            if usable == 0 {
                return Err(HashicorpError::Certificates(path));
            }
            roots
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

fn content(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::new());
    std::fs::File::open(path)?
        .take(FILE_MAX)
        .read_to_end(&mut content)?;
    Ok(content)
}
