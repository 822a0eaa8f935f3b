//! Where the server is, and connections to it.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header, uri::Scheme};
use http_body_util::Full;
use hyper::{Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Why the server cannot be reached, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// There is no URL, or it is none of HTTP.
    #[error("`{0}` is not an http or https URL of an MCP server")]
    Url(String),
    /// A word that is no header.
    #[error("`{0}` is not a header; write one as `Authorization: Bearer ${{TOKEN}}`")]
    Header(String),
    /// A header that the bridge sets itself.
    #[error("the header {0} is not for you to set")]
    Own(HeaderName),
    /// A variable that a header names and that is not set.
    #[error("the header {header} names the variable {variable}, which is not set")]
    Variable {
        /// The header.
        header: HeaderName,
        /// The variable.
        variable: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// No connection.
    #[error("the server cannot be reached: {0}")]
    Connect(#[from] io::Error),
    /// The connection broke, or what came is not HTTP.
    #[error("the exchange with the server failed: {0}")]
    Exchange(#[from] hyper::Error),
    /// A request that cannot be built.
    #[error("a request cannot be built: {0}")]
    Request(#[from] http::Error),
    /// What the server said instead.
    #[error("{0}")]
    Answer(String),
}

/// Headers that say what a request is; they are the bridge's own.
const OWN: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::ACCEPT,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// An MCP endpoint.
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    authority: String,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    tls: Option<TlsConnector>,
}

impl Endpoint {
    /// Reads URL and headers; `variable` tells the values of variables.
    pub(crate) fn new(
        mut words: impl Iterator<Item = String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, BridgeError> {
        let url = words.next().unwrap_or_default();
        let invalid = || BridgeError::Url(url.clone());
        let parsed: Uri = url.parse().map_err(|_| invalid())?;
        let tls = match parsed.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Some(connector()?),
            Some(scheme) if *scheme == Scheme::HTTP => None,
            _ => return Err(invalid()),
        };
        let authority = parsed.authority().ok_or_else(invalid)?;
        let path = parsed.path_and_query().map_or("/", |path| path.as_str());
        let headers = words.map(|word| own_header(&word, &variable));
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if tls.is_some() { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
            headers: headers.collect::<Result<_, _>>()?,
            tls,
        })
    }

    /// Sends a request with `method`, with its own headers and `more`, and gives the
    /// answer's head with what follows it.
    pub(crate) async fn send(
        &self,
        method: http::Method,
        more: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, BridgeError> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.path)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json, text/event-stream");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in more {
            request = request.header(*name, value);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some(connector) => {
                let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
                exchange(connector.connect(name, stream).await?, request).await
            }
        }
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, BridgeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Until the answer has been read.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// A header as a person wrote it, with the values of variables.
fn own_header(
    word: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(HeaderName, HeaderValue), BridgeError> {
    let wrong = || BridgeError::Header(word.to_owned());
    let (name, template) = word.split_once(':').ok_or_else(wrong)?;
    let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
    if OWN.contains(&name) || name.as_str().starts_with("mcp-") {
        return Err(BridgeError::Own(name));
    }
    let mut parts = template.trim().split("${");
    let mut value = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (called, rest) = part.split_once('}').ok_or_else(wrong)?;
        let known = variable(called).ok_or_else(|| BridgeError::Variable {
            header: name.clone(),
            variable: called.to_owned(),
        })?;
        value.push_str(&known);
        value.push_str(rest);
    }
    let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// TLS that believes whom the sandbox's bundle believes.
fn connector() -> Result<TlsConnector, BridgeError> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // Bundles hold old certificates that cannot be used; the others can.
        let _ = roots.add(certificate);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(words: &[&str]) -> Result<Endpoint, BridgeError> {
        let words = words.iter().map(|word| (*word).to_owned());
        Endpoint::new(words, |name| (name == "TOKEN").then(|| "placed".to_owned()))
    }

    #[test]
    fn url_and_headers_are_read_and_variables_put_in() {
        let read = endpoint(&[
            "http://a.test:8080/mcp?x=1",
            "Authorization: Bearer ${TOKEN}!",
        ]);
        let read = read.unwrap();
        assert_eq!(
            (&*read.host, read.port, &*read.path),
            ("a.test", 8080, "/mcp?x=1")
        );
        assert_eq!(read.headers[0].1, "Bearer placed!");
        assert_eq!(endpoint(&["https://[::1]/"]).unwrap().host, "::1");
    }

    #[test]
    fn what_is_no_url_no_header_or_not_the_persons_is_refused() {
        for words in [
            &["ftp://a.test/"][..],
            &["a.test"],
            &[],
            &["http://a.test", "nothing"],
            &["http://a.test", "X: ${TOKEN"],
            &["http://a.test", "X: ${OTHER}"],
            &["http://a.test", "Host: b.test"],
            &["http://a.test", "Mcp-Session-Id: 1"],
        ] {
            assert!(endpoint(words).is_err(), "{words:?}");
        }
    }
}
