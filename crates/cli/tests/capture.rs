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
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use self::host::{Host, finish_within, has, is_root, server, skip};

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
