//! A security key in software: what OpenSSH's `sk-ssh-ed25519` signs, by its
//! PROTOCOL.u2f and PROTOCOL.sshsig.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest as _, Sha256, Sha512};
use stockade_approval::{NAMESPACE, PublicKey, Signed, Statement};

const TYPE: &[u8] = b"sk-ssh-ed25519@openssh.com";
const APPLICATION: &[u8] = b"ssh:";

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length, bytes].concat()
}

pub(crate) struct Device(Ed25519KeyPair);

impl Device {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn blob(&self) -> Vec<u8> {
        let point = string(self.0.public_key().as_ref());
        [string(TYPE), point, string(APPLICATION)].concat()
    }

    pub(crate) fn public(&self) -> PublicKey {
        let kind = std::str::from_utf8(TYPE).unwrap();
        let text = format!("{kind} {}", BASE64.encode(self.blob()));
        text.parse().unwrap()
    }

    /// Signs, as if somebody touched it or not.
    pub(crate) fn sign(&self, statement: Statement, touched: bool) -> Signed {
        let digest = Sha512::digest(statement.text());
        let purpose = [string(NAMESPACE.as_bytes()), string(b""), string(b"sha512")].concat();
        let signed = [b"SSHSIG".to_vec(), purpose.clone(), string(&digest)].concat();
        let counter = 1_u32.to_be_bytes();
        let flags = [u8::from(touched)];
        let (application, signed) = (Sha256::digest(APPLICATION), Sha256::digest(signed));
        let message = [&application[..], &flags, &counter, &signed].concat();
        let raw = self.0.sign(&message);
        let value = [
            string(TYPE),
            string(raw.as_ref()),
            flags.to_vec(),
            counter.to_vec(),
        ]
        .concat();
        let version = 1_u32.to_be_bytes().to_vec();
        let head = [b"SSHSIG".to_vec(), version, string(&self.blob())].concat();
        let blob = [head, purpose, string(&value)].concat();
        let armor =
            |text| format!("-----BEGIN SSH SIGNATURE-----\n{text}\n-----END SSH SIGNATURE-----\n");
        Signed {
            statement,
            key: self.public(),
            signature: armor(BASE64.encode(blob)),
        }
    }
}
