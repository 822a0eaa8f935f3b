use serde::{Deserialize, Serialize};

use crate::{
    error::SshError,
    ssh::{self, Presence, PublicKey},
    statement::{NAMESPACE, Statement},
};

/// A statement with the signature of whoever answers, as it travels and as it
/// stands in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// What was signed.
    pub statement: Statement,
    /// By which key.
    pub key: PublicKey,
    /// The signature, in the armor of OpenSSH.
    pub signature: String,
}

/// What a sound signature says of whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whether a device says that somebody touched it for this.
    pub presence: bool,
}

impl Signed {
    /// Checks the signature; nothing but what is here is needed for it.
    pub fn verify(&self) -> Result<Verified, SshError> {
        let text = self.statement.text();
        let presence = ssh::verify(&self.signature, &self.key, NAMESPACE, text.as_bytes())?;
        Ok(Verified {
            presence: presence == Presence::Shown,
        })
    }
}

/// Whose answer it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The approver's name, or `local process`.
    pub name: String,
    /// Whether a device says that somebody touched it; else any process of the
    /// user can have signed, whoever the key belongs to.
    pub presence: bool,
}
