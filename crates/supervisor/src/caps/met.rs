//! A cap that was met: which, how much it allows, who keeps it, and how that
//! is known.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::contract::Strength;

/// A cap that was met, by a command or by anything else that ran beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapMet {
    /// On what it is.
    pub cap: Capped,
    /// How much it allows, in the unit of `cap`.
    pub limit: u64,
    /// Who keeps it.
    pub strength: Strength,
    /// How it is known that it was met.
    #[serde(flatten)]
    pub known: Known,
}

/// What has a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capped {
    /// Bytes of memory of everything inside together.
    Memory,
    /// Processes and threads inside.
    Processes,
    /// Open files of one process.
    OpenFiles,
    /// Bytes of one file.
    FileSize,
    /// Seconds of processor time of one process.
    ProcessorTime,
    /// Hundredths of one processor, for everything inside together.
    Processors,
    /// Bytes of the disk that the task fills.
    Disk,
    /// Bytes that are kept of what a command prints.
    Output,
}

/// How it is known that a cap was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// Whoever keeps it tells that it was met so often.
    Times(u64),
    /// So much was seen from outside when it was looked at: as much as is
    /// allowed, or more. Whether anything was refused for it nobody tells.
    Seen(u64),
}

impl Capped {
    /// The rule by which refusals name it.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Self::Memory => "limits.memory",
            Self::Processes => "limits.processes",
            Self::OpenFiles => "limits.open-files",
            Self::FileSize => "limits.file-size",
            Self::ProcessorTime => "limits.processor-time",
            Self::Processors => "limits.processors",
            Self::Disk => "limits.disk",
            Self::Output => "limits.output",
        }
    }

    /// What there is no more of than `amount`, in words.
    pub(crate) fn amount(self, amount: u64) -> String {
        match self {
            Self::Memory => format!("{} of memory", bytes(amount)),
            Self::Processes => format!("{amount} processes and threads"),
            Self::OpenFiles => format!("{amount} open files of one process"),
            Self::FileSize => format!("{} of one file", bytes(amount)),
            Self::ProcessorTime => format!("{amount} s of processor time of one process"),
            Self::Processors => format!("{}.{:02} processors", amount / 100, amount % 100),
            Self::Disk => format!("{} of the disk", bytes(amount)),
            Self::Output => format!("{} of output", bytes(amount)),
        }
    }
}

impl fmt::Display for CapMet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = self.cap.amount(self.limit);
        let strength = self.strength.name();
        write!(formatter, "cap met: {allowed} ({strength})")?;
        match self.known {
            Known::Times(1) => Ok(()),
            Known::Times(times) => write!(formatter, ", {times} times"),
            Known::Seen(seen) => write!(formatter, "; {} were seen", self.cap.amount(seen)),
        }
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_that_was_met_reads_as_a_line_and_as_one_flat_object() {
        let met = CapMet {
            cap: Capped::Memory,
            limit: 192 << 20,
            strength: Strength::Kernel,
            known: Known::Times(2),
        };
        assert_eq!(
            met.to_string(),
            "cap met: 192 MiB of memory (kernel), 2 times"
        );
        let json = serde_json::json!({
            "cap": "memory", "limit": 201_326_592, "strength": "kernel", "times": 2,
        });
        assert_eq!(serde_json::to_value(&met).unwrap(), json);
        assert_eq!(serde_json::from_value::<CapMet>(json).unwrap(), met);
        let seen = CapMet {
            cap: Capped::Processes,
            limit: 4096,
            known: Known::Seen(4096),
            ..met
        };
        assert_eq!(
            seen.to_string(),
            "cap met: 4096 processes and threads (kernel); 4096 processes and threads were seen"
        );
    }
}
