//! A server with a short script, and a plain HTTP client.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use stockade_rehearsal::{
    script::Script,
    server::{ServerHandle, ServerOptions},
};

pub(crate) const KEY: &str = "sk-decoy-accepted";

pub(crate) const SCRIPT: &str = r#"{"name": "wire", "turns": [
    {"label": "first", "text": "I look at what is here, with some — dashes.", "shell": "printf 'a b\\n'",
     "expect": {"contains": ["a b"], "not_contains": ["c"]},
     "usage": {"input": 1300, "cache_read": 6000, "cache_write": 5000, "output": 300, "reasoning": 40}},
    {"text": "Done."}]}"#;

pub(crate) async fn server() -> ServerHandle {
    let script = Script::parse("wire.json", SCRIPT).unwrap();
    ServerHandle::start(ServerOptions::new(script, KEY))
        .await
        .unwrap()
}

pub(crate) fn key_header(path: &str) -> (&'static str, String) {
    match path {
        _ if path.starts_with("/v1/messages") => ("x-api-key", KEY.to_owned()),
        _ if path.starts_with("/v1beta") => ("x-goog-api-key", KEY.to_owned()),
        _ => ("authorization", format!("Bearer {KEY}")),
    }
}

pub(crate) async fn ask(server: &ServerHandle, path: &str, body: &Value) -> Answer {
    let (name, key) = key_header(path);
    post(
        server.address(),
        path,
        &[(name, &key)],
        body.to_string().as_bytes(),
    )
    .await
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }
}

pub(crate) async fn post(
    to: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    send(to, "POST", path, headers, body).await
}

pub(crate) async fn get(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    send(to, method, path, headers, b"").await
}

async fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let stream = tokio::net::TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "model.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::copy_from_slice(body)))
        .unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}
