//! An ssh-agent of the test's own, which holds one security key in software:
//! OpenSSH's own `ssh-keygen` talks to it as to any other.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};

const TYPE: &[u8] = b"sk-ssh-ed25519@openssh.com";
const APPLICATION: &[u8] = b"ssh:";

/// The agent's socket and its key.
pub(crate) struct Agent {
    /// For `SSH_AUTH_SOCK`.
    pub(crate) socket: PathBuf,
    /// The `.pub` file.
    pub(crate) public: PathBuf,
    /// Whether somebody touches the key from now on.
    pub(crate) touched: Arc<AtomicBool>,
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length, bytes].concat()
}

/// The strings after a message's first byte.
fn strings(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        let Some((string, rest)) = rest.split_at_checked(length) else {
            break;
        };
        found.push(string.to_vec());
        bytes = rest;
    }
    found
}

impl Agent {
    /// Serves in `folder` until the test ends.
    pub(crate) fn start(folder: &Path, seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let blob = [TYPE, pair.public_key().as_ref(), APPLICATION]
            .map(string)
            .concat();
        let public = folder.join(format!("sk{seed}.pub"));
        let name = String::from_utf8_lossy(TYPE);
        fs::write(&public, format!("{name} {} me\n", BASE64.encode(&blob))).unwrap();
        let socket = folder.join(format!("agent{seed}"));
        let listener = UnixListener::bind(&socket).unwrap();
        let touched = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&touched);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &pair, &blob, &flag);
            }
        });
        Self {
            socket,
            public,
            touched,
        }
    }
}

fn serve(
    mut stream: UnixStream,
    pair: &Ed25519KeyPair,
    blob: &[u8],
    touched: &AtomicBool,
) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        stream.read_exact(&mut message)?;
        let reply = match message.split_first() {
            // SSH_AGENTC_REQUEST_IDENTITIES
            Some((11, _)) => [vec![12, 0, 0, 0, 1], string(blob), string(b"me")].concat(),
            // SSH_AGENTC_SIGN_REQUEST
            Some((13, rest)) => {
                let signed = &strings(rest)[1];
                let flags = [u8::from(touched.load(Ordering::Acquire))];
                let counter = 7_u32.to_be_bytes();
                let (application, signed) = (digest(&SHA256, APPLICATION), digest(&SHA256, signed));
                let message = [application.as_ref(), &flags, &counter, signed.as_ref()].concat();
                let raw = pair.sign(&message);
                let value = [string(TYPE), string(raw.as_ref()), flags.to_vec()].concat();
                [vec![14], string(&[&value[..], &counter].concat())].concat()
            }
            _ => vec![5],
        };
        stream.write_all(&string(&reply))?;
    }
}
