//! Whether a tree can be laid over the base tree here: found out before the
//! contract says so, by doing it.

use std::{
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};
use stockade_sandbox::{Layer, SandboxError, probe::OVERLAY_ARGUMENT};

use crate::{
    part,
    state::{StateDirectory, read_json, write_json},
};

/// Where in the state directory it stands that it has worked.
const WORKED: &str = "overlay.json";

/// On which file system it has worked, and since which start of the machine:
/// there it is not tried again.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Worked {
    boot: String,
    device: u64,
}

/// Whether a task of `state` can have its tree copy-on-write. What else is
/// missing is for its start to tell.
pub(super) fn works(state: &StateDirectory) -> bool {
    let path = state.path().join(WORKED);
    let here = Worked::here(state);
    if here.is_some() && read_json(&path).ok() == here {
        return true;
    }
    match tried(state) {
        Some(Err(missing)) => missing.layer != Layer::Workspace,
        Some(Ok(())) => {
            if let Some(here) = here {
                // Without it the next task tries again.
                let _ = write_json(&path, &here);
            }
            true
        }
        None => true,
    }
}

/// It has not worked after all: the next task tries before it says so.
pub(crate) fn forget(state: &StateDirectory) {
    let _ = std::fs::remove_file(state.path().join(WORKED));
}

impl Worked {
    fn here(state: &StateDirectory) -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self {
            boot: boot.trim().to_owned(),
            device: state.path().metadata().ok()?.dev(),
        })
    }
}

/// Tries it in a process of its own, which has one thread.
#[expect(
    clippy::disallowed_methods,
    reason = "a part of Stockade that makes namespaces of its own and ends"
)]
fn tried(state: &StateDirectory) -> Option<Result<(), SandboxError>> {
    let output = Command::new(part::executable())
        .arg(OVERLAY_ARGUMENT)
        .arg(state.path())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    serde_json::from_slice(&output.stdout).ok()
}
