//! What programs ask of the system works inside as it does outside.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use self::host::{Host, Outcome, Task, has, skip};

fn finish(mut command: Command) -> Outcome {
    command.stdin(Stdio::null());
    host::finish(command)
}

/// Runs `script` in Python inside; it must end well. Returns what it prints.
fn python(host: &Host, script: &str) -> Option<String> {
    if !has("python3") {
        skip("what Python programs need", "python3 is not installed");
        return None;
    }
    let outcome = host.stockade(&["run", "--", "python3", "-c", script]);
    assert_eq!(outcome.code, 0, "{script}: {outcome:?}");
    Some(outcome.stdout)
}

/// `stockade exec` with these words after the task.
fn exec(host: &Host, task: &Task, words: &[&str]) -> Outcome {
    finish(host.command(&[&["exec", &task.id], words].concat()))
}

#[test]
fn a_script_that_names_no_program_is_run_by_the_shell() {
    let host = Host::new();
    let script = host.repository().join("script");
    fs::write(&script, "echo \"$0 says $1\"\nexit 3\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    host.git(&["add", "-A"]);
    host.git(&["commit", "-q", "-m", "a script"]);
    let run = host.stockade(&["run", "--", "./script", "one word"]);
    let said = "./script says one word\n";
    assert_eq!((run.code, run.stdout.as_str()), (3, said), "{run:?}");

    let task = host.start("mkdir bin; cp script bin/; touch ready; exec sleep 1000");
    host::wait_for_file(&host, &task, "ready");
    // Once with a cap, which another process sets on the way.
    for cap in [&[][..], &["--cpu", "60"]] {
        let words = [cap, &["--env", "PATH=bin", "--", "script", "found"]].concat();
        let outcome = exec(&host, &task, &words);
        assert_eq!(outcome.code, 3, "{words:?}: {outcome:?}");
        assert!(
            outcome.stdout.ends_with("script says found\n"),
            "{outcome:?}"
        );
    }
    let nothing = exec(&host, &task, &["--", "./README.md"]);
    assert_ne!(nothing.code, 0, "what may not be executed: {nothing:?}");
}

/// The signals that `/proc/self/status`, as it was printed, tells as ignored
/// or blocked. Two are libc's own, which ignores them in whatever it starts.
fn withheld(outcome: &Outcome) -> u64 {
    const LIBC: u64 = 0b11 << 31;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let sets = outcome.stdout.lines().map(|line| {
        let (_, set) = line.split_once(":\t").unwrap();
        u64::from_str_radix(set, 16).unwrap()
    });
    sets.fold(0, |all, set| all | set) & !LIBC
}

#[test]
fn signals_that_the_caller_ignores_are_not_ignored_inside() {
    let host = Host::new();
    let ignoring = |words: &[&str]| {
        let mut env = host.other_command("env");
        env.arg("--ignore-signal").args(words);
        finish(env)
    };
    let look = ["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"];
    let outside = ignoring(&look);
    if outside.stderr.contains("--ignore-signal") {
        return skip("a caller that ignores signals", "env(1) is too old");
    }
    assert!(withheld(&outside).count_ones() > 20, "{outside:?}");

    let stockade = env!("CARGO_BIN_EXE_stockade");
    let run = ignoring(&[&[stockade, "run", "--"][..], &look].concat());
    assert_eq!(withheld(&run), 0, "{run:?}");
    let kept = ["run", "--detach", "--name", "kept", "--", "sleep", "1000"];
    let started = ignoring(&[&[stockade][..], &kept].concat());
    assert_eq!(started.code, 0, "{started:?}");
    for cap in [&[][..], &["--cpu", "60"]] {
        let words = [&[stockade, "exec", "kept"][..], cap, &["--"], &look].concat();
        let inside = ignoring(&words);
        assert_eq!(withheld(&inside), 0, "{inside:?}");
    }
    // Nor do they keep Stockade from hearing of its own children.
    let stopped = ignoring(&[stockade, "stop", "kept"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
}

#[test]
fn processes_share_memory_semaphores_and_pools() {
    let host = Host::new();
    let script = "
import multiprocessing as m
from multiprocessing import shared_memory
def square(n): return n * n
def add(total, lock):
    for _ in range(200):
        with lock: total.value += 1
with m.Pool(4) as pool: print(sum(pool.map(square, range(100))))
total, lock = m.Value('i', 0, lock=False), m.Lock()
workers = [m.Process(target=add, args=(total, lock)) for _ in range(4)]
[w.start() for w in workers]; [w.join() for w in workers]; print(total.value)
block = shared_memory.SharedMemory(create=True, size=1 << 20); block.buf[7] = 42
other = shared_memory.SharedMemory(block.name); print(other.buf[7]); other.close(); block.close(); block.unlink()
queue = m.Queue(); m.Process(target=queue.put, args=('sent',)).start(); print(queue.get(timeout=30))";
    if let Some(said) = python(&host, script) {
        assert_eq!(said, "328350\n800\n42\nsent\n");
    }
}

#[test]
fn a_server_and_its_clients_meet_on_loopback_and_on_a_unix_socket() {
    let host = Host::new();
    let script = "
import http.server, os, socket, socketserver, threading, urllib.request
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words): pass
def serve(server): threading.Thread(target=server.serve_forever, daemon=True).start()
port = int(os.environ['STOCKADE_PORT_BASE'])
web = http.server.ThreadingHTTPServer(('127.0.0.1', port), Quiet); serve(web)
for name in ('127.0.0.1', 'localhost'):
    print(urllib.request.urlopen(f'http://{name}:{port}/README.md', timeout=30).read().decode(), end='')
class Six(socketserver.TCPServer): address_family = socket.AF_INET6
class Echo(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(self.rfile.readline().upper())
def ask(s): s.sendall(b'hello\\n'); print(s.recv(100).decode(), end='')
six = Six(('::1', port + 1), Echo); serve(six); ask(socket.create_connection(('::1', port + 1), 30))
for path in ('here.sock', '/tmp/there.sock', '\\0abstract'):
    unix = socketserver.UnixStreamServer(path, Echo); serve(unix)
    client = socket.socket(socket.AF_UNIX); client.settimeout(30); client.connect(path); ask(client)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); datagrams.bind(('127.0.0.1', 0)); datagrams.settimeout(30)
datagrams.sendto(b'datagram\\n', datagrams.getsockname()); print(datagrams.recv(100).decode(), end='')";
    if let Some(said) = python(&host, script) {
        let greeted = "HELLO\n".repeat(4);
        assert_eq!(said, format!("a project\na project\n{greeted}datagram\n"));
    }
}

#[test]
fn files_can_be_mapped_watched_locked_and_moved() {
    let host = Host::new();
    host.git(&["checkout", "-q", "-b", "work"]);
    let folder = host.repository().join("folder/inner");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), "of the base\n").unwrap();
    host.git(&["add", "-A"]);
    host.git(&["commit", "-q", "-m", "a folder"]);
    let script = "
import ctypes, fcntl, mmap, os, select, shutil, struct, subprocess, sys
with open('mapped', 'wb') as f: f.truncate(1 << 16)
with open('mapped', 'r+b') as f:
    m = mmap.mmap(f.fileno(), 0); m[40000:40005] = b'bytes'; m.flush(); m.close()
print(open('mapped', 'rb').read()[40000:40005].decode())
# Of the base: mapped, then changed through another descriptor.
with open('README.md', 'r+b') as f:
    m = mmap.mmap(f.fileno(), 0); m[0:1] = b'A'; m.flush(); print(open('README.md').read(), end='')
libc = ctypes.CDLL(None); watch = libc.inotify_init()
for path in (b'.', b'/tmp'): assert libc.inotify_add_watch(watch, path, 0x100) >= 0
open('created', 'w').close()
assert select.select([watch], [], [], 30)[0]; print(os.read(watch, 4096)[16:].rstrip(b'\\0').decode())
lock = open('lock', 'w'); fcntl.flock(lock, fcntl.LOCK_EX)
other = [sys.executable, '-c', 'import fcntl; fcntl.flock(open(\"lock\"), fcntl.LOCK_EX | fcntl.LOCK_NB)']
print(subprocess.run(other, stderr=subprocess.DEVNULL).returncode)
fcntl.flock(lock, fcntl.LOCK_UN); print(subprocess.run(other).returncode)
fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.makedirs('own/below'); open('own/below/file', 'w').close(); os.rename('own', 'renamed'); print(os.listdir('renamed/below')[0])
shutil.move('folder', 'moved'); print(open('moved/inner/file').read(), end=''); assert not os.path.exists('folder')
os.link('moved/inner/file', 'linked'); print(os.stat('linked').st_nlink)
os.symlink('linked', 'pointing'); os.mkfifo('fifo'); os.chmod('linked', 0o640); os.utime('linked', (1, 1)); print(os.stat('linked').st_mtime)";
    let Some(said) = python(&host, script) else {
        return;
    };
    assert_eq!(
        said,
        "bytes\nA project\ncreated\n1\n0\nfile\nof the base\n2\n1.0\n"
    );
}

#[test]
fn trees_are_packed_copied_moved_and_found_again_by_the_usual_tools() {
    let host = Host::new();
    let files = [("src/one.c", "one\n"), ("src/deep/two.c", "two\n")];
    for (path, text) in files {
        let path = host.repository().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    host.git(&["add", "-A"]);
    host.git(&["commit", "-q", "-m", "sources"]);
    let script = "set -eu
        tar czf all.tgz src; mkdir out; tar xzf all.tgz -C out; diff -r src out/src; echo packed
        mv src lib; git add -A; git mv lib/deep lib/deeper; cat lib/deeper/two.c
        flock -n lock true; cp -a lib copy; diff -r lib copy
        find . -name '*.c' -newer README.md | sort | xargs -n1 dirname | uniq -c | wc -l
        if command -v rsync >/dev/null; then rsync -a --delete lib/ synced/; diff -r lib synced; fi
        mkfifo p; (echo through > p &); cat p; (sleep 0.1 & wait $!); nohup true 2>/dev/null
        git add -A; git commit -qm moved; git status --short; git diff --stat HEAD~1 --find-renames | tail -1";
    let host_has_rsync = has("rsync");
    let outcome = host.stockade(&["run", "--", "bash", "-c", script]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.starts_with("packed\ntwo\n"), "{outcome:?}");
    assert!(outcome.stdout.contains("through\n"), "{outcome:?}");
    if !host_has_rsync {
        skip("rsync inside", "it is not installed");
    }
}
