//! A task and the terminals of people: who sees it, who types, who leaves; and
//! the terminal inside.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::process::Stdio;

use rustix::process::Signal;
use stockade_types::EventKind;

use self::host::{
    COUNTING, Host, LONGEST, count, eventually,
    terminal::{Terminal, pair},
    wait_for_file,
};

/// Ctrl-P Ctrl-Q.
const DETACH: &str = "\u{10}\u{11}";

#[test]
fn a_task_survives_the_terminal_that_started_it() {
    let host = Host::new();
    let (outer, inner) = pair();
    // Tests started by nohup would have it ignore the signal that is sent here.
    let mut command = host.other_command("env");
    command.args(["--default-signal=HUP", "setsid", "--ctty"]);
    command.args([env!("CARGO_BIN_EXE_stockade"), "run"]);
    command.args(["--", "bash", "-c", COUNTING]);
    command
        .stdin(Stdio::from(inner.try_clone().unwrap()))
        .stdout(Stdio::from(inner.try_clone().unwrap()))
        .stderr(Stdio::from(inner));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut task = None;
    eventually("the task runs", || {
        let tasks = host.json(&["ls"]);
        let running = tasks[0]["state"]["name"] == "running";
        task = tasks[0]["id"].as_str().map(|id| host.task(id));
        running
    });
    let task = task.unwrap();
    wait_for_file(&host, &task, "n");

    // The other end of a terminal that is closed sends SIGHUP to its session.
    drop(outer);
    let ended = child.wait().unwrap();
    assert!(!ended.success(), "{ended}");
    let before = count(&host, &task);
    eventually("the task goes on", || count(&host, &task) > before);
    assert_eq!(host.status(&task)["state"]["name"], "running");
    let again = host.stockade(&["logs", &task.id]);
    assert_eq!(again.code, 0);
}

#[test]
fn viewers_see_the_same_output_one_types_and_the_next_may_once_it_has_left() {
    let host = Host::new();
    let script = "stty -echo; echo ready; while read -r line; do echo \"heard <$line>\"; done";
    let task = host.start_with(&["--interactive"], script);
    let attach = |words: &[&str]| {
        let mut all = vec!["attach", &task.id];
        all.extend(words);
        Terminal::start(host.command(&all))
    };
    let mut writer = attach(&[]);
    writer.wait_for("ready");
    let mut second = attach(&[]);
    second.wait_for("only watching");
    second.wait_for("ready");
    let third = attach(&["--view"]);
    third.wait_for("ready");
    let piped = host
        .command(&["attach", &task.id])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    writer.send("one\r");
    for viewer in [&writer, &second, &third] {
        viewer.wait_for("heard <one>");
    }
    second.send("two\r");
    writer.send("three\r");
    for viewer in [&writer, &second, &third] {
        viewer.wait_for("heard <three>");
        assert!(
            !viewer.shown().contains("heard <two>"),
            "{}",
            viewer.shown()
        );
    }

    writer.send(DETACH);
    let left = writer.finish();
    assert_eq!(left.code, 0, "{left:?}");
    assert!(left.stdout.contains("detached"), "{left:?}");
    assert_eq!(host.status(&task)["state"]["name"], "running");
    // Nothing was printed since the writer left, and its turn is free.
    let mut next = attach(&[]);
    next.wait_for("ready");
    next.send("four\r");
    for viewer in [&next, &second, &third] {
        viewer.wait_for("heard <four>");
    }
    assert!(!next.shown().contains("only watching"), "{}", next.shown());

    // The end of input ends the command, and every viewer with it.
    next.send("\u{4}");
    for viewer in [next, second, third] {
        assert_eq!(viewer.finish().code, 0);
    }
    let piped = host::wait_within(piped, LONGEST).unwrap();
    for line in ["ready", "heard <one>", "heard <three>", "heard <four>"] {
        assert!(piped.stdout.contains(line), "{piped:?}");
    }
    assert_eq!(task.last_events(1), [EventKind::TaskEnded]);
}

#[test]
fn a_signal_to_the_command_line_ends_the_view_not_the_task() {
    let host = Host::new();
    let terminal =
        Terminal::start(host.command(&["run", "--", "bash", "-c", "echo sh\"\"own; sleep 1000"]));
    terminal.wait_for("shown");
    terminal.signal(Signal::TERM);
    terminal.finish();
    let tasks = host.json(&["ls"]);
    assert_eq!(tasks[0]["state"]["name"], "running");
}

#[test]
fn a_shell_has_a_terminal_of_the_viewers_size_with_job_control() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let mut shell = Terminal::start(host.command(&["shell", &task.id]));
    shell.wait_for("$ ");
    // Each answer is put together, so that the echo of the question is none.
    shell.send("echo tty=$(tty) size=$(stty size)\r");
    shell.wait_for("tty=/dev/pts/");
    shell.wait_for("size=33 101");
    shell.send("sleep 2000\r");
    eventually("it runs", || {
        host.exec(&task, "pgrep -fx 'sleep 2000'").0 == 0
    });
    shell.send("\u{1a}");
    shell.wait_for("Stopped");
    shell.send("jobs | sed s/Stopped/halted/; fg\r");
    shell.wait_for("halted");
    eventually("it runs again", || {
        host.exec(&task, "ps -o stat= -C sleep | grep -q '^S.*+'").0 == 0
    });
    shell.send("\u{3}");
    shell.send("echo after=$?\r");
    shell.wait_for("after=130");
    shell.send("exit 3\r");
    assert_eq!(shell.finish().code, 3);
    assert_eq!(host.status(&task)["state"]["name"], "running");
}

#[test]
fn g1_a_terminal_inside_takes_no_input_from_a_process_and_its_peers_are_out_of_reach() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    // TIOCSTI and TIOCLINUX; the kernel reads 32 bits of the request only.
    let perl = "for my $request (0x5412, 0x541c, 0x100005412, 0xffffffff00005412, 0x10000541c) { \
                my $c = \"x\"; $! = 0; my $r = syscall(SYS_IOCTL, 0, $request, $c); \
                printf \"%x %s\\n\", $request, $r == -1 ? $!+0 : \"ALLOWED\" } \
                my $size = \"\\0\" x 8; print ioctl(STDIN, 0x5413, $size) ? \"size works\\n\" : \"size fails\\n\"; \
                print \"done\\n\"";
    let perl = perl.replace("SYS_IOCTL", &libc::SYS_ioctl.to_string());
    let terminal = Terminal::start(host.command(&["exec", &task.id, "--", "perl", "-e", &perl]));
    terminal.wait_for("done");
    let text = terminal.finish().stdout;
    for request in ["5412", "541c", "100005412", "ffffffff00005412", "10000541c"] {
        let refused = text
            .lines()
            .any(|line| line.trim() == format!("{request} 1"));
        assert!(refused, "{request} in {text}");
    }
    assert!(text.contains("size works"), "{text}");
}

#[test]
fn g1_what_acts_on_a_terminal_does_not_reach_it() {
    let host = Host::new();
    let script = r"printf 'a\033]52;c;ZGVjb3k=\007b\033]0;title\007c\033P+q544e\033\\d\033[6ne\033[31mf\033[0m'; read -t 1 x; echo end";
    let task = host.start_with(&["--interactive"], script);
    let terminal = Terminal::start(host.command(&["attach", &task.id]));
    terminal.wait_for("end");
    let shown = terminal.finish().stdout;
    assert!(shown.contains("abcde\u{1b}[31mf\u{1b}[0m"), "{shown:?}");
    assert!(
        !shown.contains("title") && !shown.contains("ZGVjb3k"),
        "{shown:?}"
    );
    let logs = host.stockade(&["logs", &task.id]);
    assert!(
        logs.stdout.contains("abcde") && !logs.stdout.contains("ZGVjb3k"),
        "{logs:?}"
    );
}

#[test]
fn a_new_size_of_the_viewers_terminal_reaches_the_one_inside_at_once() {
    let host = Host::new();
    let script = "trap 'echo now $(stty size)' WINCH; echo be''gun; while :; do sleep 0.02; done";
    let task = host.start_with(&["--interactive"], script);
    eventually("the trap is set", || {
        host.stockade(&["logs", &task.id]).stdout.contains("begun")
    });
    let viewer = Terminal::start(host.command(&["attach", &task.id]));
    viewer.wait_for("now 33 101");
    viewer.resize(40, 120);
    viewer.wait_for("now 40 120");
}

/// Runs a command and reads what it prints only after a while.
fn read_late(mut command: std::process::Command) -> Vec<u8> {
    let (read, write) = rustix::pipe::pipe().unwrap();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(write))
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    // Long enough for the command inside to have filled every buffer.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let mut printed = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(read), &mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    printed
}

#[test]
fn a_slow_reader_gets_every_byte_that_was_printed() {
    let host = Host::new();
    let numbers: String = (1..=1_000_000).map(|n| n.to_string() + "\n").collect();
    let run = host.command(&["run", "--name", "numbers", "--", "seq", "1000000"]);
    let printed = read_late(run);
    assert!(printed == numbers.as_bytes(), "{} bytes", printed.len());
    // Running or ended, a command that keeps no log waits for its reader.
    let running = host.start("sleep 1000");
    for task in [running.id.as_str(), "numbers"] {
        let printed = read_late(host.command(&["exec", task, "--", "seq", "1000000"]));
        assert!(
            printed == numbers.as_bytes(),
            "{task}: {} bytes",
            printed.len()
        );
    }
}

#[test]
fn a_process_left_behind_does_not_keep_an_exec_open() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    for script in ["sleep 1000 & echo done", "echo done; yes &"] {
        let (exit, text) = host.exec(&task, script);
        assert_eq!(exit, 0);
        assert!(text.contains("done\n"));
    }
}
