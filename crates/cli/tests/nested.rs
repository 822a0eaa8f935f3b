//! Sandboxes that programs make inside: refused by default, and with
//! `--nested` possible, at a lower level that is named.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use self::host::{
    Host, Outcome, Task,
    failure::{REFUSED, WALL},
    finish, finish_within, has, skip,
};

/// Longer than a task in a task takes, even on a busy machine.
const LONGEST: Duration = Duration::from_mins(3);

fn run(host: &Host, words: &[&str]) -> Outcome {
    let mut command: Command = host.command(&[&["run"], words].concat());
    command.stdin(Stdio::null());
    finish_within(command, LONGEST).unwrap()
}

fn exec(host: &Host, task: &Task, words: &[&str]) -> Outcome {
    let mut command = host.command(&[&["exec", &task.id], words].concat());
    command.stdin(Stdio::null());
    finish(command)
}

fn contract(task: &Task) -> Value {
    let plan = fs::read(task.folder.join("plan.json")).unwrap();
    serde_json::from_slice::<Value>(&plan).unwrap()["contract"].clone()
}

#[test]
fn bubblewrap_works_inside_only_where_it_was_asked_for_and_the_level_says_so() {
    if !has("bwrap") {
        return skip("bubblewrap inside", "it is not installed");
    }
    let host = Host::new();
    let bwrap = ["bwrap", "--unshare-all", "--ro-bind", "/", "/"];
    let own = [
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        "/tmp",
        "--hostname",
        "own",
    ];
    let look = [
        "sh",
        "-c",
        "id -u; cut -c1-5 /proc/1/cmdline; hostname; touch x 2>/dev/null || echo kept",
    ];
    let plain = run(&host, &[&["--"], &bwrap[..], &["true"]].concat());
    assert_ne!(plain.code, 0, "{plain:?}");
    let demanded = ["--yes", "--nested", "--require", "full", "--", "true"];
    let demanded = run(&host, &demanded);
    assert_eq!(demanded.code, REFUSED, "{demanded:?}");
    assert!(demanded.stderr.contains("--nested"), "{demanded:?}");

    let words = [
        &["--yes", "--nested", "--name", "nested", "--"],
        &bwrap[..],
        &["true"],
    ]
    .concat();
    let nested = run(&host, &words);
    assert_eq!(nested.code, 0, "{nested:?}");
    let words = [&["--yes", "--nested", "--"], &bwrap[..], &own, &look].concat();
    let whole = run(&host, &words);
    assert_eq!(
        (whole.code, whole.stdout.as_str()),
        (0, "1000\nbwrap\nown\nkept\n"),
        "{whole:?}"
    );

    let tasks = host.json(&["ls"]);
    let named = tasks
        .as_array()
        .unwrap()
        .iter()
        .find(|task| task["slug"] == "nested");
    let task = host.task(named.unwrap()["id"].as_str().unwrap());
    let contract = contract(&task);
    assert_eq!(contract["assurance"], "reduced", "{contract}");
    assert!(
        contract["weaker"].to_string().contains("--nested"),
        "{contract}"
    );
    let record = task.record();
    assert!(
        record
            .iter()
            .any(|event| event.body["contract"] == contract)
    );
    // Which of the checks were not made, it says as well.
    let checked = record
        .iter()
        .find_map(|event| event.body["checked_inside"].as_array());
    let checked: Vec<&str> = checked.unwrap().iter().filter_map(Value::as_str).collect();
    assert!(checked.contains(&"a mount is refused"), "{checked:?}");
    assert!(
        !checked.contains(&"a new namespace is refused"),
        "{checked:?}"
    );
}

#[test]
fn what_is_covered_stays_covered_in_a_sandbox_of_the_agents_own() {
    let host = Host::new();
    let tools = host.path("tools/bin");
    fs::create_dir_all(&tools).unwrap();
    fs::write(host.path("tools/.netrc"), "decoy-secret-value\n").unwrap();
    fs::write(host.path("tools/plain"), "plain\n").unwrap();
    for folder in [host.path(""), host.path("tools"), tools.clone()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let shown = host.path("tools");
    let shown = shown.to_str().unwrap();
    // Every way to see below a mount: to take it away, to show what holds it
    // elsewhere with and without what is on it, and to move it.
    let script = "exec 2>/dev/null; cd /tmp; mkdir a b c
        for m in $0/.netrc /workspace/project/.git; do umount $m || umount -l $m; mount --move $m /tmp/c; done
        mount --bind $0 a; cat a/.netrc; mount --rbind $0 b; umount b/.netrc; cat b/.netrc b/plain
        mount --rbind / c; umount -l c$0/.netrc; cat c$0/.netrc $0/.netrc
        mount -o remount,rw /usr; mount -o remount,rw,bind /usr && echo writable > /usr/x
        mount -t tmpfs none /tmp/a && echo mounted; cat /workspace/project/.git";
    let inside = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        shown,
    ];
    let words = [&["--yes", "--nested", "--ro", shown, "--"], &inside[..]].concat();
    let outcome = run(&host, &words);
    assert!(
        !outcome.stdout.contains("decoy-secret-value"),
        "{outcome:?}"
    );
    assert!(
        !outcome.stderr.contains("decoy-secret-value"),
        "{outcome:?}"
    );
    assert_eq!(
        outcome.stdout, "plain\nmounted\ngitdir: /agent.git\n",
        "{outcome:?}"
    );
    assert!(!std::path::Path::new("/usr/x").exists());
}

/// What a tool does that restricts itself: from then on it reads files of the
/// workspace only, and still renames between folders there (landlock(7)).
const OWN_LANDLOCK: &str = r"
my ($create, $add, $restrict, $prctl) = @ARGV; my ($read, $refer) = (1 << 2, 1 << 13);
my $rules = pack('Q Q Q', $read | $refer, 0, 0); my $set = syscall($create, $rules, 24, 0); die $! if $set < 0;
open my $here, '<', '.' or die $!; my $beneath = pack('Q l', $read | $refer, fileno $here);
syscall($add, $set, 1, $beneath, 0) == 0 or die $!;
syscall($prctl, 38, 1, 0, 0, 0) == 0 and syscall($restrict, $set, 0) == 0 or die $!;
print open(my $f, '<', '/etc/passwd') ? 'open' : 'closed', ' ';
mkdir 'a'; mkdir 'b'; open my $g, '>', 'a/f'; print rename('a/f', 'b/f') ? 'renamed' : $!, ' ';
open my $h, '<', 'README.md' or die $!; print <$h>;";

#[test]
fn programs_inside_restrict_themselves_by_landlock_as_outside() {
    if !has("perl") {
        return skip(
            "Landlock of a program's own",
            "there is no perl to make the calls with",
        );
    }
    let host = Host::new();
    let calls = [
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
        libc::SYS_prctl,
    ];
    let calls = calls.map(|call| call.to_string());
    let calls = calls.each_ref().map(String::as_str);
    for flags in [&["--yes"][..], &["--yes", "--nested"]] {
        let perl = ["--", "perl", "-e", OWN_LANDLOCK];
        let outcome = run(&host, &[flags, &perl, &calls].concat());
        assert_eq!(
            outcome.stdout, "closed renamed a project\n",
            "{flags:?}: {outcome:?}"
        );
    }
}

#[test]
fn a_command_with_a_time_ends_with_the_sandbox_that_it_made() {
    let host = Host::new();
    let started = host.json(&[
        "run", "--detach", "--yes", "--nested", "--", "sleep", "1000",
    ]);
    let task = host.task(started["task"].as_str().unwrap());
    let marker = format!("in-its-own-{}", std::process::id());
    let sleep = format!("exec -a {marker} sleep 1000");
    let inside = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "bash",
        "-c",
        &sleep,
    ];
    let fresh = exec(
        &host,
        &task,
        &[
            "--fresh",
            "--",
            "unshare",
            "-Urmpf",
            "--mount-proc",
            "ls",
            "/proc/1",
        ],
    );
    assert_eq!(fresh.code, 0, "in a sandbox of its own too: {fresh:?}");
    let timed = exec(
        &host,
        &task,
        &[&["--timeout", "2s", "--"], &inside[..]].concat(),
    );
    assert_eq!(timed.code, 124, "{timed:?}");
    host::eventually("it is gone", || {
        let all = host::processes::all();
        !all.iter().any(|process| process.words[0] == marker)
    });
}

#[test]
fn stockade_runs_inside_stockade_where_that_was_asked_for_and_refuses_clearly_elsewhere() {
    let host = Host::new();
    let tool = host.path("tool");
    fs::create_dir(&tool).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_stockade"), tool.join("stockade")).unwrap();
    for folder in [host.path(""), tool.clone()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let tool = tool.to_str().unwrap();
    let script = "git clone -q --no-local . ~/inner && cd ~/inner && \
                  $0/stockade run --name inner -- sh -c 'id -u; cat README.md; echo new > new; ls -d /workspace/*' && \
                  $0/stockade diff inner --stat";
    let words = |flags: &[&'static str]| {
        let flags: Vec<&str> = [&["--yes", "--ro", tool][..], flags].concat();
        [&flags[..], &["--", "sh", "-c", script, tool]].concat()
    };
    let refused = run(&host, &words(&[]));
    assert_eq!(refused.code, WALL, "{refused:?}");
    // What is printed inside comes on standard output.
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("user namespaces: confine git"), "{refused:?}");
    assert!(said.contains("`stockade run --nested`"), "{refused:?}");

    let nested = run(&host, &words(&["--nested"]));
    assert_eq!(nested.code, 0, "{nested:?}");
    let said = &nested.stdout;
    for seen in ["1000\na project\n/workspace/inner\n", "new      new"] {
        assert!(said.contains(seen), "{seen}: {nested:?}");
    }
}
