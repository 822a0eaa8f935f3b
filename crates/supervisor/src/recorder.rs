//! The recorder process and the supervisor's hold on it.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Stdio},
};

use stockade_audit::RecorderClient;

use crate::{
    error::SupervisorError,
    part::{self, Part},
    state::TaskDirectory,
};

/// The `main` of the recorder process; its channel is standard input.
pub fn run(record: &Path) -> io::Result<()> {
    stockade_sandbox::seal(&[record.parent().unwrap_or(record)])?;
    let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stockade_audit::run_recorder(channel, record).map_err(io::Error::other)
}

/// Starts the recorder of a task.
pub(crate) fn start(task: &TaskDirectory) -> Result<(Child, RecorderClient), SupervisorError> {
    let failed = |error: &dyn std::fmt::Display| SupervisorError::Record(error.to_string());
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
    let log = task.join("recorder.log");
    let child = part::spawn(
        Part::Recorder,
        &task.record(),
        theirs.into(),
        Stdio::null(),
        &log,
    )
    .map_err(|error| failed(&error))?;
    let client = RecorderClient::connect(ours).map_err(|error| failed(&error))?;
    Ok((child, client))
}
