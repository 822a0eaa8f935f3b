//! Signed notes, and the checkpoints that they carry: C2SP's `signed-note` and
//! `tlog-checkpoint`, with Ed25519.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};

use crate::{hash::Hash, merkle::TreeHead};

/// The longest note that is read: a checkpoint has a few hundred bytes.
pub(crate) const MAX_NOTE_BYTES: u64 = 64 * 1024;
/// The first byte of a key, and what its signatures are.
const ALGORITHM: u8 = 1;
/// What a file with a secret key begins with.
const SECRET: &str = "PRIVATE+KEY+";

/// Why a note or a key is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the form of a key.
    #[error("this is no Ed25519 key in the form NAME+HASH+BASE64")]
    Key,
    /// Not the form of a signed note.
    #[error("this is no signed note")]
    Form,
    /// Not the form of a checkpoint.
    #[error("the note is no checkpoint")]
    Checkpoint,
    /// None of the signatures is by the key that was asked for.
    #[error("it is not signed by the key {0:08x}")]
    Unsigned(u32),
    /// The signature does not fit the text.
    #[error("the signature of the key {0:08x} does not fit: the note was changed")]
    Forged(u32),
    /// The machine gave no random bytes.
    #[error("this machine gives no random bytes for a key")]
    Random,
}

/// A public key that checkpoints are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    public: [u8; 32],
}

impl VerifierKey {
    fn new(name: &str, public: [u8; 32]) -> Self {
        let named = [name.as_bytes(), &[b'\n', ALGORITHM], &public].concat();
        let [first, second, third, fourth, ..] = *Hash::of(&named).as_bytes();
        Self {
            name: name.to_owned(),
            id: u32::from_be_bytes([first, second, third, fourth]),
            public,
        }
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode([&[ALGORITHM], &self.public[..]].concat());
        write!(formatter, "{}+{:08x}+{key}", self.name, self.id)
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, public) = parse_key(text.trim())?;
        let key = Self::new(name, public);
        // One spelling only, and the right hash.
        (key.to_string() == text.trim())
            .then_some(key)
            .ok_or(NoteError::Key)
    }
}

/// The name and the 32 bytes of `NAME+HASH+BASE64`.
fn parse_key(text: &str) -> Result<(&str, [u8; 32]), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::Key);
    };
    let key = BASE64.decode(key).map_err(|_| NoteError::Key)?;
    match key.split_first() {
        Some((&ALGORITHM, bytes)) if is_name(name) => {
            let bytes = bytes.try_into().map_err(|_| NoteError::Key)?;
            Ok((name, bytes))
        }
        _ => Err(NoteError::Key),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(|character: char| character.is_whitespace() || character == '+')
}

/// The secret key that checkpoints are signed with. Only the recorder has one.
pub struct Signer {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signer({})", self.key)
    }
}

impl Signer {
    fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::Key)?;
        let public = pair.public_key().as_ref().try_into();
        let public = public.map_err(|_| NoteError::Key)?;
        Ok(Self {
            pair,
            key: VerifierKey::new(name, public),
        })
    }

    /// A new key whose name is `prefix` and a random number, and the text that
    /// [`Self::from_secret`] reads it back from.
    pub fn generate(prefix: &str) -> Result<(Self, String), NoteError> {
        let random = SystemRandom::new();
        let (mut seed, mut number) = ([0; 32], [0; 8]);
        random.fill(&mut seed).map_err(|_| NoteError::Random)?;
        random.fill(&mut number).map_err(|_| NoteError::Random)?;
        let name = format!("{prefix}/{:016x}", u64::from_be_bytes(number));
        let signer = Self::from_seed(&name, &seed)?;
        let secret = BASE64.encode([&[ALGORITHM], &seed[..]].concat());
        let text = format!("{SECRET}{name}+{:08x}+{secret}\n", signer.key.id);
        Ok((signer, text))
    }

    /// The key that a file holds.
    pub fn from_secret(text: &str) -> Result<Self, NoteError> {
        let text = text.trim().strip_prefix(SECRET).ok_or(NoteError::Key)?;
        let (name, seed) = parse_key(text)?;
        Self::from_seed(name, &seed)
    }

    /// What its signatures are checked with.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, text: &str) -> String {
        let id = self.key.id.to_be_bytes();
        let signature = self.pair.sign(text.as_bytes());
        let signature = BASE64.encode([&id[..], signature.as_ref()].concat());
        format!("{text}\n\u{2014} {} {signature}\n", self.key.name)
    }
}

/// The signed state of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: the name of the key, and that of the log.
    pub origin: String,
    /// Its size and root.
    pub head: TreeHead,
}

impl Checkpoint {
    /// As a note, signed.
    pub fn sign(&self, signer: &Signer) -> String {
        let root = BASE64.encode(self.head.root.as_bytes());
        signer.sign(&format!("{}\n{}\n{root}\n", self.origin, self.head.size))
    }

    /// Reads a note, which `key` must have signed.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, NoteError> {
        let (text, signatures) = parts(note)?;
        let mut found = None;
        for signature in signatures.lines() {
            found = found.or(signature_by(signature, key)?);
        }
        let signature = found.ok_or(NoteError::Unsigned(key.id))?;
        UnparsedPublicKey::new(&ED25519, &key.public)
            .verify(text.as_bytes(), &signature)
            .map_err(|_| NoteError::Forged(key.id))?;
        Self::parse(text)
    }

    /// Reads a note and believes it: nobody's signature is looked at.
    pub fn unchecked(note: &str) -> Result<Self, NoteError> {
        Self::parse(parts(note)?.0)
    }

    fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Checkpoint);
        };
        let number: u64 = size.parse().map_err(|_| NoteError::Checkpoint)?;
        let root = BASE64.decode(root).map_err(|_| NoteError::Checkpoint)?;
        let root = root.try_into().map_err(|_| NoteError::Checkpoint)?;
        if origin.is_empty() || number.to_string() != size {
            return Err(NoteError::Checkpoint);
        }
        Ok(Self {
            origin: origin.to_owned(),
            head: TreeHead {
                size: number,
                root: Hash::from_bytes(root),
            },
        })
    }
}

/// The text of a note, to its last line feed, and its signatures.
fn parts(note: &str) -> Result<(&str, &str), NoteError> {
    let end = note.rfind("\n\n").ok_or(NoteError::Form)?;
    let (text, signatures) = note.split_at_checked(end + 1).ok_or(NoteError::Form)?;
    let signatures = signatures.strip_prefix('\n').ok_or(NoteError::Form)?;
    let whole = signatures.ends_with('\n') && !text.contains(|c: char| c != '\n' && c.is_control());
    whole.then_some((text, signatures)).ok_or(NoteError::Form)
}

/// The signature of this line, if it is by `key`.
fn signature_by(line: &str, key: &VerifierKey) -> Result<Option<Vec<u8>>, NoteError> {
    let line = line.strip_prefix("\u{2014} ").ok_or(NoteError::Form)?;
    let (name, signature) = line.split_once(' ').ok_or(NoteError::Form)?;
    let signature = BASE64.decode(signature).map_err(|_| NoteError::Form)?;
    let (id, signature) = signature.split_first_chunk::<4>().ok_or(NoteError::Form)?;
    let by_key = name == key.name && u32::from_be_bytes(*id) == key.id;
    Ok(by_key.then(|| signature.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: "stockade/0/t-1".to_owned(),
            head: TreeHead {
                size: 7,
                root: Hash::of(b"x"),
            },
        }
    }

    #[test]
    fn a_checkpoint_survives_its_note_and_its_key_the_file() {
        let (signer, secret) = Signer::generate("stockade").unwrap();
        let signer_again = Signer::from_secret(&secret).unwrap();
        assert_eq!(signer.key(), signer_again.key());
        let key: VerifierKey = signer.key().to_string().parse().unwrap();
        let note = checkpoint().sign(&signer_again);
        assert_eq!(Checkpoint::open(&note, &key).unwrap(), checkpoint());
        assert_eq!(Checkpoint::unchecked(&note).unwrap(), checkpoint());
        assert!(!format!("{signer:?}").contains(&secret[secret.len() - 20..secret.len() - 1]));
    }

    #[test]
    fn a_note_with_any_changed_byte_is_refused() {
        let (signer, _) = Signer::generate("stockade").unwrap();
        let note = checkpoint().sign(&signer);
        for place in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[place] ^= 1;
            let opened = std::str::from_utf8(&bytes)
                .map_err(|_| NoteError::Form)
                .and_then(|note| Checkpoint::open(note, signer.key()));
            assert!(opened.is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_note_by_another_key_is_not_taken() {
        let (signer, _) = Signer::generate("stockade").unwrap();
        let (other, _) = Signer::generate("stockade").unwrap();
        let note = checkpoint().sign(&other);
        let refused = Checkpoint::open(&note, signer.key()).unwrap_err();
        assert!(matches!(refused, NoteError::Unsigned(_)));
        // The right name with the wrong key.
        let signatures = note.replace(other.key().name(), signer.key().name());
        assert!(Checkpoint::open(&signatures, signer.key()).is_err());
    }

    #[test]
    fn keys_have_the_form_and_the_hash_of_the_specification() {
        let bytes = [9; 32];
        let key = VerifierKey::new("example.com/log", bytes);
        let other_hash = key
            .to_string()
            .replace(&format!("{:08x}", key.id), "00000000");
        for wrong in ["", "a+b", "a+00000000+AQ==", &other_hash] {
            assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong}");
        }
        let named = [&b"example.com/log\n\x01"[..], &bytes].concat();
        let hash = Hash::of(&named).to_string();
        assert!(
            key.to_string()
                .starts_with(&format!("example.com/log+{}+AQkJ", &hash[..8]))
        );
    }

    #[test]
    fn ed25519_is_that_of_rfc_8032() {
        // Its first test: a seed and its public key.
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let seed: Hash = seed.parse().unwrap();
        let signer = Signer::from_seed("x", seed.as_bytes()).unwrap();
        assert_eq!(Hash::from_bytes(signer.key.public).to_string(), public);
    }
}
