//! Signing a merge as the user's own git would sign a commit.
//!
//! The program that signs is the user's: it reads their keys and talks to
//! their agent, so it runs as they would run it, behind no wall. What matters
//! is therefore who chooses it. Programs are named by the user's own or the
//! machine's configuration only, never by a repository's, and nothing that a
//! signature rests on may lie where agent work can change it.

mod run;

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use stockade_types::visible;

use crate::{
    files::FileError,
    git::{Git, GitError},
    merge::Identity,
    reach::Reach,
    repository::Repository,
    settings::{Scope, Setting, UserEnvironment, UserSettings},
};

/// Why a commit could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A setting has a value that git does not know.
    #[error("`{key}` is `{value}`, set by `{}`; git knows {known}", origin.display())]
    Unknown {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// The file that sets it.
        origin: PathBuf,
        /// The values that there are.
        known: &'static str,
    },
    /// A file of a checkout decides about signatures.
    #[error(
        "`{key}` is set by `{}`, which agent work can change; set it in a file outside of the repository (`git config --global`)", origin.display()
    )]
    SetByTree {
        /// The setting.
        key: &'static str,
        /// The file that sets it.
        origin: PathBuf,
    },
    /// A repository's configuration names a program.
    #[error(
        "`{key}` names a program in `{}`, the configuration of one repository; only your own names programs that sign: `git config --global {key} …`", origin.display()
    )]
    ProgramOfRepository {
        /// The setting.
        key: &'static str,
        /// The file that sets it.
        origin: PathBuf,
    },
    /// A path that means another file in another folder.
    #[error("`{key}` is `{}`, which depends on the folder; give the whole path", path.display())]
    Relative {
        /// The setting.
        key: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// A file that a signature rests on lies where agents' work lands.
    #[error("`{key}` means `{}`, a file that agent work can change; keep it elsewhere", path.display())]
    InTree {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The program or key is not there.
    #[error("`{key}` means `{}`, which cannot be used: {source}", path.display())]
    Unusable {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SSH signing needs a key to be named.
    #[error("commits are to be signed with SSH, but `user.signingKey` names no key")]
    NoKey,
    /// The program said no.
    #[error("`{}` made no signature: {message}", program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// What it said, safe to show.
        message: String,
    },
    /// The program took too long.
    #[error("`{}` was ended because it made no signature in {seconds} seconds", program.display())]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// The limit.
        seconds: u64,
    },
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// The kinds of signatures, as `gpg.format` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SignatureFormat {
    /// OpenPGP, by gpg.
    OpenPgp,
    /// X.509, by gpgsm.
    X509,
    /// SSH, by ssh-keygen.
    Ssh,
}

impl SignatureFormat {
    /// The settings that name its program, the usual one first, and the
    /// program without one.
    fn program(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::OpenPgp => (&["gpg.openpgp.program", "gpg.program"], "gpg"),
            Self::X509 => (&["gpg.x509.program"], "gpgsm"),
            Self::Ssh => (&["gpg.ssh.program"], "ssh-keygen"),
        }
    }
}

/// What tells the program which key to use.
#[derive(Clone, Debug)]
enum Key {
    /// A name that the program knows, or a user's name and address.
    Name(OsString),
    /// A file with an SSH key, the public or the private half.
    File(PathBuf),
    /// An SSH public key itself; an SSH agent has the other half.
    Literal(Vec<u8>),
}

/// How the user's commits are signed.
#[derive(Clone, Debug, Serialize)]
pub struct Signer {
    format: SignatureFormat,
    program: PathBuf,
    #[serde(skip)]
    key: Key,
}

impl Signer {
    /// The program that signs.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

const SIGN: &str = "commit.gpgsign";
const FORMAT: &str = "gpg.format";
const KEY: &str = "user.signingkey";

impl Repository {
    /// How the user's git would sign a commit of `identity` here; `None` if
    /// it would not. `state` is Stockade's own folder, where agents write.
    pub fn signer(
        &self,
        git: &Git,
        settings: &UserSettings,
        environment: &UserEnvironment,
        identity: &Identity,
        state: &Path,
    ) -> Result<Option<Signer>, SigningError> {
        let reader = Reader {
            settings,
            environment,
            reach: Reach::of(git, self, state)?,
        };
        if !reader.wanted()? {
            return Ok(None);
        }
        let format = reader.format()?;
        let signer = Signer {
            format,
            program: reader.program(format)?,
            key: reader.key(format, identity)?,
        };
        Ok(Some(signer))
    }
}

/// Reads settings and refuses those that agent work could have made.
struct Reader<'a> {
    settings: &'a UserSettings,
    environment: &'a UserEnvironment,
    reach: Reach,
}

impl Reader<'_> {
    fn get(&self, key: &'static str) -> Result<Option<&Setting>, SigningError> {
        let Some(setting) = self.settings.get(key) else {
            return Ok(None);
        };
        if self.reach.makes(setting) {
            let origin = setting.origin.clone();
            return Err(SigningError::SetByTree { key, origin });
        }
        Ok(Some(setting))
    }

    fn wanted(&self) -> Result<bool, SigningError> {
        let Some(setting) = self.get(SIGN)? else {
            return Ok(false);
        };
        let unknown = || unknown(SIGN, setting, "`true` and `false`");
        let Some(value) = &setting.value else {
            return Ok(true);
        };
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        match value.as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" | "" => Ok(false),
            number => number.parse::<i64>().map(|n| n != 0).map_err(|_| unknown()),
        }
    }

    fn format(&self) -> Result<SignatureFormat, SigningError> {
        let Some(setting) = self.get(FORMAT)? else {
            return Ok(SignatureFormat::OpenPgp);
        };
        match setting.value.as_deref() {
            Some(b"openpgp") => Ok(SignatureFormat::OpenPgp),
            Some(b"x509") => Ok(SignatureFormat::X509),
            Some(b"ssh") => Ok(SignatureFormat::Ssh),
            _ => Err(unknown(FORMAT, setting, "`openpgp`, `x509` and `ssh`")),
        }
    }

    fn program(&self, format: SignatureFormat) -> Result<PathBuf, SigningError> {
        let (keys, default) = format.program();
        let mut key = keys[0];
        let mut path = PathBuf::from(default);
        for candidate in keys {
            let Some(setting) = self.get(candidate)? else {
                continue;
            };
            if setting.scope == Scope::Repository {
                return Err(SigningError::ProgramOfRepository {
                    key: candidate,
                    origin: setting.origin.clone(),
                });
            }
            (key, path) = (candidate, self.path(setting));
            break;
        }
        if path.components().count() == 1 && !path.is_absolute() {
            let found = self.environment.find_program(path.as_os_str());
            path = found.ok_or(SigningError::Unusable {
                key,
                path,
                source: io::Error::new(io::ErrorKind::NotFound, "it is not on the search path"),
            })?;
        }
        self.trusted(key, path)
    }

    fn key(&self, format: SignatureFormat, identity: &Identity) -> Result<Key, SigningError> {
        let setting = self.get(KEY)?;
        let value = setting.and_then(|setting| setting.value.as_deref());
        let value = value.unwrap_or_default();
        if format != SignatureFormat::Ssh {
            let name = if value.is_empty() {
                format!("{} <{}>", identity.name, identity.email).into()
            } else {
                OsString::from_vec(value.to_vec())
            };
            return Ok(Key::Name(name));
        }
        if let Some(key) = value.strip_prefix(b"key::") {
            return Ok(Key::Literal(key.to_vec()));
        }
        match setting {
            Some(_) if value.starts_with(b"ssh-") => Ok(Key::Literal(value.to_vec())),
            Some(setting) if !value.is_empty() => {
                Ok(Key::File(self.trusted(KEY, self.path(setting))?))
            }
            _ => Err(SigningError::NoKey),
        }
    }

    fn path(&self, setting: &Setting) -> PathBuf {
        let value = setting.value.as_deref().unwrap_or_default();
        self.environment.expand(value)
    }

    /// `path`, if it is a file that agent work cannot change.
    fn trusted(&self, key: &'static str, path: PathBuf) -> Result<PathBuf, SigningError> {
        if !path.is_absolute() {
            return Err(SigningError::Relative { key, path });
        }
        match path.metadata() {
            _ if self.reach.holds(&path) => Err(SigningError::InTree { key, path }),
            Ok(found) if found.is_file() => Ok(path),
            Ok(_) => {
                let source = io::Error::other("it is not a file");
                Err(SigningError::Unusable { key, path, source })
            }
            Err(source) => Err(SigningError::Unusable { key, path, source }),
        }
    }
}

fn unknown(key: &'static str, setting: &Setting, known: &'static str) -> SigningError {
    SigningError::Unknown {
        key,
        value: visible::line(setting.value.as_deref().unwrap_or_default()),
        origin: setting.origin.clone(),
        known,
    }
}
