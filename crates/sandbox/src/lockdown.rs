//! Gives up every right, in the order in which each step is still possible.

use rustix::{
    process::{Resource, Rlimit, Signal},
    thread::{CapabilitySet, CapabilitySets, UnshareFlags},
};

use crate::{
    error::{During, Layer, SandboxError},
    identity, landlock,
    seccomp::{self, Instruction},
    spec::{INSIDE_ID, Identity, Limits, SandboxSpec},
};

/// What locks every process 1 of a task, worked out once.
#[derive(Debug)]
pub(crate) struct Locks {
    filter: Vec<Instruction>,
    rules: Vec<landlock::Rule>,
}

impl Locks {
    pub(crate) fn new(spec: &SandboxSpec) -> Self {
        Self {
            filter: seccomp::filter(spec.nested),
            rules: landlock::rules(spec),
        }
    }

    /// Enters the inner user namespace, which owns nothing, and locks this
    /// process for good. Returns the Landlock ABI whose rules hold.
    pub(crate) fn close(&self, spec: &SandboxSpec) -> Result<Option<u32>, SandboxError> {
        let me = Identity {
            uid: INSIDE_ID,
            gid: INSIDE_ID,
        };
        // Set before the inner namespace is made, the cap on processes holds for
        // all sandboxes of the task together: they count in the outer one, whose
        // count starts at none (setrlimit(2), user_namespaces(7)).
        limit(spec.limits)?;
        identity::enter_user_namespace(me, UnshareFlags::empty())?;
        drop_capabilities()?;
        rustix::thread::set_no_new_privs(true).during(Layer::Privileges, "set no_new_privs")?;
        // The last change of credentials is behind: the signal now stays set.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .during(Layer::Processes, "tie process 1 to its parent")?;
        let abi = if spec.nested {
            // Whom Landlock restricts at all may rename less under rules of his
            // own, and mount nothing.
            None
        } else {
            Some(landlock::restrict(&self.rules)?)
        };
        seccomp::install(&self.filter)?;
        Ok(abi)
    }
}

fn limit(limits: Limits) -> Result<(), SandboxError> {
    for (resource, name, wanted) in [
        (Resource::Nproc, "processes", limits.processes),
        (Resource::Nofile, "open files", limits.open_files),
        (Resource::Fsize, "file size", limits.file_bytes),
        (Resource::Core, "core size", 0),
        (Resource::Memlock, "locked memory", 8 << 20),
    ] {
        let now = rustix::process::getrlimit(resource);
        let value = now.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let new = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        rustix::process::setrlimit(resource, new).during(Layer::Limits, format!("cap {name}"))?;
    }
    Ok(())
}

fn drop_capabilities() -> Result<(), SandboxError> {
    let step = "drop capabilities";
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The first number that the kernel does not know ends the list.
            Err(rustix::io::Errno::INVAL) => break,
            other => other.during(Layer::Privileges, step)?,
        }
    }
    clear_capabilities().during(Layer::Privileges, step)
}

/// Gives up the capabilities that this process has now.
pub(crate) fn clear_capabilities() -> std::io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, none)?)
}
