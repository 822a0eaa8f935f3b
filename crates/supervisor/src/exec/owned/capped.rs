//! Caps that a command met by itself, as far as its end tells.

use stockade_sandbox::Limits;

use crate::{
    caps::{CapMet, Capped, Known},
    contract::Strength,
    exec::{
        request::ExecLimits,
        result::{ExecResult, ExecText},
        text,
    },
};

/// Signals by which the kernel tells a process that it has met a cap
/// (setrlimit(2)).
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

/// The caps that `result` tells of. A command that starts others and outlives
/// them hides theirs: it is told of their signals, and nobody else is.
pub(super) fn caps_of_command(
    limits: &Limits,
    own: &ExecLimits,
    result: &ExecResult,
) -> Vec<CapMet> {
    let by_kernel = |cap, limit| CapMet {
        cap,
        limit,
        strength: Strength::Kernel,
        known: Known::Times(1),
    };
    let signalled = match (result.signal, own.cpu_seconds) {
        (Some(SIGXCPU), Some(seconds)) => Some(by_kernel(Capped::ProcessorTime, seconds)),
        (Some(SIGXFSZ), _) => {
            let bytes = own.file_bytes.unwrap_or(u64::MAX);
            Some(by_kernel(Capped::FileSize, bytes.min(limits.file_bytes)))
        }
        _ => None,
    };
    let texts = [&result.output, &result.stdout, &result.stderr];
    let cut = |text: &&ExecText| text.truncated;
    let printed: Vec<&ExecText> = texts.into_iter().flatten().filter(cut).collect();
    let printed = (!printed.is_empty()).then(|| CapMet {
        cap: Capped::Output,
        limit: text::BYTES_MAX as u64,
        strength: Strength::Supervisor,
        known: Known::Seen(printed.iter().map(|text| text.bytes).sum()),
    });
    signalled.into_iter().chain(printed).collect()
}
