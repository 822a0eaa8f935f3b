use std::{io, path::PathBuf};

use crate::ask::AskId;

/// A key or a signature that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// Not a public key, or of another type.
    #[error(
        "this is no public key that can approve; give the line of a .pub file of the type \
         ssh-ed25519, ecdsa-sha2-nistp256, or one of the two of security keys \
         (ssh-keygen -t ed25519-sk)"
    )]
    Key,
    /// Not a signature as `ssh-keygen -Y sign` makes one.
    #[error("this is no signature of the form that `ssh-keygen -Y sign` makes")]
    Form,
    /// It names another key.
    #[error("it was made by another key than it is said to be")]
    OtherKey,
    /// It was made for something else.
    #[error("it was made for another purpose than to approve")]
    Namespace,
    /// It is not of this message.
    #[error("it does not fit what it is said to be of")]
    Forged,
}

/// A key of an approver that could not be read, kept or used.
#[derive(Debug, thiserror::Error)]
pub enum ApproverError {
    /// A file of the approvers' folder.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The list of approvers is damaged.
    #[error("{}: {source}; it was written by another version or damaged", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// This machine's own key is damaged.
    #[error(
        "{} holds no key; take it away, and a new one is made (what the old one signed can \
         still be checked)", path.display()
    )]
    LocalKey {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The name is none.
    #[error(
        "`{0}` is no name for an approver: it has 1 to 64 letters, digits, and `.`, `-`, `_`, `@`"
    )]
    Name(String),
    /// The key is in the list.
    #[error("this key is enrolled already, for {0}")]
    Known(String),
    /// Nobody of that name.
    #[error("no approver is called `{0}`; `stockade approver ls` lists them")]
    Unknown(String),
    /// Too many keys.
    #[error("at most {0} keys can be enrolled; remove one first")]
    Full(usize),
    /// The key itself.
    #[error(transparent)]
    Key(#[from] SshError),
}

/// An answer that is not taken. The question waits on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// No such question.
    #[error(
        "no question #{} waits: it was answered, its time is up, or nobody asked it", .0.short()
    )]
    Unknown(AskId),
    /// It has been approved.
    #[error("#{} is approved already; `deny` takes that back", .0.short())]
    Approved(AskId),
    /// The statement is not about the question that waits.
    #[error(
        "what was signed is not what is asked: the task, the action, its time or the record \
         differ; look at it again with `stockade inbox`"
    )]
    Other,
    /// The signature.
    #[error("the signature is not taken: {0}")]
    Signature(#[from] SshError),
    /// The key is nobody's.
    #[error("the key {0} belongs to no approver; `stockade approver add` enrols one")]
    Stranger(String),
    /// The key of this machine, where others are enrolled.
    #[error(
        "approvers are enrolled, so that the key of this machine approves nothing; sign with \
         theirs: --key NAME"
    )]
    LocalProcess,
    /// A key without presence for something grave.
    #[error(
        "this leaves the machine and cannot be taken back, and {0} counts as a local process: \
         any program of yours could have signed. Only a security key that somebody touches \
         approves it: ssh-keygen -t ed25519-sk, then stockade approver add NAME FILE.pub"
    )]
    Presence(String),
    /// A scope that cannot be approved.
    #[error("this cannot be approved: {0}")]
    Scope(&'static str),
    /// A yes without a scope, a no with one, or a reason beyond bounds.
    #[error("the answer contradicts itself or its reason is longer than 512 bytes")]
    Shape,
    /// The same person again.
    #[error("{0} has approved this already; it needs {1} people")]
    SamePerson(String, u8),
}
