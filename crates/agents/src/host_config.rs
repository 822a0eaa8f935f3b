//! What is taken from the user's own configuration of an agent: names of
//! models and themes, and instruction files. Never hooks, tool servers,
//! permissions, helpers or environment: those would run inside with the
//! user's blessing for another place.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::launch::HomeFile;

/// The longest instruction file that is copied, in bytes.
const MAX_INSTRUCTION_BYTES: u64 = 256 * 1024;
/// The longest settings file that is looked into, in bytes. Claude Code keeps
/// its history in the same file as its theme.
const MAX_SETTINGS_BYTES: u64 = 8 * 1024 * 1024;
/// The longest name of a model or a theme, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 128;

/// The user's real home, as far as it may be read.
#[derive(Debug)]
pub(crate) struct HostConfig<'a> {
    home: Option<&'a Path>,
    notes: Vec<String>,
}

impl<'a> HostConfig<'a> {
    pub(crate) fn new(home: Option<&'a Path>) -> Self {
        Self {
            home,
            notes: Vec::new(),
        }
    }

    /// What was there and was not taken, for people.
    pub(crate) fn into_notes(self) -> Vec<String> {
        self.notes
    }

    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The bytes of `directory/file`; a link that leaves the directory, a
    /// special file or an overlong one is not followed or read.
    fn read(&mut self, directory: &str, file: &str, limit: u64) -> Option<Vec<u8>> {
        let home = self.home?;
        match read_beneath(&home.join(directory), file, limit) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.note(format!(
                    "{} was not taken over: {error}",
                    shown(directory, file)
                ));
                None
            }
        }
    }

    /// A JSON settings file. One with comments is left alone and noted.
    pub(crate) fn json(&mut self, directory: &str, file: &str) -> serde_json::Value {
        let Some(bytes) = self.read(directory, file, MAX_SETTINGS_BYTES) else {
            return serde_json::Value::Null;
        };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            self.note(format!(
                "{} was not taken over: it is not JSON ({error})",
                shown(directory, file)
            ));
            serde_json::Value::Null
        })
    }

    /// A TOML settings file.
    pub(crate) fn toml(&mut self, directory: &str, file: &str) -> toml::Table {
        let Some(bytes) = self.read(directory, file, MAX_SETTINGS_BYTES) else {
            return toml::Table::new();
        };
        let parsed = std::str::from_utf8(&bytes)
            .map_err(|_| "it is not UTF-8".to_owned())
            .and_then(|text| text.parse().map_err(|_| "it is not TOML".to_owned()));
        parsed.unwrap_or_else(|reason| {
            self.note(format!(
                "{} was not taken over: {reason}",
                shown(directory, file)
            ));
            toml::Table::new()
        })
    }

    /// A copy of an instruction file, at the same place in the private home.
    pub(crate) fn instructions(&mut self, directory: &str, file: &str) -> Option<HomeFile> {
        let content = self.read(directory, file, MAX_INSTRUCTION_BYTES)?;
        Some(HomeFile::new(Path::new(directory).join(file), content))
    }
}

/// A path in the home directory as people write it.
fn shown(directory: &str, file: &str) -> String {
    Path::new("~")
        .join(directory)
        .join(file)
        .display()
        .to_string()
}

/// `value` if it can be the name of a model or theme and nothing else.
pub(crate) fn name(value: Option<&str>) -> Option<String> {
    value.filter(|text| is_name(text)).map(str::to_owned)
}

/// Printable ASCII without spaces, not an option.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn read_beneath(directory: &Path, file: &str, limit: u64) -> io::Result<Vec<u8>> {
    let directory = rustix::fs::open(
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let opened = rustix::fs::openat2(
        &directory,
        file,
        // A FIFO must not make us wait for its writer.
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    );
    let opened: File = match opened {
        Ok(descriptor) => descriptor.into(),
        Err(rustix::io::Errno::XDEV) => {
            return Err(io::Error::other("it is a link that leaves its directory"));
        }
        Err(error) => return Err(error.into()),
    };
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let mut bytes = Vec::new();
    opened.take(limit + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(io::Error::other(format!("it is longer than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use tempfile::TempDir;

    use super::*;

    fn home() -> TempDir {
        let home = TempDir::new().unwrap();
        fs::create_dir(home.path().join(".agent")).unwrap();
        home
    }

    #[test]
    fn a_link_out_of_the_directory_is_not_followed_and_one_within_is() {
        let home = home();
        fs::write(home.path().join("secret"), "decoy").unwrap();
        fs::write(home.path().join(".agent/plain"), "mine").unwrap();
        symlink("../secret", home.path().join(".agent/relative")).unwrap();
        symlink(
            home.path().join("secret"),
            home.path().join(".agent/absolute"),
        )
        .unwrap();
        symlink("plain", home.path().join(".agent/within")).unwrap();
        let mut config = HostConfig::new(Some(home.path()));
        assert_eq!(
            config.read(".agent", "relative", MAX_INSTRUCTION_BYTES),
            None
        );
        assert_eq!(
            config.read(".agent", "absolute", MAX_INSTRUCTION_BYTES),
            None
        );
        assert_eq!(
            config
                .read(".agent", "within", MAX_INSTRUCTION_BYTES)
                .unwrap(),
            b"mine"
        );
        let notes = config.into_notes();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("leaves its directory"), "{notes:?}");
    }

    #[test]
    fn overlong_and_special_files_are_noted_and_absent_ones_are_not() {
        let home = home();
        let long = vec![b'x'; usize::try_from(MAX_INSTRUCTION_BYTES).unwrap() + 1];
        fs::write(home.path().join(".agent/long"), &long).unwrap();
        fs::write(home.path().join(".agent/longest"), &long[1..]).unwrap();
        fs::create_dir(home.path().join(".agent/directory")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            home.path().join(".agent/fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let mut config = HostConfig::new(Some(home.path()));
        assert_eq!(
            config
                .read(".agent", "longest", MAX_INSTRUCTION_BYTES)
                .unwrap()
                .len(),
            long.len() - 1
        );
        for file in ["long", "directory", "fifo"] {
            assert_eq!(config.read(".agent", file, MAX_INSTRUCTION_BYTES), None);
        }
        assert_eq!(config.read(".agent", "absent", MAX_INSTRUCTION_BYTES), None);
        assert_eq!(
            config.read(".absent", "absent", MAX_INSTRUCTION_BYTES),
            None
        );
        assert_eq!(config.into_notes().len(), 3);
    }

    #[test]
    fn a_name_is_never_an_option_or_more_than_a_word() {
        assert!(is_name("anthropic/claude-opus-4[1m]"));
        for text in [
            "",
            "-x",
            "a b",
            "a\nb",
            "é",
            &"x".repeat(MAX_NAME_BYTES + 1),
        ] {
            assert!(!is_name(text), "{text:?}");
        }
    }
}
