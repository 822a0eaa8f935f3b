//! What a task does not see: the user's files, variables and sockets, and
//! other tasks.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::Stdio,
};

use self::host::{Host, eventually, is_root, processes, skip};

/// Files with a marker on the host, removed again.
struct Planted(Vec<PathBuf>);

impl Planted {
    fn everywhere(host: &Host, marker: &str) -> Self {
        let name = format!("stockade-test-{}", std::process::id());
        let mut paths = vec![
            host.home().join(".ssh/id_ed25519"),
            host.home().join(".aws/credentials"),
            host.home().join("notes.txt"),
            host.path("sibling/README.md"),
            host.path("sibling/.git/marker"),
            host.repository().join("untracked.txt"),
            host.repository().join(".git/stash-like"),
            Path::new("/tmp").join(&name),
            Path::new("/var/tmp").join(&name),
            Path::new("/dev/shm").join(&name),
        ];
        if is_root() {
            paths.push(Path::new("/root").join(&name));
            paths.push(Path::new("/var/lib").join(&name));
            paths.push(Path::new("/etc").join(&name));
            paths.push(Path::new("/run").join(&name));
            paths.push(Path::new("/opt").join(&name));
        } else {
            skip(
                "/root, /var/lib, /etc, /run, /opt",
                "only root can plant there",
            );
        }
        for path in &paths {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, marker).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        Self(paths)
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

#[test]
fn g1_a_marker_planted_all_over_the_host_is_found_nowhere_inside() {
    let host = Host::new();
    host.make_repository("sibling", &[("README.md", "another\n")]);
    let marker = format!(
        "MARKER-{}-{:x}",
        std::process::id(),
        std::ptr::from_ref(&host).addr()
    );
    let planted = Planted::everywhere(&host, &marker);
    let first = host.start(&format!(
        "echo {marker} > mine.txt; echo {marker} > /tmp/mine; echo {marker} > ~/mine; sleep 1000"
    ));
    eventually("it is written", || {
        host.exec(&first, "test -e ~/mine").0 == 0
    });

    // The marker is put together inside, or the search would find itself.
    let (start, end) = marker.split_at(10);
    let mut names: Vec<String> = planted
        .0
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.push(first.folder.join("upper/mine.txt").display().to_string());
    names.push(first.folder.join("home/mine").display().to_string());
    let script = format!(
        "m={start}{}{end}; grep -rlf <(echo \"$m\") --exclude-dir=proc --exclude-dir=usr --exclude-dir=dev / 2>/dev/null; \
         grep -rlf <(echo \"$m\") /dev/shm /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; \
         for f in {}; do cat $f 2>/dev/null; stat $f >/dev/null 2>&1 && echo \"named $f\"; done; \
         ls -A /home /root /run /mnt /media /srv /var 2>/dev/null | tr '\\n' ' '",
        "\"\"",
        names.join(" ")
    );
    assert_eq!(host.look(&script), "/home: agent  /var: tmp ");
    // The search can find something: the same from the task that has it.
    let (_, found) = host.exec(
        &first,
        &format!("m={start}\"\"{end}; grep -rl -- \"$m\" . ~ /tmp | sort"),
    );
    assert_eq!(found, "./mine.txt\n/home/agent/mine\n/tmp/mine\n");
}

#[test]
fn g3_no_variable_of_the_caller_is_inside_but_those_about_printing() {
    let mut host = Host::new();
    let secret = "decoy-secret-value";
    let planted = [
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "GITLAB_TOKEN",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_CLIENT_SECRET",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "NPM_TOKEN",
        "PYPI_TOKEN",
        "CARGO_REGISTRY_TOKEN",
        "DOCKER_AUTH_CONFIG",
        "KUBECONFIG",
        "VAULT_TOKEN",
        "SSH_AUTH_SOCK",
        "GPG_AGENT_INFO",
        "DATABASE_URL",
        "PGPASSWORD",
        "MYSQL_PWD",
        "REDIS_URL",
        "SLACK_BOT_TOKEN",
        "STRIPE_SECRET_KEY",
        "SENTRY_DSN",
        "HTTP_PROXY",
        "LD_PRELOAD_DECOY",
        "DBUS_SESSION_BUS_ADDRESS",
        "XDG_RUNTIME_DIR",
        "GIT_ASKPASS",
        "CLAUDE_CODE_OAUTH_TOKEN",
    ];
    for name in planted {
        host.set(name, secret);
    }
    host.set("TZ", "Europe/Berlin");
    let task = host.start("sleep 1000");
    let (_, text) = host.exec(
        &task,
        "env; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'",
    );
    assert!(!text.contains(secret), "{text}");
    for name in planted {
        let set = text
            .lines()
            .any(|line| line.starts_with(&format!("{name}=")));
        assert!(!set, "{name} is inside: {text}");
    }
    let folder = host.path("").display().to_string();
    assert!(!text.contains(&folder), "a host path is inside: {text}");
    for line in ["TZ=Europe/Berlin", "HOME=/home/agent", "USER=agent"] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} not in {text}"
        );
    }
    // Nor do Stockade's own processes keep the caller's variables.
    for process in processes::tree(&task.folder) {
        match fs::read(process.file("environ")) {
            Ok(bytes) => assert!(
                !String::from_utf8_lossy(&bytes).contains(secret),
                "{process:?}"
            ),
            Err(_) => skip(
                &format!("environment of {:?}", process.words),
                "it is closed to an ordinary user",
            ),
        }
    }
}

#[test]
fn g1_two_tasks_share_no_scratch_folder_no_memory_and_no_socket() {
    let host = Host::new();
    let perl_server = "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un(\"\\0task-to-task\")) or die; listen(S, 1); \
                       shmget(4711, 4096, 01600) // die; open(F, \">ready\"); close F; sleep 1000";
    let first = host.start(&format!(
        "touch /tmp/one /var/tmp/one /dev/shm/one; exec perl -e '{perl_server}'"
    ));
    eventually("it listens", || host.exec(&first, "test -e ready").0 == 0);
    let second = host.start("sleep 1000");
    let look = "ls -A /tmp /var/tmp /dev/shm; perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); \
                print connect(S, sockaddr_un(\"\\0task-to-task\")) ? \"connected\" : \"refused\"; \
                print defined shmget(4711, 4096, 0600) ? \" attached\" : \" absent\"'; \
                ps -e -o comm= 2>/dev/null | grep -c perl; hostname";
    let (_, text) = host.exec(&second, look);
    assert_eq!(
        text,
        "/dev/shm:\n\n/tmp:\n\n/var/tmp:\nrefused absent0\nstockade\n"
    );
    let (_, text) = host.exec(&first, look);
    assert!(text.contains("connected attached"), "{text}");
}

#[test]
fn g1_scratch_folders_of_the_host_stay_as_they_are() {
    let host = Host::new();
    let name = format!("stockade-test-{}", std::process::id());
    let script = format!("for d in /tmp /var/tmp /dev/shm; do echo 1 > $d/{name}; ls $d; done");
    assert_eq!(host.look(&script), format!("{name}\n").repeat(3));
    for folder in ["/tmp", "/var/tmp", "/dev/shm"] {
        assert!(!Path::new(folder).join(&name).exists(), "{folder}");
    }
}

#[test]
fn g1_a_process_of_the_host_is_unseen_and_cannot_be_signalled() {
    let host = Host::new();
    // Numbers below this are taken inside too; a machine that has just started
    // has to be counted past them.
    const TAKEN_INSIDE: u32 = 300;
    for _ in 0..TAKEN_INSIDE {
        let mut short = host.other_command("true").spawn().unwrap();
        let number = short.id();
        short.wait().unwrap();
        if number > TAKEN_INSIDE {
            break;
        }
    }
    let mut sleep = host.other_command("sleep");
    let mut sleep = sleep.arg("1000").stdout(Stdio::null()).spawn().unwrap();
    let number = sleep.id();
    assert!(number > TAKEN_INSIDE, "{number}");
    let script = format!(
        "for s in 0 9 15; do kill -$s {number} 2>/dev/null && echo signalled; done; \
         cat /proc/{number}/environ /proc/{number}/cmdline 2>/dev/null && echo read; \
         ps -e -o args= | grep -F 'sleep 1000' | grep -v grep; \
         kill -9 -1 2>/dev/null; echo after"
    );
    let said = host.look(&script);
    let ended = sleep.try_wait().unwrap();
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    assert_eq!((&*said, ended), ("after\n", None));
}

#[test]
fn g2_sockets_of_the_host_cannot_be_reached_by_name() {
    let host = Host::new();
    let name = format!("stockade-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let hidden = UnixListener::bind_addr(&address).unwrap();
    let path = host.path("socket");
    let plain = UnixListener::bind(&path).unwrap();
    for listener in [&hidden, &plain] {
        listener.set_nonblocking(true).unwrap();
    }
    let script = format!(
        "perl -e 'use Socket; for my $name (\"\\0{name}\", \"{}\", \"/run/docker.sock\", \"/var/run/docker.sock\", \"/run/dbus/system_bus_socket\", \"/dev/log\") {{ \
         for my $kind (SOCK_STREAM, SOCK_DGRAM) {{ socket(S, AF_UNIX, $kind, 0) or die; print \"connected $name\\n\" if connect(S, sockaddr_un($name)); }} }} print \"done\\n\"'",
        path.display()
    );
    assert_eq!(host.look(&script), "done\n");
    for listener in [hidden, plain] {
        let heard = listener.accept();
        assert!(heard.is_err(), "{heard:?}");
    }
}

#[test]
fn g3_secrets_in_a_granted_toolchain_are_empty_and_the_rest_is_readable_at_a_neutral_place() {
    let mut host = Host::new();
    let tool = host.path("tools/mine");
    for (path, content, mode) in [
        ("bin/mytool", "#!/bin/sh\necho the tool runs\n", 0o755),
        ("share/data", "public\n", 0o644),
        (".netrc", "machine decoy password decoy-secret\n", 0o644),
        (".ssh/id_rsa", "decoy-secret\n", 0o644),
        ("alice/.aws/credentials", "decoy-secret\n", 0o644),
        ("credentials.toml", "decoy-secret\n", 0o644),
    ] {
        let path = tool.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    host.set(
        "PATH",
        format!("{}:{}", tool.join("bin").display(), host::PATH),
    );
    let outcome = host.stockade(&[
        "run", "--", "bash", "-c",
        "mytool; r=$(dirname $(dirname $(command -v mytool))); echo $r | sed 's/[0-9a-f]*$/ID/'; cat $r/share/data; \
         grep -r decoy-secret $r 2>/dev/null; ls -A $r/.ssh 2>/dev/null; wc -c < $r/.netrc; \
         (echo x > $r/share/data) 2>/dev/null && echo WROTE; (echo x > $r/bin/new) 2>/dev/null && echo WROTE; \
         rm -f $r/.netrc 2>/dev/null && echo REMOVED; true",
    ]);
    assert_eq!(
        outcome.stdout, "the tool runs\n/opt/stockade/ID\npublic\n0\n",
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("(4 secret paths hidden)"),
        "{outcome:?}"
    );
    assert_eq!(
        fs::read_to_string(tool.join("share/data")).unwrap(),
        "public\n"
    );
}

#[test]
fn g1_a_home_that_is_on_the_path_is_never_granted_as_a_whole() {
    let mut host = Host::new();
    fs::create_dir_all(host.home().join("bin")).unwrap();
    fs::write(host.home().join("diary.txt"), "private-marker\n").unwrap();
    fs::create_dir_all(host.home().join(".local/bin")).unwrap();
    fs::create_dir_all(host.home().join(".local/share/keyrings")).unwrap();
    fs::write(
        host.home().join(".local/share/keyrings/k"),
        "private-marker\n",
    )
    .unwrap();
    let path = format!(
        "{0}/bin:{0}/.local/bin:{0}:{1}",
        host.home().display(),
        host::PATH
    );
    host.set("PATH", path);
    let outcome = host.stockade(&[
        "run",
        "--",
        "bash",
        "-c",
        "grep -rl private-mark[e]r /opt /home /workspace 2>/dev/null; echo end",
    ]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "end\n"),
        "{outcome:?}"
    );
}

#[test]
fn g1_the_table_of_mounts_does_not_tell_where_on_the_host_anything_is() {
    let mut host = Host::new();
    let tool = host.home().join("tool/bin");
    fs::create_dir_all(&tool).unwrap();
    fs::write(tool.join("mytool"), "#!/bin/sh\necho the tool runs\n").unwrap();
    fs::set_permissions(tool.join("mytool"), fs::Permissions::from_mode(0o755)).unwrap();
    host.set("PATH", format!("{}:{}", tool.display(), host::PATH));
    let text =
        host.look("mytool; cat /proc/self/mountinfo /proc/self/mounts /proc/self/mountstats");
    let text = text.strip_prefix("the tool runs\n").unwrap();

    let folder = host.path("").display().to_string();
    let folder = folder.trim_end_matches('/');
    assert!(!text.contains(folder), "{text}");
    // proc_pid_mountinfo(5): the fourth field is the folder of the mounted
    // file system, the fifth where it is inside.
    let mounts = text.lines().filter(|line| line.contains(" - "));
    let mounts: Vec<Vec<&str>> = mounts.map(|line| line.split(' ').collect()).collect();
    assert!(mounts.len() > 20, "{text}");
    for mount in mounts {
        let (source, target) = (mount[3], mount[4]);
        let plain = source == "/" || target.ends_with(source);
        let made_here = source.starts_with("/etc/stockade/") && mount.contains(&"tmpfs");
        assert!(plain || made_here, "{mount:?}");
    }
}
