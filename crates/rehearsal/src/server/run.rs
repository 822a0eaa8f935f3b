//! The server as a command runs it: script, certificate and record from files.

use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use fs_err as fs;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use stockade_types::Redacted;
use tokio::net::TcpListener;

use super::{BODY_BYTES_MAX, ServerError, ServerOptions, serve};
use crate::{
    script::{Script, ScriptError},
    scripts,
    transcript::{Canary, Transcript},
};

/// Why a server cannot be set up from its files.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The script does not say what to play.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// A file that cannot be read or written; the message names it.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// No certificate or key in the file.
    #[error("cannot read a PEM certificate or key from {}: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate and the key do not fit each other or TLS.
    #[error("cannot serve TLS with {}: {source}", path.display())]
    Tls {
        /// The file of the certificate.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The server does not run (any more).
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// A certificate chain and its key, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The server's options as a command line gives them.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where to listen; port 0 for a free one.
    pub listen: SocketAddr,
    /// A built-in script's name (see [`scripts::NAMES`]) or a file.
    pub script: String,
    /// Values for the script's variables.
    pub variables: BTreeMap<String, String>,
    /// The only key that is accepted.
    pub key: Redacted<String>,
    /// Texts that must not arrive.
    pub canaries: Vec<Canary>,
    /// Serve HTTPS.
    pub tls: Option<TlsFiles>,
    /// Where exchanges are appended, one line of JSON each.
    pub record: Option<PathBuf>,
    /// Gets the base URL, by rename, once the server listens.
    pub ready_file: Option<PathBuf>,
}

/// Serves until the listener breaks; drop the future to stop.
pub async fn run_from_options(options: RunOptions) -> Result<(), RunError> {
    let script = match scripts::built_in(&options.script) {
        Some(script) => script?,
        None => Script::parse(&options.script, &fs::read_to_string(&options.script)?)?,
    };
    let script = script.with_variables(&options.variables)?;
    let tls = options.tls.as_ref().map(server_config).transpose()?;
    let transcript = match &options.record {
        Some(path) => {
            let file = fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)?;
            Transcript::with_record(Box::new(file))
        }
        None => Transcript::default(),
    };
    let failed = |source| ServerError::Listen {
        address: options.listen,
        source,
    };
    let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    if let Some(path) = &options.ready_file {
        let scheme = if tls.is_some() { "https" } else { "http" };
        announce(path, &format!("{scheme}://{address}\n"))?;
    }
    let options = ServerOptions {
        script,
        key: options.key,
        canaries: options.canaries,
        transcript,
        body_bytes_max: BODY_BYTES_MAX,
        tls,
    };
    Ok(serve(listener, options).await?)
}

/// Readers see the whole URL or no file.
fn announce(path: &Path, url: &str) -> Result<(), std::io::Error> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(url.as_bytes())?;
    fs::rename(&unfinished, path)
}

fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, RunError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| RunError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key))?;
    let failed = |source| RunError::Tls {
        path: files.certificate.clone(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(failed)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
