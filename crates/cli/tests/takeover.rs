//! Processes of Stockade that read what is hostile, taken over: a debugger
//! makes them call whatever an attacker would, and they are refused.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Stdio, time::Duration};

use self::host::{Host, Task, finish_within, has, is_root, processes, processes::Process, skip};

/// Longer than a debugger takes, even on a busy machine.
const LONGEST: Duration = Duration::from_mins(2);
/// Where paths for calls are written: far below what the thread uses.
const PATH: &str = "($rsp - 4096)";

/// A call: its number, its arguments as the debugger understands them, and the
/// path at [`PATH`].
struct Call {
    name: &'static str,
    number: libc::c_long,
    arguments: Vec<String>,
    path: String,
}

fn call(name: &'static str, number: libc::c_long, arguments: &[&str], path: &str) -> Call {
    Call {
        name,
        number,
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        path: path.to_owned(),
    }
}

/// Makes `process` call these, one after the other, where it waits in a call of
/// its own, and lets it go on there. Returns what each came to.
fn taken_over(host: &Host, process: &Process, calls: &[Call]) -> BTreeMap<&'static str, i64> {
    let registers = [
        "rax", "rdi", "rsi", "rdx", "r10", "r8", "r9", "rip", "rcx", "r11",
    ];
    let mut script = String::from("set pagination off\nset $call = $orig_rax\n");
    for register in registers {
        let _ = writeln!(script, "set $own_{register} = ${register}");
    }
    for call in calls {
        let bytes = call.path.bytes().chain([0]).enumerate();
        for (index, byte) in bytes {
            let _ = writeln!(script, "set {{char}}({PATH} + {index}) = {byte}");
        }
        let arguments = ["rdi", "rsi", "rdx", "r10", "r8", "r9"].iter();
        let given = call.arguments.iter().map(String::as_str);
        for (register, argument) in arguments.zip(given.chain(std::iter::repeat("0"))) {
            let _ = writeln!(script, "set ${register} = {argument}");
        }
        let _ = writeln!(
            script,
            "set $orig_rax = -1\nset $rax = {}\nset $rip = $own_rip - 2\nstepi\n\
             printf \"came to: {} %ld\\n\", $rax",
            call.number, call.name
        );
    }
    for register in registers {
        let _ = writeln!(script, "set ${register} = $own_{register}");
    }
    // The call in which it waited begins again.
    script.push_str("set $rax = $call\nset $rip = $own_rip - 2\nset $orig_rax = -1\ndetach\n");
    let file = host.path("calls.gdb");
    fs::write(&file, script).unwrap();
    let mut gdb = host.other_command("gdb");
    gdb.args([
        "--readnever",
        "-nx",
        "-batch",
        "-p",
        &process.id.to_string(),
        "-x",
    ]);
    gdb.arg(file).stdin(Stdio::null());
    let outcome = finish_within(gdb, LONGEST).unwrap();
    let lines = outcome
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("came to: "));
    let results = lines.filter_map(|line| {
        let (name, result) = line.split_once(' ')?;
        let call = calls.iter().find(|call| call.name == name)?;
        Some((call.name, result.parse().ok()?))
    });
    let results: BTreeMap<_, _> = results.collect();
    assert_eq!(results.len(), calls.len(), "{outcome:?}");
    results
}

fn part(task: &Task, name: &str) -> Process {
    let tree = processes::tree(&task.folder);
    let found = tree
        .iter()
        .find(|process| process.is_part(name) || process.words == [name]);
    found
        .unwrap_or_else(|| panic!("no {name}: {tree:?}"))
        .clone()
}

/// Whether processes can be taken over here; says so if not.
fn takes_over() -> bool {
    let missing = if cfg!(not(target_arch = "x86_64")) {
        "the registers are those of x86-64"
    } else if !is_root() {
        "only root may trace processes that are closed"
    } else if !has("gdb") {
        "gdb is not installed"
    } else {
        return true;
    };
    skip("taking processes over", missing);
    false
}

/// Files, other processes, programs and sockets that must stay out of reach.
fn attempts(host: &Host, task: &Task) -> Vec<Call> {
    let supervisor = part(task, "__supervisor").id.to_string();
    let record = task.folder.join("record/checkpoint");
    let record = record.to_str().unwrap();
    let secret = host.path("secret");
    fs::write(&secret, "decoy").unwrap();
    let secret = secret.to_str().unwrap();
    let here = "-100";
    vec![
        call("read", libc::SYS_openat, &[here, PATH, "0"], secret),
        call("write", libc::SYS_openat, &[here, PATH, "1"], record),
        call(
            "create",
            libc::SYS_openat,
            &[here, PATH, "0101", "0600"],
            "/tmp/taken-over",
        ),
        call("mode", libc::SYS_fchmodat, &[here, PATH, "0777"], secret),
        call(
            "owner",
            libc::SYS_fchownat,
            &[here, PATH, "1", "1", "0"],
            secret,
        ),
        call(
            "times",
            libc::SYS_utimensat,
            &[here, PATH, "0", "0"],
            secret,
        ),
        call("remove", libc::SYS_unlinkat, &[here, PATH, "0"], record),
        call("start", libc::SYS_execve, &[PATH, "0", "0"], "/bin/true"),
        call("trace", libc::SYS_ptrace, &["0x4206", &supervisor], ""),
        call("end", libc::SYS_kill, &[&supervisor, "9"], ""),
        call(
            "mount",
            libc::SYS_mount,
            &["0", PATH, "0", "0", "0"],
            "/tmp",
        ),
        call("namespace", libc::SYS_unshare, &["0x10000000"], ""),
        call("packets", libc::SYS_socket, &["17", "3", "0"], ""),
        call(
            "kernel",
            libc::SYS_openat,
            &[here, PATH, "1"],
            "/proc/sys/kernel/core_pattern",
        ),
    ]
}

/// Each was refused, but for one that shows that calls are made at all; and the
/// task goes on.
fn all_refused(host: &Host, task: &Task, process: &Process, mut calls: Vec<Call>) {
    let refused = [
        libc::EPERM,
        libc::EACCES,
        libc::ENOENT,
        libc::ESRCH,
        libc::EAFNOSUPPORT,
        libc::EROFS,
    ];
    let secret = host.path("secret");
    let mode = || fs::metadata(&secret).unwrap().permissions();
    let before = mode();
    calls.push(call("control", libc::SYS_dup, &["0"], ""));
    let mut results = taken_over(host, process, &calls);
    assert!(results.remove("control").unwrap() > 2, "{results:?}");
    for (name, result) in results {
        let number = i32::try_from(-result).unwrap_or(0);
        assert!(refused.contains(&number), "{name} gave {result}");
    }
    assert_eq!(mode(), before);
    assert_eq!(
        host.exec(task, "echo still here"),
        (0, "still here\n".to_owned())
    );
    assert!(process.runs());
}

#[test]
fn g1_a_gateway_that_was_taken_over_reaches_no_file_no_process_and_no_socket_of_the_host() {
    if !takes_over() {
        return;
    }
    let host = Host::new();
    let task = host.start("sleep 1000");
    let gateway = part(&task, "__gateway");
    let mut calls = attempts(&host, &task);
    calls.push(call("unix", libc::SYS_socket, &["1", "1", "0"], ""));
    all_refused(&host, &task, &gateway, calls);
}

#[test]
fn g1_a_process_1_that_was_taken_over_is_where_the_agent_is() {
    if !takes_over() {
        return;
    }
    let host = Host::new();
    let task = host.start("sleep 1000");
    let init = part(&task, "init");
    let mut calls = attempts(&host, &task);
    // Starting programs and writing to /tmp is what it is there for.
    calls.retain(|call| !["start", "create"].contains(&call.name));
    all_refused(&host, &task, &init, calls);
}
