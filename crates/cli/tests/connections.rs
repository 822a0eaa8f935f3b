//! What `logs --network` tells of a task's connections, and a relay of the agent's own.

mod host;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpStream},
};

use serde_json::Value;

use crate::host::{Host, eventually, has, server::Server, skip};

#[test]
fn g2_every_connection_is_listed_out_and_in_allowed_and_refused() {
    if !has("curl") || !has("perl") {
        return skip("the list of connections", "curl or perl is not installed");
    }
    let host = Host::new();
    let server = Server::start("web.test");
    let serve = "use IO::Socket::INET; my $l = IO::Socket::INET->new(LocalAddr => \"127.0.0.1:3000\", Listen => 5) or die; \
                 while (my $c = $l->accept) { local $/; my $t = <$c>; print $c \"four\"; close $c }";
    let script = format!("exec perl -e '{serve}'");
    let words = [
        "--json",
        "run",
        "--detach",
        "--service",
        &server.service,
        "--allow",
        "GET,POST web.test",
        "--publish",
        "0:3000",
        "--yes",
        "--",
        "bash",
        "-c",
        &script,
    ];
    let started = host.stockade(&words);
    assert_eq!(started.code, 0, "{started:?}");
    let started: Value = serde_json::from_str(&started.stdout).unwrap();
    let task = host.task(started["task"].as_str().unwrap());
    let port = u16::try_from(started["published"][0]["port"].as_u64().unwrap()).unwrap();
    let list = || host.json(&["logs", &task.id, "--network"]);
    assert_eq!(list(), serde_json::json!([]));

    host.exec(
        &task,
        "curl -s https://web.test/a; curl -s -d 12345 https://web.test/b",
    );
    host.exec(
        &task,
        "curl -s https://other.test/c; curl -s http://192.0.2.1/d",
    );
    let mut said = String::new();
    eventually("the server inside answers", || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        said.clear();
        stream.write_all(b"123456").is_ok()
            && stream.shutdown(Shutdown::Write).is_ok()
            && stream.read_to_string(&mut said).is_ok()
            && said == "four"
    });
    let mut listed = Value::Null;
    eventually("the last outcome is recorded", || {
        listed = list();
        let inward = listed.as_array().unwrap().iter();
        inward
            .filter(|entry| entry["direction"] == "in" && entry["sent"] == 4)
            .count()
            == 1
    });
    let find = |name: &str, value: &str| {
        let mut entries = listed.as_array().unwrap().iter();
        entries
            .find(|entry| entry[name] == value)
            .cloned()
            .unwrap_or_default()
    };
    for (path, method, body) in [("/a", "GET", 0), ("/b", "POST", 5)] {
        let entry = find("path", path);
        for (name, value) in [
            ("task", Value::from(&*task.id)),
            ("direction", "out".into()),
            ("verdict", "allow".into()),
            ("host", "web.test".into()),
            ("address", "127.0.0.1".into()),
            ("port", 443.into()),
            ("method", method.into()),
            ("rule", "network.allow".into()),
            ("allowed_by", "GET,POST web.test".into()),
            ("status", 200.into()),
            ("sent_body", body.into()),
            ("received", 12.into()),
            ("ended", "complete".into()),
        ] {
            assert_eq!(entry[name], value, "{name}: {entry}");
        }
        assert!(entry["sent"].as_u64().unwrap() > 20, "{entry}");
    }
    for (name, value, rule) in [
        ("path", "/c", "network.default-deny"),
        ("path", "/d", "network.address-literal"),
    ] {
        let entry = find(name, value);
        assert_eq!(
            (&entry["verdict"], &entry["rule"]),
            (&"deny".into(), &rule.into()),
            "{entry}"
        );
    }
    let inward = find("direction", "in");
    assert_eq!(inward["port"], port);
    let told = host.stockade(&["logs", &task.id, "--network"]).stdout;
    assert_eq!(
        told.lines().count(),
        listed.as_array().unwrap().len(),
        "{told}"
    );
    for part in [
        "  out  allow  POST  web.test:443/b (127.0.0.1)  200  ",
        "  out  deny  GET  other.test:443/c  network.default-deny",
        &format!("  in  allow  127.0.0.1:{port} to 3000 inside  4 B out  6 B in"),
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// A proxy that joins whoever asks it by CONNECT with whom they name.
const RELAY: &str = r#"
import socket, threading
def pump(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    other.close()
def serve(client):
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(4096)
    host, port = head.split()[1].decode().rsplit(":", 1)
    there = socket.create_connection((host.strip("[]"), int(port)), 20)
    client.sendall(b"HTTP/1.1 200 joined\r\n\r\n")
    threading.Thread(target=pump, args=(client, there), daemon=True).start()
    pump(there, client)
listener = socket.create_server(("127.0.0.1", 3128))
open("listening", "w").close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

#[test]
fn g2_what_a_relay_inside_passes_on_is_judged_like_anything_else() {
    if !has("curl") || !has("python3") {
        return skip("a relay inside", "curl or python3 is not installed");
    }
    let host = Host::new();
    let server = Server::start("web.test");
    let words = [
        "--service",
        &server.service,
        "--allow",
        "GET web.test",
        "--yes",
    ];
    let task = host.start_with(&words, &format!("exec python3 -c '{RELAY}'"));
    host::wait_for_file(&host, &task, "listening");
    let ask = |url: &str| {
        let words = "curl -sS -p -x http://127.0.0.1:3128 --max-time 30 -w ' %{http_code}'";
        host.exec(&task, &format!("{words} {url} 2>&1")).1
    };
    assert_eq!(
        ask("https://web.test/a"),
        format!("{} 200", host::server::REPLY)
    );
    for (url, rule) in [
        ("https://other.test/", "network.default-deny"),
        ("https://web.test/ -d x", "network.method"),
        ("http://192.0.2.1/", "network.address-literal"),
        ("http://web.test/", "network.port"),
    ] {
        let printed = ask(url);
        assert!(printed.contains(rule), "{url}: {printed}");
    }
    assert_eq!(server.lines(), ["GET /a HTTP/1.1"]);
}
