//! Signs answers: with the key of this machine, or by OpenSSH with a person's.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use stockade_approval::{Approvers, LocalKey, NAMESPACE, Signed, Statement};
use stockade_supervisor::StateDirectory;

use crate::failure::{Failure, Kind};

/// Signs with the key of the approver called `key`, else with the one that
/// fits; tells whose it was.
pub(super) fn sign(
    state: &StateDirectory,
    statement: Statement,
    key: Option<&str>,
    grave: bool,
) -> Result<(Signed, String), Failure> {
    let folder = state.approvals();
    let approvers = Approvers::read(&folder)?;
    let text = statement.text();
    let Some(approver) = approvers.signer(key, grave)? else {
        let local = LocalKey::open_or_make(&folder)?;
        let signed = Signed {
            signature: local.sign(NAMESPACE, text.as_bytes()),
            key: local.public().clone(),
            statement,
        };
        return Ok((signed, LocalKey::NAME.to_owned()));
    };
    let signed = Signed {
        signature: ssh_keygen(&approver.file, &text)?,
        key: approver.key.clone(),
        statement,
    };
    // Said here, where the person still sits, rather than by the task.
    signed
        .verify()
        .map_err(|error| Failure::failed(format!("ssh-keygen: {error}")))?;
    Ok((signed, approver.name.clone()))
}

/// What OpenSSH signs with the key in `file`, by its agent or from beside it. It
/// asks for a passphrase or a touch where the key needs one.
#[expect(
    clippy::disallowed_methods,
    reason = "the private keys of people are OpenSSH's to use"
)]
fn ssh_keygen(file: &Path, text: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!("ssh-keygen could not be run: {error}"))
            .hint("it is part of OpenSSH")
    };
    let mut child = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it has read says why.
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let message = format!("ssh-keygen did not sign with {}", file.display());
        return Err(Failure::new(Kind::Refused, message).hint("nothing was answered"));
    }
    String::from_utf8(output.stdout).map_err(Failure::failed)
}
