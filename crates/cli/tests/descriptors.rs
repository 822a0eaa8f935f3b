//! Whatever a caller has open: none of it reaches a task, and none of it is
//! held by Stockade's own processes once the caller is gone.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs::{self, File},
    io::Read,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::MetadataExt, net::UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    fs::{MemfdFlags, memfd_create},
    io::FdFlags,
    pipe::pipe,
};

use self::host::{
    Host, LONGEST, Outcome, eventually, finish, processes, terminal::pair, wait_within,
};

/// What a task prints: the descriptors of its shell and where they lead.
const LIST: &str =
    "cd /proc/self/fd && for f in *; do [ -e $f ] && echo \"$f $(readlink $f)\"; done; true";

/// One of every kind, open across exec in everything that this process
/// starts, and the ends by which their closing is seen.
struct Planted {
    open: Vec<OwnedFd>,
    pipe: File,
    socket: UnixStream,
}

impl Planted {
    fn new(host: &Host) -> Self {
        let canary = host.path("canary.txt");
        fs::write(&canary, "host\n").unwrap();
        let (read, write) = pipe().unwrap();
        let (socket, other) = UnixStream::pair().unwrap();
        let (outer, inner) = pair();
        let file = File::options()
            .read(true)
            .write(true)
            .open(&canary)
            .unwrap();
        let folder = File::open(host.path("")).unwrap();
        let memory = memfd_create("planted", MemfdFlags::empty()).unwrap();
        let counter = eventfd(0, EventfdFlags::empty()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open: Vec<OwnedFd> = vec![
            write,
            other.into(),
            outer,
            inner,
            file.into(),
            folder.into(),
            memory,
            counter,
            listener.into(),
        ];
        for descriptor in &open {
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty()).unwrap();
        }
        rustix::io::fcntl_setfd(&read, FdFlags::CLOEXEC).unwrap();
        Self {
            open,
            pipe: read.into(),
            socket,
        }
    }

    /// The descriptors of `command`'s shell that are also this process's.
    fn control(&self, host: &Host) {
        let mut shell = host.other_command("bash");
        shell.args(["-c", LIST]);
        let seen = finish(shell).stdout;
        for descriptor in &self.open {
            let number = format!("{} ", descriptor.as_raw_fd());
            assert!(
                seen.lines().any(|line| line.starts_with(&number)),
                "{number}: {seen}"
            );
        }
    }
}

/// Every line must be one of the three that are made for an exec.
fn assert_only_standard(outcome: &Outcome, terminal: bool) {
    let mut numbers = Vec::new();
    for line in outcome.stdout.lines() {
        let (number, target) = line.trim().split_once(' ').unwrap();
        let kind = if terminal { "/dev/pts/" } else { "pipe:" };
        assert!(target.starts_with(kind), "{line}: {outcome:?}");
        numbers.push(number);
    }
    // Bash keeps 255 for a script or a terminal of its own.
    numbers.retain(|number| *number != "255");
    assert_eq!(numbers, ["0", "1", "2"], "{outcome:?}");
}

fn piped(mut command: Command) -> Outcome {
    command.stdin(Stdio::null());
    finish(command)
}

#[test]
fn g1_open_descriptors_of_every_kind_stay_outside_and_are_let_go() {
    let host = Host::new();
    let planted = Planted::new(&host);
    planted.control(&host);

    assert_only_standard(
        &piped(host.command(&["run", "--", "bash", "-c", LIST])),
        false,
    );
    let started =
        piped(host.command(&["run", "--detach", "--name", "kept", "--", "sleep", "1000"]));
    assert_eq!(started.code, 0, "{started:?}");
    assert_only_standard(
        &piped(host.command(&["exec", "kept", "--", "bash", "-c", LIST])),
        false,
    );
    let terminal =
        host::terminal::Terminal::start(host.command(&["exec", "kept", "--", "bash", "-c", LIST]));
    assert_only_standard(&terminal.finish(), true);

    // Nothing that still runs for the task holds the other ends: once this
    // process has closed its own, a reader sees the end.
    let Planted {
        open,
        mut pipe,
        mut socket,
    } = planted;
    drop(open);
    let mut end = Vec::new();
    pipe.read_to_end(&mut end).unwrap();
    socket.read_to_end(&mut end).unwrap();
    assert!(end.is_empty());
    let state = host.json(&["ls"]);
    let running = state
        .as_array()
        .unwrap()
        .iter()
        .filter(|task| task["state"]["name"] == "running");
    assert_eq!(running.count(), 1);
    assert_eq!(
        fs::read_to_string(host.path("canary.txt")).unwrap(),
        "host\n"
    );
}

#[test]
fn g1_standard_descriptors_of_the_caller_cannot_be_opened_again_from_inside() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    // What is written by way of a descriptor's name lands in the pipe that
    // was made for it, or nowhere.
    let script = "for n in 0 1 2; do \
        (echo PWNED > /proc/self/fd/$n) 2>/dev/null; (echo PWNED >> /dev/fd/$n) 2>/dev/null; \
        (exec 9<>/proc/self/fd/$n && echo PWNED >&9) 2>/dev/null; truncate -s 0 /proc/self/fd/$n 2>/dev/null; \
        chmod 777 /proc/self/fd/$n 2>/dev/null; done; perl -e 'for (0..2) { truncate(\"/proc/self/fd/$_\", 0); \
        open(my $f, \"+<\", \"/proc/self/fd/$_\") and seek($f, 0, 0) and print $f \"PWNED\" }' 2>/dev/null; echo end";
    for (number, words) in [
        vec!["run", "--", "bash", "-c", script],
        vec!["exec", &task.id, "--", "bash", "-c", script],
    ]
    .into_iter()
    .enumerate()
    {
        let [input, output, errors] =
            ["input", "output", "errors"].map(|name| host.path(&format!("{name}-{number}")));
        for path in [&input, &output, &errors] {
            fs::write(path, "first line of the host\n").unwrap();
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        }
        let before = fs::metadata(&input).unwrap();
        let append = |path: &Path| File::options().append(true).open(path).unwrap();
        let mut command = host.command(&words);
        command
            .stdin(File::open(&input).unwrap())
            .stdout(append(&output))
            .stderr(append(&errors));
        let child = command.spawn().unwrap();
        drop(command);
        let outcome = wait_within(child, LONGEST).unwrap();
        assert_eq!(outcome.code, 0, "{words:?}");
        assert_eq!(
            fs::read_to_string(&input).unwrap(),
            "first line of the host\n"
        );
        let after = fs::metadata(&input).unwrap();
        assert_eq!(
            (after.mode(), after.mtime_nsec()),
            (before.mode(), before.mtime_nsec())
        );
        for path in [&output, &errors] {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.starts_with("first line of the host\n"), "{text}");
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o666);
        }
        assert!(fs::read_to_string(&output).unwrap().ends_with("end\n"));
    }
}

#[test]
fn g1_closed_standard_descriptors_are_no_way_in_or_out() {
    let host = Host::new();
    // The shell closes all three; what is opened next would take their places.
    let script = "exec \"$@\" 0<&- 1>&- 2>&-";
    let mut shell = host.other_command("sh");
    let program = env!("CARGO_BIN_EXE_stockade");
    shell.args([
        "-c", script, "sh", program, "run", "--name", "closed", "--", "bash", "-c",
    ]);
    shell.arg("ls -l /proc/self/fd > seen.txt; echo text; echo error >&2");
    let outcome = piped(shell);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, ""),
        "{outcome:?}"
    );
    let logs = host.stockade(&["logs", "closed"]);
    assert_eq!(logs.stdout, "text\nerror\n");
    let task = host.json(&["ls"])[0]["id"]
        .as_str()
        .map(|id| host.task(id))
        .unwrap();
    let record = task.record();
    assert!(record.len() > 3, "{record:?}");
    let plan: serde_json::Value =
        serde_json::from_slice(&fs::read(task.folder.join("plan.json")).unwrap()).unwrap();
    assert_eq!(plan["task"], *task.id);
}

#[test]
fn g1_no_program_of_the_host_can_be_written_through_a_process() {
    let host = Host::new();
    let program = Path::new(env!("CARGO_BIN_EXE_stockade"));
    let identity = || {
        let found = fs::metadata(program).unwrap();
        (
            found.ino(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
            fs::read(program).unwrap(),
        )
    };
    let before = identity();
    let shell = fs::read("/bin/bash").unwrap();
    let task = host.start("sleep 1000");
    let script = "for p in /proc/self/exe /proc/1/exe /proc/$$/exe /proc/1/root/proc/1/exe /proc/1/task/1/exe /proc/1/map_files/*; do \
        (: >> $p) 2>/dev/null && echo APPENDED $p; (exec 9<>$p) 2>/dev/null && echo OPENED $p; \
        cp /bin/true $p 2>/dev/null && echo COPIED $p; dd if=/dev/zero of=$p bs=1 count=1 conv=notrunc 2>/dev/null && echo WRITTEN $p; done; \
        perl -e 'open(my $f, \"<\", \"/proc/self/exe\") or die; print open(my $g, \"+<\", \"/proc/self/fd/\" . fileno($f)) ? \"REOPENED\\n\" : \"refused\\n\"'";
    let looked = host.look(script);
    assert_eq!(looked, "refused\n");
    assert_eq!(host.exec(&task, script), (0, "refused\n".to_owned()));
    // With a terminal a helper of Stockade's own runs before the command.
    let terminal = host::terminal::Terminal::start(
        host.command(&["exec", &task.id, "--", "bash", "-c", script]),
    );
    assert_eq!(terminal.finish().stdout.trim(), "refused");
    assert!(identity() == before, "the program has changed");
    assert_eq!(fs::read("/bin/bash").unwrap(), shell);
}

#[test]
fn g1_process_1_runs_from_memory_that_cannot_be_changed() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let tree = processes::tree(&task.folder);
    let init = tree
        .iter()
        .find(|process| process.words == ["init"])
        .unwrap();
    match fs::read_link(init.file("exe")) {
        Ok(path) => {
            assert_eq!(path, Path::new("/memfd:init (deleted)"));
            let opened = File::options().write(true).open(init.file("exe"));
            assert!(opened.is_err(), "{opened:?}");
            let running = File::open(init.file("exe")).unwrap();
            let seals = rustix::fs::fcntl_get_seals(running.as_fd()).unwrap();
            let wanted = rustix::fs::SealFlags::FUTURE_WRITE
                | rustix::fs::SealFlags::GROW
                | rustix::fs::SealFlags::SHRINK
                | rustix::fs::SealFlags::SEAL;
            assert!(seals.contains(wanted), "{seals:?}");
        }
        Err(error) => host::skip("the seals of process 1", &error.to_string()),
    }
}

#[test]
fn a_task_writes_to_its_viewers_only_as_long_as_they_watch() {
    let host = Host::new();
    let task = host.start("i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done");
    let (read, write) = pipe().unwrap();
    let mut command = host.command(&["attach", &task.id]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(write))
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut screen = File::from(read);
    let mut buffer = [0; 64];
    assert!(screen.read(&mut buffer).unwrap() > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = Vec::new();
    screen.read_to_end(&mut rest).unwrap();
    assert_eq!(host.status(&task)["state"]["name"], "running");
    let log = task.folder.join("output.log");
    let size = || fs::metadata(&log).unwrap().len();
    let before = size();
    eventually("it still prints", || size() > before);
}
