//! The way out of a sandbox: there is none but by rule.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::{
    io::ErrorKind,
    net::{TcpListener, UdpSocket},
};

use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::host::{Host, Task, skip};

/// The one task that there is.
fn only_task(host: &Host) -> Task {
    host.task(host.json(&["ls"])[0]["id"].as_str().unwrap())
}

fn has(program: &str) -> bool {
    host::PATH
        .split(':')
        .any(|folder| std::path::Path::new(folder).join(program).exists())
}

#[test]
fn g2_a_listener_on_the_host_hears_nothing_by_any_address() {
    let host = Host::new();
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
    tcp.set_nonblocking(true).unwrap();
    udp.set_nonblocking(true).unwrap();
    let (port, datagrams) = (
        tcp.local_addr().unwrap().port(),
        udp.local_addr().unwrap().port(),
    );
    // The positive control: from outside, the listener is there.
    drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    host::eventually("the listener hears the host", || tcp.accept().is_ok());
    let addresses = "127.0.0.1 0.0.0.0 127.1 2130706433 0177.1 localhost 10.0.0.1 169.254.169.254 ::1 ::ffff:127.0.0.1";
    let script = format!(
        "for a in {addresses}; do timeout 3 bash -c \"echo x > /dev/tcp/$a/{port}\" 2>/dev/null; \
         timeout 3 bash -c \"echo x > /dev/udp/$a/{datagrams}\" 2>/dev/null; done; echo tried"
    );
    assert_eq!(host.look(&script), "tried\n");
    assert_eq!(tcp.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(
        udp.recv(&mut [0; 8]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn g2_names_are_answered_inside_with_addresses_that_lead_to_the_gateway() {
    let host = Host::new();
    let printed = host.look(
        "getent ahostsv4 anything.example | head -1; getent ahostsv4 another.example | head -1",
    );
    let answers: Vec<&str> = printed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(answers.len(), 2, "{printed}");
    assert!(
        answers.iter().all(|answer| answer.starts_with("198.18.")),
        "{printed}"
    );
    assert_ne!(answers[0], answers[1]);
}

#[test]
fn g2_a_host_without_a_rule_is_refused_with_a_sentence_that_programs_can_read() {
    if !has("curl") {
        return skip("the refusal as curl sees it", "curl is not installed");
    }
    let host = Host::new();
    let printed = host.look(
        "curl -sS --max-time 10 -o /tmp/b -w '%{http_code}\\n' https://example.com/x; cat /tmp/b; echo; \
         curl -sS --max-time 10 -o /tmp/c -w '%{http_code}\\n' http://example.com/y; cat /tmp/c",
    );
    assert_eq!(
        printed.lines().filter(|line| *line == "403").count(),
        2,
        "{printed}"
    );
    assert!(
        printed.contains("\"rule\"") && printed.contains("example.com"),
        "{printed}"
    );
    let denied = only_task(&host)
        .record()
        .iter()
        .filter(|record| record.kind == RecordKind::Event(EventKind::Denied))
        .count();
    assert_eq!(denied, 2);
    let why = host.json(&["why"]);
    assert_eq!(why["kind"], "denied", "{why}");
    let told = host.stockade(&["why"]).stdout;
    assert!(
        told.contains("rule") && told.contains("example.com"),
        "{told}"
    );
}

#[test]
fn g2_addresses_and_the_capture_port_itself_are_refused() {
    let host = Host::new();
    let printed = host.look(
        "for to in 1.1.1.1/443 93.184.216.34/80 127.0.0.1/15001; do \
         timeout 5 bash -c \"exec 3<>/dev/tcp/$to && printf 'GET / HTTP/1.0\\r\\nHost: x.example\\r\\n\\r\\n' >&3 && cat <&3\" 2>/dev/null | head -c 400 | grep -q '200 OK' && echo ANSWERED; done; echo tried",
    );
    assert_eq!(printed, "tried\n");
}

#[test]
fn datagrams_to_anywhere_are_refused_at_once() {
    let host = Host::new();
    let printed = host.look(
        "perl -e 'use Socket; use Time::HiRes \"time\"; socket(S, PF_INET, SOCK_DGRAM, 0); \
         connect(S, sockaddr_in(443, inet_aton(\"9.9.9.9\"))); $t = time; send(S, \"x\", 0); \
         $r = sysread(S, $b, 1); printf \"%s %s\\n\", defined $r ? \"read\" : $!, time - $t < 1 ? \"soon\" : \"late\"'",
    );
    assert_eq!(printed, "Connection refused soon\n");
}

#[test]
fn servers_inside_reach_each_other_and_two_tasks_use_the_same_port() {
    let host = Host::new();
    let script = "perl -e 'use IO::Socket::INET; $s = IO::Socket::INET->new(LocalAddr => \"127.0.0.1:3000\", Listen => 1, ReuseAddr => 1) or die $!; \
         if (fork) { $c = $s->accept; print <$c>; wait } else { sleep 1; $c = IO::Socket::INET->new(\"127.0.0.1:3000\") or die $!; print $c \"hello\\n\" }'; sleep 1";
    let tasks = [host.start(script), host.start(script)];
    for task in &tasks {
        assert_eq!(host.wait_for_state(task, "done")["exit"], 0);
        assert_eq!(host.stockade(&["logs", &task.id]).stdout, "hello\n");
    }
}

#[test]
fn routes_and_rules_cannot_be_changed_inside() {
    if !has("ip") && !has("nft") {
        return skip(
            "changing routes and rules",
            "neither ip nor nft is installed",
        );
    }
    let host = Host::new();
    let printed = host.look(
        "ip link set lo down 2>/dev/null && echo DOWN; ip route flush table all 2>/dev/null && echo FLUSHED; \
         ip link add x type dummy 2>/dev/null && echo ADDED; nft flush ruleset 2>/dev/null && echo RULES; echo tried",
    );
    assert_eq!(printed, "tried\n");
}
