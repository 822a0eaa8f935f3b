//! Ports of a sandbox that programs of the host reach.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::host::{Host, LONGEST, Task, eventually, has, skip};

/// Says back what it was told until that ends, then how much it was, and one
/// word of its own. `$ARGV[0]` is the address at which it listens.
const SERVER: &str = r#"use IO::Socket::IP; $| = 1;
my $l = IO::Socket::IP->new(LocalHost => $ARGV[0], LocalPort => 3000, Listen => 50, ReuseAddr => 1, GetAddrInfoFlags => 0) or die $@;
while (my $c = $l->accept) {
  if (!fork) {
    my $n = 0;
    while (sysread($c, my $b, 65536)) { $n += length $b; syswrite $c, $b }
    print $c "told $n from ", $c->peerhost, "\n"; close $c; exit;
  }
}"#;

/// A task with that server, and the port at which it can be reached.
fn published(host: &Host, address: &str) -> Option<(Task, u16)> {
    if !has("perl") {
        skip("published ports", "there is no perl to serve at one");
        return None;
    }
    let script = format!("exec perl -e '{SERVER}' {address}");
    let words = [
        "--json",
        "run",
        "--detach",
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
    let port = started["published"][0]["port"].as_u64().unwrap();
    assert_eq!(started["published"][0]["inside"], 3000);
    assert_eq!(host.status(&task)["published"][0]["port"], port);
    Some((task, port.try_into().unwrap()))
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    stream
}

/// What the server says to `told`, once it can be reached.
fn say(port: u16, told: &[u8]) -> String {
    let mut said = String::new();
    eventually("the server inside answers", || {
        let mut stream = connect(port);
        said.clear();
        stream.write_all(told).is_ok()
            && stream.shutdown(Shutdown::Write).is_ok()
            && stream.read_to_string(&mut said).is_ok()
            && !said.is_empty()
    });
    said
}

fn events(task: &Task, kind: EventKind) -> Vec<Value> {
    let record = task.record().into_iter();
    let of_kind = record.filter(|record| record.kind == RecordKind::Event(kind));
    of_kind.map(|record| record.body).collect()
}

#[test]
fn a_server_inside_is_reached_at_a_published_port_and_each_connection_recorded() {
    for address in ["127.0.0.1", "0.0.0.0", "::1"] {
        let host = Host::new();
        let Some((task, port)) = published(&host, address) else {
            return;
        };
        let told = "x".repeat(1_000_000);
        let said = say(port, told.as_bytes());
        assert!(said.starts_with(&told), "{address}");
        assert!(
            said[told.len()..].starts_with("told 1000000 from "),
            "{address}"
        );

        // A sandbox of its own for one command changes nothing about that.
        let fresh = host.stockade(&["exec", &task.id, "--fresh", "--", "true"]);
        assert_eq!(fresh.code, 0, "{fresh:?}");
        assert!(say(port, b"again").starts_with("againtold 5"));

        let mut together: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
        for (index, stream) in together.iter_mut().enumerate() {
            write!(stream, "{index}").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
        for (index, mut stream) in together.into_iter().enumerate() {
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            assert!(said.starts_with(&format!("{index}told ")), "{said}");
        }
        // One that stays open does not keep the task from ending.
        let mut open = connect(port);
        open.write_all(b"still").unwrap();
        open.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(host.stockade(&["stop", &task.id]).code, 0);
        assert_eq!(open.read(&mut [0; 5]).unwrap_or(0), 0);
        task.wait_until_settled();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        assert!(host.status(&task)["published"].is_null());

        let outcomes = events(&task, EventKind::InboundOutcome);
        let whole: Vec<_> = outcomes
            .iter()
            .filter(|outcome| outcome["received"] == 1_000_000)
            .collect();
        assert_eq!(whole.len(), 1, "{outcomes:?}");
        assert!(whole[0]["sent"].as_u64().unwrap() > 1_000_000);
        assert!(outcomes.len() > 41, "{}", outcomes.len());
        let begun = events(&task, EventKind::InboundConnection);
        assert_eq!(begun.len(), outcomes.len());
        assert_eq!(task.last_events(1), [EventKind::TaskEnded]);
    }
}

#[test]
fn g2_a_published_port_is_no_way_out_for_the_server_behind_it() {
    let host = Host::new();
    let Some((task, port)) = published(&host, "127.0.0.1") else {
        return;
    };
    // A listener of the host beside it, which must hear nothing.
    let ear = TcpListener::bind("127.0.0.1:0").unwrap();
    ear.set_nonblocking(true).unwrap();
    let heard = ear.local_addr().unwrap().port();
    let mut open = connect(port);
    let client = open.local_addr().unwrap().port();
    eventually("the server inside answers", || {
        open = connect(port);
        let mut word = [0; 4];
        open.write_all(b"word").is_ok() && open.read_exact(&mut word).is_ok()
    });
    // From inside: the port out there, the client's own, the other listener.
    let script = format!(
        "for p in {port} {client} {heard}; do for a in 127.0.0.1 localhost ::1 0.0.0.0; do \
         perl -MIO::Socket::IP -e 'print \"$ARGV[0] $ARGV[1] reached\\n\" if IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1], Timeout => 5)' $a $p; \
         done; done; echo tried"
    );
    let (_, printed) = host.exec(&task, &script);
    assert_eq!(printed, "tried\n");
    assert!(ear.accept().is_err());
    // What is said back comes through the connection and nowhere else.
    open.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    open.read_to_string(&mut said).unwrap();
    assert_eq!(said, "told 4 from 127.0.0.1\n");
}

#[test]
fn a_port_nobody_serves_is_closed_at_once_and_the_task_goes_on() {
    let host = Host::new();
    let words = [
        "--json",
        "run",
        "--detach",
        "--publish",
        "0:3000",
        "--yes",
        "--",
        "sleep",
        "600",
    ];
    let started = host.stockade(&words);
    assert_eq!(started.code, 0, "{started:?}");
    let started: Value = serde_json::from_str(&started.stdout).unwrap();
    let port = started["published"][0]["port"].as_u64().unwrap();
    let mut stream = connect(port.try_into().unwrap());
    assert_eq!(stream.read(&mut [0; 5]).unwrap_or(0), 0);
    let task = host.only_task();
    eventually("it is recorded", || {
        let outcomes = events(&task, EventKind::InboundOutcome);
        outcomes
            .iter()
            .any(|outcome| outcome["ended"] == "unanswered")
    });
    assert_eq!(host.exec(&task, "echo on").1, "on\n");
}

#[test]
fn a_port_that_is_taken_or_not_ours_to_give_stops_the_start_with_the_way_out() {
    let host = Host::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = host.stockade(&["run", "--publish", &port, "--yes", "--", "true"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(
        refused.stderr.contains(&format!("--publish 0:{port}")),
        "{refused:?}"
    );
    assert_eq!(host.json(&["ls"]), serde_json::json!([]));
    for (text, fix) in [
        ("15001", "belongs to the sandbox"),
        ("80:53", "belongs to the sandbox"),
        ("0.0.0.0:80:80", "127.0.0.1 only"),
        ("http", "as in `3000`"),
    ] {
        let wrong = host.stockade(&["run", "--publish", text, "--", "true"]);
        assert_eq!(wrong.code, 2, "{wrong:?}");
        assert!(wrong.stderr.contains(fix), "{wrong:?}");
    }
}

#[test]
fn a_published_port_stands_in_the_contract_needs_a_yes_and_is_at_loopback_only() {
    let host = Host::new();
    assert_eq!(host.look("true"), "");
    let words = ["run", "--publish", "0:3000", "--", "true"];
    let refused = host.stockade(&words);
    assert_eq!(refused.code, 4, "{refused:?}");
    let line =
        "a free port of 127.0.0.1 leads to port 3000 inside, for every program of this machine";
    for word in ["publishes   ", "publishes a free"] {
        assert!(refused.stderr.contains(word), "{refused:?}");
    }
    assert!(refused.stderr.contains(line), "{refused:?}");

    let Some((_task, port)) = published(&host, "127.0.0.1") else {
        return;
    };
    let others = [
        SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    ];
    for other in others {
        let reached = TcpStream::connect_timeout(&other, Duration::from_secs(5));
        assert!(reached.is_err(), "{other}");
    }
}
