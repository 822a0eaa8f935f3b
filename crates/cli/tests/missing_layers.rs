//! Each layer taken away for real: nothing starts, and one line names the
//! layer and the fix; or what starts is named as weaker. `doctor` says so too.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use self::host::{
    Host,
    failure::{REFUSED, WALL, nothing_is_left, sentence},
    finish, has, is_root,
    server::{self, Server},
    skip,
    without::{Refusal, always, lacking, takes_away, when, with_landlock, without},
};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");
const RUN: [&str; 7] = [STOCKADE, "run", "--name", "lacking", "--", "echo", "ran"];

/// What `doctor` finds about the layer `name`, and how it ended.
fn doctor(mut command: Command, name: &str) -> (Value, i32) {
    command.stdin(Stdio::null());
    let outcome = finish(command);
    let report: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    let layers = report["probes"].as_array().unwrap();
    let found = layers.iter().find(|layer| layer["name"] == name);
    (
        found
            .unwrap_or_else(|| panic!("no {name}: {report}"))
            .clone(),
        outcome.code,
    )
}

const DOCTOR: [&str; 3] = [STOCKADE, "--json", "doctor"];

/// Nothing starts; the sentence names the layer and says what to do.
fn refuses(host: &Host, refusals: &[Refusal], layer: &str, fix: &str) {
    let outcome = lacking(host, refusals, &RUN);
    assert_eq!(outcome.code, WALL, "{refusals:?}: {outcome:?}");
    let said = sentence(&outcome);
    assert!(
        said.starts_with(&format!("{layer}: ")),
        "{refusals:?}: {outcome:?}"
    );
    assert!(said.contains(fix), "{refusals:?}: {outcome:?}");
    assert!(!outcome.stdout.contains("ran"), "{outcome:?}");
    nothing_is_left(host);
}

/// The request of prctl(2) since Linux 6.4.
const PR_GET_AUXV: u32 = 0x4155_5856;

/// The contract of the one task that there is.
fn contract(host: &Host) -> Value {
    let plan = fs::read(host.only_task().folder.join("plan.json")).unwrap();
    serde_json::from_slice::<Value>(&plan).unwrap()["contract"].clone()
}

/// It starts, and the contract names what is weaker; where everything is
/// demanded it does not.
fn starts_weaker(host: &Host, make: impl Fn(&[&str]) -> Command, named: &str) {
    let run = |words: &[&str]| {
        let mut command = make(words);
        command.stdin(Stdio::null());
        finish(command)
    };
    let demanding = ["run", "--require", "full", "--", "echo", "ran"];
    let refused = run(&[&[STOCKADE][..], &demanding].concat());
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(sentence(&refused).contains(named), "{named}: {refused:?}");
    let outcome = run(&RUN);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "ran\n"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains(named), "{outcome:?}");
    let contract = contract(host);
    assert_eq!(contract["assurance"], "reduced", "{contract}");
    let weaker = contract["weaker"].to_string();
    assert!(weaker.contains(named), "{contract}");
    let recorded = host.only_task().record();
    let started = recorded
        .iter()
        .any(|record| record.body["contract"] == contract);
    assert!(started, "the record has the contract");
}

#[test]
fn g8_without_landlock_nothing_starts() {
    if !takes_away() {
        return;
    }
    let host = Host::new();
    for error in [libc::ENOSYS, libc::EOPNOTSUPP] {
        let gone = [always(libc::SYS_landlock_create_ruleset, error)];
        refuses(&host, &gone, "Landlock", "lsm=landlock");
        let (layer, code) = doctor(without(&host, &gone, &DOCTOR), "Landlock");
        assert_eq!(
            (&layer["outcome"], code),
            (&"missing".into(), WALL),
            "{layer}"
        );
        assert!(layer["fix"].is_string(), "{layer}");
    }
    // The kernel has it and does not enforce what it took.
    let broken = [always(libc::SYS_landlock_restrict_self, libc::EPERM)];
    let outcome = lacking(&host, &broken, &RUN);
    assert_eq!(outcome.code, WALL, "{outcome:?}");
    nothing_is_left(&host);
}

#[test]
fn g8_without_filters_of_system_calls_nothing_starts() {
    if !takes_away() {
        return;
    }
    let host = Host::new();
    let gone = [always(libc::SYS_seccomp, libc::EINVAL)];
    refuses(&host, &gone, "seccomp", "CONFIG_SECCOMP_FILTER");
    let (layer, code) = doctor(without(&host, &gone, &DOCTOR), "seccomp");
    assert_eq!(
        (&layer["outcome"], code),
        (&"missing".into(), WALL),
        "{layer}"
    );
}

#[test]
fn g8_a_container_that_forbids_namespaces_is_told_from_a_broken_git() {
    if !takes_away() {
        return;
    }
    let host = Host::new();
    let gone = [always(libc::SYS_unshare, libc::EPERM)];
    let layer = if is_root() {
        "namespaces"
    } else {
        "user namespaces"
    };
    refuses(&host, &gone, layer, "stockade doctor");
    let (layer, code) = doctor(without(&host, &gone, &DOCTOR), "user namespaces");
    assert_eq!(
        (&layer["outcome"], code),
        (&"missing".into(), WALL),
        "{layer}"
    );
    let detail = layer["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("a seccomp filter from outside"),
        "{layer}"
    );
}

#[test]
fn g8_a_kernel_without_sealed_memory_or_new_mounts_starts_nothing() {
    if !takes_away() {
        return;
    }
    let host = Host::new();
    let memory = [always(libc::SYS_memfd_create, libc::ENOSYS)];
    refuses(&host, &memory, "processes", "stockade doctor");
    // One that has agreed to nothing yet: an overlay is not to be had then either.
    let host = Host::new();
    let mounts = [always(libc::SYS_move_mount, libc::EPERM)];
    refuses(&host, &mounts, "file system", "stockade doctor");
}

/// As before Linux 6.4, where a process that is not dumpable cannot learn it elsewhere.
#[test]
fn g8_a_kernel_that_does_not_tell_the_auxiliary_vector_runs_a_task_to_its_end() {
    if !takes_away() {
        return;
    }
    let host = Host::new();
    let gone = [when(libc::SYS_prctl, 0, PR_GET_AUXV, libc::EINVAL)];
    let mut command = without(&host, &gone, &RUN);
    command.stdin(Stdio::null());
    let outcome = finish(command);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "ran\n"),
        "{outcome:?}"
    );
}

#[test]
fn g8_a_container_that_hides_parts_of_proc_is_named() {
    let host = Host::new();
    let mut shell = host.other_command("unshare");
    if !is_root() {
        shell.args([
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            "--keep-caps",
        ]);
    }
    let hide = "mount --bind /dev/null /proc/uptime || exit 99; exec \"$@\"";
    shell.args(["--mount", "sh", "-c", hide, "sh"]).args(RUN);
    shell.stdin(Stdio::null());
    let outcome = finish(shell);
    if outcome.code == 99 || outcome.stderr.contains("unshare:") {
        return skip("a hidden part of /proc", &outcome.stderr);
    }
    assert_eq!(outcome.code, WALL, "{outcome:?}");
    let said = sentence(&outcome);
    assert!(
        said.starts_with("file system: mount /proc: "),
        "{outcome:?}"
    );
    assert!(said.contains("stockade doctor"), "{outcome:?}");
    nothing_is_left(&host);
}

#[test]
fn g8_an_older_landlock_stands_in_the_contract() {
    if !takes_away() {
        return;
    }
    for (abi, named) in [
        (2, "truncation (Linux 6.2)"),
        // The last without rules for TCP, which the network's namespace makes needless.
        (3, "device control (Linux 6.10)"),
        (5, "signals and abstract sockets (Linux 6.12)"),
    ] {
        let host = Host::new();
        let old = |words: &[&str]| with_landlock(&host, abi, words);
        starts_weaker(&host, old, named);
        let (layer, _) = doctor(old(&DOCTOR), "Landlock");
        assert_eq!(layer["outcome"], "weaker", "{layer}");
        assert!(layer["cost"].as_str().unwrap().contains(named), "{layer}");
    }
    let host = Host::new();
    let mut first = with_landlock(&host, 1, &RUN);
    first.stdin(Stdio::null());
    let outcome = finish(first);
    assert_eq!(outcome.code, WALL, "{outcome:?}");
    assert!(
        sentence(&outcome).contains("ABI 1 is too old"),
        "{outcome:?}"
    );
    nothing_is_left(&host);
}

#[test]
fn g8_without_rules_for_tcp_in_landlock_no_server_of_the_host_is_reached() {
    if !takes_away() {
        return;
    }
    let host = Host::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let connect = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{}",
        server.local_addr().unwrap().port()
    );
    let reaches = |mut command: Command| {
        command.stdin(Stdio::null());
        finish(command);
        server.accept().is_ok()
    };
    let words = ["bash", "-c", &connect];
    let mut outside = host.other_command(words[0]);
    outside.args(&words[1..]);
    assert!(reaches(outside));
    let inside = [&[STOCKADE, "run", "--"], &words[..]].concat();
    assert!(!reaches(with_landlock(&host, 3, &inside)));
    // It was run.
    host.only_task();
}

#[test]
fn g8_without_nf_tables_the_contract_says_which_ports_are_served() {
    if !takes_away() {
        return;
    }
    const NETFILTER: u32 = 12;
    let host = Host::new();
    let gone = [when(libc::SYS_socket, 2, NETFILTER, libc::EPROTONOSUPPORT)];
    starts_weaker(
        &host,
        |words| without(&host, &gone, words),
        "ports 80 and 443",
    );
    let (layer, _) = doctor(without(&host, &gone, &DOCTOR), "capture of every port");
    assert_eq!(layer["outcome"], "weaker", "{layer}");
}

#[test]
fn g2_without_nf_tables_the_web_ports_lead_to_the_gateway_and_others_nowhere() {
    if !takes_away() {
        return;
    }
    if !has("curl") {
        return skip("requests without nf_tables", "curl is not installed");
    }
    let host = Host::new();
    let server = Server::start("known.example");
    let gone = [when(libc::SYS_socket, 2, 12, libc::EPROTONOSUPPORT)];
    let asks = "ask() { curl -s -m 20 -o said -w '%{http_code} ' $1; echo $?; }
        ask http://known.example/ok; cat said; echo
        ask http://unknown.example/; ask http://127.0.0.1/; ask http://198.51.100.1/
        ask http://known.example:8080/; ask https://198.51.100.1/
        ask 'http://[2001:db8::1]/'; ask 'http://[2001:db8::1]:8080/'";
    let rules = ["--allow", "GET http://known.example", "--service"];
    let run = [STOCKADE, "run", "--yes", "--accept", "reduced"];
    let words = [
        &run[..],
        &rules,
        &[&server.service, "--", "bash", "-c", asks],
    ]
    .concat();
    let outcome = lacking(&host, &gone, &words);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[..2], ["200 0", server::REPLY], "{outcome:?}");
    assert_eq!(lines[2], "403 0", "{outcome:?}");
    for refused in &lines[3..] {
        assert!(
            !refused.starts_with('2') && *refused != "000 28",
            "{outcome:?}"
        );
    }
    assert_eq!(lines.len(), 9, "{outcome:?}");
    if Path::new("/proc/net/if_inet6").exists() {
        assert_eq!(lines[7], "403 0", "{outcome:?}");
    }
    assert_eq!(server.lines(), ["GET /ok HTTP/1.1"]);
}

/// A task of the same repository that has less than the last one.
#[test]
fn g8_a_lower_level_starts_when_it_was_accepted_by_name_and_nothing_else_comes_with_it() {
    if !takes_away() {
        return;
    }
    let host = Host::new();
    let first = host.stockade(&["run", "--", "true"]);
    assert_eq!(first.code, 0, "{first:?}");
    let last = host.only_task();
    let plan: Value =
        serde_json::from_slice(&fs::read(last.folder.join("plan.json")).unwrap()).unwrap();
    let highest = plan["contract"]["assurance"].as_str().unwrap().to_owned();
    let gone = [when(libc::SYS_socket, 2, 12, libc::EPROTONOSUPPORT)];
    let run = |words: &[&str]| {
        let words = [&[STOCKADE, "run"], words, &["--", "echo", "ran"]].concat();
        lacking(&host, &gone, &words)
    };
    let asked = run(&[]);
    assert_eq!(asked.code, REFUSED, "{asked:?}");
    assert!(
        asked.stderr.contains("weaker: the kernel has no nf_tables"),
        "{asked:?}"
    );
    if highest == "full" {
        assert!(asked.stderr.contains("--accept reduced"), "{asked:?}");
        let higher = run(&["--accept", "full"]);
        assert_eq!(higher.code, REFUSED, "{higher:?}");
    }
    let folder = host.path("shown");
    fs::create_dir(&folder).unwrap();
    let more = run(&["--accept", "reduced", "--ro", folder.to_str().unwrap()]);
    assert_eq!(more.code, REFUSED, "{more:?}");
    assert!(more.stderr.contains(folder.to_str().unwrap()), "{more:?}");

    let accepted = run(&["--accept", "reduced", "--name", "accepted"]);
    assert_eq!(
        (accepted.code, accepted.stdout.as_str()),
        (0, "ran\n"),
        "{accepted:?}"
    );
    assert!(
        accepted.stderr.contains("reduced (reduced accepted)"),
        "{accepted:?}"
    );
    let tasks = host.json(&["ls"]);
    let mut tasks = tasks.as_array().unwrap().iter();
    let accepted = tasks.find(|task| task["slug"] == "accepted").unwrap();
    let record = host.task(accepted["id"].as_str().unwrap()).record();
    let contract = record
        .iter()
        .find_map(|event| event.body.get("contract"))
        .unwrap();
    assert_eq!(contract["accepted"], "reduced", "{contract}");
    assert_eq!(contract["assurance"], "reduced", "{contract}");
}

/// As Ubuntu 23.10 and later have it for programs without a profile: a user
/// namespace can be made, and what every task needs in it cannot.
#[test]
fn g8_user_namespaces_without_rights_are_told_with_the_switch_that_opens_them() {
    let host = Host::new();
    let mut shell = host.other_command("unshare");
    shell.args([
        "--user",
        "--map-user=1000",
        "--map-group=1000",
        "--keep-caps",
    ]);
    let one = "echo 1 > /proc/sys/user/max_user_namespaces || exit 99; exec \"$@\"";
    shell.args(["sh", "-c", one, "sh"]).args(RUN);
    shell.stdin(Stdio::null());
    let outcome = finish(shell);
    if outcome.code == 99 || outcome.stderr.contains("unshare:") {
        return skip("user namespaces without rights", &outcome.stderr);
    }
    assert_eq!(outcome.code, WALL, "{outcome:?}");
    let said = sentence(&outcome);
    assert!(said.starts_with("user namespaces: "), "{outcome:?}");
    assert!(
        said.contains("apparmor_restrict_unprivileged_userns"),
        "{outcome:?}"
    );
    nothing_is_left(&host);
}

/// As Ubuntu 23.10 and later have it for programs without a profile: a user
/// namespace is made, nothing can be mapped in it, and AppArmor's switch is on.
#[test]
fn the_doctor_tells_namespaces_without_rights_as_apparmors_doing_where_its_switch_is_on() {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|enabled| enabled.trim() != "Y") {
        return skip("AppArmor's restriction", "this kernel has it switched off");
    }
    let host = Host::new();
    for (switch, says, fix) in [
        ("1", "AppArmor restricts them", "--apparmor-profile"),
        ("0", "no setting here explains it", "on the host"),
    ] {
        let mut shell = host.other_command("unshare");
        if !is_root() {
            shell.args([
                "--user",
                "--map-user=1000",
                "--map-group=1000",
                "--keep-caps",
            ]);
        }
        let as_ubuntu = "mount -t tmpfs none /proc/sys/kernel &&
            echo $1 > /proc/sys/kernel/apparmor_restrict_unprivileged_userns &&
            mount -o remount,bind,ro,nosuid,nodev,noexec /proc || exit 99
            shift; exec \"$@\"";
        shell.args(["--mount", "sh", "-c", as_ubuntu, "sh", switch]);
        shell.args(DOCTOR).stdin(Stdio::null());
        let outcome = finish(shell);
        if outcome.code == 99 || outcome.stderr.contains("unshare:") {
            return skip("AppArmor's restriction", &outcome.stderr);
        }
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let layers = report["probes"].as_array().unwrap();
        let layer = layers
            .iter()
            .find(|layer| layer["name"] == "user namespaces");
        let layer = layer.unwrap();
        assert_eq!(
            (&layer["outcome"], outcome.code),
            (&"missing".into(), WALL),
            "{layer}"
        );
        assert!(
            layer["detail"].as_str().unwrap().starts_with(says),
            "{layer}"
        );
        assert!(layer["fix"].as_str().unwrap().contains(fix), "{layer}");
    }
}
