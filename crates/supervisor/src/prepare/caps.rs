//! The caps of a task: what was asked for, what this machine can keep.

use rustix::process::Resource;
use stockade_sandbox::{Keeper, Limits, MemoryCap, caps::KernelCaps};

use super::Wish;
use crate::{
    contract::{Contract, Strength},
    error::SupervisorError,
};

/// How long after its time is up a task may take to save its work before the
/// kernel ends it, in seconds.
const GRACE: u64 = 60;
/// What of the machine's memory a task may use if nobody says: three of four
/// parts, so that the person at the machine can still end it.
const SHARE: (u64, u64) = (3, 4);

pub(super) fn limits(wish: &Wish) -> Result<Limits, SupervisorError> {
    let kernel = KernelCaps::find();
    if wish.processor_hundredths.is_some() && !kernel.processors {
        return Err(SupervisorError::Refused(
            "the cap on processor time was asked for and nobody can keep it here: you may make \
             no control group with the controller `cpu`; `stockade doctor` tells what to do"
                .to_owned(),
        ));
    }
    let bytes = match wish.memory_bytes {
        Some(bytes) => Some(bytes),
        None => machine_memory().map(|bytes| bytes / SHARE.1 * SHARE.0),
    };
    let keeper = if kernel.memory {
        Keeper::Kernel
    } else {
        Keeper::Watched
    };
    let usual = Limits::default();
    Ok(Limits {
        processes: within(Resource::Nproc, usual.processes),
        open_files: within(Resource::Nofile, usual.open_files),
        file_bytes: within(Resource::Fsize, usual.file_bytes),
        memory: bytes.map(|bytes| MemoryCap { bytes, keeper }),
        processor_hundredths: wish.processor_hundredths,
        seconds: u32::try_from(wish.wall_seconds.saturating_add(GRACE)).ok(),
        ..usual
    })
}

/// What of `wanted` the caller may have himself: nothing raises that.
fn within(resource: Resource, wanted: u64) -> u64 {
    let most = rustix::process::getrlimit(resource).maximum;
    most.map_or(wanted, |most| most.min(wanted))
}

/// Refuses a contract whose assurance is below what is required, and says why
/// it is.
pub(super) fn require(contract: &Contract) -> Result<(), SupervisorError> {
    let Some(level) = contract
        .required
        .filter(|level| contract.assurance < *level)
    else {
        return Ok(());
    };
    let soft: Vec<String> = contract
        .caps
        .iter()
        .filter(|cap| cap.strength == Strength::Watched)
        .map(|cap| format!("the cap on {} is only watched", cap.of))
        .chain(contract.weaker.iter().cloned())
        .collect();
    Err(SupervisorError::Refused(format!(
        "assurance {} is required and this task has {}: {}",
        level.name(),
        contract.assurance.name(),
        soft.join("; ")
    )))
}

/// Bytes of memory of this machine (proc_meminfo(5)).
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
