//! Keys and signatures as OpenSSH writes them (PROTOCOL.sshsig, PROTOCOL.u2f).

mod key;
mod signature;
mod wire;

pub use self::key::PublicKey;
pub(crate) use self::{
    key::Kind,
    signature::{Presence, armor, signed_bytes, verify},
    wire::Writer,
};
