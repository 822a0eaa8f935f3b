//! A bridge and a server on loopback, both of this process.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};

use crate::{endpoint::Endpoint, serve};

const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it arrived: its first line, its headers in lower case, its body.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    head: String,
    body: Value,
}

type Answer = fn(&Seen) -> String;

/// A server on loopback that answers as it is told, and its URL.
fn server(answer: Answer) -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let keep = Arc::clone(&keep);
            std::thread::spawn(move || {
                let seen = read(&stream);
                keep.lock().unwrap().push(seen.clone());
                (&stream).write_all(answer(&seen).as_bytes()).unwrap();
                // Until the other side has had enough.
                let _ = (&stream).read(&mut [0]);
            });
        }
    });
    (url, seen)
}

fn read(stream: &TcpStream) -> Seen {
    let mut reader = BufReader::new(stream);
    let (mut line, mut head) = (String::new(), String::new());
    reader.read_line(&mut line).unwrap();
    loop {
        let mut next = String::new();
        if reader.read_line(&mut next).unwrap() <= 2 {
            break;
        }
        head.push_str(&next.to_ascii_lowercase());
    }
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    Seen {
        line: line.trim().to_owned(),
        head,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

fn reply(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// A bridge to `url`: what goes in, what comes out, and its end.
struct Bridge {
    input: Option<Sender<Vec<u8>>>,
    output: Receiver<Vec<u8>>,
    ended: tokio::task::JoinHandle<()>,
}

impl Bridge {
    fn to(url: &str) -> Self {
        let endpoint = Endpoint::new([url.to_owned()].into_iter(), |_| None).unwrap();
        let (say, output) = channel(64);
        let (input, heard) = channel(64);
        Self {
            input: Some(input),
            output,
            ended: tokio::spawn(serve(endpoint, heard, say)),
        }
    }

    async fn send(&self, message: &Value) {
        let line = format!("{message}\n").into_bytes();
        self.input.as_ref().unwrap().send(line).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = timeout(PATIENCE, self.output.recv())
            .await
            .unwrap()
            .unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        serde_json::from_str(&line).unwrap()
    }

    async fn end(mut self) {
        self.input = None;
        timeout(PATIENCE, self.ended).await.unwrap().unwrap();
    }
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A server of the legacy era with a session, which tells of changes by itself.
fn legacy(seen: &Seen) -> String {
    let answer = |result: &Value| {
        json!({ "jsonrpc": "2.0", "id": seen.body["id"], "result": result }).to_string()
    };
    match seen.body["method"].as_str() {
        Some("initialize") => reply(
            200,
            "content-type: application/json\r\nmcp-session-id: s-7\r\n",
            &answer(&json!({ "protocolVersion": "2025-06-18" })),
        ),
        Some("notifications/initialized") => reply(202, "", ""),
        Some("tools/list") => {
            let news = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}";
            let result = answer(&json!({ "tools": [] }));
            let events = format!(": hello\r\n\r\ndata: {news}\n\ndata: {result}\n\n");
            reply(
                200,
                "content-type: text/event-stream; charset=utf-8\r\n",
                &events,
            )
        }
        _ if seen.line.starts_with("GET") => reply(
            200,
            "content-type: text/event-stream\r\n",
            "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n",
        ),
        _ if seen.line.starts_with("DELETE") => reply(200, "", ""),
        _ => reply(404, "content-type: text/plain\r\n", "nothing"),
    }
}

#[tokio::test]
async fn a_legacy_server_has_its_session_and_says_what_it_says_unasked() {
    let (url, seen) = server(legacy);
    let mut bridge = Bridge::to(&url);
    bridge.send(&request(1, "initialize", &json!({}))).await;
    assert_eq!(
        bridge.hear().await["result"]["protocolVersion"],
        "2025-06-18"
    );
    bridge
        .send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
        .await;
    assert_eq!(
        bridge.hear().await["method"],
        "notifications/tools/list_changed"
    );
    bridge.send(&request(2, "tools/list", &json!({}))).await;
    assert_eq!(bridge.hear().await["method"], "notifications/message");
    assert_eq!(bridge.hear().await["result"]["tools"], json!([]));
    bridge.send(&request(3, "nothing", &json!({}))).await;
    let failed = bridge.hear().await;
    assert_eq!(
        (&failed["id"], &failed["error"]["code"]),
        (&json!(3), &json!(-32603))
    );
    bridge.end().await;
    let seen = seen.lock().unwrap();
    assert!(!seen[0].head.contains("mcp-"), "{seen:?}");
    for later in &seen[1..] {
        assert!(later.head.contains("mcp-session-id: s-7"), "{seen:?}");
        assert!(
            later.head.contains("mcp-protocol-version: 2025-06-18"),
            "{seen:?}"
        );
    }
    assert!(seen.last().unwrap().line.starts_with("DELETE"), "{seen:?}");
}

/// A server of the modern era, which refuses what its headers do not say.
fn modern(seen: &Seen) -> String {
    let name = seen.body["params"]["name"].as_str().unwrap_or_default();
    let says = |header: &str| seen.head.contains(&format!("{header}\r\n"));
    let is_said = says("mcp-protocol-version: 2026-07-28")
        && says("mcp-method: tools/call")
        && says(&format!("mcp-name: {name}"));
    if !is_said {
        let error = json!({ "code": -32020, "message": "Header mismatch" });
        let error = json!({ "jsonrpc": "2.0", "id": null, "error": error });
        return reply(
            400,
            "content-type: application/json\r\n",
            &error.to_string(),
        );
    }
    // As people write it.
    let id = &seen.body["id"];
    let body = format!("{{\r\n  \"jsonrpc\": \"2.0\",\n  \"id\": {id},\n  \"result\": {{}}\n}}");
    reply(200, "content-type: application/json\r\n", &body)
}

#[tokio::test]
async fn a_modern_server_reads_in_headers_what_stands_in_the_request() {
    let (url, seen) = server(modern);
    let mut bridge = Bridge::to(&url);
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    let call = request(1, "tools/call", &json!({ "name": "add", "_meta": meta }));
    bridge.send(&call).await;
    assert_eq!(bridge.hear().await["result"], json!({}));
    // An error of the server is the answer, whatever the status.
    let other = request(2, "tools/call", &json!({ "name": "add" }));
    bridge.send(&other).await;
    let error = bridge.hear().await;
    assert_eq!(
        (&error["id"], &error["error"]["code"]),
        (&json!(2), &json!(-32020))
    );
    // Nothing is told that the modern era does not have.
    let cancels = json!({ "requestId": 1 });
    bridge
        .send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancels }))
        .await;
    bridge.end().await;
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_for_each_request() {
    let mut bridge = Bridge::to("http://127.0.0.1:9/");
    bridge.send(&request(1, "tools/list", &json!({}))).await;
    let error = bridge.hear().await;
    let words = error["error"]["message"].as_str().unwrap();
    assert!(words.contains("cannot be reached"), "{words}");
    bridge.end().await;
}

/// A server that keeps what listens open for as long as somebody listens.
fn endless(seen: &Seen) -> String {
    let listens = seen.body["method"] == "subscriptions/listen";
    if listens {
        // More is announced than ever comes.
        return "HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\ncontent-length: 999\r\n\r\n: hello\n\n".to_owned();
    }
    reply(200, "", "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}")
}

#[tokio::test]
async fn what_listens_holds_nobody_up_at_the_end() {
    let (url, _) = server(endless);
    let mut bridge = Bridge::to(&url);
    bridge
        .send(&request(1, "subscriptions/listen", &json!({})))
        .await;
    bridge.send(&request(2, "ping", &json!({}))).await;
    while bridge.hear().await["id"] != 2 {}
    let began = std::time::Instant::now();
    bridge.end().await;
    assert!(began.elapsed() < Duration::from_secs(3));
}
