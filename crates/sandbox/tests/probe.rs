//! What the probes say on this machine, and what they say when one layer of
//! it is taken away.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a step of a test that fails fails the test; a skipped part is said"
)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, lchown},
    path::PathBuf,
    process::{Command, Output},
};

use stockade_sandbox::probe::{Outcome, Probe};
use tempfile::TempDir;

/// Nobody: an id without files or rights of its own on every distribution.
const ORDINARY: &str = "65534";

/// A state directory of an ordinary user, and how a probe of it is started.
struct Machine {
    state: TempDir,
    as_root: bool,
}

impl Machine {
    /// This machine, for whoever runs the test.
    fn own() -> Self {
        Self {
            state: tempfile::tempdir().unwrap(),
            as_root: true,
        }
    }

    /// This machine, for an ordinary user.
    fn ordinary() -> Self {
        let state = tempfile::tempdir().unwrap();
        if is_root() {
            let id = ORDINARY.parse().ok();
            lchown(state.path(), id, id).unwrap();
        }
        Self {
            state,
            as_root: false,
        }
    }

    /// What is found without the system calls of `refusals`.
    fn without(&self, refusals: &[String]) -> Vec<Probe> {
        self.after(&[], refusals)
    }

    /// What is found by a probe that `prefix` starts.
    fn after(&self, prefix: &[&str], refusals: &[String]) -> Vec<Probe> {
        let mut words: Vec<String> = Vec::new();
        if is_root() && !self.as_root {
            let become_ordinary = ["setpriv", "--reuid", ORDINARY, "--regid", ORDINARY];
            words.extend(become_ordinary.map(str::to_owned));
            words.push("--clear-groups".to_owned());
        }
        words.extend(prefix.iter().map(|word| (*word).to_owned()));
        words.push(program().to_str().unwrap().to_owned());
        words.push(self.state.path().to_str().unwrap().to_owned());
        words.extend_from_slice(refusals);
        let output = start(&words);
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"))
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.state.path()).unwrap().next().is_none()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `cargo test` builds examples beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    folder.join("examples/probe_without")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a process with one thread, on a machine with something missing"
)]
fn start(words: &[String]) -> Output {
    Command::new(&words[0]).args(&words[1..]).output().unwrap()
}

/// The argument that makes `call` fail with `error`.
fn refuse(call: libc::c_long, error: libc::c_int) -> String {
    format!("{call}={error}")
}

/// The same, only when the argument at `index` has this value.
fn refuse_when(call: libc::c_long, index: u32, value: u32, error: libc::c_int) -> String {
    format!("{call}@{index}:{value}={error}")
}

fn find<'a>(probes: &'a [Probe], name: &str) -> &'a Probe {
    let found = probes.iter().find(|probe| probe.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {probes:#?}"))
}

fn worst(probes: &[Probe]) -> Outcome {
    probes.iter().map(|probe| probe.outcome).max().unwrap()
}

/// Puts `script` before a probe, in a user namespace whose settings it may
/// change and in which the caller keeps its id; `None` where there is no such
/// program.
fn prepared(script: &str) -> Option<Vec<Probe>> {
    let help = start(&["unshare".to_owned(), "--help".to_owned()]).stdout;
    if !String::from_utf8_lossy(&help).contains("--keep-caps") {
        eprintln!("skipped: this machine has no unshare(1) with --keep-caps");
        return None;
    }
    let script = format!("{script}\nexec \"$@\"");
    let prefix = [
        "unshare",
        "--map-current-user",
        "--keep-caps",
        "--mount",
        "sh",
        "-ec",
        &script,
        "sh",
    ];
    Some(Machine::ordinary().after(&prefix, &[]))
}

#[test]
fn every_wall_is_found_and_nothing_is_left_behind() {
    for machine in [Machine::own(), Machine::ordinary()] {
        let probes = machine.without(&[]);
        assert!(worst(&probes) < Outcome::Missing, "{probes:#?}");
        for wall in [
            "user namespaces",
            "other namespaces",
            "file systems inside",
            "network namespace",
            "seccomp",
            "sealed executables",
            "process descriptors",
        ] {
            assert_eq!(find(&probes, wall).outcome, Outcome::Works, "{wall}");
        }
        assert!(machine.is_empty());
    }
}

#[test]
fn the_overlay_is_tried_where_tasks_are_kept_and_its_limit_is_told() {
    for machine in [Machine::own(), Machine::ordinary()] {
        let probes = machine.without(&[]);
        let found = find(&probes, "copy-on-write workspaces");
        if found.outcome == Outcome::Weaker {
            eprintln!("skipped: {}", found.detail);
            continue;
        }
        let state = machine.state.path().to_str().unwrap();
        assert!(found.detail.contains(state), "{}", found.detail);
        assert!(found.detail.contains("renam"), "{}", found.detail);
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_is_no_place_for_tasks() {
    let machine = Machine::ordinary();
    let only_readable = fs::Permissions::from_mode(0o500);
    fs::set_permissions(machine.state.path(), only_readable).unwrap();
    let probes = machine.without(&[]);
    let found = find(&probes, "copy-on-write workspaces");
    assert_eq!(found.outcome, Outcome::Missing);
    assert!(found.fix.as_ref().unwrap().contains("STOCKADE_STATE_DIR="));
}

#[test]
fn closed_user_namespaces_are_named_with_the_setting_that_opens_them() {
    let Some(probes) = prepared("echo 0 > /proc/sys/user/max_user_namespaces") else {
        return;
    };
    let found = find(&probes, "user namespaces");
    assert_eq!(found.outcome, Outcome::Missing);
    assert!(found.detail.starts_with("user.max_user_namespaces is 0 ("));
    assert_eq!(
        found.fix.as_deref(),
        Some("sudo sysctl user.max_user_namespaces=65536")
    );
    let network = find(&probes, "network namespace");
    assert_eq!(network.detail, "not tried: it needs user namespaces");
    assert_eq!(find(&probes, "Landlock").outcome, Outcome::Works);
    assert_eq!(find(&probes, "seccomp").outcome, Outcome::Works);
}

#[test]
fn one_kind_of_namespace_that_is_closed_is_named() {
    let Some(probes) = prepared("echo 0 > /proc/sys/user/max_net_namespaces") else {
        return;
    };
    assert_eq!(find(&probes, "user namespaces").outcome, Outcome::Works);
    let found = find(&probes, "other namespaces");
    assert_eq!(found.outcome, Outcome::Missing);
    assert!(
        found.detail.starts_with("refused: net ("),
        "{}",
        found.detail
    );
    assert_eq!(
        found.fix.as_deref(),
        Some("sudo sysctl user.max_net_namespaces=65536")
    );
}

#[test]
fn a_proc_that_is_partly_hidden_is_told_from_other_refusals() {
    let Some(probes) = prepared("mount --bind /dev/null /proc/uptime") else {
        return;
    };
    let found = find(&probes, "file systems inside");
    assert_eq!(found.outcome, Outcome::Missing);
    assert!(
        found.detail.contains("hides /proc/uptime"),
        "{}",
        found.detail
    );
    assert!(
        found
            .fix
            .as_ref()
            .unwrap()
            .contains("systempaths=unconfined")
    );
    assert_eq!(find(&probes, "network namespace").outcome, Outcome::Works);
}

#[test]
fn a_root_that_cannot_become_other_users_is_told_so() {
    let prefix = ["unshare", "--map-root-user"];
    let probes = Machine::ordinary().after(&prefix, &[]);
    let found = find(&probes, "a user id for each task");
    assert_eq!(found.outcome, Outcome::Missing);
    assert!(found.fix.as_ref().unwrap().contains("as an ordinary user"));
    let user = find(&probes, "user namespaces");
    assert_eq!(user.detail, "not tried: it needs a user id for each task");
}

#[test]
fn a_filter_from_outside_is_named_when_it_refuses_user_namespaces() {
    let machine = Machine::ordinary();
    let probes = machine.without(&[refuse(libc::SYS_unshare, libc::EPERM)]);
    let found = find(&probes, "user namespaces");
    assert_eq!(found.outcome, Outcome::Missing);
    assert!(
        found.detail.starts_with("a seccomp filter from outside"),
        "{}",
        found.detail
    );
    let fix = found.fix.as_ref().unwrap();
    assert!(fix.contains("--security-opt seccomp=PROFILE"), "{fix}");
}

#[test]
fn a_landlock_that_is_switched_off_is_told_from_one_that_is_not_there() {
    let machine = Machine::own();
    let call = libc::SYS_landlock_create_ruleset;
    for (error, fix) in [
        (libc::EOPNOTSUPP, "add lsm=landlock,"),
        (libc::ENOSYS, "start a Linux 5.19 or newer"),
    ] {
        let probes = machine.without(&[refuse(call, error)]);
        let found = find(&probes, "Landlock");
        assert_eq!(found.outcome, Outcome::Missing);
        assert!(
            found.fix.as_ref().unwrap().starts_with(fix),
            "{:?}",
            found.fix
        );
        assert_eq!(find(&probes, "user namespaces").outcome, Outcome::Works);
    }
}

#[test]
fn rules_that_the_kernel_takes_but_cannot_enforce_are_no_landlock() {
    let refusals = [refuse(libc::SYS_landlock_restrict_self, libc::EPERM)];
    let probes = Machine::own().without(&refusals);
    assert_eq!(find(&probes, "Landlock").outcome, Outcome::Missing);
}

#[test]
fn a_kernel_that_takes_no_filter_is_missing_a_wall() {
    let probes = Machine::own().without(&[refuse(libc::SYS_seccomp, libc::EINVAL)]);
    let found = find(&probes, "seccomp");
    assert_eq!(found.outcome, Outcome::Missing);
    assert!(
        found.detail.starts_with("install the filter"),
        "{}",
        found.detail
    );
}

#[test]
fn memory_that_cannot_be_sealed_or_run_is_missing_a_wall() {
    for refusal in [
        refuse(libc::SYS_memfd_create, libc::ENOSYS),
        refuse(libc::SYS_execveat, libc::EACCES),
    ] {
        let probes = Machine::own().without(&[refusal]);
        let found = find(&probes, "sealed executables");
        assert_eq!(found.outcome, Outcome::Missing, "{found:?}");
    }
}

#[test]
fn without_nf_tables_only_the_web_is_captured() {
    const NETLINK_NETFILTER: u32 = 12;
    let refusal = refuse_when(
        libc::SYS_socket,
        2,
        NETLINK_NETFILTER,
        libc::EPROTONOSUPPORT,
    );
    let probes = Machine::own().without(&[refusal]);
    assert_eq!(find(&probes, "network namespace").outcome, Outcome::Works);
    let found = find(&probes, "capture of every port");
    assert_eq!(found.outcome, Outcome::Weaker);
    assert!(found.cost.starts_with("ports 80 and 443"), "{}", found.cost);
}

#[test]
fn without_overlays_the_way_around_is_named() {
    // FSCONFIG_SET_FLAG of fsconfig(2): only the overlay is given a flag.
    let refusal = refuse_when(libc::SYS_fsconfig, 1, 0, libc::EINVAL);
    let probes = Machine::own().without(&[refusal]);
    assert_eq!(find(&probes, "file systems inside").outcome, Outcome::Works);
    let found = find(&probes, "copy-on-write workspaces");
    assert_eq!(found.outcome, Outcome::Weaker);
    assert!(found.cost.contains("--backend checkout"), "{}", found.cost);
}

#[test]
fn where_no_control_group_can_be_made_memory_is_watched() {
    let refusals = [
        refuse(libc::SYS_mkdir, libc::EACCES),
        refuse(libc::SYS_mkdirat, libc::EACCES),
    ];
    let probes = Machine::own().without(&refusals);
    let found = find(&probes, "caps on memory and processor");
    assert_eq!(found.outcome, Outcome::Weaker);
    assert!(found.cost.contains("watched"), "{}", found.cost);
}
