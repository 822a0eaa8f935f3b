//! When an agent's first instruction runs: the command inside is `date`,
//! which prints the clock that this process reads too.

use std::{
    io::Read,
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    failure::Failure,
    place::{Place, finish},
    task::Task,
};

/// How long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    /// From the contract's appearance.
    pub(super) from_contract: Duration,
    /// From the start of `stockade run`.
    pub(super) from_command: Duration,
}

/// Starts a task named `name` that prints the time.
pub(super) fn measure(place: &Place, name: &str) -> Result<First, Failure> {
    let mut run = place.stockade(&["run", "--detach", "--name", name, "--", "date", "+%s%N"]);
    run.stdout(Stdio::null()).stderr(Stdio::piped());
    let words = format!("{run:?}");
    let before = now();
    let mut child = run.spawn().map_err(|source| Failure::Start {
        program: "stockade".to_owned(),
        source,
    })?;
    let mut shown = None;
    let mut text = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        let mut part = [0; 16 << 10];
        loop {
            let read = stderr
                .read(&mut part)
                .map_err(Failure::file(place.folder()))?;
            if read == 0 {
                break;
            }
            // The contract is the first thing that is said.
            shown.get_or_insert_with(now);
            text.extend_from_slice(&part[..read]);
        }
    }
    let status = child.wait().map_err(Failure::file(place.folder()))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (true, Some(shown)) = (status.success(), shown) else {
        return Err(Failure::Ended {
            words,
            code: status.code(),
            stderr: text,
        });
    };
    Task::of_slug(place, name)?.wait_until_gone()?;
    let output = finish(place.stockade(&["logs", name]))?.stdout;
    let answer = String::from_utf8_lossy(&output).into_owned();
    let first = answer
        .trim()
        .parse()
        .map(Duration::from_nanos)
        .map_err(|_| Failure::Answer { words, answer })?;
    Ok(First {
        from_contract: first.saturating_sub(shown),
        from_command: first.saturating_sub(before),
    })
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
