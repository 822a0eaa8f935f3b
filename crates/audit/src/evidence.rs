use std::path::Path;

use crate::{
    files,
    host::{Binding, bindings, host_log, public_key},
    merkle::TreeHead,
    note::VerifierKey,
    read::ReadError,
    verify::{Verified, VerifyError, verify},
};

/// What is known of a log from elsewhere. The more, the less can be done to it
/// unseen.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The key that signs; without it no signature is looked at.
    pub key: Option<VerifierKey>,
    /// The name of the log; empty for the host log, which has that of the key.
    pub name: Option<String>,
    /// What the host log says of it.
    pub bindings: Vec<Binding>,
    /// What was kept elsewhere: in a merge commit, by another person.
    pub heads: Vec<TreeHead>,
}

impl Evidence {
    /// What the host's folder knows of the log `name`. Whether the host log is
    /// itself what was written is for [`verify_host`] to say.
    pub fn of(host: &Path, name: &str) -> Result<Self, VerifyError> {
        let mut bindings = bindings(host)?;
        bindings.retain(|binding| binding.log == name);
        Ok(Self {
            key: Some(key(host)?),
            name: Some(name.to_owned()),
            bindings,
            heads: Vec::new(),
        })
    }
}

/// The key that the logs of a host are signed with.
pub fn key(host: &Path) -> Result<VerifierKey, VerifyError> {
    let path = public_key(host);
    let text = files::read_text(&path).map_err(ReadError::io(&path))?;
    let text = text.ok_or_else(|| VerifyError::Missing { path: path.clone() })?;
    text.parse()
        .map_err(|source| VerifyError::Checkpoint { path, source })
}

/// Checks the host log in the host's folder; `heads` are states of it that were
/// kept elsewhere.
pub fn verify_host(
    host: &Path,
    key: &VerifierKey,
    heads: Vec<TreeHead>,
) -> Result<Verified, VerifyError> {
    let evidence = Evidence {
        key: Some(key.clone()),
        name: Some(String::new()),
        bindings: Vec::new(),
        heads,
    };
    verify(&host_log(host), &evidence)
}
