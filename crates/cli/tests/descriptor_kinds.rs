//! Descriptors of every kind by which a program could write to the host, or do
//! something to it: as the standard input of what runs inside, and left open in
//! what started it.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs::{self, File},
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Stdio},
};

use rustix::{
    fs::{CWD, FileType, MemfdFlags, Mode, OFlags, memfd_create, mknodat, open},
    io::{FdFlags, fcntl_setfd},
    process::{Pid, PidfdFlags, pidfd_open},
};

use self::host::{Host, LONGEST, finish, has, holds_within, is_root, skip, terminal, wait_within};

/// A descriptor, and whether what it leads to is as it was.
struct Lead {
    kind: &'static str,
    descriptor: OwnedFd,
    is_untouched: Box<dyn FnMut() -> bool>,
}

/// A program that somebody might end.
struct Sleep(Child);

impl Drop for Sleep {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether nothing was written to the other end of `end`, which does not block.
fn hears_nothing(mut end: impl Read) -> bool {
    end.read(&mut [0; 64])
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// One of each kind, made anew.
fn leads(host: &Host, name: &str) -> Vec<Lead> {
    let place = host.path(name);
    fs::create_dir(&place).unwrap();
    let folder = place.join("folder");
    fs::create_dir(&folder).unwrap();
    let file = place.join("file");
    fs::write(&file, "host\n").unwrap();
    let pipe = place.join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let both = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let [pipe, pipe_end] = [(); 2].map(|()| open(&pipe, both, Mode::empty()).unwrap());
    let (outer, inner) = terminal::pair();
    rustix::io::ioctl_fionbio(&outer, true).unwrap();
    let (socket, socket_end) = UnixStream::pair().unwrap();
    socket_end.set_nonblocking(true).unwrap();
    let memory = memfd_create("lead", MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&memory, b"host\n").unwrap();
    let same_memory = memory.try_clone().unwrap();
    let path = open(&file, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let mut sleep = host.other_command("sleep");
    // Its own streams are within reach outside.
    sleep.stdin(Stdio::null()).stdout(Stdio::null());
    let mut sleep = Sleep(sleep.arg("1000").stderr(Stdio::null()).spawn().unwrap());
    let process = pidfd_open(Pid::from_child(&sleep.0), PidfdFlags::empty()).unwrap();
    let lead = |kind, descriptor, is_untouched| Lead {
        kind,
        descriptor,
        is_untouched,
    };
    let namespace = File::open("/proc/self/ns/net").unwrap();
    let modes = fs::metadata(&file).unwrap().permissions();
    vec![
        lead(
            "folder",
            File::open(&folder).unwrap().into(),
            Box::new(move || fs::read_dir(&folder).unwrap().next().is_none()),
        ),
        lead(
            "terminal",
            inner,
            Box::new(move || hears_nothing(File::from(outer.try_clone().unwrap()))),
        ),
        lead(
            "socket",
            socket.into(),
            Box::new(move || hears_nothing(&socket_end)),
        ),
        lead(
            "memory",
            memory,
            Box::new(move || {
                let name = format!("/proc/self/fd/{}", same_memory.as_raw_fd());
                fs::read(name).unwrap() == b"host\n"
            }),
        ),
        lead(
            "named pipe",
            pipe,
            Box::new(move || hears_nothing(File::from(pipe_end.try_clone().unwrap()))),
        ),
        lead(
            "path",
            path,
            Box::new(move || {
                fs::read(&file).unwrap() == b"host\n"
                    && fs::metadata(&file).unwrap().permissions() == modes
            }),
        ),
        lead(
            "process",
            process,
            Box::new(move || sleep.0.try_wait().unwrap().is_none()),
        ),
        // It can only be entered; who did tells.
        lead("namespace", namespace.into(), Box::new(|| true)),
    ]
}

/// Writes to, and does to, whatever descriptors lead to: those of the numbers from
/// 0 to the first word. The other words are the numbers of system calls.
const TRY: &str = r#"
my ($last, $write, $fchdir, $openat, $signal, $setns, $getfd, $ioctl) = @ARGV;
my ($text, $name, $typed) = ('PWNED', 'planted-too', 'P');
$SIG{PIPE} = 'IGNORE';
sub by_name { open(my $file, $_[0], $_[1]) or return; syswrite($file, $text) }
for my $n (0 .. $last) {
    by_name($_, "/proc/self/fd/$n") for '>', '>>', '+<';
    by_name('>', "/proc/self/fd/$n/planted");
    syscall($write, $n, $text, length($text));
    syscall($openat, $n, $name, 0101, 0644);
    syscall($fchdir, $n) == 0 and by_name('>', 'planted-here');
    chmod(0777, "/proc/self/fd/$n"); truncate("/proc/self/fd/$n", 0);
    syscall($ioctl, $n, 0x5412, $typed);
    syscall($setns, $n, 0) == 0 and print "entered $n\n";
    for my $theirs (0 .. 2) {
        my $got = syscall($getfd, $n, $theirs, 0);
        $got >= 0 and syscall($write, $got, $text, length($text));
    }
    syscall($signal, $n, 9, 0, 0);
}
print "tried\n";"#;

/// The words that try it with descriptors up to `last`.
fn tries(last: u32) -> Vec<String> {
    let calls = [
        libc::SYS_write,
        libc::SYS_fchdir,
        libc::SYS_openat,
        libc::SYS_pidfd_send_signal,
        libc::SYS_setns,
        libc::SYS_pidfd_getfd,
        libc::SYS_ioctl,
    ];
    let words = ["perl", "-e", TRY].map(str::to_owned).into_iter();
    let numbers = calls.map(|call| call.to_string()).into_iter();
    words.chain([last.to_string()]).chain(numbers).collect()
}

/// Whether there is what the tests need; says so if not.
fn can_try() -> bool {
    let perl = has("perl");
    if !perl {
        skip("descriptors of every kind", "there is no perl to try them");
    }
    perl
}

#[test]
fn g1_a_standard_input_of_any_kind_leads_nowhere_from_inside() {
    if !can_try() {
        return;
    }
    let host = Host::new();
    let task = host.start("sleep 1000");
    let words = tries(63);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut tried = Vec::new();
    for (name, prefix) in [
        ("run", &["run", "--"][..]),
        ("exec", &["exec", &task.id, "--"]),
        ("fresh", &["exec", "--fresh", &task.id, "--"]),
    ] {
        for mut lead in leads(&host, name) {
            let mut command = host.command(&[prefix, &words].concat());
            command.stdin(Stdio::from(lead.descriptor.try_clone().unwrap()));
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn().unwrap();
            drop(command);
            let outcome = wait_within(child, LONGEST).unwrap();
            let said = format!("{name}, {}: {outcome:?}", lead.kind);
            assert!(outcome.stdout.ends_with("tried\n"), "{said}");
            assert!(!outcome.stdout.contains("entered"), "{said}");
            assert!((lead.is_untouched)(), "{said}");
            tried.push(lead);
        }
    }

    // The same outside, to show that each of these would have been seen.
    let words = tries(0);
    for mut lead in leads(&host, "outside") {
        let mut perl = host.other_command("perl");
        perl.current_dir(host.home()).args(&words[1..]);
        perl.stdin(Stdio::from(lead.descriptor.try_clone().unwrap()));
        let outcome = finish(perl);
        let entered = outcome.stdout.contains("entered 0");
        if lead.kind == "namespace" && !is_root() {
            skip("entering a namespace outside", "only root may");
            continue;
        }
        // A signal takes a moment.
        let kind = lead.kind;
        let touched = entered || holds_within(LONGEST, || !(lead.is_untouched)());
        assert!(touched, "{kind}: {outcome:?}");
    }
    for mut lead in tried {
        assert!((lead.is_untouched)(), "{}, later", lead.kind);
    }
}

#[test]
fn g1_inherited_descriptors_of_any_kind_lead_nowhere_from_inside() {
    if !can_try() {
        return;
    }
    let host = Host::new();
    let mut leads = leads(&host, "inherited");
    for lead in &leads {
        fcntl_setfd(&lead.descriptor, FdFlags::empty()).unwrap();
    }
    // A shell that what is started here would be has all of them open.
    let mut shell = host.other_command("sh");
    shell.args(["-c", "ls /proc/self/fd"]);
    let open = finish(shell).stdout;
    for lead in &leads {
        let number = lead.descriptor.as_raw_fd().to_string();
        assert!(
            open.lines().any(|line| line == number),
            "{}: {open}",
            lead.kind
        );
    }
    let words = tries(255);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut run = host.command(&[&["run", "--name", "kept", "--"], &words[..]].concat());
    run.stdin(Stdio::null());
    let first = finish(run);
    let mut outcomes = vec![first];
    for verb in [&["exec"][..], &["exec", "--fresh"]] {
        let mut exec = host.command(&[verb, &["kept", "--"], &words].concat());
        exec.stdin(Stdio::null());
        outcomes.push(finish(exec));
    }
    for outcome in outcomes {
        assert!(outcome.stdout.ends_with("tried\n"), "{outcome:?}");
        assert!(!outcome.stdout.contains("entered"), "{outcome:?}");
    }
    for lead in &mut leads {
        assert!((lead.is_untouched)(), "{}", lead.kind);
    }
}
