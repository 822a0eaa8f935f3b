//! This process as the kernel sees it, and processes that are not its own.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use stockade_attempt::{End, Wanted};

use crate::{
    raw::{apart, error_code, leave, read_memory, seize},
    report::Report,
};

/// How long a process that only waits lives if nobody ends it.
const LIFE: Duration = Duration::from_mins(20);
/// How long the kernel may take to end a process, on a busy machine.
const LONGEST_END: Duration = Duration::from_secs(2);

pub(crate) fn status(wanted: &[Wanted], report: &Report) {
    let status = match fs::read_to_string("/proc/self/status") {
        Ok(status) => status,
        Err(error) => return report.tried("read /proc/self/status", Err::<(), _>(error)),
    };
    for Wanted { field, value } in wanted {
        let found = status
            .lines()
            .find_map(|line| line.strip_prefix(field.as_str())?.strip_prefix(':'))
            .map(str::trim);
        let step = format!("be without `{field}: {value}`");
        match found {
            Some(found) if found == value => report.tell(step, End::Refused(libc::EPERM)),
            Some(_) => report.tell(step, End::Worked),
            None => report.tell(step, End::Unable("the kernel does not tell".to_owned())),
        }
    }
}

pub(crate) fn namespaces(report: &Report) {
    for name in ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"] {
        let target = fs::read_link(format!("/proc/self/ns/{name}"));
        report.seen(
            format!("be in the host's {name} namespace"),
            target.map(|target| target.display().to_string()),
        );
    }
}

pub(crate) fn process(id: i32, address: u64, report: &Report) {
    for file in ["environ", "cmdline"] {
        report.seen(
            format!("read its {file}"),
            fs::read(format!("/proc/{id}/{file}"))
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        );
    }
    let by_call = usize::try_from(address).map_err(io::Error::other);
    report.tried(
        "read its memory",
        by_call.and_then(|address| read_memory(id, address, &mut [0; 8])),
    );
    let by_file = fs::File::open(format!("/proc/{id}/mem"))
        .and_then(|file| file.read_exact_at(&mut [0; 8], address));
    report.tried("read its memory by way of /proc", by_file);
}

pub(crate) fn trace(id: i32, report: &Report) {
    report.tried(
        "open its memory for writing",
        fs::File::options()
            .write(true)
            .open(format!("/proc/{id}/mem")),
    );
    report.ended(
        "trace it",
        apart(|| seize(id).map_or_else(|error| error_code(&error), |()| 0)),
    );
}

pub(crate) fn kill(id: i32, report: &Report) {
    let Some(pid) = Pid::from_raw(id) else {
        return;
    };
    report.tried(
        "learn that it runs",
        test_kill_process(pid).map_err(io::Error::from),
    );
    let ended = kill_process(pid, Signal::KILL);
    if ended.is_ok() {
        wait_for_end(id);
    }
    report.tried("end it", ended.map_err(io::Error::from));
}

/// Waits until a process that was ended is gone, or only its parent has yet to
/// hear of it: whoever looks at it next shall see that.
fn wait_for_end(id: i32) {
    let deadline = Instant::now() + LONGEST_END;
    let lives = || {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // number (name) state … (proc_pid_stat(5))
        let state = stat.rsplit_once(") ").map(|(_, state)| state);
        state.is_some_and(|state| !state.starts_with(['Z', 'X']))
    };
    while lives() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn stop(id: i32, report: &Report) {
    let Some(pid) = Pid::from_raw(id) else {
        return;
    };
    let stopped = kill_process(pid, Signal::STOP);
    // Whoever looks at it next finds it as it was.
    let _ = kill_process(pid, Signal::CONT);
    report.tried("stop it", stopped.map_err(io::Error::from));
}

pub(crate) fn wait() {
    std::thread::sleep(LIFE);
}

pub(crate) fn daemon(report: &Report) {
    match leave() {
        Ok(false) => report.tell("leave a process behind", End::Worked),
        Ok(true) => {
            // Whoever waits for the end of the output must not wait for this.
            if let Ok(null) = fs::File::options().read(true).write(true).open("/dev/null") {
                let _ = rustix::stdio::dup2_stdin(&null);
                let _ = rustix::stdio::dup2_stdout(&null);
                let _ = rustix::stdio::dup2_stderr(&null);
            }
            wait();
        }
        Err(error) => report.tried("leave a process behind", Err::<(), _>(error)),
    }
}
