//! The recorder process and the supervisor's hold on it.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use stockade_audit::{Place, RecordError, RecorderClient, Refusal, TreeHead};
use stockade_types::Event;

use crate::{
    error::SupervisorError,
    part::{self, Part},
    redactions::Redactions,
    state::{TaskDirectory, make_private},
};

/// How long the recorder of a task that just ended may take to let go.
const RELEASED_AFTER: Duration = Duration::from_secs(5);
/// How often a log is tried that another recorder still holds.
const RETRY: Duration = Duration::from_millis(5);

/// The `main` of the recorder process of the task in `folder`; its channel is
/// standard input.
pub fn run(folder: &Path) -> io::Result<()> {
    let task = TaskDirectory::at(folder).map_err(io::Error::other)?;
    let host = task.audit();
    make_private(&host)?;
    stockade_sandbox::seal(&[task.path(), &host])?;
    let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let place = Place {
        log: task.record(),
        name: task.id().to_string(),
        host,
    };
    stockade_audit::run_recorder(channel, &place).map_err(io::Error::other)
}

/// Starts the recorder of a task, from whose record these redactions keep secrets.
/// The one before it may still be signing its last records.
pub(crate) fn start(
    task: &TaskDirectory,
    redactions: &Redactions,
) -> Result<(Child, RecorderClient), SupervisorError> {
    let deadline = Instant::now() + RELEASED_AFTER;
    loop {
        let (mut child, client) = spawn(task, redactions)?;
        match client {
            Ok(client) => return Ok((child, client)),
            Err(error) => {
                // It said why, and ends.
                let _ = child.wait();
                let held = matches!(error, RecordError::Refused(Refusal::Locked));
                if !held || Instant::now() >= deadline {
                    return Err(SupervisorError::Record(said(&error)));
                }
                std::thread::sleep(RETRY);
            }
        }
    }
}

fn spawn(
    task: &TaskDirectory,
    redactions: &Redactions,
) -> Result<(Child, Result<RecorderClient, RecordError>), SupervisorError> {
    let failed = |error: io::Error| SupervisorError::Record(error.to_string());
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let log = task.join("recorder.log");
    let child = part::spawn(
        Part::Recorder,
        task.path(),
        theirs.into(),
        Stdio::null(),
        &log,
    )
    .map_err(failed)?;
    Ok((child, RecorderClient::connect(ours, redactions.clone())))
}

/// Adds an event to the record of a task that does not run, by a recorder of its
/// own, without the secrets that `redactions` knows. When this returns, a signed
/// checkpoint covers it.
pub fn record(
    task: &TaskDirectory,
    event: &Event,
    redactions: &Redactions,
) -> Result<(), SupervisorError> {
    append(task, event, redactions).map(drop)
}

/// The same; the state of the record that ends with the event.
pub(crate) fn append(
    task: &TaskDirectory,
    event: &Event,
    redactions: &Redactions,
) -> Result<TreeHead, SupervisorError> {
    let recorded = with_recorder(task, redactions, |client| client.record(event))?;
    Ok(TreeHead {
        size: recorded.seq + 1,
        root: recorded.root,
    })
}

/// The state of the record of a task that does not run, every record of it
/// signed.
pub fn head(task: &TaskDirectory) -> Result<TreeHead, SupervisorError> {
    let redactions = Redactions::new(Vec::new(), Vec::new())?;
    with_recorder(task, &redactions, |client| Ok(client.opened()))
}

fn with_recorder<T>(
    task: &TaskDirectory,
    redactions: &Redactions,
    work: impl FnOnce(&RecorderClient) -> Result<T, RecordError>,
) -> Result<T, SupervisorError> {
    let (mut child, client) = start(task, redactions)?;
    let result = work(&client);
    drop(client);
    // Its channel is closed: it signs, and ends.
    let ended = child.wait();
    let result = result.map_err(|error| SupervisorError::Record(said(&error)))?;
    match ended {
        Ok(status) if status.success() => Ok(result),
        _ => Err(SupervisorError::Record(format!(
            "the recorder failed; see {}",
            task.join("recorder.log").display()
        ))),
    }
}

/// The error with the reason below it.
fn said(error: &RecordError) -> String {
    match error {
        RecordError::Refused(refusal) => refusal.to_string(),
        error => error.to_string(),
    }
}
