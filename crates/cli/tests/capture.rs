//! Nothing of Stockade's own reaches a network: all that it does is done in a
//! network namespace from which every packet would be seen to leave.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsFd,
    process::{Child, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use self::host::{Host, Task, finish_within, has, is_root, processes, server, skip, wait_for_file};

/// Sees what leaves a network namespace of its own.
struct Capture {
    namespace: File,
    process: Child,
    told: BufReader<ChildStdout>,
}

impl Capture {
    /// Nothing, and the reason said, where it cannot be had.
    fn start(host: &Host) -> Option<Self> {
        const WHAT: &str = "a capture of packets";
        if !is_root() {
            skip(WHAT, "only root sees packets");
            return None;
        }
        for tool in ["perl", "ip", "unshare"] {
            if !has(tool) {
                skip(WHAT, &format!("{tool} is not installed"));
                return None;
            }
        }
        let script = host.path("capture.pl");
        fs::write(&script, include_str!("scripts/capture.pl")).unwrap();
        let mut unshare = host.other_command("unshare");
        unshare.args(["--net", "perl"]).arg(&script);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = unshare.spawn().unwrap();
        let mut told = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        if line != "ready\n" {
            process.wait().unwrap();
            skip(WHAT, "no interface can be made; its reason is above");
            return None;
        }
        let namespace = File::open(format!("/proc/{}/ns/net", process.id())).unwrap();
        Some(Self {
            namespace,
            process,
            told,
        })
    }

    /// Does `work` where every packet is seen.
    fn of(&self, work: impl FnOnce() + Send) {
        let done = std::thread::scope(|scope| {
            let inside = || {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.namespace.as_fd(), kind).unwrap();
                work();
            };
            scope.spawn(inside).join()
        });
        if let Err(failure) = done {
            std::panic::resume_unwind(failure);
        }
    }

    /// What left.
    fn end(mut self) -> String {
        drop(self.process.stdin.take());
        let mut packets = String::new();
        self.told.read_to_string(&mut packets).unwrap();
        assert!(self.process.wait().unwrap().success());
        packets
    }
}

/// What a task tries that must not leave, by every way that programs have.
const TRIES: &str = "{ curl -m 2 https://198.51.100.1/ http://unknown.example/; \
    getent hosts unknown.example; \
    perl -MIO::Socket::INET -e 'for (qw(udp tcp)) { my $s = IO::Socket::INET->new(PeerAddr => q(198.51.100.2), \
        PeerPort => 53, Proto => $_, Timeout => 1); $s and print $s q(x) }'; } >/dev/null 2>&1; true";

/// A task from its wish to its end, with everything that people do with one.
fn work(host: &Host) {
    let does = |arguments: &[&str]| {
        let outcome = host.stockade(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
        outcome.stdout
    };
    let checks = "[checks]\ntest = \"test -e README.md\"\n";
    fs::write(host.repository().join("stockade.toml"), checks).unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "A check"]);
    let known = server::Server::start("known.example");
    let rules = ["--allow", "http://known.example", "--service"];

    let task = host.start_with(&[&rules[..], &[&known.service]].concat(), "sleep 1000");
    let fetch = format!("curl -s http://known.example/; {TRIES}");
    assert_eq!(host.exec(&task, &fetch), (0, server::REPLY.to_owned()));
    let fresh = ["exec", "--fresh", &task.id, "--", "bash", "-c", TRIES];
    does(&fresh);
    does(&[
        "allow",
        "GET unknown.example",
        "--task",
        &task.id,
        "--for",
        "1m",
    ]);
    does(&["pause", &task.id]);
    does(&["resume", &task.id]);
    does(&["stop", &task.id]);

    let script = format!("echo better >> README.md; git commit -qam Better; {TRIES}");
    does(&[
        "run", "--yes", "--name", "work", "--", "bash", "-c", &script,
    ]);
    for verb in ["logs", "diff", "review", "provenance"] {
        does(&[verb, "work"]);
    }
    host.stockade(&["why", "--task", "work"]);
    let place = host.path("checked-out");
    does(&["checkout", "work", "--on-host", place.to_str().unwrap()]);
    does(&[
        "cp",
        "work:README.md",
        host.path("copied").to_str().unwrap(),
    ]);
    does(&["merge", "work", "--yes", "--keep-commits"]);
    does(&["verify-commit", "HEAD"]);
    does(&["audit", "verify", "--all"]);
    does(&["undo", "work", "--to", "0"]);
    does(&["rm", "work"]);
    does(&["ls"]);
    host.stockade(&["doctor"]);
    let demo = finish_within(host.command(&["demo"]), 2 * host::LONGEST);
    assert_eq!(
        demo.unwrap_or_else(|| panic!("the demo is too slow")).code,
        0
    );
    does(&["uninstall", "--yes"]);
}

#[test]
fn g2_no_packet_leaves_the_host_while_tasks_work_are_reviewed_and_merged() {
    let host = Host::new();
    let Some(capture) = Capture::start(&host) else {
        return;
    };
    capture.of(|| work(&host));
    // What would have been seen: a datagram to anywhere, and a question for a name.
    capture.of(|| {
        for there in [
            (Ipv4Addr::new(198, 51, 100, 3), 9),
            (Ipv4Addr::LOCALHOST, 53),
        ] {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.send_to(b"seen", there).unwrap();
        }
    });
    assert_eq!(
        capture.end(),
        "protocol 17 to 127.0.0.1 53, 1 times\nprotocol 17 to 198.51.100.3 9, 1 times\n"
    );
}

/// For how many seconds everything is tried at once, where that is set; CI sets it.
const LENGTH: &str = "STOCKADE_TEST_SOAK_SECONDS";

/// What is tried, each again and again beside the others: addresses, unknown
/// hosts, endless names, datagrams, bytes that are no TLS, requests that two
/// parsers read differently, heads without an end, bodies that are too large or
/// expand without end, and connections that stay.
const HOSTILE: &[&str] = &[
    "curl -s -m 2 https://198.51.100.1/ http://[2001:db8::1]/ http://169.254.169.254/",
    "curl -s -m 2 http://unknown.example/$RANDOM https://other-$RANDOM.example/",
    "getent hosts $RANDOM$RANDOM.example",
    "perl -MIO::Socket::INET -e 'for (53, 123, 443) { my $s = IO::Socket::INET->new(PeerAddr => \
        q(198.51.100.2), PeerPort => $_, Proto => q(udp)); $s and print $s q(x) }'",
    "exec 3<>/dev/tcp/known.example/443 && head -c 90000 /dev/urandom >&3",
    "exec 3<>/dev/tcp/known.example/80 && printf 'POST /smuggled HTTP/1.1\\r\\nhost: \
        known.example\\r\\ncontent-length: 4\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\nGET \
        /behind HTTP/1.1\\r\\n\\r\\n' >&3 && cat <&3",
    "exec 3<>/dev/tcp/known.example/80 && printf 'GET /ok HTTP/1.1\\r\\nx: ' >&3 && sleep 2",
    "curl -s -m 5 --data-binary @large http://known.example/posts",
    "curl -s -m 5 -H 'Content-Encoding: gzip' --data-binary @bomb http://known.example/posts",
    "for i in 3 4 5 6 7 8; do eval \"exec $i<>/dev/tcp/198.51.100.4/22\"; done; sleep 1",
];

/// All of it, and a request by rule that has to be answered meanwhile.
fn hostile_script() -> String {
    let tries = HOSTILE.iter().map(|tried| {
        format!("while test -e go; do ( {tried} ) >/dev/null 2>&1; sleep 0.1; done &\n")
    });
    format!(
        "touch go; head -c 3000000 /dev/urandom > large; \
         head -c 100000000 /dev/zero | gzip > bomb\n{}\
         while test -e go; do\n\
           if curl -s -m 30 http://known.example/ok | grep -q '{}'; then echo >> good; else echo >> bad; fi\n\
           sleep 0.2\ndone &\n\
         wait; touch done; sleep 1000",
        tries.collect::<String>(),
        server::REPLY
    )
}

/// What the processes of Stockade's own that work for a task hold in memory,
/// in KiB, by their arguments.
fn memory(task: &Task) -> Vec<(String, u64)> {
    let tree = processes::tree(&task.folder);
    let parts = ["__supervisor", "__recorder", "__gateway"].map(|part| {
        let process = tree.iter().find(|process| process.is_part(part)).unwrap();
        let text = process.status("VmRSS").unwrap();
        let held = text.trim_end_matches(" kB").parse().unwrap();
        (format!("{part} {}", process.id), held)
    });
    parts.into()
}

/// A task in which everything is tried for a while.
fn soak(host: &Host, length: Duration) {
    let known = server::Server::start("known.example");
    let rules = ["--allow", "GET http://known.example", "--service"];
    let words = [&rules[..], &[&known.service, "--yes"]].concat();
    let begun = Instant::now();
    let task = host.start_with(&words, &hostile_script());
    wait_for_file(host, &task, "good");
    while begun.elapsed() < length / 3 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let before = memory(&task);
    while begun.elapsed() < length {
        std::thread::sleep(Duration::from_millis(500));
        assert!(!memory(&task).is_empty());
    }
    let after = memory(&task);
    let (exit, printed) = host.exec(&task, "wc -l < good; test ! -e bad || wc -l < bad; rm go");
    assert_eq!(exit, 0, "{printed}");
    wait_for_file(host, &task, "done");

    for ((part, before), (same, after)) in before.iter().zip(&after) {
        assert_eq!(part, same, "a process ended");
        assert!(
            *after <= before + before / 2 + (16 << 10),
            "{part}: {before} to {after} KiB"
        );
    }
    let good: u64 = printed.lines().next().unwrap().trim().parse().unwrap();
    assert!(good >= length.as_secs() / 10, "{printed}");
    let lines = known.lines();
    assert!(
        lines.iter().all(|line| line == "GET /ok HTTP/1.1"),
        "{lines:?}"
    );
    let (exit, printed) = host.exec(&task, "curl -s -m 60 http://known.example/ok");
    assert_eq!((exit, &*printed), (0, server::REPLY));
    assert_eq!(host.status(&task)["state"]["name"], "running");
    let verified = host.stockade(&["audit", "verify", &task.id]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn g2_while_everything_is_tried_at_once_nothing_leaves_but_by_rule_and_memory_stays_flat() {
    for tool in ["curl", "perl", "gzip"] {
        if !has(tool) {
            return skip(
                "trying everything at once",
                &format!("{tool} is not installed"),
            );
        }
    }
    let length = std::env::var(LENGTH).map_or(60, |text| text.parse().unwrap());
    let length = Duration::from_secs(length);
    let host = Host::new();
    let Some(capture) = Capture::start(&host) else {
        return soak(&host, length);
    };
    capture.of(|| soak(&host, length));
    assert_eq!(capture.end(), "");
}
