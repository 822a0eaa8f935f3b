//! What the user's git does, judged by its behaviour: distributions mend old
//! versions without changing their number.

use std::{
    fs, io,
    path::Path,
    process::{Command, Output, Stdio},
};

use stockade_sandbox::{
    HelperLimits, confine,
    probe::{Outcome, Probe},
};

/// Versions in which both holes below are closed.
const MENDED: &str = "update git: 2.43.7, 2.44.4, 2.45.4, 2.46.4, 2.47.3, 2.48.2, 2.49.1, 2.50.1 \
                      or newer, or what your distribution calls fixed";

/// How a behaviour was found.
enum Judged {
    /// As wanted, or harmless.
    Good(&'static str),
    /// Not so, and what a person can do.
    Bad(&'static str, &'static str),
}

/// A git, and a folder of its own in which it can do no harm.
struct Rehearsal<'a> {
    program: &'a Path,
    folder: &'a Path,
}

/// Tries the git at `program` in `folder`, which exists and is empty.
pub(super) fn probes(program: &Path, folder: &Path) -> Vec<Probe> {
    let git = Rehearsal { program, folder };
    let probe = |name: &str, cost: &str, judged: io::Result<Judged>| {
        let (outcome, detail, fix) = match judged {
            Ok(Judged::Good(detail)) => (Outcome::Works, detail.to_owned(), None),
            Ok(Judged::Bad(detail, fix)) => {
                (Outcome::Weaker, detail.to_owned(), Some(fix.to_owned()))
            }
            Err(error) => (Outcome::Weaker, format!("it cannot be told: {error}"), None),
        };
        Probe {
            name: name.to_owned(),
            outcome,
            detail,
            cost: cost.to_owned(),
            fix,
        }
    };
    vec![
        probe(
            "git and CVE-2025-48384",
            "a hostile repository that you clone with its submodules runs programs on your \
             machine; Stockade itself never updates submodules",
            git.keeps_carriage_returns(),
        ),
        probe(
            "git and CVE-2025-48385",
            "a hostile server can write files when you clone from it; Stockade itself never \
             fetches bundles",
            git.refuses_spaces_in_bundle_uris(),
        ),
        probe(
            "git attributes",
            "attributes of a tree could change what git shows",
            git.takes_attributes_from_elsewhere(),
        ),
        probe(
            "git and missing objects",
            "reading a partial clone could start a fetch; Stockade's settings forbid every \
             transport besides",
            git.stays_offline(),
        ),
    ]
}

impl Rehearsal<'_> {
    /// The cause of CVE-2025-48384: a value that ends in a carriage return was
    /// written without quotes, lost its end when read, and so a submodule's
    /// path was another one than the one that had been checked.
    fn keeps_carriage_returns(&self) -> io::Result<Judged> {
        let file = ["config", "--file", "settings", "core.worktree"];
        self.run(self.folder, &[], file.iter().chain(&["sub\r"]))?;
        let read = self.run(self.folder, &[], &file)?;
        match &*read.stdout {
            b"sub\r\n" => Ok(Judged::Good("a path that ends in CR stays the same path")),
            b"sub\n" => Ok(Judged::Bad(
                "a path that ends in CR becomes another path",
                MENDED,
            )),
            _ => Err(unexpected(&read)),
        }
    }

    /// The cause of CVE-2025-48385: a space in the address of a bundle became
    /// a second word of the protocol, which names a file to write.
    fn refuses_spaces_in_bundle_uris(&self) -> io::Result<Judged> {
        self.repository("served")?;
        let arguments = [
            "-c",
            "protocol.file.allow=always",
            "clone",
            "--bundle-uri=https://127.0.0.1:1/one two",
            "served",
            "cloned",
        ];
        let cloned = self.run(self.folder, &[], &arguments)?;
        let said = String::from_utf8_lossy(&cloned.stderr);
        Ok(if said.contains("unknown option") {
            Judged::Good("this git has no bundle addresses")
        } else if said.contains("malformed") {
            Judged::Good("a bundle address with a space is refused")
        } else {
            Judged::Bad("a bundle address with a space is used", MENDED)
        })
    }

    /// Without it, Stockade's own repositories switch attributes off by a
    /// file, which every git obeys.
    fn takes_attributes_from_elsewhere(&self) -> io::Result<Judged> {
        const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let repository = self.folder.join("attributes");
        self.repository("attributes")?;
        fs::write(repository.join(".gitattributes"), "* probe\n")?;
        let ask = ["check-attr", "probe", "--", "file"];
        let plain = self.run(&repository, &[], &ask)?;
        if plain.stdout != b"file: probe: set\n" {
            return Err(unexpected(&plain));
        }
        let variable = [("GIT_ATTR_SOURCE", EMPTY_TREE)];
        let elsewhere = self.run(&repository, &variable, &ask)?;
        Ok(Judged::Good(
            if elsewhere.stdout == b"file: probe: unspecified\n" {
                "GIT_ATTR_SOURCE is obeyed"
            } else {
                "this git ignores GIT_ATTR_SOURCE; a file in each repository of ours does the same"
            },
        ))
    }

    /// A read of an object that is not there must not start a fetch.
    fn stays_offline(&self) -> io::Result<Judged> {
        const ABSENT: &str = "1234567890123456789012345678901234567890";
        let repository = self.folder.join("partial");
        self.repository("partial")?;
        let path = repository
            .to_str()
            .ok_or_else(|| io::Error::other("the folder's name is no text"))?;
        for (name, value) in [
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.promisor", "true"),
            ("remote.origin.url", path),
            ("remote.origin.uploadpack", ": > fetched; false"),
        ] {
            self.run(&repository, &[], &["config", name, value])?;
        }
        let read = ["-c", "protocol.file.allow=always", "cat-file", "-e", ABSENT];
        let fetched = |variables: &[(&str, &str)]| {
            self.run(&repository, variables, &read)?;
            let mark = repository.join("fetched");
            let found = mark.exists();
            if found {
                fs::remove_file(mark)?;
            }
            io::Result::Ok(found)
        };
        if !fetched(&[])? {
            return Err(io::Error::other("nothing is fetched without the variable"));
        }
        Ok(if fetched(&[("GIT_NO_LAZY_FETCH", "1")])? {
            Judged::Bad(
                "this git ignores GIT_NO_LAZY_FETCH",
                "update git: 2.45 or newer, or what your distribution calls fixed",
            )
        } else {
            Judged::Good("GIT_NO_LAZY_FETCH is obeyed")
        })
    }

    fn repository(&self, name: &str) -> io::Result<()> {
        let made = self.run(self.folder, &[], &["init", "--quiet", name])?;
        if made.status.success() {
            Ok(())
        } else {
            Err(unexpected(&made))
        }
    }

    /// Runs git behind the walls of our helpers, with nobody's settings.
    fn run<'a>(
        &self,
        from: &Path,
        variables: &[(&str, &str)],
        arguments: impl IntoIterator<Item = &'a &'a str>,
    ) -> io::Result<Output> {
        #[expect(clippy::disallowed_methods, reason = "git as the user would run it")]
        let mut command = Command::new(self.program);
        command
            .args(arguments)
            .current_dir(from)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("HOME", self.folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        let beside = self.program.parent().unwrap_or(Path::new("/"));
        let limits = HelperLimits {
            cpu_seconds: 10,
            ..HelperLimits::default()
        };
        confine(&mut command, &[beside], &[self.folder], &limits)?;
        command.output()
    }
}

/// What git said instead.
fn unexpected(output: &Output) -> io::Error {
    let said = if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    };
    let line = String::from_utf8_lossy(said);
    let line = line.lines().next().unwrap_or("nothing").escape_debug();
    io::Error::other(format!("git said {line}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GITS: [&str; 2] = ["/usr/bin/git", "/usr/local/bin/git"];

    fn there() -> Vec<&'static Path> {
        let gits: Vec<&Path> = GITS
            .iter()
            .map(Path::new)
            .filter(|git| git.is_file())
            .collect();
        assert!(!gits.is_empty(), "the tests need git in one of {GITS:?}");
        gits
    }

    #[test]
    fn each_git_here_can_be_judged() {
        for git in there() {
            let folder = tempfile::tempdir().unwrap();
            for probe in probes(git, folder.path()) {
                assert!(!probe.detail.contains("cannot be told"), "{probe:?}");
            }
        }
    }

    #[test]
    fn a_git_with_the_holes_and_without_the_variables_is_seen_through() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("git");
        // The variables never arrive, CR is lost, and no address is refused.
        let script = format!(
            "#!/bin/sh\nunset GIT_ATTR_SOURCE GIT_NO_LAZY_FETCH\n{} \"$@\" 2>/dev/null | tr -d '\\r'\n",
            there()[0].display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let work = tempfile::tempdir().unwrap();
        let found = probes(&program, work.path());
        let details: Vec<&str> = found.iter().map(|probe| &*probe.detail).collect();
        assert_eq!(
            details,
            [
                "a path that ends in CR becomes another path",
                "a bundle address with a space is used",
                "this git ignores GIT_ATTR_SOURCE; a file in each repository of ours does the same",
                "this git ignores GIT_NO_LAZY_FETCH",
            ]
        );
    }

    #[test]
    fn a_program_that_is_no_git_is_not_judged() {
        let folder = tempfile::tempdir().unwrap();
        let found = probes(Path::new("/bin/false"), folder.path());
        for name in ["git and CVE-2025-48384", "git attributes"] {
            let probe = found.iter().find(|probe| probe.name == name).unwrap();
            assert!(probe.detail.starts_with("it cannot be told"), "{probe:?}");
        }
    }
}
