use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest as _, Sha256, Sha512};

use super::{
    key::PublicKey,
    wire::{Reader, Writer},
};
use crate::error::SshError;

const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
/// Characters a line of an armored signature.
const LINE: usize = 70;
/// Longer ones are by keys that are not taken anyway.
const LENGTH_MAX: usize = 8 * 1024;
/// Somebody touched the device (FIDO CTAP, authenticator data).
const TOUCHED: u8 = 0x01;

/// What a signature says of whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The device that signed says that somebody touched it.
    Shown,
    /// Any process that reaches the key can have signed.
    Unknown,
}

/// Checks an armored signature of `message` for `namespace` by `key`.
pub(crate) fn verify(
    armored: &str,
    key: &PublicKey,
    namespace: &str,
    message: &[u8],
) -> Result<Presence, SshError> {
    let blob = unarmor(armored).ok_or(SshError::Form)?;
    let parts = Parts::read(&blob).ok_or(SshError::Form)?;
    if parts.key != key.blob() {
        return Err(SshError::OtherKey);
    }
    if parts.namespace != namespace.as_bytes() {
        return Err(SshError::Namespace);
    }
    let digest = match parts.hash {
        b"sha256" => Sha256::digest(message).to_vec(),
        b"sha512" => Sha512::digest(message).to_vec(),
        _ => return Err(SshError::Form),
    };
    let signed = envelope(namespace, parts.reserved, parts.hash, &digest);
    check(&parts, key, &signed)
}

/// What an SSHSIG blob consists of.
struct Parts<'a> {
    key: &'a [u8],
    namespace: &'a [u8],
    reserved: &'a [u8],
    hash: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(blob: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(blob.strip_prefix(MAGIC)?);
        if reader.number()? != VERSION {
            return None;
        }
        let parts = Self {
            key: reader.string()?,
            namespace: reader.string()?,
            reserved: reader.string()?,
            hash: reader.string()?,
            signature: reader.string()?,
        };
        reader.end()?;
        Some(parts)
    }
}

/// Checks the innermost signature of `signed`.
fn check(parts: &Parts<'_>, key: &PublicKey, signed: &[u8]) -> Result<Presence, SshError> {
    let kind = key.kind();
    let mut reader = Reader::new(parts.signature);
    let name = reader.text().ok_or(SshError::Form)?;
    let value = reader.string().ok_or(SshError::Form)?;
    if name != kind.name() {
        return Err(SshError::Form);
    }
    let (message, presence) = if kind.is_security_key() {
        let flags = reader.byte().ok_or(SshError::Form)?;
        let counter = reader.number().ok_or(SshError::Form)?;
        let message = Writer::default()
            .raw(&Sha256::digest(key.application()))
            .raw(&[flags])
            .number(counter)
            .raw(&Sha256::digest(signed));
        let presence = if flags & TOUCHED == 0 {
            Presence::Unknown
        } else {
            Presence::Shown
        };
        (message.bytes(), presence)
    } else {
        (signed.to_owned(), Presence::Unknown)
    };
    reader.end().ok_or(SshError::Form)?;
    let fixed = if kind.is_ecdsa() {
        fixed_width(value).ok_or(SshError::Form)?
    } else {
        value.to_owned()
    };
    key.has_signed(&message, &fixed)
        .then_some(presence)
        .ok_or(SshError::Forged)
}

/// The two numbers of an ECDSA signature, 32 bytes each.
fn fixed_width(value: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(value);
    let numbers = [reader.string()?, reader.string()?];
    reader.end()?;
    let mut fixed = Vec::with_capacity(64);
    for number in numbers {
        let digits = number.strip_prefix(&[0]).unwrap_or(number);
        fixed.extend(std::iter::repeat_n(0, 32_usize.checked_sub(digits.len())?));
        fixed.extend(digits);
    }
    Some(fixed)
}

/// What is signed of a message (PROTOCOL.sshsig).
fn envelope(namespace: &str, reserved: &[u8], hash: &[u8], digest: &[u8]) -> Vec<u8> {
    Writer::default()
        .raw(MAGIC)
        .string(namespace.as_bytes())
        .string(reserved)
        .string(hash)
        .string(digest)
        .bytes()
}

/// What a key of ours signs of a message.
pub(crate) fn signed_bytes(namespace: &str, message: &[u8]) -> Vec<u8> {
    envelope(namespace, b"", b"sha512", &Sha512::digest(message))
}

/// The armored signature whose innermost value is `value`.
pub(crate) fn armor(key: &PublicKey, namespace: &str, value: &[u8]) -> String {
    let blob = Writer::default()
        .raw(MAGIC)
        .number(VERSION)
        .string(&key.blob())
        .string(namespace.as_bytes())
        .string(b"")
        .string(b"sha512")
        .string(value)
        .bytes();
    let text = BASE64.encode(blob);
    let lines = text.as_bytes().chunks(LINE);
    let lines: Vec<_> = lines.map(String::from_utf8_lossy).collect();
    format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
}

fn unarmor(text: &str) -> Option<Vec<u8>> {
    if text.len() > LENGTH_MAX {
        return None;
    }
    let inner = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let joined: String = inner.split_ascii_whitespace().collect();
    BASE64.decode(joined).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
    };

    use super::*;
    use crate::{local::LocalKey, ssh::Kind};

    const MESSAGE: &[u8] = b"a message\n";

    /// What a device that was touched, or not, returns for `message`.
    fn by_device(flags: u8, counter: u32, sign: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let signed = signed_bytes("n", MESSAGE);
        let message = Writer::default()
            .raw(&Sha256::digest(b"ssh:"))
            .raw(&[flags])
            .number(counter)
            .raw(&Sha256::digest(signed));
        sign(&message.bytes())
    }

    fn device_key(kind: Kind, point: &[u8]) -> PublicKey {
        let mut blob = Writer::default().string(kind.name().as_bytes());
        if kind.is_ecdsa() {
            blob = blob.string(b"nistp256");
        }
        let blob = blob.string(point).string(b"ssh:").bytes();
        let text = format!("{} {}", kind.name(), BASE64.encode(blob));
        text.parse().unwrap()
    }

    #[test]
    fn g4_a_touched_security_key_is_told_from_one_that_was_not_and_the_flag_is_signed() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
        let key = device_key(Kind::SecurityEd25519, pair.public_key().as_ref());
        let armored = |signed_flags: u8, told_flags: u8| {
            let value = by_device(signed_flags, 9, |bytes| pair.sign(bytes).as_ref().to_vec());
            let value = Writer::default()
                .string(Kind::SecurityEd25519.name().as_bytes())
                .string(&value)
                .raw(&[told_flags])
                .number(9);
            armor(&key, "n", &value.bytes())
        };
        let check = |armored: String| verify(&armored, &key, "n", MESSAGE);
        assert_eq!(check(armored(1, 1)), Ok(Presence::Shown));
        assert_eq!(check(armored(5, 5)), Ok(Presence::Shown));
        assert_eq!(check(armored(0, 0)), Ok(Presence::Unknown));
        assert_eq!(check(armored(0, 1)), Err(SshError::Forged));
    }

    #[test]
    fn signatures_of_p256_keys_are_checked_whatever_zeroes_their_numbers_begin_with() {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let key = device_key(Kind::SecurityEcdsaP256, pair.public_key().as_ref());
        // Some of so many numbers begin with a zero byte or a high bit.
        for counter in 0..300 {
            let fixed = by_device(1, counter, |bytes| {
                pair.sign(&random, bytes).unwrap().as_ref().to_vec()
            });
            let number = |digits: &[u8]| {
                let zeroes = digits.iter().take_while(|digit| **digit == 0).count();
                let digits = &digits[zeroes..];
                let sign = digits.first().is_some_and(|first| first & 0x80 != 0);
                [&[0][..usize::from(sign)], digits].concat()
            };
            let numbers = Writer::default()
                .string(&number(&fixed[..32]))
                .string(&number(&fixed[32..]));
            let value = Writer::default()
                .string(Kind::SecurityEcdsaP256.name().as_bytes())
                .string(&numbers.bytes())
                .raw(&[1])
                .number(counter);
            let armored = armor(&key, "n", &value.bytes());
            assert_eq!(verify(&armored, &key, "n", MESSAGE), Ok(Presence::Shown));
        }
    }

    #[test]
    fn g4_a_signature_fits_one_message_one_key_and_one_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalKey::open_or_make(folder.path()).unwrap();
        let armored = local.sign("n", MESSAGE);
        let key = local.public();
        let other = PublicKey::ed25519(&[1; 32]);
        assert_eq!(verify(&armored, key, "n", MESSAGE), Ok(Presence::Unknown));
        assert_eq!(
            verify(&armored, key, "m", MESSAGE),
            Err(SshError::Namespace)
        );
        assert_eq!(verify(&armored, key, "n", b"b"), Err(SshError::Forged));
        assert_eq!(
            verify(&armored, &other, "n", MESSAGE),
            Err(SshError::OtherKey)
        );
        let cut = &armored[..armored.len() - 10];
        assert_eq!(verify(cut, key, "n", MESSAGE), Err(SshError::Form));
        // Every byte counts.
        let blob = unarmor(&armored).unwrap();
        for place in 0..blob.len() {
            let mut changed = blob.clone();
            changed[place] ^= 1;
            let text = format!("{BEGIN}\n{}\n{END}", BASE64.encode(changed));
            assert!(verify(&text, key, "n", MESSAGE).is_err(), "byte {place}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_of_signatures_fall_over(
            blob: Vec<u8>, text in "\\PC{0,100}", magic: bool,
        ) {
            let blob = [if magic { MAGIC } else { &[] }, &blob].concat();
            let key = PublicKey::ed25519(&[1; 32]);
            let armored = format!("{BEGIN}\n{}\n{END}\n", BASE64.encode(blob));
            prop_assert!(verify(&armored, &key, "n", MESSAGE).is_err());
            prop_assert!(verify(&text, &key, "n", MESSAGE).is_err());
        }
    }
}
