use std::io;

use ::landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus,
};
use rustix::{io::Errno, thread::UnshareFlags};

use super::{Probe, WALL, child::in_child, setting, words};
use crate::{
    error::{During, Layer, SandboxError},
    kernel, layers, seccomp,
};

const LANDLOCK: &str = "Landlock";
const SECCOMP: &str = "seccomp";

/// A process that gave up all files cannot open a folder.
pub(super) fn landlock() -> Probe {
    let abi = match kernel::landlock_abi() {
        Ok(abi) => abi,
        Err(error) => {
            let fix = match Errno::from_io_error(&error) {
                Some(Errno::OPNOTSUPP) => boot_parameter(),
                _ => "start a Linux 5.19 or newer with CONFIG_SECURITY_LANDLOCK; in a container, \
                      let its seccomp filter pass landlock_create_ruleset"
                    .to_owned(),
            };
            return Probe::missing(LANDLOCK, format!("ask for it: {error}")).fix(fix);
        }
    };
    if let Err(error) = in_child(enforce) {
        return Probe::missing(LANDLOCK, words(&error)).fix(boot_parameter());
    }
    judge(abi)
}

/// What the version alone says, once it is known that rules hold.
fn judge(abi: u32) -> Probe {
    let has = format!("ABI {abi}: files, {}", layers::landlock_guards(abi));
    if abi < layers::OLDEST_LANDLOCK {
        return Probe::missing(LANDLOCK, format!("ABI {abi} lacks renames between folders"))
            .fix("start Linux 5.19 or newer".to_owned());
    }
    match layers::landlock_lacks(abi) {
        None => Probe::works(LANDLOCK, has, WALL),
        Some(cost) => Probe::weaker(LANDLOCK, has, &cost).fix("start a newer Linux".to_owned()),
    }
}

/// What to add to the kernel's command line.
fn boot_parameter() -> String {
    let modules = setting("/sys/kernel/security/lsm").filter(|text| !text.is_empty());
    let others = modules.unwrap_or_else(|| "…".to_owned());
    format!("add lsm=landlock,{others} to the kernel's command line and start anew")
}

fn enforce() -> Result<(), SandboxError> {
    rustix::thread::set_no_new_privs(true).during(Layer::Landlock, "set no_new_privs")?;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .and_then(::landlock::RulesetCreated::restrict_self)
        .map_err(io::Error::other)
        .during(Layer::Landlock, "enforce a rule")?;
    match std::fs::read_dir("/") {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        _ => Err(io::Error::other(format!(
            "a folder opened all the same (rules are {})",
            match status.ruleset {
                RulesetStatus::NotEnforced => "not enforced",
                _ => "enforced",
            }
        )))
        .during(Layer::Landlock, "enforce a rule"),
    }
}

/// The filter is on, refuses a call and passes the rest.
pub(super) fn seccomp() -> Probe {
    let tried = in_child(|| {
        rustix::thread::set_no_new_privs(true).during(Layer::Seccomp, "set no_new_privs")?;
        seccomp::install(&seccomp::filter(false))?;
        match kernel::unshare(UnshareFlags::NEWUSER) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => Ok(()),
            other => Err(io::Error::other(format!("it gave {other:?}")))
                .during(Layer::Seccomp, "refuse a new user namespace"),
        }
    });
    match tried {
        Ok(()) => Probe::works(SECCOMP, "the filter is taken and refuses", WALL),
        Err(error) => Probe::missing(SECCOMP, words(&error))
            .fix("start a kernel with CONFIG_SECCOMP_FILTER".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Outcome;

    #[test]
    fn an_older_landlock_is_weaker_by_what_later_ones_added() {
        let found = judge(4);
        assert_eq!(found.outcome, Outcome::Weaker);
        assert_eq!(
            found.detail,
            "ABI 4: files, renames between folders, truncation"
        );
        assert!(
            found.cost.ends_with(
                "for device control (Linux 6.10), signals and abstract sockets (Linux 6.12)"
            ),
            "{}",
            found.cost
        );
    }

    #[test]
    fn the_first_landlock_is_not_enough_and_the_sixth_is() {
        assert_eq!(judge(1).outcome, Outcome::Missing);
        assert_eq!(judge(6).outcome, Outcome::Works);
        assert_eq!(judge(9).outcome, Outcome::Works);
    }
}
