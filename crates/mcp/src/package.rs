//! Packages that a command line would fetch and run: `npx -y pkg`, `uvx pkg` and the
//! like, and what of them is pinned.

mod resolution;

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

pub use self::resolution::{DOCUMENT_MAX, Resolution, ResolutionError};

/// Where packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registry {
    /// Node's, through npm.
    Npm,
    /// Python's, through uv.
    Pypi,
}

/// A package as it was approved: this version of it, and of all that it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Where it comes from.
    pub registry: Registry,
    /// Its name there.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its [`Resolution`], which is kept beside the lock.
    pub resolved: String,
}

/// A package that somebody wants to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where it comes from.
    pub registry: Registry,
    /// Its name; of Python's with extras, as in `name[extra]`.
    pub name: String,
    /// Which versions of it would do, in the registry's own words; any without it.
    pub version: Option<String>,
    /// Which of its programs; the one that is called as the package is without it.
    pub program: Option<String>,
    /// The arguments of the program.
    pub arguments: Vec<String>,
}

/// Why a command line cannot be pinned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// An option that says something about what runs.
    #[error(
        "`{option}` of `{runner}` is not understood here; without it the package can be pinned"
    )]
    Option {
        /// The program that runs packages.
        runner: String,
        /// The option.
        option: String,
    },
    /// What is to be run is not in a registry.
    #[error("`{0}` is no package of a registry; name the program itself instead")]
    Name(String),
    /// Nothing is to be run.
    #[error("`{0}` is told no package")]
    Missing(String),
}

impl Registry {
    /// The program that fetches from it.
    pub fn manager(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pypi => "uv",
        }
    }

    /// The program that runs what comes from it.
    pub fn runtime(self) -> &'static str {
        match self {
            Self::Npm => "node",
            Self::Pypi => "python3",
        }
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Npm => "npm",
            Self::Pypi => "PyPI",
        })
    }
}

impl fmt::Display for Package {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {} {}",
            self.registry, self.name, self.version
        )
    }
}

impl Asked {
    /// The package that `argv` would fetch and run; nothing if it runs a program that is
    /// there.
    pub fn read(argv: &[String]) -> Option<Result<Self, PackageError>> {
        let program = Path::new(argv.first()?).file_name()?.to_str()?;
        let second = argv.get(1).map(String::as_str);
        let (registry, named, skipped) = match (program, second) {
            ("npx" | "bunx" | "pnpx", _) => (Registry::Npm, NPX, 1),
            ("npm", Some("exec" | "x")) | ("pnpm" | "yarn", Some("dlx")) | ("bun", Some("x")) => {
                (Registry::Npm, NPX, 2)
            }
            ("uvx", _) => (Registry::Pypi, UVX, 1),
            ("uv", Some("tool")) if argv.get(2).is_some_and(|word| word == "run") => {
                (Registry::Pypi, UVX, 3)
            }
            ("pipx", Some("run")) => (Registry::Pypi, PIPX, 2),
            _ => return None,
        };
        Some(read(registry, program, named, &argv[skipped..]))
    }

    /// Whether it says which version.
    pub fn is_exact(&self) -> bool {
        let version = self.version.as_deref().unwrap_or_default();
        let version = version.strip_prefix("==").unwrap_or(version);
        version.starts_with(|c: char| c.is_ascii_digit())
            && !version.contains(['x', '*', ' ', '|', ','])
    }

    /// Its name, and which versions would do.
    pub fn wanted(&self) -> String {
        let version = self.version.as_deref().unwrap_or_default();
        let between = match self.registry {
            Registry::Npm if !version.is_empty() => "@",
            _ => "",
        };
        format!("{}{between}{version}", self.name)
    }
}

/// What the options of a program that runs packages mean.
#[derive(Clone, Copy)]
struct Options {
    /// They say which package, when what follows is one of its programs.
    package: &'static [&'static str],
    /// They say nothing about what runs.
    quiet: &'static [&'static str],
}

const NPX: Options = Options {
    package: &["-p", "--package"],
    quiet: &[
        "-y",
        "--yes",
        "-q",
        "--quiet",
        "--silent",
        "--prefer-online",
        "--bun",
    ],
};
const UVX: Options = Options {
    package: &["--from"],
    quiet: &[
        "-q",
        "--quiet",
        "--isolated",
        "--refresh",
        "--no-cache",
        "-n",
        "--no-progress",
    ],
};
const PIPX: Options = Options {
    package: &["--spec"],
    quiet: &["-q", "--quiet", "--no-cache"],
};

fn read(
    registry: Registry,
    runner: &str,
    options: Options,
    words: &[String],
) -> Result<Asked, PackageError> {
    let mut words = words.iter().map(String::as_str);
    let mut package = None;
    let named = loop {
        let word = words
            .next()
            .ok_or_else(|| PackageError::Missing(runner.to_owned()))?;
        let (option, value) = match word.split_once('=') {
            Some((option, value)) if option.starts_with('-') => (option, Some(value)),
            _ => (word, None),
        };
        if options.package.contains(&option) {
            package = value.or_else(|| words.next());
        } else if !word.starts_with('-') {
            break word;
        } else if word != "--" && !options.quiet.contains(&word) {
            return Err(PackageError::Option {
                runner: runner.to_owned(),
                option: stockade_types::visible::line(word.as_bytes()),
            });
        }
    };
    let arguments = words.map(str::to_owned).collect();
    let wrong = |text: &str| PackageError::Name(stockade_types::visible::line(text.as_bytes()));
    let text = package.unwrap_or(named);
    let (name, version) = split(registry, text).ok_or_else(|| wrong(text))?;
    let program = package.map(|_| named.to_owned());
    if !program.as_deref().is_none_or(is_program) {
        return Err(wrong(named));
    }
    Ok(Asked {
        registry,
        name,
        version,
        program,
        arguments,
    })
}

/// Whether `name` can be that of a program in a folder.
pub(crate) fn is_program(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(['-', '.'])
        && name.chars().all(plain)
}

/// Name and versions, if `text` is a package of `registry`.
fn split(registry: Registry, text: &str) -> Option<(String, Option<String>)> {
    let (name, version) = match registry {
        Registry::Npm => {
            let text = text.strip_prefix("npm:").unwrap_or(text);
            // The first sign of a scoped package is no version.
            let at = text.get(1..)?.find('@').map(|at| at + 1);
            let (name, version) = text.split_at(at.unwrap_or(text.len()));
            (
                name,
                version.strip_prefix('@').unwrap_or(version).to_owned(),
            )
        }
        Registry::Pypi => {
            let end = text.find(|c: char| !(is_word(c) || "[,]".contains(c)));
            let (name, version) = text.split_at(end.unwrap_or(text.len()));
            match version.strip_prefix('@') {
                Some("latest") => (name, String::new()),
                Some(version) => (name, format!("=={version}")),
                None => (name, version.to_owned()),
            }
        }
    };
    let plain = |c: char| is_word(c) || "^~<>=!*|+, ".contains(c);
    let known = is_name(registry, name) && version.len() <= 128 && version.chars().all(plain);
    let version = Some(version).filter(|version| !version.is_empty());
    known.then(|| (name.to_owned(), version))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

/// Whether a package of `registry` can be called that.
pub(crate) fn is_name(registry: Registry, name: &str) -> bool {
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_word)
    };
    let known = match (registry, name.strip_prefix('@')) {
        (Registry::Npm, Some(scoped)) => scoped
            .split_once('/')
            .is_some_and(|(scope, name)| word(scope) && word(name)),
        (Registry::Npm, None) => word(name),
        (Registry::Pypi, _) => match name.split_once('[') {
            Some((name, extras)) => {
                let extras = extras.strip_suffix(']');
                word(name) && extras.is_some_and(|extras| extras.split(',').all(word))
            }
            None => word(name),
        },
    };
    known && name.len() <= 214
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Option<Result<Asked, PackageError>> {
        let argv: Vec<_> = line.split(' ').map(str::to_owned).collect();
        Asked::read(&argv)
    }

    #[test]
    fn what_would_be_fetched_and_run_is_read_out_of_a_command_line() {
        for (line, wanted, program, arguments, exact) in [
            ("npx -y @scope/server .", "@scope/server", None, ".", false),
            (
                "npx @scope/server@latest",
                "@scope/server@latest",
                None,
                "",
                false,
            ),
            (
                "npx -y @scope/server@1.2.3",
                "@scope/server@1.2.3",
                None,
                "",
                true,
            ),
            (
                "/usr/bin/npx server@^1.2.3 -p x",
                "server@^1.2.3",
                None,
                "-p x",
                false,
            ),
            (
                "npx -p pkg@2.0.0 other a b",
                "pkg@2.0.0",
                Some("other"),
                "a b",
                true,
            ),
            ("npx --package=pkg other", "pkg", Some("other"), "", false),
            ("npm exec -- server", "server", None, "", false),
            ("pnpm dlx server@1.x", "server@1.x", None, "", false),
            ("bunx server", "server", None, "", false),
            ("uvx mcp-server -v", "mcp-server", None, "-v", false),
            ("uvx mcp-server@1.2", "mcp-server==1.2", None, "", true),
            ("uvx mcp-server@latest", "mcp-server", None, "", false),
            ("uv tool run server==1.2.3", "server==1.2.3", None, "", true),
            (
                "uvx --from pkg[cli]>=1,<2 other x",
                "pkg[cli]>=1,<2",
                Some("other"),
                "x",
                false,
            ),
            (
                "pipx run --spec pkg==1.0 other",
                "pkg==1.0",
                Some("other"),
                "",
                true,
            ),
        ] {
            let asked = asked(line).unwrap().unwrap();
            assert_eq!(asked.wanted(), wanted, "{line}");
            assert_eq!(asked.program.as_deref(), program, "{line}");
            assert_eq!(asked.arguments.join(" "), arguments, "{line}");
            assert_eq!(asked.is_exact(), exact, "{line}");
        }
        for line in [
            "python3 server.py",
            "npm start",
            "uv run server.py",
            "node x",
        ] {
            assert_eq!(asked(line), None, "{line}");
        }
    }

    #[test]
    fn what_no_registry_has_or_is_not_understood_is_refused() {
        for line in [
            "npx git+https://host/x",
            "npx ./server",
            "npx user/repo",
            "npx file:server",
            "npx server@npm:other@1",
            "npx server@https://host/x.tgz",
            "npx -p pkg ../other",
            "uvx --from git+https://host/x server",
            "uvx --from ./here server",
            "npx -c run",
            "npx --registry=http://evil server",
            "uvx --with more server",
            "uvx --index-url http://evil server",
            "npx -y",
            "npx -p",
        ] {
            assert!(asked(line).unwrap().is_err(), "{line}");
        }
    }
}
