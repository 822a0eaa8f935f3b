use std::{fmt, str::FromStr};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD},
};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::wire::{Reader, Writer};
use crate::error::SshError;

/// Longer keys are of a type that is not taken anyway.
const LENGTH_MAX: usize = 8 * 1024;

/// A public key as a line of `authorized_keys` has it. Of RSA and DSA none is
/// taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    kind: Kind,
    /// The point on the curve.
    point: Vec<u8>,
    /// What a security key made it for; empty for other keys.
    application: Vec<u8>,
}

/// The types of keys that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Ed25519,
    EcdsaP256,
    SecurityEd25519,
    SecurityEcdsaP256,
}

const CURVE: &[u8] = b"nistp256";

impl Kind {
    const ALL: [Self; 4] = [
        Self::Ed25519,
        Self::EcdsaP256,
        Self::SecurityEd25519,
        Self::SecurityEcdsaP256,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::SecurityEd25519 => "sk-ssh-ed25519@openssh.com",
            Self::SecurityEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    pub(crate) fn is_ecdsa(self) -> bool {
        matches!(self, Self::EcdsaP256 | Self::SecurityEcdsaP256)
    }

    /// Whether the key is in a device that says whether somebody touched it.
    pub(crate) fn is_security_key(self) -> bool {
        matches!(self, Self::SecurityEd25519 | Self::SecurityEcdsaP256)
    }

    fn algorithm(self) -> &'static dyn VerificationAlgorithm {
        if self.is_ecdsa() {
            &ECDSA_P256_SHA256_FIXED
        } else {
            &ED25519
        }
    }
}

impl PublicKey {
    /// The Ed25519 key with this point.
    pub(crate) fn ed25519(point: &[u8]) -> Self {
        Self {
            kind: Kind::Ed25519,
            point: point.to_owned(),
            application: Vec::new(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn application(&self) -> &[u8] {
        &self.application
    }

    /// Whether it is in a device that shows that a person is there.
    pub fn is_security_key(&self) -> bool {
        self.kind.is_security_key()
    }

    /// Its type, as OpenSSH calls it.
    pub fn type_name(&self) -> &'static str {
        self.kind.name()
    }

    /// How OpenSSH names it: `SHA256:` and a digest.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.blob());
        format!("SHA256:{}", STANDARD_NO_PAD.encode(digest))
    }

    /// Whether `signature` is of `message`, by this key.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.kind.algorithm(), &self.point)
            .verify(message, signature)
            .is_ok()
    }

    /// Its bytes in signatures and files.
    pub(crate) fn blob(&self) -> Vec<u8> {
        let mut blob = Writer::default().string(self.kind.name().as_bytes());
        if self.kind.is_ecdsa() {
            blob = blob.string(CURVE);
        }
        blob = blob.string(&self.point);
        if self.kind.is_security_key() {
            blob = blob.string(&self.application);
        }
        blob.bytes()
    }

    fn from_blob(blob: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(blob);
        let name = reader.text()?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
        if kind.is_ecdsa() && reader.string()? != CURVE {
            return None;
        }
        let point = reader.string()?.to_owned();
        let mut application = Vec::new();
        if kind.is_security_key() {
            reader.string()?.clone_into(&mut application);
        }
        reader.end()?;
        // An uncompressed point of P-256, or one of Curve25519.
        let length = if kind.is_ecdsa() { 65 } else { 32 };
        (point.len() == length).then_some(Self {
            kind,
            point,
            application,
        })
    }
}

impl FromStr for PublicKey {
    type Err = SshError;

    /// Reads the line of a `.pub` file; a comment after the key is left out.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > LENGTH_MAX {
            return Err(SshError::Key);
        }
        let mut words = text.split_ascii_whitespace();
        let (Some(name), Some(blob)) = (words.next(), words.next()) else {
            return Err(SshError::Key);
        };
        let blob = BASE64.decode(blob).map_err(|_| SshError::Key)?;
        let key = Self::from_blob(&blob).ok_or(SshError::Key)?;
        (key.kind.name() == name)
            .then_some(key)
            .ok_or(SshError::Key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = BASE64.encode(self.blob());
        write!(formatter, "{} {blob}", self.kind.name())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = SshError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_survive_their_text_and_those_of_other_types_are_refused() {
        let point = [7; 32];
        let key = PublicKey::ed25519(&point);
        let text = key.to_string();
        assert!(text.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"));
        assert_eq!(format!("{text} me@here\n").parse(), Ok(key.clone()));
        let security = PublicKey {
            kind: Kind::SecurityEcdsaP256,
            point: [4; 65].to_vec(),
            application: b"ssh:".to_vec(),
        };
        assert_eq!(security.to_string().parse(), Ok(security.clone()));
        assert!(security.is_security_key() && !key.is_security_key());
        // A type that the bytes do not have, a short point, bytes after it.
        let as_other = text.replace("ssh-ed25519", "sk-ssh-ed25519@openssh.com");
        let short = PublicKey::ed25519(&point[1..]).to_string();
        let blob = [key.blob(), vec![0]].concat();
        let longer = format!("ssh-ed25519 {}", BASE64.encode(blob));
        for wrong in [
            "",
            "ssh-ed25519",
            "ssh-rsa AAAAB3NzaC1yc2E=",
            &as_other,
            &short,
            &longer,
        ] {
            assert_eq!(wrong.parse::<PublicKey>(), Err(SshError::Key), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_of_keys_fall_over(blob: Vec<u8>) {
            if let Some(key) = PublicKey::from_blob(&blob) {
                prop_assert_eq!(key.blob(), blob);
            }
        }
    }
}
