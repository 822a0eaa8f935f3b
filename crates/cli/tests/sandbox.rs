//! What a task sees of the machine, and what of it a task can change.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a step of a test that fails fails the test; what is weaker is told"
)]

mod host;

use std::{
    collections::BTreeMap,
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
};

use self::host::{Host, eventually, is_root, processes, skip};

/// `name value` lines as a map.
fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once([':', ' ']))
        .map(|(name, value)| (name, value.trim()))
        .collect()
}

#[test]
fn the_agent_is_an_ordinary_user_without_any_right_to_more() {
    let host = Host::new();
    let text = host.look(
        "echo uid $(id -u); echo gid $(id -g); echo groups $(id -G); echo user $(id -un); \
         echo map $(cat /proc/self/uid_map); echo host $(uname -n); cat /proc/self/status",
    );
    let seen = fields(&text);
    for (name, wanted) in [
        ("uid", "1000"),
        ("gid", "1000"),
        ("user", "agent"),
        ("host", "stockade"),
        ("map", "1000 1000 1"),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(seen.get(name), Some(&wanted), "{name} in {text}");
    }
    // Groups that the user has besides cannot be dropped; they have no name.
    let groups: Vec<&str> = seen["groups"].split(' ').collect();
    assert_eq!(groups[0], "1000");
    assert!(!is_root() || groups.len() == 1, "{groups:?}");
}

#[test]
fn seen_from_outside_no_process_inside_has_a_kernel_id_of_root_or_of_another_task() {
    let host = Host::new();
    let tasks = [host.start("sleep 1000"), host.start("sleep 1000")];
    let mut seen = Vec::new();
    for task in &tasks {
        let tree = processes::tree(&task.folder);
        let inside = tree
            .iter()
            .find(|process| process.words[0] == "sleep")
            .unwrap();
        let uid = inside.status("Uid").unwrap();
        let uid = uid.split_whitespace().next().unwrap().to_owned();
        assert_ne!(uid, "0");
        let map = fs::read_to_string(inside.file("uid_map")).unwrap();
        let map: Vec<&str> = map.split_whitespace().collect();
        assert_eq!(map.len(), 3, "one line: {map:?}");
        assert_eq!((map[0], map[2]), ("1000", "1"));
        seen.push(uid);
    }
    if is_root() {
        assert_ne!(seen[0], seen[1], "root's tasks have ids of their own");
    } else {
        let own = rustix::process::geteuid().as_raw().to_string();
        assert_eq!(seen, [own.clone(), own]);
        skip("ids of their own", "an ordinary user has one");
    }
}

#[test]
fn nothing_outside_the_workspace_home_and_scratch_folders_can_be_written() {
    let host = Host::new();
    let sibling = host.make_repository("sibling", &[("file", "theirs\n")]);
    let outside = host.path("outside.txt");
    fs::write(&outside, "host\n").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(host.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = [
        "/etc/x",
        "/etc/passwd",
        "/usr/x",
        "/usr/bin/x",
        "/bin/x",
        "/lib/x",
        "/x",
        "/opt/x",
        "/home/x",
        "~/../x",
        "../x",
        "../../x",
        "/proc/x",
        "/proc/sys/kernel/hostname",
        "/dev/x",
        "/root/x",
        "/run/x",
        "/var/lib/x",
        "/sys/x",
        "/pool.git/x",
        "/etc/stockade/x",
        "/srv/x",
        "/mnt/x",
        ".git",
        "/proc/self/root/x",
        "/proc/self/cwd/../x",
        "/dev/pts/x",
    ];
    let mut script = String::new();
    for path in refused {
        script.push_str(&format!("(echo x > {path}) 2>/dev/null && echo WROTE {path}; mkdir {path}-d 2>/dev/null && echo MADE {path}-d;"));
    }
    let named = [
        outside.clone(),
        sibling.join("file"),
        host.repository().join("README.md"),
        host.state().join("x"),
    ];
    for path in &named {
        let path = path.display();
        script.push_str(&format!(
            "(echo x >> {path}) 2>/dev/null && echo WROTE {path}; chmod 777 {path} 2>/dev/null && echo MODE {path}; \
             touch {path} 2>/dev/null && echo TOUCHED {path}; stat {path} >/dev/null 2>&1 && echo STAT {path};"
        ));
    }
    script.push_str(
        "rm -rf /usr/bin/true 2>/dev/null && echo REMOVED; mv .git g2 2>/dev/null && echo MOVED; \
         rm -f .git 2>/dev/null && echo UNLINKED; ln -sf / .git 2>/dev/null && echo LINKED; \
         for f in ./own ~/own /tmp/own /var/tmp/own /dev/shm/own; do echo x > $f && cat $f; done",
    );
    assert_eq!(host.look(&script), "x\n".repeat(5));
    assert_eq!(fs::read_to_string(&outside).unwrap(), "host\n");
    assert_eq!(
        fs::metadata(&outside).unwrap().permissions().mode() & 0o777,
        0o666
    );
    assert_eq!(
        fs::read_to_string(sibling.join("file")).unwrap(),
        "theirs\n"
    );
    assert_eq!(host.git(&["status", "--porcelain"]), "");
    assert_eq!(fs::read_dir(host.home()).unwrap().count(), 0);
    assert!(!host.path("x").exists() && !host.path("own").exists());
}

#[test]
fn a_file_removed_or_changed_in_the_workspace_stays_on_the_host() {
    let host = Host::new();
    host.look("rm README.md; echo other > other; chmod 4755 other; ls -A | sort | tr '\\n' ' '");
    assert_eq!(
        fs::read_to_string(host.repository().join("README.md")).unwrap(),
        "a project\n"
    );
    assert!(!host.repository().join("other").exists());
    assert_eq!(host.git(&["status", "--porcelain"]), "");
}

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
fn a_marker_planted_all_over_the_host_is_found_nowhere_inside() {
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
        "m={start}{}{end}; grep -rl -- \"$m\" / --exclude-dir=proc --exclude-dir=usr --exclude-dir=dev 2>/dev/null; \
         grep -rl -- \"$m\" /dev/shm /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | grep -v /proc/$$/; \
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
fn proc_tells_of_the_sandbox_only_and_cannot_be_written() {
    let host = Host::new();
    let text = host.look(
        "cat /proc/1/environ 2>/dev/null | wc -c; tr '\\0' ' ' < /proc/1/cmdline; echo; \
         for l in root cwd exe fd/0 ns/net; do readlink /proc/1/$l && echo \"LINK $l\"; done; \
         ls /proc/1/fd 2>/dev/null; head -c1 /proc/1/mem 2>/dev/null; \
         for f in sys/kernel/core_pattern sys/kernel/hostname sys/net/ipv4/ip_forward sys/vm/drop_caches sysrq-trigger 1/oom_score_adj self/sys/kernel/x; do \
           (echo 1 > /proc/$f) 2>/dev/null && echo \"WROTE $f\"; done; \
         for f in kcore keys kallsyms timer_list sched_debug; do cat /proc/$f 2>/dev/null | head -c 100; done; \
         for p in /proc/[0-9]*; do echo ${p#/proc/}; done | sort -n | tail -1; ls -A /sys 2>/dev/null; cat /proc/self/uid_map | wc -l",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["0", "init "], "{text}");
    let highest: u32 = lines[2].parse().unwrap();
    assert!(highest < 200, "process numbers of the host: {text}");
    assert_eq!(lines[3..], ["1"], "{text}");
}

#[test]
fn every_mount_is_without_setuid_and_programs_that_need_it_gain_nothing() {
    let host = Host::new();
    let text = host.look(
        "grep -v nosuid /proc/self/mountinfo; cp /usr/bin/id ./id; chmod 6755 ./id; ./id -u; \
         su root -c 'id -u' </dev/null 2>/dev/null; sudo -n id -u 2>/dev/null; find / -xdev -perm -4000 -writable 2>/dev/null | grep -v '^/workspace'; true",
    );
    assert_eq!(text, "1000\n");
}

#[test]
fn there_are_six_devices_and_no_more_can_be_made() {
    let host = Host::new();
    let text = host.look(
        "find / -xdev \\( -type c -o -type b \\) 2>/dev/null; find /dev -type c -o -type b | grep -v /dev/pts/ | sort | tr '\\n' ' '; \
         mknod null2 c 1 3 2>/dev/null && echo MADE; mknod /tmp/disk b 254 0 2>/dev/null && echo MADE; \
         mkfifo pipe && echo fifo; head -c 4 /dev/zero | od -An -tx1; echo x > /dev/full 2>/dev/null || echo full; \
         head -c 8 /dev/urandom | wc -c",
    );
    assert_eq!(
        text,
        "/dev/full /dev/null /dev/random /dev/tty /dev/urandom /dev/zero fifo\n 00 00 00 00\nfull\n8\n"
    );
}

#[test]
fn no_variable_of_the_caller_is_inside_but_those_about_printing() {
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
fn two_tasks_share_no_scratch_folder_no_memory_and_no_socket() {
    let host = Host::new();
    let perl_server = "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un(\"\\0task-to-task\")) or die; listen(S, 1); \
                       shmget(4711, 4096, 01600) // die; open(F, '>', 'ready'); close F; sleep 1000";
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
fn sockets_of_the_host_cannot_be_reached_by_name() {
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
fn unix_sockets_work_in_the_workspace_and_in_tmp() {
    let host = Host::new();
    let script = "perl -e 'use Socket; for my $name (\"s\", \"/tmp/s\", \"\\0s\") { \
        socket(L, AF_UNIX, SOCK_STREAM, 0); bind(L, sockaddr_un($name)) or die \"$name $!\"; listen(L, 1); \
        socket(C, AF_UNIX, SOCK_STREAM, 0); connect(C, sockaddr_un($name)) or die \"$name $!\"; print \"ok\\n\" } \
        socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) and print \"pair\\n\"'";
    assert_eq!(host.look(script), "ok\nok\nok\npair\n");
}

#[test]
fn secrets_in_a_granted_toolchain_are_empty_and_the_rest_is_readable_at_a_neutral_place() {
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
fn a_home_that_is_on_the_path_is_never_granted_as_a_whole() {
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
fn caps_of_the_kernel_hold_inside() {
    let host = Host::new();
    let text = host.look(
        "ulimit -c; ulimit -l; ulimit -u; df --output=size -B1 /tmp | tail -1 | tr -d ' '; \
         (ulimit -n 1000000) 2>/dev/null && echo MORE; (ulimit -u 100000) 2>/dev/null && echo MORE; \
         perl -e 'my @f; my $n = 0; while (open(my $f, \"<\", \"/dev/null\")) { push @f, $f; $n++ } print $n < 70000 ? \"few\\n\" : \"many\\n\"'",
    );
    assert_eq!(text, format!("0\n8192\n4096\n{}\nfew\n", 2_u64 << 30));
}

#[test]
fn mounts_tell_where_things_are_on_the_host() {
    // Known and named in the guarantees: the kernel shows each mount's root.
    let host = Host::new();
    let text = host.look("cat /proc/self/mountinfo");
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("/state/tasks/"))
        .collect();
    eprintln!("{} mounts tell a folder of the state directory", told.len());
    let workspace = text
        .lines()
        .find(|line| line.contains(" /workspace/project "))
        .unwrap();
    assert!(
        !workspace.contains(&host.path("").display().to_string()),
        "{workspace}"
    );
}
