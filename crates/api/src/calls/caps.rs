//! Caps that were met, as clients are told.

use schemars::JsonSchema;
use serde::Serialize;
use stockade_supervisor as own;

/// A cap that was met.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CapMet {
    /// On what it is.
    cap: Capped,
    /// How much it allows, in the unit of `cap`.
    limit: u64,
    /// Who keeps it.
    strength: Strength,
    /// How often it was met, where whoever keeps it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    /// How much was seen when it was looked at, where nobody tells: as much as
    /// is allowed, or more. Whether anything was refused for it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<u64>,
}

/// What has a cap.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Capped {
    /// Bytes of memory of everything in the sandbox together.
    Memory,
    /// Processes and threads in the sandbox.
    Processes,
    /// Open files of one process.
    OpenFiles,
    /// Bytes of one file.
    FileSize,
    /// Seconds of processor time of one process.
    ProcessorTime,
    /// Hundredths of one processor, for everything in the sandbox together.
    Processors,
    /// Bytes of the disk that the sandbox fills.
    Disk,
    /// Bytes of what it printed that stand in a result.
    Output,
}

/// Who keeps a cap.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Strength {
    /// The kernel: it cannot be passed.
    Kernel,
    /// The gateway: no request passes it.
    Gateway,
    /// The supervisor, through which all of it goes: it cannot be passed.
    Supervisor,
    /// A process that looks and then ends the sandbox.
    Watched,
    /// Nobody.
    None,
}

impl From<own::CapMet> for CapMet {
    fn from(met: own::CapMet) -> Self {
        let (times, seen) = match met.known {
            own::Known::Times(times) => (Some(times), None),
            own::Known::Seen(seen) => (None, Some(seen)),
        };
        Self {
            cap: match met.cap {
                own::Capped::Memory => Capped::Memory,
                own::Capped::Processes => Capped::Processes,
                own::Capped::OpenFiles => Capped::OpenFiles,
                own::Capped::FileSize => Capped::FileSize,
                own::Capped::ProcessorTime => Capped::ProcessorTime,
                own::Capped::Processors => Capped::Processors,
                own::Capped::Disk => Capped::Disk,
                own::Capped::Output => Capped::Output,
            },
            limit: met.limit,
            strength: match met.strength {
                own::Strength::Kernel => Strength::Kernel,
                own::Strength::Gateway => Strength::Gateway,
                own::Strength::Supervisor => Strength::Supervisor,
                own::Strength::Watched => Strength::Watched,
                own::Strength::None => Strength::None,
            },
            times,
            seen,
        }
    }
}
