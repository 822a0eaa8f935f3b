//! What a task sees of the machine, and what of it a task can change.

mod host;

use std::{collections::BTreeMap, fmt::Write as _, fs, os::unix::fs::PermissionsExt};

use self::host::{Host, eventually, is_root, processes, skip};

/// `name value` lines as a map.
fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once([':', ' ']))
        .map(|(name, value)| (name, value.trim()))
        .collect()
}

#[test]
fn g1_the_agent_is_an_ordinary_user_without_any_right_to_more() {
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
fn g1_seen_from_outside_no_process_inside_has_a_kernel_id_of_root_or_of_another_task() {
    let host = Host::new();
    let tasks = [host.start("sleep 1000"), host.start("sleep 1000")];
    let mut seen = Vec::new();
    for task in &tasks {
        let mut inside = None;
        eventually("the command runs", || {
            let mut tree = processes::tree(&task.folder).into_iter();
            inside = tree.find(|process| process.words[0] == "sleep");
            inside.is_some()
        });
        let inside = inside.unwrap();
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
fn g1_nothing_outside_the_workspace_home_and_scratch_folders_can_be_written() {
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
        ".git/x",
        "/proc/self/root/x",
        "/proc/self/cwd/../x",
        "/dev/pts/x",
    ];
    let mut script = String::new();
    for path in refused {
        let _ = write!(
            script,
            "(echo x > {path}) 2>/dev/null && echo WROTE {path}; mkdir {path}-d 2>/dev/null && echo MADE {path}-d;"
        );
    }
    let named = [
        outside.clone(),
        sibling.join("file"),
        host.repository().join("README.md"),
        host.state().join("x"),
    ];
    for path in &named {
        let path = path.display();
        let _ = write!(
            script,
            "(echo x >> {path}) 2>/dev/null && echo WROTE {path}; chmod 777 {path} 2>/dev/null && echo MODE {path}; \
             touch {path} 2>/dev/null && echo TOUCHED {path}; stat {path} >/dev/null 2>&1 && echo STAT {path};"
        );
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
fn g1_a_file_removed_or_changed_in_the_workspace_stays_on_the_host() {
    let host = Host::new();
    host.look("rm README.md; echo other > other; chmod 4755 other; ls -A | sort | tr '\\n' ' '");
    assert_eq!(
        fs::read_to_string(host.repository().join("README.md")).unwrap(),
        "a project\n"
    );
    assert!(!host.repository().join("other").exists());
    assert_eq!(host.git(&["status", "--porcelain"]), "");
}

#[test]
fn g1_proc_tells_of_the_sandbox_only_and_cannot_be_written() {
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
fn g1_every_mount_is_without_setuid_and_programs_that_need_it_gain_nothing() {
    let host = Host::new();
    let text = host.look(
        "grep -v nosuid /proc/self/mountinfo; cp /usr/bin/id ./id; chmod 6755 ./id; ./id -u; \
         su root -c 'id -u' </dev/null 2>/dev/null; sudo -n id -u 2>/dev/null; find / -xdev -perm -4000 -writable 2>/dev/null | grep -v '^/workspace'; true",
    );
    assert_eq!(text, "1000\n");
}

#[test]
fn g1_there_are_six_devices_and_no_more_can_be_made() {
    let host = Host::new();
    let text = host.look(
        "for f in $(find / -xdev -path /proc -prune -o -type f -print 2>/dev/null) /dev/*; do \
           if [ ! -L $f ] && { [ -b $f ] || [ -c $f ]; }; then echo $f; fi; done | sort -u | tr '\\n' ' '; \
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
fn unix_sockets_work_in_the_workspace_and_in_tmp() {
    let host = Host::new();
    let script = "perl -e 'use Socket; for my $name (\"s\", \"/tmp/s\", \"\\0s\") { \
        socket(L, AF_UNIX, SOCK_STREAM, 0); bind(L, sockaddr_un($name)) or die \"$name $!\"; listen(L, 1); \
        socket(C, AF_UNIX, SOCK_STREAM, 0); connect(C, sockaddr_un($name)) or die \"$name $!\"; print \"ok\\n\" } \
        socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) and print \"pair\\n\"'";
    assert_eq!(host.look(script), "ok\nok\nok\npair\n");
}

#[test]
fn g7_caps_of_the_kernel_hold_inside() {
    let host = Host::new();
    let text = host.look(
        "ulimit -c; ulimit -l; ulimit -u; df --output=size -B1 /tmp | tail -1 | tr -d ' '; \
         (ulimit -n 1000000) 2>/dev/null && echo MORE; (ulimit -u 100000) 2>/dev/null && echo MORE; \
         perl -e 'my @f; my $n = 0; while (open(my $f, \"<\", \"/dev/null\")) { push @f, $f; $n++ } print $n < 70000 ? \"few\\n\" : \"many\\n\"'",
    );
    assert_eq!(text, format!("0\n8192\n4096\n{}\nfew\n", 2_u64 << 30));
}
