use rustix::{io::Errno, thread::UnshareFlags};

use super::{
    Probe,
    child::{enter, in_child},
    mounts, setting, words,
};
use crate::{
    identity, kernel,
    spec::{INSIDE_ID, Identity},
};

/// The name of the first probe.
pub(super) const USER: &str = "user namespaces";
/// The name of the second.
pub(super) const OTHERS: &str = "other namespaces";

/// An outer user namespace and an inner one, as every task has them.
pub(super) fn user_namespaces(stand_in: Option<Identity>) -> Probe {
    let both = in_child(|| {
        enter(stand_in, UnshareFlags::empty())?;
        let inner = Identity {
            uid: INSIDE_ID,
            gid: INSIDE_ID,
        };
        identity::enter_user_namespace(inner, UnshareFlags::empty())
    });
    let Err(error) = both else {
        return Probe::works(USER, "an outer and an inner one", super::WALL);
    };
    // Once more without what follows, for the number of the error alone.
    let refused = in_child(|| {
        if let Some(identity) = stand_in {
            identity::assume(identity)?;
        }
        let refused = kernel::unshare(UnshareFlags::NEWUSER).err();
        Ok(refused.and_then(|error| error.raw_os_error()))
    });
    let obstacles = Facts::read().obstacles(refused.unwrap_or_default());
    let reasons: Vec<String> = obstacles.iter().map(Obstacle::reason).collect();
    let fixes: Vec<String> = obstacles.iter().map(Obstacle::fix).collect();
    let detail = format!("{} ({})", reasons.join("; "), words(&error));
    Probe::missing(USER, detail).fix(fixes.join("\nthen: "))
}

/// What this machine says about user namespaces.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 and AppArmor on.
    apparmor: bool,
    /// Debian's switch, if there is one.
    clone_switch: Option<String>,
    /// How many there may be.
    most: Option<String>,
    /// A seccomp filter was on this process before it started.
    filtered: bool,
    /// The root folder is not the root of a mount.
    chroot: bool,
}

/// What keeps user namespaces closed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Obstacle {
    AppArmor,
    CloneSwitch,
    CountZero,
    Count(String),
    NotBuilt,
    Chroot,
    Filter,
    Nested,
    Unknown,
}

impl Facts {
    fn read() -> Self {
        let status = setting("/proc/self/status").unwrap_or_default();
        // Where /sys is not there to ask, the setting speaks for itself.
        let enabled = setting("/sys/module/apparmor/parameters/enabled");
        let restricts = setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
        Self {
            apparmor: restricts.as_deref() == Some("1") && enabled.is_none_or(|text| text == "Y"),
            clone_switch: setting("/proc/sys/kernel/unprivileged_userns_clone"),
            most: setting("/proc/sys/user/max_user_namespaces"),
            filtered: status.lines().any(|line| line == "Seccomp:\t2"),
            chroot: is_chroot(&mounts()),
        }
    }

    /// What explains the error number `refused` of `unshare(2)`; without one,
    /// the namespace could be made but gave no rights. Several switches may
    /// be closed at once, in the order in which the kernel asks them.
    fn obstacles(&self, refused: Option<i32>) -> Vec<Obstacle> {
        let Some(refused) = refused.map(Errno::from_raw_os_error) else {
            return vec![if self.apparmor {
                Obstacle::AppArmor
            } else {
                Obstacle::Unknown
            }];
        };
        match refused {
            Errno::INVAL => vec![Obstacle::NotBuilt],
            Errno::USERS => vec![Obstacle::Nested],
            Errno::NOSPC => vec![match self.most.as_deref() {
                Some("0") => Obstacle::CountZero,
                most => Obstacle::Count(most.unwrap_or("?").to_owned()),
            }],
            _ => {
                let closed = [
                    (self.filtered, Obstacle::Filter),
                    (
                        self.clone_switch.as_deref() == Some("0"),
                        Obstacle::CloneSwitch,
                    ),
                    (self.chroot, Obstacle::Chroot),
                    (self.apparmor, Obstacle::AppArmor),
                ];
                let mut obstacles: Vec<Obstacle> = closed
                    .into_iter()
                    .filter_map(|(is, obstacle)| is.then_some(obstacle))
                    .collect();
                if obstacles.is_empty() {
                    obstacles.push(Obstacle::Unknown);
                }
                obstacles
            }
        }
    }
}

/// Whether no mount is at `/`: `unshare(2)` refuses in a chroot.
fn is_chroot(mountinfo: &str) -> bool {
    let mut places = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .peekable();
    places.peek().is_some() && !places.any(|place| place == "/")
}

impl Obstacle {
    fn reason(&self) -> String {
        match self {
            Self::AppArmor => "AppArmor restricts them for programs without a profile".to_owned(),
            Self::CloneSwitch => "kernel.unprivileged_userns_clone is 0".to_owned(),
            Self::CountZero => "user.max_user_namespaces is 0".to_owned(),
            Self::Count(most) => format!("user.max_user_namespaces is {most}, all in use"),
            Self::NotBuilt => "this kernel is built without them".to_owned(),
            Self::Chroot => "this is a chroot, where the kernel refuses them".to_owned(),
            Self::Filter => {
                "a seccomp filter from outside, such as a container's, refuses them".to_owned()
            }
            Self::Nested => "they are nested as deep as they may be".to_owned(),
            Self::Unknown => {
                "no setting here explains it; a security module, a container or a chroot refuses them"
                    .to_owned()
            }
        }
    }

    fn fix(&self) -> String {
        match self {
            Self::AppArmor => "stockade doctor --apparmor-profile | sudo tee \
                 /etc/apparmor.d/stockade && sudo apparmor_parser -r /etc/apparmor.d/stockade; \
                 or, for every program: sudo sysctl \
                 kernel.apparmor_restrict_unprivileged_userns=0"
                .to_owned(),
            Self::CloneSwitch => "sudo sysctl kernel.unprivileged_userns_clone=1".to_owned(),
            Self::CountZero | Self::Count(_) => {
                "sudo sysctl user.max_user_namespaces=65536".to_owned()
            }
            Self::NotBuilt => "start a kernel with CONFIG_USER_NS".to_owned(),
            Self::Chroot => "run Stockade outside the chroot".to_owned(),
            Self::Filter => "run Stockade on the host, or let the container's filter pass \
                 unshare and clone with CLONE_NEWUSER (docker, podman: \
                 --security-opt seccomp=PROFILE)"
                .to_owned(),
            Self::Nested => "run Stockade outside the containers it is in".to_owned(),
            Self::Unknown => "run Stockade on the host; on SELinux look at `ausearch -m avc`, \
                 elsewhere at `dmesg`"
                .to_owned(),
        }
    }
}

/// Each kind with its name in `user.max_…_namespaces`.
const KINDS: [(UnshareFlags, &str, &str); 6] = [
    (UnshareFlags::NEWNS, "mount", "mnt"),
    (UnshareFlags::NEWPID, "pid", "pid"),
    (UnshareFlags::NEWIPC, "ipc", "ipc"),
    (UnshareFlags::NEWUTS, "uts", "uts"),
    (UnshareFlags::NEWCGROUP, "cgroup", "cgroup"),
    (UnshareFlags::NEWNET, "net", "net"),
];

/// The other namespaces, one by one.
pub(super) fn others(stand_in: Option<Identity>) -> Probe {
    let mut missing = Vec::new();
    let mut fixes = Vec::new();
    for (flag, name, short) in KINDS {
        let Err(error) = in_child(|| enter(stand_in, flag)) else {
            continue;
        };
        missing.push(format!("{name} ({})", error.cause));
        let count = setting(&format!("/proc/sys/user/max_{short}_namespaces"));
        fixes.push(if count.as_deref() == Some("0") {
            format!("sudo sysctl user.max_{short}_namespaces=65536")
        } else {
            format!("start a kernel with {name} namespaces, or leave the container")
        });
    }
    if missing.is_empty() {
        let names: Vec<&str> = KINDS.iter().map(|(_, name, _)| *name).collect();
        return Probe::works(OTHERS, names.join(", "), super::WALL);
    }
    Probe::missing(OTHERS, format!("refused: {}", missing.join(", "))).fix(fixes.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Option<i32> = Some(libc::EPERM);

    fn facts() -> Facts {
        Facts {
            most: Some("63000".to_owned()),
            ..Facts::default()
        }
    }

    #[test]
    fn a_namespace_without_rights_is_apparmors_doing() {
        let ubuntu = Facts {
            apparmor: true,
            ..facts()
        };
        assert_eq!(ubuntu.obstacles(None), [Obstacle::AppArmor]);
        assert_eq!(facts().obstacles(None), [Obstacle::Unknown]);
    }

    #[test]
    fn every_closed_switch_is_named_in_the_order_the_kernel_asks() {
        let closed = Facts {
            apparmor: true,
            filtered: true,
            clone_switch: Some("0".to_owned()),
            ..facts()
        };
        let expected = [Obstacle::Filter, Obstacle::CloneSwitch, Obstacle::AppArmor];
        assert_eq!(closed.obstacles(REFUSED), expected);
        assert_eq!(facts().obstacles(REFUSED), [Obstacle::Unknown]);
    }

    #[test]
    fn a_full_count_is_told_from_one_that_is_none() {
        let full = Some(libc::ENOSPC);
        let none = Facts {
            most: Some("0".to_owned()),
            ..facts()
        };
        assert_eq!(none.obstacles(full), [Obstacle::CountZero]);
        assert_eq!(
            facts().obstacles(full),
            [Obstacle::Count("63000".to_owned())]
        );
    }

    #[test]
    fn the_fix_for_apparmor_is_a_command_that_can_be_pasted() {
        let fix = Obstacle::AppArmor.fix();
        assert!(fix.starts_with(
            "stockade doctor --apparmor-profile | sudo tee /etc/apparmor.d/stockade && "
        ));
        assert!(fix.ends_with("sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"));
    }

    #[test]
    fn a_chroot_is_where_no_mount_is_the_root() {
        let line = |place| format!("23 28 0:22 / {place} rw shared:7 - proc proc rw\n");
        assert!(!is_chroot(&(line("/proc") + &line("/"))));
        assert!(is_chroot(&line("/proc")));
        assert!(!is_chroot(""), "not knowing is no reason");
    }
}
