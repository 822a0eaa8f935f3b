//! HashiCorp Vault as a place where secrets are kept: a process of its own
//! that reads one field by Vault's documented HTTP API, prints it, and ends.
//!
//! It parses what a server says, so it is sealed before it asks, and holds no
//! more than the token and the value.

use std::{
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::Value;
use stockade_gateway::{Upstream, system_roots};
use stockade_types::{Redacted, env};
use stockade_vault::HashicorpField;
use zeroize::Zeroizing;

use crate::server::{Server, ServerError};

/// Where Vault's own program keeps the token of a login, in the user's home.
const TOKEN_FILE: &str = ".vault-token";

/// A token, or a file of certificates, has fewer bytes.
const FILE_MAX: u64 = 1 << 20;

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
    Roots(stockade_gateway::GatewayError),
    #[error(transparent)]
    Server(#[from] ServerError),
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
    let vault = Vault::of_environment()?;
    stockade_sandbox::seal(&[])?;
    let reply = vault.ask(Method::GET, field.path()).await?;
    let value = match reply
        .pointer("/data/data")
        .and_then(|data| data.get(field.field()))
    {
        Some(Value::String(value)) => Redacted::new(value.clone()),
        Some(_) => return Err(HashicorpError::NoText),
        None => return Err(HashicorpError::NoField),
    };
    // The value is there, whatever becomes of this; a token may be allowed less.
    let _ = vault.renew().await;
    Ok(value)
}

/// Vault, and who asks it.
struct Vault {
    server: Server,
    token: HeaderValue,
    namespace: Option<HeaderValue>,
}

impl Vault {
    /// The one that Vault's own variables name.
    fn of_environment() -> Result<Self, HashicorpError> {
        let address = std::env::var(env::VAULT_ADDR).map_err(|_| HashicorpError::NoAddress)?;
        let upstream: Upstream = address.parse().map_err(HashicorpError::Address)?;
        let in_header = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| HashicorpError::Token)?;
            value.set_sensitive(true);
            Ok::<_, HashicorpError>(value)
        };
        let namespace = std::env::var(env::VAULT_NAMESPACE)
            .ok()
            .filter(|name| !name.is_empty());
        let mend = "VAULT_CACERT names a file with its authority";
        Ok(Self {
            token: in_header(&token()?)?,
            namespace: namespace.as_deref().map(in_header).transpose()?,
            server: Server::new(upstream, roots()?, mend)?,
        })
    }

    /// What Vault answers to a request for `path`.
    async fn ask(&self, method: Method, path: &str) -> Result<Value, HashicorpError> {
        let mut request = Request::builder()
            .method(method)
            // Against requests that a browser was made to send.
            .header("x-vault-request", "true")
            .header("x-vault-token", self.token.clone());
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace.clone());
        }
        let path = format!("/v1/{path}");
        match self.server.ask(request, &path, Bytes::new()).await? {
            (StatusCode::OK, said) => Ok(said),
            (status, _) => Err(refused(status)),
        }
    }

    /// Renews the token once half of its time is over, if that can be done.
    async fn renew(&self) -> Result<(), HashicorpError> {
        let known = self.ask(Method::GET, "auth/token/lookup-self").await?;
        let number = |name: &str| known["data"][name].as_u64().unwrap_or_default();
        let is_old = number("ttl") < number("creation_ttl") / 2;
        if known["data"]["renewable"] == true && is_old {
            self.ask(Method::POST, "auth/token/renew-self").await?;
        }
        Ok(())
    }
}

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
fn roots() -> Result<RootCertStore, HashicorpError> {
    let Some(path) = std::env::var_os(env::VAULT_CACERT).map(PathBuf::from) else {
        return system_roots().map_err(HashicorpError::Roots);
    };
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
    Ok(roots)
}

fn content(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::new());
    std::fs::File::open(path)?
        .take(FILE_MAX)
        .read_to_end(&mut content)?;
    Ok(content)
}
