use std::{convert::Infallible, net::SocketAddr, os::fd::AsFd, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::server::Acceptor;
use serde_json::json;
use stockade_types::{HostName, hook};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{
    authority::{CertificateAuthority, Subject},
    dns::{self, FakeAddresses},
    exchange::Gatekeeper,
    head::{HEAD_MAX, Target},
    hook::Hooks,
    mcp::{self, McpServers},
    record::bounded,
    reply::ReplyBody,
    server::OriginalDestination,
};

/// From the connection to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// For a request's head, and for an idle connection's next request.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
const HEADERS_MAX: usize = 100;
const STREAMS_MAX: u32 = 64;
/// The first byte of a TLS record that holds a handshake message.
const TLS_HANDSHAKE: u8 = 0x16;

/// What every connection of one task shares.
pub(crate) struct Shared {
    pub(crate) gatekeeper: Gatekeeper,
    pub(crate) authority: CertificateAuthority,
    pub(crate) names: Arc<FakeAddresses>,
    pub(crate) hooks: Hooks,
    pub(crate) mcp: Arc<dyn McpServers>,
    pub(crate) original_destination: Arc<dyn OriginalDestination>,
}

/// Why a connection ends before there is a request to answer.
struct Closed {
    rule: &'static str,
    reason: String,
}

impl Closed {
    fn new(rule: &'static str, reason: impl Into<String>) -> Self {
        Self {
            rule,
            reason: reason.into(),
        }
    }
}

/// Serves one connection from inside to its end.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without one the listener itself was dialled, and passing that on would be a loop.
    let Ok(address) = shared.original_destination.of(stream.as_fd()) else {
        return;
    };
    if address == SocketAddr::V4(hook::ADDRESS) {
        return shared.hooks.serve(stream, &shared.gatekeeper.record).await;
    }
    if address == SocketAddr::V4(stockade_types::mcp::ADDRESS) {
        return mcp::serve(stream, &*shared.mcp).await;
    }
    let name = shared.names.name(address.ip());
    if let Err(closed) = classify(stream, name, address, &shared).await {
        let body = json!({
            "host": shared.names.name(address.ip()).map_or_else(|| address.ip().to_string(), |name| name.to_string()),
            "port": address.port(), "verdict": "deny", "rule": closed.rule,
            "reason": bounded(&closed.reason),
        });
        shared.gatekeeper.record.denied(body, false).await;
    }
}

/// Tells by the first bytes what is spoken; anything but TLS and HTTP ends.
async fn classify(
    stream: TcpStream,
    name: Option<HostName>,
    address: SocketAddr,
    shared: &Arc<Shared>,
) -> Result<(), Closed> {
    let mut first = [0; 4];
    let seen = match timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await {
        Ok(Ok(0)) => return Ok(()),
        Ok(Ok(seen)) => seen,
        Ok(Err(_)) | Err(_) => {
            return Err(Closed::new(
                "network.silent",
                "the client sent nothing in time",
            ));
        }
    };
    drop(stream.set_nodelay(true));
    match &first[..seen] {
        [TLS_HANDSHAKE, ..] => {
            let subject = match &name {
                Some(name) => Subject::Name(name.clone()),
                None if shared.gatekeeper.mentions(address.ip()) => Subject::Address(address.ip()),
                None => return Err(literal(address)),
            };
            let stream = handshake(stream, &subject, shared).await?;
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let target = Target {
                name,
                address,
                tls: true,
            };
            answer_requests(stream, target, h2, Arc::clone(shared)).await;
            Ok(())
        }
        b"SSH-" => {
            drop(
                timeout(
                    HANDSHAKE_TIMEOUT,
                    say_and_hear_out(stream, &ssh_disconnect()),
                )
                .await,
            );
            Err(Closed::new("network.protocol", "ssh is not passed on"))
        }
        [b'A'..=b'Z', ..] => {
            let target = Target {
                name,
                address,
                tls: false,
            };
            answer_requests(stream, target, false, Arc::clone(shared)).await;
            Ok(())
        }
        _ => Err(Closed::new(
            "network.protocol",
            "only TLS and HTTP are understood",
        )),
    }
}

fn literal(address: SocketAddr) -> Closed {
    let reason = if dns::is_fake(address.ip()) {
        "no name was looked up for this address"
    } else {
        "addresses are not reached directly"
    };
    Closed::new("network.address-literal", reason)
}

/// Ends TLS with a certificate for `subject`, if that is what the client asks
/// for in its hello; addresses are not named there (RFC 6066 §3).
async fn handshake(
    stream: TcpStream,
    subject: &Subject,
    shared: &Shared,
) -> Result<TlsStream<TcpStream>, Closed> {
    let failed =
        |source: std::io::Error| Closed::new("network.tls", format!("TLS failed: {source}"));
    let negotiate = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream)
            .await
            .map_err(failed)?;
        let asked = start
            .client_hello()
            .server_name()
            .map(str::parse::<HostName>);
        match (asked, subject) {
            (Some(Ok(asked)), Subject::Name(name)) if asked == *name => {}
            (None, Subject::Address(_)) => {}
            (Some(_), _) => {
                return Err(Closed::new(
                    "network.sni",
                    "the TLS hello names another host than was looked up",
                ));
            }
            (None, _) => return Err(Closed::new("network.sni", "the TLS hello names no host")),
        }
        let configuration = shared
            .authority
            .configuration(subject)
            .map_err(|source| Closed::new("network.tls", source.to_string()))?;
        start.into_stream(configuration).await.map_err(failed)
    };
    timeout(HANDSHAKE_TIMEOUT, negotiate)
        .await
        .unwrap_or_else(|_| {
            Err(Closed::new(
                "network.tls",
                "the TLS handshake took too long",
            ))
        })
}

async fn answer_requests<S>(stream: S, target: Target, h2: bool, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let target = Arc::new(target);
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, target) = (Arc::clone(&shared), Arc::clone(&target));
        async move {
            let reply: Response<ReplyBody> = shared.gatekeeper.answer(&target, request).await;
            Ok::<_, Infallible>(reply)
        }
    });
    let stream = TokioIo::new(stream);
    // A connection's own end is nobody else's failure; requests and their
    // outcomes have been recorded by then.
    if h2 {
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(20)
            .max_send_buf_size(256 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .serve_connection(stream, service)
            .await;
        drop(served);
    } else {
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_MAX)
            .serve_connection(stream, service)
            .await;
        drop(served);
    }
}

/// The most that a client is heard out for, in bytes.
const LAST_WORDS: u64 = 64 * 1024;

/// Writes `words` and reads what the client still sends. A connection that is
/// closed with bytes unread is reset, and the client never sees the words.
async fn say_and_hear_out(mut stream: TcpStream, words: &[u8]) -> std::io::Result<()> {
    stream.write_all(words).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(LAST_WORDS), &mut tokio::io::sink()).await?;
    Ok(())
}

/// A server's version line and a disconnect message before key exchange
/// (RFC 4253 §11.1), whose text OpenSSH shows.
fn ssh_disconnect() -> Vec<u8> {
    const TEXT: &str = "stockade does not pass ssh on; use https";
    /// SSH_DISCONNECT_HOST_NOT_ALLOWED_TO_CONNECT
    const NOT_ALLOWED: u32 = 1;
    let field = |text: &str| {
        let length = u32::try_from(text.len()).unwrap_or_default().to_be_bytes();
        [&length, text.as_bytes()].concat()
    };
    let mut payload = vec![1];
    payload.extend(NOT_ALLOWED.to_be_bytes());
    payload.extend(field(TEXT));
    payload.extend(field(""));
    // Length, padding length, payload and padding come to a multiple of 8,
    // with at least 4 bytes of padding (RFC 4253 §6).
    let padding = 4 + (8 - (4 + 1 + payload.len() + 4) % 8) % 8;
    let length = 1 + payload.len() + padding;
    let mut wire = b"SSH-2.0-stockade\r\n".to_vec();
    wire.extend(u32::try_from(length).unwrap_or_default().to_be_bytes());
    wire.push(u8::try_from(padding).unwrap_or_default());
    wire.extend(payload);
    wire.resize(wire.len() + padding, 0);
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ssh_disconnect_is_a_well_formed_packet() {
        let wire = ssh_disconnect();
        let packet = wire.strip_prefix(b"SSH-2.0-stockade\r\n").unwrap();
        assert_eq!(packet.len() % 8, 0);
        let length = u32::from_be_bytes(packet[..4].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap() + 4, packet.len());
        assert!(packet[4] >= 4);
        assert_eq!(packet[5], 1);
    }
}
