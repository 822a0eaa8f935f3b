//! Bytes as they are: an upstream that keeps each one, and a client that
//! writes what no library would.

use std::sync::{Arc, Mutex};

use stockade_gateway::{Service, Settings};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::support::*;

/// A host that the user named, and that a rule may allow.
pub(crate) const SITE: &str = "site.test";

/// A server that keeps the bytes of every request and says one thing to all.
pub(crate) struct RawUpstream {
    pub(crate) url: String,
    /// Of each connection.
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RawUpstream {
    /// Says `reply` when a request's head has arrived, and closes.
    pub(crate) async fn saying(reply: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (keep, reply) = (Arc::clone(&heard), reply.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(hear(stream, Arc::clone(&keep), reply.clone()));
            }
        });
        Self { url, heard, task }
    }

    pub(crate) fn heard(&self) -> String {
        self.heard_by_connection().concat()
    }

    pub(crate) fn heard_by_connection(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let texts = heard
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        texts.collect()
    }

    /// Settings of a task that knows this server as [`SITE`].
    pub(crate) fn settings(&self, allow: &[&str]) -> Settings {
        Settings {
            allow: allow.iter().map(|rule| rule.parse().unwrap()).collect(),
            services: vec![Service {
                name: SITE.parse().unwrap(),
                upstream: self.url.parse().unwrap(),
            }],
            ..settings(&self.url)
        }
    }
}

async fn hear(mut stream: TcpStream, heard: Arc<Mutex<Vec<Vec<u8>>>>, reply: String) {
    let own = {
        let mut heard = heard.lock().unwrap();
        heard.push(Vec::new());
        heard.len() - 1
    };
    let mut answered = false;
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let whole = {
            let heard = &mut heard.lock().unwrap()[own];
            heard.extend(&buffer[..length]);
            heard.windows(4).any(|end| end == b"\r\n\r\n")
        };
        if !answered && whole {
            answered = true;
            drop(stream.write_all(reply.as_bytes()).await);
            drop(stream.shutdown().await);
        }
    }
}

/// All that comes until the other side closes.
pub(crate) async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    // A reset after the reply is as good an end as any.
    drop(
        timeout(PATIENCE, stream.read_to_end(&mut text))
            .await
            .unwrap(),
    );
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes `bytes` over TLS to `host`, and no more; what comes back.
pub(crate) async fn over_tls(gateway: &Harness, host: &str, bytes: &[u8]) -> String {
    let stream = gateway.tls(host, host, &["http/1.1"]).await.unwrap();
    say(stream, bytes).await
}

/// The same in the clear, to port 80.
pub(crate) async fn in_the_clear(gateway: &Harness, host: &str, bytes: &[u8]) -> String {
    let address = (gateway.look_up(host).await, 80).into();
    say(gateway.dial(address).await, bytes).await
}

/// The reply to `bytes`, and whatever else comes until one side closes: the
/// gateway if it says so, else the client.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    drop(stream.write_all(bytes).await);
    let mut reply = Vec::new();
    let mut buffer = [0; 4096];
    while !is_whole(&reply) {
        match timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap() {
            Ok(length @ 1..) => reply.extend(&buffer[..length]),
            _ => return String::from_utf8_lossy(&reply).into_owned(),
        }
    }
    let reply = String::from_utf8_lossy(&reply).into_owned();
    if !reply.contains("\r\nconnection: close\r\n") {
        drop(stream.shutdown().await);
    }
    reply + &read_all(&mut stream).await
}

/// Whether there is a head and a body of the length that it tells.
fn is_whole(reply: &[u8]) -> bool {
    let text = String::from_utf8_lossy(reply);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let told = head.split("content-length: ").nth(1);
    let length = told.and_then(|told| told.split("\r\n").next()?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// What a server says to a request that it likes.
pub(crate) const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";
