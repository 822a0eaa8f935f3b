//! Against the systemd that is installed, run as a user's manager in namespaces
//! of the test's own, and against buses that do not do what they should.

#![expect(
    clippy::disallowed_methods,
    reason = "the test starts systemd, and itself again beside it"
)]

use std::{
    io::Write,
    os::unix::net::UnixListener,
    process::{Command, Stdio},
};

use super::*;

/// Set where a manager runs.
const BESIDE_A_MANAGER: &str = "STOCKADE_TEST_BESIDE_A_MANAGER";
/// This test, which runs itself there.
const NAME: &str = "caps::user_manager::tests::\
                    the_users_systemd_moves_a_process_into_a_scope_with_the_caps_that_it_can_keep";

/// As the machine looks to a user who is logged in, for the words after the first
/// two: a folder of the unified hierarchy, and an empty folder of the test's own.
const LOGGED_IN: &str = r#"
group=$1 own=$2; shift 2
mount --bind "${group%/*}" "$own" && umount -l -R /sys/fs/cgroup && mount --bind "$own" /sys/fs/cgroup &&
umount "$own" && mount -t tmpfs none /run && mount -t tmpfs none /var/lib/systemd || exit 99
mkdir -p /run/systemd/system /run/user/65534 /var/lib/systemd/linger
touch /var/lib/systemd/linger/nobody
chown 65534:65534 /run/user/65534
chmod 700 /run/user/65534
echo $$ > /sys/fs/cgroup/${group##*/}/user/cgroup.procs || exit 99
as="setpriv --reuid 65534 --regid 65534 --clear-groups env XDG_RUNTIME_DIR=/run/user/65534 HOME=/run/user/65534"
$as systemd --user --log-target=null > /dev/null 2>&1 &
manager=$!
for i in $(seq 600); do test -S /run/user/65534/bus && break; sleep 0.05; done
test -S /run/user/65534/bus || exit 99
$as "$@"
code=$?
kill $manager; wait $manager
exit $code
"#;

/// A unified hierarchy that is mounted here, if this is root.
fn unified() -> Option<PathBuf> {
    let found = hierarchies().into_iter().find(|found| found.unified)?;
    let is_root = rustix::process::geteuid().is_root();
    is_root.then_some(found.top)
}

fn skip(reason: &str) {
    let _ = writeln!(io::stderr(), "SKIP a user's systemd: {reason}");
}

/// A folder of the unified hierarchy that is removed with all below it.
struct Below(PathBuf);

impl Drop for Below {
    fn drop(&mut self) {
        fn remove(folder: &Path) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    remove(&entry.path());
                }
            }
            let deadline = Instant::now() + Duration::from_secs(5);
            while fs::remove_dir(folder).is_err() && folder.exists() && Instant::now() < deadline {
                std::thread::sleep(PAUSE);
            }
        }
        remove(&self.0);
    }
}

#[test]
fn the_users_systemd_moves_a_process_into_a_scope_with_the_caps_that_it_can_keep() {
    if std::env::var_os(BESIDE_A_MANAGER).is_some() {
        return beside_a_manager();
    }
    let Some(top) = unified() else {
        return skip("only root can run one here, with cgroup v2 mounted");
    };
    if ["systemd", "dbus-daemon", "setpriv", "unshare"]
        .iter()
        .any(|program| !Path::new("/usr/bin").join(program).exists())
    {
        return skip("systemd and dbus-daemon are not installed");
    }
    let group = Below(top.join(format!("stockade-test-{}", std::process::id())));
    fs::create_dir_all(group.0.join("user")).unwrap();
    for folder in [group.0.clone(), group.0.join("user")] {
        for file in [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "cgroup.threads",
        ] {
            let path = folder.join(file);
            std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
        }
    }
    let own = tempfile::tempdir().unwrap();
    let mut logged_in = Command::new("/usr/bin/unshare");
    logged_in.args([
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
    ]);
    logged_in.args(["--mount-proc", "sh", "-c", LOGGED_IN, "sh"]);
    logged_in.arg(&group.0).arg(own.path());
    logged_in.arg(format!("{BESIDE_A_MANAGER}=1"));
    logged_in.arg(std::env::current_exe().unwrap());
    logged_in.args(["--exact", NAME, "--nocapture"]);
    let outcome = logged_in.stdin(Stdio::null()).output().unwrap();
    let said = [outcome.stdout, outcome.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if outcome.status.code() == Some(99) {
        return skip(&said);
    }
    assert!(outcome.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

fn beside_a_manager() {
    let deadline = Instant::now() + Duration::from_secs(30);
    // The first to connect waits until the bus itself is started.
    let mut manager = loop {
        match UserManager::find() {
            Ok(manager) => break manager,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert!(manager.group.join("init.scope").is_dir(), "{manager:?}");
    let mut sleep = Command::new("/usr/bin/sleep").arg("1000").spawn().unwrap();
    let task = TaskId::from_random(7);
    let caps = [("MemoryMax", 64 << 20), ("TasksMax", 32)];
    let scope = manager.start_scope(&task, sleep.id(), &caps);
    let again = manager.start_scope(&task, sleep.id(), &caps);
    let inside = group_of(sleep.id());
    let read = |file: &str| {
        scope
            .as_ref()
            .ok()
            .and_then(|scope| fs::read_to_string(scope.join(file)).ok())
    };
    let kept = [read("memory.max"), read("pids.max")];
    sleep.kill().unwrap();
    sleep.wait().unwrap();

    let scope = scope.unwrap();
    assert_eq!(inside.as_ref(), Some(&scope));
    assert!(scope.starts_with(&manager.group), "{}", scope.display());
    // It has no more controllers than the kernel gives it.
    let wanted = [
        (Controller::Memory, "67108864\n"),
        (Controller::Processes, "32\n"),
    ];
    for ((controller, value), kept) in wanted.into_iter().zip(kept) {
        let value = manager.caps(controller).then(|| value.to_owned());
        assert_eq!(kept, value, "{controller:?}");
    }
    // A name that is taken is refused with systemd's own words.
    let refused = again.unwrap_err().to_string();
    assert!(refused.contains("already"), "{refused}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while scope.exists() {
        assert!(Instant::now() < deadline, "the scope is still there");
        std::thread::sleep(PAUSE);
    }
}

/// A bus at which every connection hears `words` and then nothing.
fn bus_that_says(words: &'static [u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        // Until the test's process ends.
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(words);
            kept.push(stream);
        }
    });
    (folder, path)
}

#[test]
fn a_bus_that_is_silent_refuses_or_talks_nonsense_is_as_none_and_holds_nobody_up() {
    let unified = Hierarchy {
        unified: true,
        controllers: Vec::new(),
        top: PathBuf::from("/nonexistent"),
        own: PathBuf::from("/nonexistent"),
    };
    let endless = &*vec![b'x'; 4096].leak();
    let huge = b"OK 0\r\nl\x02\x01\x01\xff\xff\xff\x7f\x01\x00\x00\x00\xff\xff\xff\x7f";
    for words in [
        b"",
        b"REJECTED EXTERNAL\r\n".as_slice(),
        b"OK 0\r\n",
        huge,
        endless,
    ] {
        let (_folder, path) = bus_that_says(words);
        let begun = Instant::now();
        let error = UserManager::at(&path, &unified).unwrap_err();
        assert!(begun.elapsed() < LONGEST * 20, "{error}");
    }
    let none = UserManager::at(Path::new("/nonexistent/bus"), &unified).unwrap_err();
    assert_eq!(none.kind(), io::ErrorKind::NotFound);
}
