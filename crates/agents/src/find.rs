use std::{
    ffi::OsStr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    digest,
    digest_cache::DigestCache,
    error::AgentError,
    kind::AgentKind,
    npm::{self, Package},
    start::Start,
};

/// Where an agent's own files appear inside.
const AGENT_ROOT: &str = "/opt/agent";
/// Where the interpreter appears inside.
const NODE: &str = "/opt/node/bin/node";
/// Host directories that a sandbox shows at the same place anyway.
const ALWAYS_VISIBLE: [&str; 4] = ["/usr", "/bin", "/lib", "/lib64"];

/// How an agent is installed.
#[derive(Debug)]
pub(crate) struct Install {
    /// The program's name on `PATH`, and on our command line.
    pub(crate) program: &'static str,
    /// The npm package.
    pub(crate) package: &'static str,
    /// Packages that hold a native program, the preferred first.
    pub(crate) natives: &'static [Native],
    /// A directory two levels above the native program that it needs: if it
    /// is there, all that lies beside it is mounted, else the program alone.
    pub(crate) companions: Option<&'static str>,
}

/// A package with the native program for one kind of machine.
#[derive(Debug)]
pub(crate) struct Native {
    package: &'static str,
    architecture: &'static str,
    program: &'static str,
}

impl Native {
    /// `program` is relative to the package; `architecture` is Rust's name.
    pub(crate) const fn new(
        package: &'static str,
        architecture: &'static str,
        program: &'static str,
    ) -> Self {
        Self {
            package,
            architecture,
            program,
        }
    }
}

/// What a mount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// One file.
    File,
    /// A directory with all that is in it.
    Directory,
}

/// Something of the host that the agent needs, to be mounted read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolMount {
    /// Where it is on the host, without symbolic links.
    pub source: PathBuf,
    /// Where it appears inside.
    pub target: PathBuf,
    /// Whether it is a file or a directory.
    pub kind: MountKind,
}

/// An installed agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Which agent.
    pub kind: AgentKind,
    /// What is on `PATH`.
    pub executable: PathBuf,
    /// What that really is: the native program or the entry script.
    pub real: PathBuf,
    /// Its version, where the installation tells without running anything.
    pub version: Option<String>,
    /// SHA-256, in hexadecimal, of what really runs: the native program, or
    /// every file of the JavaScript packages. The interpreter is not in it.
    pub digest: String,
    /// What must be mounted.
    pub mounts: Vec<ToolMount>,
    /// How it is started inside, before any argument.
    pub program: Vec<String>,
}

/// Finds an agent on `PATH` and works out what of it must be mounted.
///
/// Nothing is executed. Relative entries of `PATH` are skipped: they would
/// find whatever lies in the directory one happens to be in.
///
/// Reads the whole program for its digest, some hundred milliseconds; see
/// [`find_cached`].
pub fn find(kind: AgentKind, path_variable: &OsStr) -> Result<Found, AgentError> {
    find_cached(kind, path_variable, &mut DigestCache::default())
}

/// [`find`], with the digest of a native program from `cache` where the file
/// has not changed. The many files of a JavaScript agent are always read.
pub fn find_cached(
    kind: AgentKind,
    path_variable: &OsStr,
    cache: &mut DigestCache,
) -> Result<Found, AgentError> {
    let install = kind.agent().install();
    let executable =
        executables(install.program, path_variable)
            .next()
            .ok_or(AgentError::NotFound {
                program: install.program,
                package: install.package,
            })?;
    let real = canonical(&executable)?;
    match resolve(install, &real)? {
        Resolved::Native { program, version } => native(
            kind,
            executable,
            program,
            version,
            install.companions,
            cache,
        ),
        Resolved::Script {
            script,
            options,
            package,
        } => script_with_node(kind, executable, script, options, &package, path_variable),
    }
}

/// What a launcher on `PATH` leads to.
enum Resolved {
    Native {
        program: PathBuf,
        version: Option<String>,
    },
    Script {
        script: PathBuf,
        options: Vec<String>,
        package: Package,
    },
}

fn resolve(install: &Install, real: &Path) -> Result<Resolved, AgentError> {
    let unknown = || AgentError::Launcher {
        path: real.to_owned(),
        program: install.program,
        package: install.package,
    };
    let mut script = real.to_owned();
    let mut start = Start::of(&script)?;
    if start == Start::Native {
        let package = Package::around(&script, install.package)?;
        let version = package
            .and_then(|package| package.version)
            .or_else(|| version_in_path(&script));
        return Ok(Resolved::Native {
            program: script,
            version,
        });
    }
    if start == Start::Other
        && let Some(text) = npm::read_text(&script)?
        && let Some(target) = npm::launcher_target(&script, &text, install.package)?
    {
        start = Start::of(&target)?;
        script = target;
    }
    let package = Package::around(&script, install.package)?.ok_or_else(unknown)?;
    // The launcher would only start this one, with node as its parent.
    for native in install.natives {
        if native.architecture != std::env::consts::ARCH {
            continue;
        }
        if let Some(platform) = package.neighbour(native.package)? {
            let program = platform.root.join(native.program);
            if program.is_file() && Start::of(&program)? == Start::Native {
                let program = canonical(&program)?;
                return Ok(Resolved::Native {
                    program,
                    version: package.version,
                });
            }
        }
    }
    match start {
        Start::Node(options) => Ok(Resolved::Script {
            script,
            options,
            package,
        }),
        Start::Native => Ok(Resolved::Native {
            program: script,
            version: package.version,
        }),
        Start::Other => Err(unknown()),
    }
}

fn native(
    kind: AgentKind,
    executable: PathBuf,
    program: PathBuf,
    version: Option<String>,
    companions: Option<&str>,
    cache: &mut DigestCache,
) -> Result<Found, AgentError> {
    let surroundings = companions.and_then(|name| {
        let root = program.parent()?.parent()?;
        root.join(name).is_dir().then_some(root)
    });
    let mount = match surroundings {
        Some(root) => ToolMount {
            source: root.to_owned(),
            target: AGENT_ROOT.into(),
            kind: MountKind::Directory,
        },
        None => ToolMount {
            source: program.clone(),
            target: Path::new(AGENT_ROOT).join("bin").join(kind.as_str()),
            kind: MountKind::File,
        },
    };
    let inside = match program.strip_prefix(&mount.source) {
        Ok(relative) if !relative.as_os_str().is_empty() => mount.target.join(relative),
        _ => mount.target.clone(),
    };
    Ok(Found {
        kind,
        executable,
        version,
        digest: cache.get(&program, || digest::of_file(&program))?,
        program: vec![text(&inside)?],
        real: program,
        mounts: vec![mount],
    })
}

fn script_with_node(
    kind: AgentKind,
    executable: PathBuf,
    script: PathBuf,
    options: Vec<String>,
    package: &Package,
    path_variable: &OsStr,
) -> Result<Found, AgentError> {
    let node = ["node", "nodejs"]
        .into_iter()
        .flat_map(|name| executables(name, path_variable))
        .filter_map(|found| found.canonicalize().ok())
        .find(|node| is_node(node))
        .ok_or_else(|| AgentError::Node {
            path: script.clone(),
        })?;
    let modules = Path::new(AGENT_ROOT).join("node_modules");
    let packages = package.closure()?;
    let mut mounts: Vec<ToolMount> = packages
        .iter()
        .map(|package| ToolMount {
            source: package.root.clone(),
            target: modules.join(&package.name),
            kind: MountKind::Directory,
        })
        .collect();
    let digest = digest::of_directories(mounts.iter().map(|mount| mount.source.as_path()))?;
    let visible = ALWAYS_VISIBLE
        .iter()
        .any(|directory| node.starts_with(directory));
    let interpreter = if visible {
        text(&node)?
    } else {
        mounts.push(ToolMount {
            source: node,
            target: NODE.into(),
            kind: MountKind::File,
        });
        NODE.to_owned()
    };
    let relative = script.strip_prefix(&package.root).unwrap_or(&script);
    let entry = text(&modules.join(&package.name).join(relative))?;
    let program = std::iter::once(interpreter)
        .chain(options)
        .chain([entry])
        .collect();
    Ok(Found {
        kind,
        executable,
        real: script,
        version: package.version.clone(),
        digest,
        mounts,
        program,
    })
}

/// Whether a file is the interpreter itself. A version manager's shim has
/// another name or is a script.
fn is_node(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name == "node" || name == "nodejs")
        && Start::of(path).is_ok_and(|start| start == Start::Native)
}

/// The executable files called `name`, in the order of `PATH`.
fn executables(name: &str, path_variable: &OsStr) -> impl Iterator<Item = PathBuf> {
    let candidates: Vec<PathBuf> = std::env::split_paths(path_variable)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .collect();
    candidates.into_iter().filter(|path| {
        path.metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

/// A path component such as `2.1.329`, where native installers put versions.
fn version_in_path(path: &Path) -> Option<String> {
    path.iter()
        .rev()
        .filter_map(OsStr::to_str)
        .find(|part| is_version(part))
        .map(str::to_owned)
}

fn is_version(text: &str) -> bool {
    let numbers = text.split_once('-').map_or(text, |(numbers, _)| numbers);
    let mut parts = numbers.split('.');
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.clone().count() == 3 && parts.all(number)
}

fn canonical(path: &Path) -> Result<PathBuf, AgentError> {
    path.canonicalize().map_err(|source| AgentError::Read {
        path: path.to_owned(),
        source,
    })
}

fn text(path: &Path) -> Result<String, AgentError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| AgentError::NotUtf8 {
            path: path.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_version_number_is_a_version() {
        assert_eq!(
            version_in_path(Path::new("/v/2.1.329/claude")).as_deref(),
            Some("2.1.329")
        );
        assert_eq!(
            version_in_path(Path::new("/v/versions/2.1.330-beta.1")).as_deref(),
            Some("2.1.330-beta.1")
        );
        assert_eq!(version_in_path(Path::new("/v/2.1/claude.1.2")), None);
    }
}
