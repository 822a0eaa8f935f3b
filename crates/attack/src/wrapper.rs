//! Any command that runs another in a sandbox of its own making.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use crate::{
    error::AttackError,
    field::{Ground, text},
    process::Program,
    repository::use_checkout,
    target::{Facts, Place, Ran, Start, Target, TargetError},
};

/// How long one attempt may take.
const LONGEST: Duration = Duration::from_mins(1);
/// What stands for the workspace's path in a command.
const WORKSPACE: &str = "{workspace}";

/// A wrapper command and the folder that it works in.
#[derive(Debug)]
pub struct Wrapper {
    name: String,
    words: Vec<String>,
    ground: Ground,
    workspace: PathBuf,
    environment: BTreeMap<OsString, OsString>,
}

impl Wrapper {
    /// The wrapper of a command such as `bwrap … --`, to which a program and
    /// its arguments are added, or such as `srt -c`, to which they are added
    /// as one word for a shell. `{workspace}` in it is the workspace's path.
    pub fn new(command: &str, ground: &Ground) -> Result<Self, AttackError> {
        let wrong = |reason| AttackError::Command {
            command: command.to_owned(),
            reason,
        };
        let words = split(command).map_err(wrong)?;
        if words.is_empty() {
            return Err(wrong("names no program"));
        }
        Self::in_folder("wrapped", command, words, ground, &[])
    }

    /// No sandbox at all: the control, with these variables.
    pub(crate) fn none(ground: &Ground, variables: &[(&str, String)]) -> Result<Self, AttackError> {
        Self::in_folder("control", "no sandbox", Vec::new(), ground, variables)
    }

    fn in_folder(
        folder: &str,
        name: &str,
        words: Vec<String>,
        ground: &Ground,
        variables: &[(&str, String)],
    ) -> Result<Self, AttackError> {
        let workspace = ground
            .repository(folder)
            .map_err(|source| AttackError::Field {
                step: "copy the repository".to_owned(),
                source,
            })?;
        let mut environment = ground.environment().clone();
        let more = variables.iter();
        environment.extend(more.map(|(name, value)| (name.into(), value.into())));
        Ok(Self {
            name: name.to_owned(),
            words,
            environment,
            ground: ground.clone(),
            workspace,
        })
    }

    /// The whole command for `words`.
    fn command(&self, words: &[String]) -> Vec<OsString> {
        let workspace = text(&self.workspace);
        let mut all: Vec<String> = self
            .words
            .iter()
            .map(|word| word.replace(WORKSPACE, &workspace))
            .collect();
        if all.last().is_some_and(|word| word == "-c") {
            all.push(
                words
                    .iter()
                    .map(|word| quoted(word))
                    .collect::<Vec<_>>()
                    .join(" "),
            );
        } else {
            all.extend(words.iter().cloned());
        }
        all.into_iter().map(OsString::from).collect()
    }

    fn execute(&self, words: &[OsString], stdin: Stdio) -> Result<Ran, TargetError> {
        let program = Program {
            words,
            folder: &self.workspace,
            environment: &self.environment,
            stdin,
        };
        let name = words.first().map(|word| word.display().to_string());
        program
            .run(LONGEST)
            .map_err(|error| format!("cannot start {}: {error}", name.unwrap_or_default()).into())
    }

    /// With a terminal as the controlling one, if the program is there that
    /// makes it so.
    fn at_terminal(&self, words: &[OsString], terminal: &OwnedFd) -> Result<Ran, TargetError> {
        let mut all: Vec<OsString> = ["setsid", "--ctty", "--wait"].map(OsString::from).into();
        all.extend_from_slice(words);
        let input = || terminal.try_clone().map(Stdio::from);
        self.execute(&all, input()?)
            .or_else(|_| self.execute(words, input()?))
    }

    /// The workspace on the host.
    pub(crate) fn workspace(&self) -> &Path {
        &self.workspace
    }
}

impl Target for Wrapper {
    fn name(&self) -> &str {
        &self.name
    }

    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn run(&mut self, words: &[String], start: Start<'_>) -> Result<Ran, TargetError> {
        let words = self.command(words);
        match start {
            Start::Standing | Start::Again => self.execute(&words, Stdio::null()),
            Start::New | Start::Capped(_) => {
                self.renew()?;
                self.execute(&words, Stdio::null())
            }
            Start::Terminal(terminal) => self.at_terminal(&words, terminal),
        }
    }

    fn take_back(&mut self) -> Result<(), TargetError> {
        Ok(use_checkout(&self.workspace, self.ground.environment())?)
    }

    fn place(&mut self, path: &str) -> Result<Place, TargetError> {
        match self.workspace().join(path).symlink_metadata() {
            Ok(_) => Ok(Place::Host),
            Err(_) => Ok(Place::Nowhere),
        }
    }

    fn end(&mut self) -> Result<(), TargetError> {
        Ok(())
    }
}

impl Wrapper {
    fn renew(&self) -> Result<(), TargetError> {
        let name = self.workspace.file_name().unwrap_or_default();
        self.ground.repository(&name.to_string_lossy())?;
        Ok(())
    }
}

/// Splits a command into words as a shell would, as far as quotes and
/// backslashes go.
fn split(command: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\n') => words.extend(word.take()),
            (None | Some('"'), '\\') => {
                let next = characters.next().ok_or("ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    if quote.is_some() {
        return Err("has a quote that is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_is_split_at_spaces_outside_of_quotes() {
        let words = split(r#"bwrap  --setenv A 'b "c' "d \" e" f\ g '' --"#).unwrap();
        assert_eq!(
            words,
            ["bwrap", "--setenv", "A", "b \"c", "d \" e", "f g", "", "--"]
        );
        assert!(split("a 'b").is_err());
        assert!(split("a \\").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_quoted_is_split_into_itself(words in prop::collection::vec(".*", 1..5)) {
            let line: Vec<_> = words.iter().map(|word| quoted(word)).collect();
            prop_assert_eq!(split(&line.join(" ")).unwrap(), words);
        }
    }
}
