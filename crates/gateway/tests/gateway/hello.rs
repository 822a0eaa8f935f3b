//! The first message of TLS, whole and in pieces, true and forged.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use rustls::{ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;
use stockade_types::EventKind;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use crate::{raw::*, support::*};

/// A connection on which every byte is a segment of its own.
struct ByteByByte(TcpStream);

impl AsyncRead for ByteByByte {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for ByteByByte {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, &bytes[..bytes.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// A real client's hello for `name`, as one record.
fn hello(name: &str, names_it: bool) -> Vec<u8> {
    let mut config = client_tls(RootCertStore::empty());
    config.enable_sni = names_it;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// `hello` with one more extension. Its lengths stand behind the record's
/// head (5 bytes), the message's (4), and what else comes before.
fn with_extension(mut hello: Vec<u8>, kind: u16, content: &[u8]) -> Vec<u8> {
    let mut extension = kind.to_be_bytes().to_vec();
    extension.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    extension.extend(content);
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(hello[session]);
    let length = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    let compression = suites + 2 + length(suites);
    let extensions = compression + 1 + usize::from(hello[compression]);
    for at in [3, 7, extensions] {
        let sum = u16::from_be_bytes([hello[at], hello[at + 1]]);
        let sum = sum + u16::try_from(extension.len()).unwrap();
        hello[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    hello.extend(extension);
    hello
}

/// What the gateway says to `bytes` on a connection to `name`: the kinds of
/// its first record and of the message in it.
async fn answer(gateway: &Harness, name: &str, bytes: &[u8]) -> Option<(u8, u8)> {
    let address = (gateway.look_up(name).await, 443).into();
    let mut stream = gateway.dial(address).await;
    drop(stream.write_all(bytes).await);
    drop(stream.shutdown().await);
    let mut reply = Vec::new();
    drop(
        timeout(PATIENCE, stream.read_to_end(&mut reply))
            .await
            .unwrap(),
    );
    Some((*reply.first()?, *reply.get(5)?))
}

/// A record of the handshake, with a server's hello in it.
const SERVER_HELLO: Option<(u8, u8)> = Some((22, 2));

#[tokio::test]
async fn g2_a_hello_in_many_segments_or_records_is_read_as_one() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&[SITE]));
    let address = (gateway.look_up(SITE).await, 443).into();
    let request = b"GET / HTTP/1.1\r\nhost: site.test\r\n\r\n";
    for fragment in [None, Some(32)] {
        let tcp = gateway.dial(address).await;
        tcp.set_nodelay(true).unwrap();
        let mut config = gateway.client_config();
        config.max_fragment_size = fragment;
        let name = ServerName::try_from(SITE).unwrap();
        let connect = tokio_rustls::TlsConnector::from(Arc::new(config));
        let connect = connect.connect(name, ByteByByte(tcp));
        let mut stream = timeout(PATIENCE, connect).await.unwrap().unwrap();
        stream.write_all(request).await.unwrap();
        stream.flush().await.unwrap();
        let mut status = [0; 13];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 ", "{fragment:?}");
    }
}

#[tokio::test]
async fn g2_a_name_that_is_hidden_in_the_hello_does_not_count() {
    /// Encrypted ClientHello (RFC 9849): an outer one, of a suite, a key and a
    /// payload that only the host could read.
    const ECH: u16 = 0xfe0d;
    let outer = [&[0, 0, 1, 0, 1, 7, 0, 32][..], &[9; 32], &[0, 64], &[5; 64]].concat();
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&[SITE]));
    let hidden = |hello| with_extension(hello, ECH, &outer);
    // By its outer name it is a hello like any other.
    let sent = hidden(hello(SITE, true));
    assert_eq!(answer(&gateway, SITE, &sent).await, SERVER_HELLO);
    for forged in [
        hidden(hello("cover.test", true)),
        hidden(hello(SITE, false)),
        hello(SITE, false),
        hello("cover.test", true),
    ] {
        assert_ne!(answer(&gateway, SITE, &forged).await, SERVER_HELLO);
    }
    // The first was not finished, which nobody but its client could.
    let denied = gateway.events(EventKind::Denied);
    let rules: Vec<_> = denied.iter().map(|event| event["rule"].clone()).collect();
    assert_eq!(rules[1..], ["network.sni"; 4]);
}

#[tokio::test]
async fn g2_a_name_is_refused_in_a_second_place_and_in_other_forms() {
    let upstream = RawUpstream::saying(FINE).await;
    let gateway = Harness::start(upstream.settings(&[SITE]));
    // server_name: a list of one entry of type host_name.
    let entry = |name: &[u8]| {
        let length = u16::try_from(name.len()).unwrap();
        let mut list = (length + 3).to_be_bytes().to_vec();
        list.push(0);
        list.extend(length.to_be_bytes());
        list.extend(name);
        list
    };
    let unnamed = || hello(SITE, false);
    let named = |name: &[u8]| with_extension(unnamed(), 0, &entry(name));
    assert_eq!(
        answer(&gateway, SITE, &named(b"Site.TEST")).await,
        SERVER_HELLO
    );
    for forged in [
        with_extension(named(SITE.as_bytes()), 0, &entry(b"other.test")),
        named(b""),
        named(b"site.test\0.other.test"),
        named(b"site.test/"),
        named(b"198.18.0.1"),
        named("s\u{456}te.test".as_bytes()),
        named(&[b'a'; 300]),
        with_extension(unnamed(), 0, b""),
        with_extension(unnamed(), 0, b"\xff\xff\0\0\x09site.test"),
    ] {
        assert_ne!(answer(&gateway, SITE, &forged).await, SERVER_HELLO);
    }
}

#[test]
fn no_change_of_a_hello_harms_the_gateway_or_passes_for_another_name() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let gateway = runtime.block_on(async { Harness::start(settings("http://127.0.0.1:1")) });
    let genuine = hello("other.test", true);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    let cut = any::<prop::sample::Index>();
    let mut runner = TestRunner::new(Config::with_cases(300));
    runner
        .run(&(changes, cut, any::<bool>()), |(changes, cut, cuts)| {
            let mut bytes = genuine.clone();
            // The name itself stays, or it might become the right one.
            let name = bytes.windows(10).position(|part| part == b"other.test");
            let name = name.unwrap()..name.unwrap() + 10;
            for (at, value) in changes {
                let at = at.index(bytes.len());
                if !name.contains(&at) {
                    bytes[at] = value;
                }
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len()));
            }
            let answered = runtime.block_on(answer(&gateway, HOST, &bytes));
            prop_assert_ne!(answered, SERVER_HELLO);
            Ok(())
        })
        .unwrap();
    let genuine = hello(HOST, true);
    let answered = runtime.block_on(answer(&gateway, HOST, &genuine));
    assert_eq!(answered, SERVER_HELLO);
}
