//! The one place that starts a program that signs.

use std::{
    fs::{self, DirBuilder, File},
    io::Read,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Key, SignatureFormat, Signer, SigningError};
use stockade_types::visible;

use crate::{
    attended,
    files::{FileError, failed},
    git::{Git, GitDir},
    object::{ObjectFormat, ObjectId},
    remove,
};

/// Long enough for a person to find the token and remember the passphrase.
const LONGEST: Duration = Duration::from_mins(5);
/// No signature is larger, even with a chain of certificates.
const SIGNATURE_BYTES: u64 = 256 << 10;
/// How much of what the program says is looked at.
const SAID_BYTES: u64 = 64 << 10;

impl Signer {
    /// The commit `unsigned` of `repository` with a signature over exactly its
    /// bytes. `folder` does not exist, and is gone afterwards.
    pub(crate) fn sign(
        &self,
        git: &Git,
        repository: &GitDir,
        unsigned: &ObjectId,
        folder: &Path,
    ) -> Result<ObjectId, SigningError> {
        let payload = git
            .call(repository, "cat-file")
            .args(["commit", unsigned.as_str()])
            .run()?;
        remove::folder(folder).map_err(failed("remove", folder))?;
        let signature = self.signature(&payload, folder);
        remove::folder(folder).map_err(failed("remove", folder))?;
        let signed =
            with_signature(&payload, &signature?, repository.format()).ok_or_else(|| {
                self.failed("what it wrote is not a signature that a commit can carry".to_owned())
            })?;
        let call = git
            .call(repository, "hash-object")
            .writes()
            .args(["-t", "commit", "-w", "--stdin"]);
        Ok(call.object_with(&signed)?)
    }

    /// Runs the program as git does, with its files in `folder`.
    fn signature(&self, payload: &[u8], folder: &Path) -> Result<Vec<u8>, SigningError> {
        DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .map_err(failed("create the folder", folder))?;
        let file = |name: &str| folder.join(name);
        let commit = write(file("commit"), payload)?;
        let mut command = self.command();
        match &self.key {
            Key::Name(name) => command.args(["--status-fd=2", "-bsau"]).arg(name),
            Key::File(key) => ssh(&mut command, key).arg(&commit),
            Key::Literal(key) => {
                let key = write(file("key"), key)?;
                ssh(&mut command, &key).arg("-U").arg(&commit)
            }
        };
        let (out, said) = (file("out"), file("said"));
        command
            .current_dir("/")
            .stdin(open(&commit)?)
            .stdout(create(&out)?)
            .stderr(create(&said)?);
        let child = command
            .spawn()
            .map_err(|error| self.failed(error.to_string()))?;
        let succeeded = self.wait(child)?;
        let said = read(&said, SAID_BYTES)?;
        let made = match self.format {
            SignatureFormat::Ssh => true,
            _ => contains_line(&said, b"[GNUPG:] SIG_CREATED "),
        };
        if !succeeded || !made {
            return Err(self.failed(reason(&said)));
        }
        let signature = match self.format {
            SignatureFormat::Ssh => file("commit.sig"),
            _ => out,
        };
        Ok(read(&signature, SIGNATURE_BYTES)?)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the program that the user's own configuration names, checked by `Reader`"
    )]
    fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// Waits for the program; whether it succeeded.
    fn wait(&self, child: Child) -> Result<bool, SigningError> {
        let status = attended::wait(child, LONGEST);
        match status.map_err(|error| self.failed(error.to_string()))? {
            Some(status) => Ok(status.success()),
            None => Err(SigningError::TimedOut {
                program: self.program.clone(),
                seconds: LONGEST.as_secs(),
            }),
        }
    }

    fn failed(&self, message: String) -> SigningError {
        SigningError::Failed {
            program: self.program.clone(),
            message,
        }
    }
}

fn ssh<'a>(command: &'a mut Command, key: &Path) -> &'a mut Command {
    command.args(["-Y", "sign", "-n", "git", "-f"]).arg(key)
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<PathBuf, FileError> {
    fs::write(&path, bytes).map_err(failed("write", &path))?;
    Ok(path)
}

fn create(path: &Path) -> Result<Stdio, FileError> {
    File::create(path)
        .map(Stdio::from)
        .map_err(failed("create", path))
}

fn open(path: &Path) -> Result<Stdio, FileError> {
    File::open(path)
        .map(Stdio::from)
        .map_err(failed("open", path))
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(failed("read", path))?;
    Ok(bytes)
}

fn contains_line(text: &[u8], start: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(start))
}

/// The first line that was said to a person.
fn reason(said: &[u8]) -> String {
    let line = said
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty() && !line.starts_with(b"[GNUPG:]"));
    let line = line.unwrap_or(b"it gave no reason");
    visible::line(line).chars().take(500).collect()
}

/// The commit with the signature as its last header (gitformat-signature(5));
/// `None` if either is not what it should be.
fn with_signature(payload: &[u8], signature: &[u8], format: ObjectFormat) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(signature).ok()?.replace('\r', "");
    let text = text.trim();
    let printable = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
    if !text.starts_with("-----BEGIN ") || !text.chars().all(printable) {
        return None;
    }
    let end = payload.windows(2).position(|two| two == b"\n\n")? + 1;
    let header = match format {
        ObjectFormat::Sha1 => "gpgsig ",
        ObjectFormat::Sha256 => "gpgsig-sha256 ",
    };
    let (headers, message) = payload.split_at(end);
    let field = format!("{header}{}\n", text.replace('\n', "\n "));
    Some([headers, field.as_bytes(), message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &[u8] = b"tree t\nauthor a\n\nSubject\n\nText\n";

    #[test]
    fn a_signature_is_the_last_header_and_its_lines_are_continued() {
        let signature = b"-----BEGIN X-----\r\n\r\nabc\r\n-----END X-----\r\n";
        let signed = with_signature(PAYLOAD, signature, ObjectFormat::Sha1).unwrap();
        assert_eq!(
            String::from_utf8(signed).unwrap(),
            "tree t\nauthor a\ngpgsig -----BEGIN X-----\n \n abc\n -----END X-----\n\nSubject\n\nText\n"
        );
        let signed = with_signature(PAYLOAD, signature, ObjectFormat::Sha256).unwrap();
        assert!(signed.windows(14).any(|part| part == b"gpgsig-sha256 "));
    }

    #[test]
    fn what_is_no_signature_does_not_get_into_a_commit() {
        for odd in [
            &b""[..],
            b"tree",
            b"-----BEGIN X\x1b[2J",
            b"-----BEGIN \xff",
        ] {
            assert!(with_signature(PAYLOAD, odd, ObjectFormat::Sha1).is_none());
        }
    }
}
