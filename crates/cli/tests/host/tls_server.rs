//! An HTTPS server of the host that a task knows by a name.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its first line.
    pub line: String,
    /// Its headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Seen {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A server on this machine, which ends with the test.
#[derive(Debug)]
pub struct TlsServer {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Where it is.
    pub url: String,
}

/// What `/echo` answers begins with this.
pub const ECHO: &str = "echo:";

impl TlsServer {
    /// A server whose certificate is written to `certificate`.
    pub fn start(certificate: &Path) -> Self {
        Self::answering(certificate, |_| None)
    }

    /// One that answers as `special` says, where that says anything: with a
    /// status and a body.
    pub fn answering(
        certificate: &Path,
        special: impl Fn(&Seen) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let special: Special = Arc::new(special);
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = own.self_signed(&key).unwrap();
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(own.der())
        );
        fs::write(certificate, pem).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (keep, config) = (Arc::clone(&keep), Arc::clone(&config));
                let special = Arc::clone(&special);
                // Clients may hold a connection that they do not use.
                std::thread::spawn(move || {
                    let session = ServerConnection::new(config).unwrap();
                    let _ = answer(
                        BufReader::new(StreamOwned::new(session, stream)),
                        &keep,
                        &*special,
                    );
                });
            }
        });
        Self { seen, url }
    }

    /// The requests that it got so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

type Special = Arc<dyn Fn(&Seen) -> Option<(u16, String)> + Send + Sync>;
type Stream = BufReader<StreamOwned<ServerConnection, TcpStream>>;

fn answer(
    mut stream: Stream,
    keep: &Mutex<Vec<Seen>>,
    special: &(dyn Fn(&Seen) -> Option<(u16, String)> + Send + Sync),
) -> std::io::Result<()> {
    let request = read(&mut stream)?;
    keep.lock().unwrap().push(request.clone());
    let path = request
        .line
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    let mut out = |text: &str| {
        stream.get_mut().write_all(text.as_bytes())?;
        stream.get_mut().flush()
    };
    if let Some((status, body)) = special(&request) {
        let length = body.len();
        return out(&format!(
            "HTTP/1.1 {status} said\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
    }
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
    if path.starts_with("/echo") {
        let credential = request.header("authorization").unwrap_or_default();
        let secret = credential.rsplit(' ').next().unwrap_or_default();
        out(&format!(
            "{head}x-echo: {secret}\r\ntransfer-encoding: chunked\r\n\r\n"
        ))?;
        // Each chunk is one byte: every border at once.
        for byte in format!("{ECHO} {}\n", forms(secret).join(" | ")).bytes() {
            out(&format!("1\r\n{}\r\n", char::from(byte)))?;
        }
        return out("0\r\n\r\n");
    }
    if path == "/compress" {
        return out(&format!(
            "{head}content-encoding: compress\r\ncontent-length: 1\r\n\r\nx"
        ));
    }
    if path == "/gzip" {
        let credential = request.header("authorization").unwrap_or_default();
        let secret = credential.rsplit(' ').next().unwrap_or_default();
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(format!("{ECHO} {}\n", forms(secret).join(" | ")).as_bytes())?;
        let packed = packed.finish()?;
        let length = packed.len();
        out(&format!(
            "{head}content-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
        ))?;
        stream.get_mut().write_all(&packed)?;
        return stream.get_mut().flush();
    }
    if path == "/slow" {
        out(&format!(
            "{head}transfer-encoding: chunked\r\n\r\n6\r\nbegun\n\r\n"
        ))?;
        // It ends when the other side does.
        let _ = stream.read(&mut [0]);
        return Ok(());
    }
    out(&format!("{head}content-length: 2\r\n\r\nok"))
}

fn read(stream: &mut Stream) -> std::io::Result<Seen> {
    let mut request = Seen::default();
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        let text = line.trim();
        match text.split_once(": ") {
            Some((name, value)) if !request.line.is_empty() => request
                .headers
                .push((name.to_ascii_lowercase(), value.to_owned())),
            _ => text.clone_into(&mut request.line),
        }
        line.clear();
    }
    let length = request.header("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap_or(0))];
    stream.read_exact(&mut body)?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(request)
}

/// A secret in the forms that replies repeat it in.
pub fn forms(secret: &str) -> Vec<String> {
    let hex = |upper: bool| -> String {
        let bytes = secret.bytes();
        bytes
            .map(|byte| {
                if upper {
                    format!("{byte:02X}")
                } else {
                    format!("{byte:02x}")
                }
            })
            .collect()
    };
    let percent: String = secret
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    let base64 = ["", "a", "ab"].map(|before| STANDARD.encode(format!("{before}{secret}")));
    let mut forms = vec![secret.to_owned(), hex(false), hex(true), percent];
    forms.extend(base64);
    forms.push(serde_json::to_string(secret).unwrap());
    forms
}
