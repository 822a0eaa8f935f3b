//! Finds out what this machine gives, by doing it: each layer is tried in a
//! process of its own, which then ends.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::{
    error::{During, Layer, SandboxError},
    identity,
    kernel::{self, Fork},
    mounts::Detached,
    network::{self, Capture},
    root, seccomp,
    spec::Identity,
};

/// The argument that makes the `stockade` executable a probe; the next one is
/// a folder on the file system where tasks are kept.
pub const PROBE_ARGUMENT: &str = "__probe";

/// What was found about one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What was tried.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// What was seen, or the system's words.
    pub detail: String,
    /// What is lost without it, or how it is replaced.
    pub cost: String,
    /// What a person can do.
    pub fix: Option<String>,
}

/// How a probe went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It works.
    Works,
    /// It does not, and something weaker or slower takes its place.
    Weaker,
    /// It does not, and nothing can be started.
    Missing,
}

/// The `main` of a probe: prints what it found as one JSON document.
pub fn run(state: &Path) -> io::Result<()> {
    let found = probes(state);
    let text = serde_json::to_vec(&found)?;
    io::stdout().write_all(&text)
}

type Tried = Result<String, SandboxError>;

fn probes(state: &Path) -> Vec<Probe> {
    let wall = "without it nothing is started";
    let mut found = vec![
        report("user namespaces", Outcome::Missing, wall, user_namespaces()),
        report("other namespaces", Outcome::Missing, wall, namespaces()),
        report("file systems inside", Outcome::Missing, wall, mounts()),
        report("Landlock", Outcome::Missing, wall, landlock()),
        report("seccomp", Outcome::Missing, wall, filter()),
        report(
            "network namespace",
            Outcome::Missing,
            wall,
            network_namespace(),
        ),
        report(
            "capture of every port",
            Outcome::Weaker,
            "ports 80 and 443 only; others are unreachable",
            nf_tables(),
        ),
        report(
            "copy-on-write workspaces",
            Outcome::Weaker,
            "each task copies its tree, which takes longer",
            overlay(state),
        ),
        report(
            "caps on memory and processor",
            Outcome::Weaker,
            "they are not capped",
            cgroups(),
        ),
    ];
    if rustix::process::geteuid().is_root() {
        found.push(report(
            "id-mapped mounts",
            Outcome::Missing,
            "tasks of root need them",
            owner_map(),
        ));
    }
    if found
        .first()
        .is_some_and(|first| first.outcome != Outcome::Works)
        && let Some(first) = found.first_mut()
    {
        first.fix = Some(namespace_fix());
    }
    found
}

fn report(name: &str, without: Outcome, cost: &str, tried: Tried) -> Probe {
    let (outcome, detail, fix) = match tried {
        Ok(detail) => (Outcome::Works, detail, None),
        Err(error) => (
            without,
            format!("{}: {}", error.step, error.cause),
            Some(error.layer.fix().to_owned()),
        ),
    };
    Probe {
        name: name.to_owned(),
        outcome,
        detail,
        cost: cost.to_owned(),
        fix,
    }
}

/// Runs `probe` in a child and passes on what it returns.
fn in_child(probe: impl FnOnce() -> Tried) -> Tried {
    let (answer, tell) = rustix::pipe::pipe().during(Layer::Processes, "make a pipe")?;
    match kernel::fork().during(Layer::Processes, "start a process")? {
        Fork::Child => {
            let tried = serde_json::to_vec(&probe()).unwrap_or_default();
            let _ = rustix::io::write(&tell, &tried);
            kernel::exit_now(0)
        }
        Fork::Parent(child) => {
            drop(tell);
            let mut text = Vec::new();
            let read = fs::File::from(answer).read_to_end(&mut text);
            let _ = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
            read.during(Layer::Processes, "hear from a probe")?;
            serde_json::from_slice(&text).during(Layer::Processes, "understand a probe")?
        }
    }
}

fn enter(flags: UnshareFlags) -> Result<Identity, SandboxError> {
    let me = identity::current();
    identity::enter_user_namespace(me, flags)?;
    Ok(me)
}

fn user_namespaces() -> Tried {
    in_child(|| {
        enter(UnshareFlags::empty())?;
        identity::enter_user_namespace(
            Identity {
                uid: crate::spec::INSIDE_ID,
                gid: crate::spec::INSIDE_ID,
            },
            UnshareFlags::empty(),
        )?;
        Ok("an outer and an inner one".to_owned())
    })
}

/// Why user namespaces may be closed, and what opens them.
fn namespace_fix() -> String {
    let setting = |path: &str| {
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return "AppArmor restricts them here. Either: stockade doctor --apparmor-profile | sudo tee \
                /etc/apparmor.d/stockade && sudo apparmor_parser -r /etc/apparmor.d/stockade; or for every \
                program: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
            .to_owned();
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return "sudo sysctl kernel.unprivileged_userns_clone=1".to_owned();
    }
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return "sudo sysctl user.max_user_namespaces=65536".to_owned();
    }
    "In a container: its seccomp profile or its runtime refuses them; run Stockade on the host, or allow \
     `unshare` and `clone` with CLONE_NEWUSER in the profile."
        .to_owned()
}

fn namespaces() -> Tried {
    in_child(|| {
        enter(
            UnshareFlags::NEWNS
                | UnshareFlags::NEWIPC
                | UnshareFlags::NEWUTS
                | UnshareFlags::NEWCGROUP
                | UnshareFlags::NEWPID,
        )?;
        Ok("mount, ipc, uts, cgroup and pid".to_owned())
    })
}

fn mounts() -> Tried {
    in_child(|| {
        enter(UnshareFlags::NEWNS | UnshareFlags::NEWPID)?;
        root::make_private()?;
        Detached::scratch(1 << 20, 16, "0755").during(Layer::Files, "make a tmpfs")?;
        Detached::clone_of(
            Path::new("/usr"),
            crate::mounts::INERT | crate::mounts::READ_ONLY,
        )
        .during(Layer::Files, "clone /usr")?;
        // Only a process of the new pid namespace can have its /proc.
        in_child(|| {
            Detached::new("proc", &[], 0)
                .during(Layer::Files, "mount /proc (masked in this container?)")?;
            Ok("tmpfs, clones by descriptor and a fresh /proc".to_owned())
        })
    })
}

fn landlock() -> Tried {
    let abi = kernel::landlock_abi().during(Layer::Landlock, "ask for it")?;
    let adds = [
        (2, "renames"),
        (3, "truncation"),
        (4, "TCP"),
        (5, "device control"),
        (6, "signals and abstract sockets"),
    ];
    let has: Vec<&str> = adds
        .iter()
        .filter(|(since, _)| abi >= *since)
        .map(|(_, what)| *what)
        .collect();
    if abi < 2 {
        return Err(io::Error::other(format!("ABI {abi}")))
            .during(Layer::Landlock, "need ABI 2 (Linux 5.19)");
    }
    Ok(format!("ABI {abi}: {}", has.join(", ")))
}

fn filter() -> Tried {
    in_child(|| {
        rustix::thread::set_no_new_privs(true).during(Layer::Seccomp, "set no_new_privs")?;
        seccomp::install()?;
        Ok("the filter can be installed".to_owned())
    })
}

fn network_namespace() -> Tried {
    in_child(|| {
        enter(UnshareFlags::NEWNET)?;
        let (listeners, _) = network::set_up()?;
        let version_6 = listeners
            .tcp
            .iter()
            .any(|listener| listener.local_addr().is_ok_and(|address| address.is_ipv6()));
        Ok(if version_6 {
            "IPv4 and IPv6"
        } else {
            "IPv4; this kernel has no IPv6"
        }
        .to_owned())
    })
}

fn nf_tables() -> Tried {
    in_child(|| {
        enter(UnshareFlags::NEWNET)?;
        match network::set_up()? {
            (_, Capture::EveryPort) => Ok("an nftables redirect, set by netlink".to_owned()),
            (_, Capture::WebPortsOnly) => Err(io::Error::other("the kernel has no nf_tables"))
                .during(Layer::Network, "redirect"),
        }
    })
}

fn overlay(state: &Path) -> Tried {
    let folder = state.join(format!("probe-{}", std::process::id()));
    let made = ["lower", "upper", "work"]
        .iter()
        .try_for_each(|name| fs::create_dir_all(folder.join(name)));
    made.during(
        Layer::Workspace,
        format!("make folders in {}", state.display()),
    )?;
    let tried = in_child(|| {
        enter(UnshareFlags::NEWNS)?;
        root::make_private()?;
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (lower, upper, work) = (path("lower"), path("upper"), path("work"));
        let options = [
            ("lowerdir", Some(&*lower)),
            ("upperdir", Some(&*upper)),
            ("workdir", Some(&*work)),
            ("userxattr", None),
        ];
        Detached::new("overlay", &options, 0).during(Layer::Workspace, "mount an overlay")?;
        Ok(format!("overlay on {}", state.display()))
    });
    // Overlayfs leaves a folder of mode 000 behind.
    let _ = fs::remove_dir(folder.join("work/work"));
    for name in ["lower", "upper", "work", ""] {
        let _ = fs::remove_dir(folder.join(name));
    }
    tried
}

fn owner_map() -> Tried {
    let map = identity::owner_map(Identity {
        uid: 0x7000_0000,
        gid: 0x7000_0000,
    })?;
    in_child(|| {
        let mount = Detached::clone_of(Path::new("/usr"), crate::mounts::READ_ONLY)
            .during(Layer::Identity, "clone /usr")?;
        mount
            .map_owner(&map)
            .during(Layer::Identity, "map its owner")?;
        Ok("each task gets a kernel uid of its own".to_owned())
    })
}

/// Where this process could make groups with caps of their own.
fn cgroups() -> Tried {
    let text =
        fs::read_to_string("/proc/self/cgroup").during(Layer::Limits, "read /proc/self/cgroup")?;
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    for base in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        let Some(own) = unified else { break };
        let own = PathBuf::from(format!("{base}{own}"));
        let controllers = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
        let group = own.join(format!("stockade-probe-{}", std::process::id()));
        if controllers.contains("memory") && fs::create_dir(&group).is_ok() {
            let _ = fs::remove_dir(&group);
            return Err(io::Error::other(
                "v2 is delegated, but caps are not built yet",
            ))
            .during(Layer::Limits, "use it");
        }
    }
    let first = fs::create_dir("/sys/fs/cgroup/memory/stockade-probe").is_ok();
    let _ = fs::remove_dir("/sys/fs/cgroup/memory/stockade-probe");
    let why = if first {
        "v1 is writable, but caps are not built yet"
    } else {
        "no group can be made"
    };
    Err(io::Error::other(why)).during(Layer::Limits, "make a control group")
}

/// An AppArmor profile that lets the executable at `path` create user
/// namespaces where AppArmor restricts them (Ubuntu 23.10 and later).
pub fn apparmor_profile(path: &Path) -> String {
    format!(
        "abi <abi/4.0>,\ninclude <tunables/global>\n\nprofile stockade {} flags=(unconfined) {{\n  userns,\n}}\n",
        path.display()
    )
}
