//! The server that everything leads to, in this process, with an authority of
//! its own that Stockade and the peers are told to believe.

use std::{
    fs,
    io::{self, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::{
    client::now,
    failure::Failure,
    http::{Head, send},
    job::{LARGE, LARGE_BYTES, MARK, MODEL, ORIGIN},
    processes::{Moment, Processes},
};

/// Of a reply.
const SMALL_BYTES: usize = 2048;
/// Between two events of a stream.
const BETWEEN: Duration = Duration::from_millis(4);
/// What a model thinks before it answers at once.
const THINKING: Duration = Duration::from_millis(50);

/// The server and its files.
pub(crate) struct Origin {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// Certificate of its authority.
    pub(crate) authority: PathBuf,
    /// The same and its key, for a peer that makes certificates.
    pub(crate) authority_with_key: PathBuf,
    /// The server's certificates,
    pub(crate) chain: PathBuf,
    /// and their key, for a peer that is given them.
    pub(crate) key: PathBuf,
    marks: Arc<Marks>,
}

/// What processes had used when clients said so.
#[derive(Default)]
struct Marks(Mutex<(Processes, Vec<Moment>)>);

impl Origin {
    /// A server for `localhost` and any `*.bench.test`, whose files are in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self, Failure> {
        let certificate = |error: rcgen::Error| Failure::InVain(format!("a certificate: {error}"));
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the same name as its leaf it would look signed by itself.
        root.distinguished_name
            .push(DnType::CommonName, "Stockade bench");
        let root_key = KeyPair::generate().map_err(certificate)?;
        let key_pem = root_key.serialize_pem();
        let issuer = CertifiedIssuer::self_signed(root, root_key).map_err(certificate)?;
        let names = [ORIGIN, "*.bench.test", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().map_err(certificate)?;
        let own = CertificateParams::new(names.to_vec())
            .and_then(|own| own.signed_by(&key, &issuer))
            .map_err(certificate)?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(Failure::file(&path))?;
            Ok::<_, Failure>(path)
        };
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let chain = vec![own.der().clone(), issuer.der().clone()];
                builder
                    .with_no_client_auth()
                    .with_single_cert(chain, private)
            })
            .map_err(|error| Failure::InVain(format!("a server with TLS: {error}")))?;
        let failed = |error| Failure::file("127.0.0.1")(error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let origin = Self {
            address: listener.local_addr().map_err(failed)?,
            authority: write("ca.pem", &issuer.pem())?,
            authority_with_key: write("ca-and-key.pem", &(issuer.pem() + &key_pem))?,
            chain: write("chain.pem", &(own.pem() + &issuer.pem()))?,
            key: write("key.pem", &key.serialize_pem())?,
            marks: Arc::default(),
        };
        let (marks, tls) = (Arc::clone(&origin.marks), Arc::new(tls));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (marks, tls) = (Arc::clone(&marks), Arc::clone(&tls));
                std::thread::spawn(move || {
                    // Who leaves in the middle of something is not waited for.
                    let _ = serve(stream, tls, &marks);
                });
            }
        });
        Ok(origin)
    }

    /// From now on marks tell what these processes have used.
    pub(crate) fn watch(&self, processes: Processes) {
        *self.marks.lock() = (processes, Vec::new());
    }

    /// The marks since then.
    pub(crate) fn marks(&self) -> Vec<Moment> {
        std::mem::take(&mut self.marks.lock().1)
    }
}

impl Marks {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Processes, Vec<Moment>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) {
        let mut marks = self.lock();
        let moment = marks.0.now();
        marks.1.push(moment);
    }
}

type Stream = BufReader<StreamOwned<ServerConnection, TcpStream>>;

fn serve(stream: TcpStream, tls: Arc<ServerConfig>, marks: &Marks) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let session = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    let small = reply("text/plain", &"x".repeat(SMALL_BYTES));
    while let Some(head) = Head::read(&mut stream)? {
        let mut body = Vec::new();
        head.body(&mut stream, |part| body.extend_from_slice(part))?;
        // A place of its own may be in front of the path.
        let path = head.second();
        if path.ends_with(MODEL) {
            let body: serde_json::Value = serde_json::from_slice(&body)?;
            let tokens = body["max_tokens"].as_u64().unwrap_or(0);
            if body["stream"] == true {
                stream_events(&mut stream, tokens)?;
            } else {
                std::thread::sleep(THINKING);
                send(stream.get_mut(), answer(tokens).as_bytes())?;
            }
        } else if path.ends_with(LARGE) {
            large(&mut stream)?;
        } else {
            if path.ends_with(MARK) {
                marks.take();
            }
            send(stream.get_mut(), small.as_bytes())?;
        }
    }
    Ok(())
}

fn reply(kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn large(stream: &mut Stream) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {LARGE_BYTES}\r\n\r\n"
    );
    send(stream.get_mut(), head.as_bytes())?;
    let part = vec![7; 100_000];
    for _ in 0..LARGE_BYTES / 100_000 {
        send(stream.get_mut(), &part)?;
    }
    Ok(())
}

/// A reply as the Messages API gives it.
fn answer(tokens: u64) -> String {
    let body = serde_json::json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{ "type": "text", "text": "done" }], "stop_reason": "end_turn",
        "usage": { "input_tokens": 20, "output_tokens": tokens },
    });
    reply("application/json", &body.to_string())
}

/// The same as events, each of which says when it was sent.
fn stream_events(stream: &mut Stream, count: u64) -> io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    send(stream.get_mut(), head.as_bytes())?;
    let mut event = |kind: &str, fields: &str| {
        let text = format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{fields}}}\n\n");
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        send(stream.get_mut(), chunk.as_bytes())
    };
    event(
        "message_start",
        r#""message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"usage":{"input_tokens":20,"output_tokens":1}}"#,
    )?;
    event(
        "content_block_start",
        r#""index":0,"content_block":{"type":"text","text":""}"#,
    )?;
    for _ in 0..count {
        std::thread::sleep(BETWEEN);
        let delta = format!(
            r#""index":0,"delta":{{"type":"text_delta","text":"sent {} "}}"#,
            now()
        );
        event("content_block_delta", &delta)?;
    }
    event("content_block_stop", r#""index":0"#)?;
    let usage =
        format!(r#""delta":{{"stop_reason":"end_turn"}},"usage":{{"output_tokens":{count}}}"#);
    event("message_delta", &usage)?;
    event("message_stop", r#""x":0"#)?;
    send(stream.get_mut(), b"0\r\n\r\n")
}
