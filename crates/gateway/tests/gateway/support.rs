//! A gateway on loopback with a real TLS client on one side and a real HTTP
//! upstream on the other.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    io::{self, Write},
    net::{IpAddr, SocketAddr, TcpStream as StdTcpStream},
    os::fd::{BorrowedFd, OwnedFd},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RData, RecordType},
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;
use stockade_approval::{Ask, Outcome, Question};
use stockade_gateway::{
    Advised, Adviser, Asked, Bill, CertificateAuthority, EventSink, Fingerprints, Gateway, Judged,
    Listeners, LiveRules, LiveSecrets, McpServers, Meter, Metered, ModelApi, ModelCall, ModelRoute,
    OriginalDestination, Outgoing, OwnSources, Policy, PolicyAnswer, PolicyRule, ResolveError,
    Resolver, SecretSource, SecretText, SecretValue, Settings, Settlement, Signing, SinkError,
    Spent, Unpaid, Upstream, UpstreamAccess,
};
use stockade_scan::SourceIndexBuilder;
use stockade_types::{Event, EventKind, HostName, Redacted, TaskId, hook};
use stockade_vault::SecretName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) const HOST: &str = "api.model.test";
pub(crate) const PLACEHOLDER: &str = "sk-placeholder-5d41402abc4b2a76";
pub(crate) const SECRET: &str = "sk-decoy-real/9+KEY_value-0001";
/// What a key that signs has beside [`SECRET`].
pub(crate) const KEY_ID: &str = "AKIADECOYREALID00001";
pub(crate) const SESSION_TOKEN: &str = "decoy-session/token+0001";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;
pub(crate) type Answered = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Answer = Arc<dyn Fn(Request<Incoming>) -> Answered + Send + Sync>;

/// Events kept in memory, in order.
#[derive(Default)]
pub(crate) struct MemorySink {
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) broken: Mutex<bool>,
}

impl EventSink for MemorySink {
    fn record(
        &self,
        event: Event,
    ) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + '_>> {
        Box::pin(async move {
            if *self.broken.lock().unwrap() {
                return Err(SinkError("the disk is full".into()));
            }
            self.events.lock().unwrap().push(event);
            Ok(())
        })
    }

    fn hand_over(&self, event: Event) {
        if !*self.broken.lock().unwrap() {
            self.events.lock().unwrap().push(event);
        }
    }
}

/// A meter that allows a number of requests, and keeps what it was told.
pub(crate) struct CountingMeter {
    left: Mutex<u64>,
    pub(crate) asked: Mutex<Vec<ModelCall>>,
    pub(crate) settled: Mutex<Vec<(u64, Spent)>>,
    pub(crate) did: Mutex<Vec<Asked>>,
}

impl CountingMeter {
    pub(crate) fn allowing(requests: u64) -> Arc<Self> {
        Arc::new(Self {
            left: Mutex::new(requests),
            asked: Mutex::default(),
            settled: Mutex::default(),
            did: Mutex::default(),
        })
    }
}

impl Meter for CountingMeter {
    fn reserve(&self, call: ModelCall) -> Metered<'_, Result<u64, Unpaid>> {
        Box::pin(async move {
            let mut left = self.left.lock().unwrap();
            if *left == 0 {
                return Err(Unpaid::new("all is spent.").with_allow("stockade budget raise"));
            }
            *left -= 1;
            let mut asked = self.asked.lock().unwrap();
            asked.push(call);
            Ok(asked.len() as u64)
        })
    }

    fn settle(&self, reservation: u64, ended: Settlement) -> Metered<'_, Option<Bill>> {
        Box::pin(async move {
            let Settlement { spent, asked } = ended;
            self.settled.lock().unwrap().push((reservation, spent));
            self.did.lock().unwrap().push(asked);
            Some(Bill {
                cost: "$0.25".parse().unwrap(),
                estimated: spent == Spent::Unknown,
            })
        })
    }
}

/// Whoever is asked: what they say next, and what they were asked.
#[derive(Default)]
pub(crate) struct Person {
    pub(crate) answers: Mutex<Vec<Outcome>>,
    pub(crate) asked: Mutex<Vec<(Question, Duration)>>,
}

impl Ask for Person {
    fn ask(&self, question: Question, patience: Duration) -> stockade_approval::Asked<'_> {
        Box::pin(async move {
            self.asked.lock().unwrap().push((question, patience));
            let answer = self.answers.lock().unwrap().pop();
            answer.unwrap_or_else(|| Outcome::Refused("nobody is there".to_owned()))
        })
    }
}

/// Whatever is asked for has the value of the model's key.
struct OneValue;

impl SecretSource for OneValue {
    fn value<'a>(&'a self, _: &'a SecretName) -> SecretValue<'a> {
        Box::pin(async { Ok(Redacted::new(SECRET.to_owned())) })
    }
}

/// The fingerprints of a repository of one file.
struct OneFile;

/// Its content, of which no line is like another.
pub(crate) fn own_source() -> String {
    let line = |n: u64| format!("let v{n} = f({});\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (1..400).map(line).collect()
}

impl OwnSources for OneFile {
    fn fingerprints(&self) -> Fingerprints<'_> {
        let mut builder = SourceIndexBuilder::default();
        builder.add(own_source().as_bytes());
        Box::pin(async { Ok(builder.finish()) })
    }
}

/// What ends like this does not leave, by the policy of these tests.
pub(crate) const FORBIDDEN: &str = "by-policy";
/// What ends like this leaves once a person has approved it.
pub(crate) const ASKED: &str = "if-approved";

struct OneRule;

impl Policy for OneRule {
    fn judge(&self, outgoing: Outgoing) -> Judged<'_> {
        let asked = [&outgoing.path, &outgoing.query];
        let ends = |end: &str| asked.iter().any(|text| text.ends_with(end));
        let rule = |verb: &str| PolicyRule {
            rule: "test.one-rule".to_owned(),
            reason: format!("the test {verb} it."),
            instead: Some("Ask for something else.".to_owned()),
        };
        let answer = if ends(FORBIDDEN) {
            PolicyAnswer::Deny(rule("forbids"))
        } else if ends(ASKED) {
            PolicyAnswer::Ask(rule("wants to know of"))
        } else {
            PolicyAnswer::Allow
        };
        Box::pin(async move { answer })
    }
}

/// Says to each hook what it was told.
struct Echo;

/// Greets whoever wants a server, by its name.
struct Greeter;

impl McpServers for Greeter {
    fn connect(&self, name: String, client: OwnedFd) {
        let mut client = std::net::TcpStream::from(client);
        client.write_all(name.as_bytes()).unwrap();
    }
}

impl Adviser for Echo {
    fn advise(&self, agent: String, event: Vec<u8>) -> Advised<'_> {
        let error = String::from_utf8_lossy(&event).into_owned();
        Box::pin(async move {
            hook::Answer {
                code: 0,
                output: agent,
                error,
            }
        })
    }
}

/// Destinations by the client's own port, which a test registers before it
/// connects.
#[derive(Default)]
struct Destinations(Mutex<HashMap<u16, SocketAddr>>);

impl OriginalDestination for Destinations {
    fn of(&self, socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
        let peer = StdTcpStream::from(socket.try_clone_to_owned()?).peer_addr()?;
        let known = self.0.lock().unwrap();
        known
            .get(&peer.port())
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Knows the one name that leads inwards, and no other.
struct FewNames;

/// A name whose only address is one of this machine.
pub(crate) const INWARD: &str = "inward.test";

impl Resolver for FewNames {
    fn resolve<'a>(
        &'a self,
        host: &'a HostName,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send + 'a>> {
        let answer = if host.as_str() == INWARD {
            Ok(vec![
                IpAddr::from([127, 0, 0, 1]),
                IpAddr::from([10, 0, 0, 1]),
            ])
        } else {
            Err(ResolveError::Lookup {
                host: host.to_string(),
                detail: "test".into(),
            })
        };
        Box::pin(async { answer })
    }
}

/// An HTTP server that keeps what it was sent.
pub(crate) struct UpstreamServer {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for UpstreamServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl UpstreamServer {
    pub(crate) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Reply> + Send + 'static,
    {
        let answer: Answer = Arc::new(move |request| Box::pin(answer(request)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_http(stream, Arc::clone(&answer)));
            }
        });
        Self { address, task }
    }
}

pub(crate) async fn serve_http<S>(stream: S, answer: Answer)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    drop(
        builder
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

pub(crate) fn text_reply(content_type: &str, body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync();
    Response::builder()
        .header("content-type", content_type)
        .body(body)
        .unwrap()
}

/// What arrived at an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An upstream that keeps requests and answers each with `reply`.
pub(crate) async fn recording_upstream(
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> (UpstreamServer, Arc<Mutex<Vec<Seen>>>) {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let keep = Arc::clone(&seen);
    let server = UpstreamServer::start(move |request| {
        let (reply, keep) = (reply(), Arc::clone(&keep));
        async move {
            let (parts, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            keep.lock().unwrap().push(Seen {
                method: parts.method.to_string(),
                uri: parts.uri.to_string(),
                headers: parts.headers,
                body,
            });
            reply
        }
    })
    .await;
    (server, seen)
}

pub(crate) fn route(api: ModelApi, upstream: &str) -> ModelRoute {
    ModelRoute {
        host: HOST.parse().unwrap(),
        api,
        upstream: upstream.parse::<Upstream>().unwrap(),
        header: api.header().into(),
        placeholder: PLACEHOLDER.into(),
        secret: Redacted::new(SECRET.into()),
        secret_name: "MODEL_API_KEY".into(),
        signing: (api == ModelApi::Bedrock).then(|| Signing {
            region: "us-east-1".into(),
            service: "bedrock".into(),
            key_id: SecretText(Redacted::new(KEY_ID.into())),
            session_token: Some(SecretText(Redacted::new(SESSION_TOKEN.into()))),
        }),
        endpoints: api.endpoints(),
        provider_fetch: false,
    }
}

/// Settings of a task with one Anthropic route and ample limits.
pub(crate) fn settings(upstream: &str) -> Settings {
    Settings {
        task: TaskId::from_random(42),
        routes: vec![route(ModelApi::Anthropic, upstream)],
        allow: Vec::new(),
        deny: Vec::new(),
        services: Vec::new(),
        secrets: Vec::new(),
        guarded: Vec::new(),
        asks: false,
        byte_limit: 1 << 30,
    }
}

/// A gateway that serves on loopback until dropped.
pub(crate) struct Harness {
    pub(crate) sink: Arc<MemorySink>,
    pub(crate) tcp: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) dns_tcp: SocketAddr,
    destinations: Arc<Destinations>,
    trust: Arc<ClientConfig>,
    pub(crate) rules: LiveRules,
    pub(crate) person: Arc<Person>,
    pub(crate) task: TaskId,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Harness {
    pub(crate) fn start(settings: Settings) -> Self {
        Self::start_with_roots(settings, RootCertStore::empty())
    }

    pub(crate) fn metered(settings: Settings, meter: &Arc<CountingMeter>) -> Self {
        Self::start_all(settings, RootCertStore::empty(), Arc::clone(meter))
    }

    pub(crate) fn start_with_roots(settings: Settings, roots: RootCertStore) -> Self {
        Self::start_all(settings, roots, CountingMeter::allowing(u64::MAX))
    }

    fn start_all(settings: Settings, roots: RootCertStore, meter: Arc<CountingMeter>) -> Self {
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (tcp, dns_tcp) = (bind(), bind());
        let dns = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let addresses = (
            tcp.local_addr().unwrap(),
            dns.local_addr().unwrap(),
            dns_tcp.local_addr().unwrap(),
        );
        let authority = CertificateAuthority::new(&settings.task).unwrap();
        let mut trusted = RootCertStore::empty();
        let pem = authority.certificate_pem();
        trusted
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
        let sink = Arc::new(MemorySink::default());
        let destinations = Arc::new(Destinations::default());
        let person = Arc::new(Person::default());
        let task = settings.task.clone();
        let rules = LiveRules::new(&settings.allow, &settings.deny);
        let secrets = LiveSecrets::new(&settings.secrets).unwrap();
        let gateway = Gateway {
            settings,
            secrets,
            source: Arc::new(OneValue),
            sources: Arc::new(OneFile),
            ask: Arc::clone(&person) as Arc<dyn Ask>,
            rules: rules.clone(),
            authority,
            listeners: Listeners {
                tcp: vec![tcp],
                dns_udp: vec![dns],
                dns_tcp: vec![dns_tcp],
            },
            upstream: UpstreamAccess {
                resolver: Arc::new(FewNames),
                roots,
                own_addresses: Vec::new(),
            },
            sink: sink.clone(),
            meter,
            policy: Arc::new(OneRule),
            adviser: Arc::new(Echo),
            mcp: Arc::new(Greeter),
            more: tokio::sync::mpsc::unbounded_channel().1,
            original_destination: destinations.clone(),
        };
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            gateway.serve(async { drop(stopped.await) }).await.unwrap();
        });
        let (tcp, dns, dns_tcp) = addresses;
        let trust = Arc::new(client_tls(trusted));
        Self {
            sink,
            tcp,
            dns,
            dns_tcp,
            destinations,
            trust,
            rules,
            person,
            task,
            stop: Some(stop),
            served,
        }
    }

    /// Ends the gateway as the supervisor would, and waits for it.
    pub(crate) async fn stop(mut self) -> Arc<MemorySink> {
        drop(self.stop.take());
        timeout(PATIENCE, &mut self.served).await.unwrap().unwrap();
        Arc::clone(&self.sink)
    }

    /// The address that the gateway's DNS gives for `name`.
    pub(crate) async fn look_up(&self, name: &str) -> IpAddr {
        let reply = self.query(name, RecordType::A).await;
        match reply.answers() {
            [record] => match record.data() {
                RData::A(address) => address.0.into(),
                other => panic!("not an address: {other}"),
            },
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn query(&self, name: &str, kind: RecordType) -> Message {
        let mut query = Message::new();
        query.set_id(7).set_recursion_desired(true);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket
            .send_to(&query.to_vec().unwrap(), self.dns)
            .await
            .unwrap();
        let mut buffer = [0; 2048];
        let length = timeout(PATIENCE, socket.recv(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    /// A connection that seems to have been dialled to `destination`.
    pub(crate) async fn dial(&self, destination: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        self.destinations
            .0
            .lock()
            .unwrap()
            .insert(port, destination);
        socket.connect(self.tcp).await.unwrap()
    }

    /// TLS settings of a client that trusts this gateway.
    pub(crate) fn client_config(&self) -> ClientConfig {
        ClientConfig::clone(&self.trust)
    }

    /// TLS with the gateway: `looked_up` is the name given to DNS, `sni` the
    /// one in the hello.
    pub(crate) async fn tls(
        &self,
        looked_up: &str,
        sni: &str,
        alpn: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let address = self.look_up(looked_up).await;
        let tcp = self.dial(SocketAddr::new(address, 443)).await;
        self.handshake(tcp, sni, alpn).await
    }

    /// The same with an address that no name was looked up for.
    pub(crate) async fn tls_to(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let tcp = self.dial(address).await;
        self.handshake(tcp, &address.ip().to_string(), &["http/1.1"])
            .await
    }

    /// TLS over `tcp` with the gateway, which must show a certificate for `name`.
    pub(crate) async fn handshake(
        &self,
        tcp: TcpStream,
        name: &str,
        alpn: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut config = self.client_config();
        config.alpn_protocols = alpn
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connect = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        timeout(PATIENCE, connect).await.unwrap()
    }

    /// Sends one request over a new connection to `host` and gives its reply.
    pub(crate) async fn send<B>(&self, host: &str, request: Request<B>) -> Response<Incoming>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut sender = self.connect(host).await;
        timeout(PATIENCE, sender.send_request(request))
            .await
            .unwrap()
            .unwrap()
    }

    /// A connection to `host` over HTTP/1.1.
    pub(crate) async fn connect<B>(&self, host: &str) -> conn::http1::SendRequest<B>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = self.tls(host, host, &["http/1.1"]).await.unwrap();
        let (sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// The same over HTTP/2.
    pub(crate) async fn send_h2(
        &self,
        host: &str,
        request: Request<Full<Bytes>>,
    ) -> Response<Incoming> {
        let stream = self.tls(host, host, &["h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        timeout(PATIENCE, sender.send_request(request))
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) fn events(&self, kind: EventKind) -> Vec<Value> {
        let events = self.sink.events.lock().unwrap();
        events
            .iter()
            .filter(|event| event.kind == kind)
            .map(|event| event.body.clone())
            .collect()
    }

    /// The first event of `kind`, once it is there.
    pub(crate) async fn event(&self, kind: EventKind) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(body) = self.events(kind).into_iter().next() {
                return body;
            }
            assert!(Instant::now() < deadline, "no {kind:?} event");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Sends one request over `stream`.
pub(crate) async fn send_over<S>(stream: S, request: Request<Full<Bytes>>) -> Response<Incoming>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    timeout(PATIENCE, sender.send_request(request))
        .await
        .unwrap()
        .unwrap()
}

pub(crate) fn client_tls(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A model request as Claude Code sends it.
pub(crate) fn message_request(body: &str) -> http::request::Builder {
    Request::post("/v1/messages?beta=true")
        .header("host", HOST)
        .header("x-api-key", PLACEHOLDER)
        .header("content-type", "application/json")
        .header("content-length", body.len())
}

pub(crate) fn message(body: &str) -> Request<Full<Bytes>> {
    message_request(body)
        .body(Full::from(body.to_owned()))
        .unwrap()
}

pub(crate) async fn text(reply: Response<Incoming>) -> (StatusCode, String) {
    let status = reply.status();
    let body = timeout(PATIENCE, reply.into_body().collect())
        .await
        .unwrap()
        .unwrap()
        .to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

pub(crate) async fn json(reply: Response<Incoming>) -> (StatusCode, Value) {
    let (status, text) = text(reply).await;
    (
        status,
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
    )
}
