//! Packages that servers are: fetched in a sandbox that reaches their registry and nothing
//! else, without running anything of them, and kept by what they are made of.

mod tree;

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    pipe::{PipeFlags, pipe_with},
};
use serde::{Deserialize, Serialize};
use stockade_gateway::Service;
use stockade_mcp::{Asked, DOCUMENT_MAX, Package, Registry, Resolution};
use stockade_sandbox::{Access, Grant};
use stockade_types::{visible, wire::ExitStatus};

use super::{
    Boxed, ServerNetwork, ServerWish,
    boxed::{BoxPlan, Folder},
};
use crate::{
    error::SupervisorError,
    network::{PackageSources, sources},
    prepare::Host,
    state::read_json,
};

/// Where packages are inside.
const INSIDE: &str = "/opt/stockade/packages";
/// How long one step may take.
const LONGEST: Duration = Duration::from_mins(10);
/// How much of what a package manager says is told, in bytes.
const SAID_MAX: usize = 4096;
/// How many lines of that.
const LINES: usize = 4;
/// What a resolution is kept as, and the packages.
const RESOLUTION: &str = "resolution.json";
const TREE: &str = "tree";
/// What stands for the packages as they were installed.
const TREE_DIGEST: &str = "tree.json";

/// A package as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Which package.
    package: Package,
    /// Where it and all that it needs is.
    tree: PathBuf,
}

impl Installed {
    /// Which package it is.
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// What of it is not as it was installed, in words.
    pub fn changes(&self) -> Vec<String> {
        let digest = self.tree.with_file_name(TREE_DIGEST);
        let installed = read_json::<String>(&digest).ok();
        let now = tree::digest(&self.tree);
        let same = now.is_ok_and(|now| Some(now) == installed);
        let folder = self.tree.parent().unwrap_or(&self.tree);
        let changed = || {
            format!(
                "{} is not as it was installed; remove {}, and it is installed again",
                self.package,
                folder.display()
            )
        };
        (!same).then(changed).into_iter().collect()
    }

    /// What shows it to a server.
    pub(crate) fn grant(&self) -> Grant {
        Grant {
            source: self.tree.clone(),
            target: inside(&self.package.resolved),
            access: Access::ReadOnly,
            hidden: Vec::new(),
            over: None,
        }
    }

    /// Where its program `name` is inside.
    pub fn program(&self, name: &str) -> String {
        let below = match self.package.registry {
            Registry::Npm => "node_modules/.bin",
            Registry::Pypi => "venv/bin",
        };
        let path = inside(&self.package.resolved).join(below).join(name);
        path.to_string_lossy().into_owned()
    }
}

fn inside(resolved: &str) -> PathBuf {
    Path::new(INSIDE).join(resolved)
}

/// The packages of servers, and how they get here.
#[derive(Clone, Copy, Debug)]
pub struct Packages<'h> {
    host: &'h Host,
    /// Names that lead to places, such as a registry on this machine.
    services: &'h [Service],
}

impl<'h> Packages<'h> {
    /// Those of `host`.
    pub fn of(host: &'h Host, services: &'h [Service]) -> Self {
        Self { host, services }
    }

    /// The package, if it is installed.
    pub fn installed(&self, package: &Package) -> Option<Installed> {
        let tree = self.place(&package.resolved).join(TREE);
        tree.is_dir().then(|| Installed {
            package: package.clone(),
            tree,
        })
    }

    /// What the installed `package` is made of, as it is kept.
    pub fn resolution(&self, package: &Package, program: &str) -> Option<Resolution> {
        let document = read_json(&self.place(&package.resolved).join(RESOLUTION)).ok()?;
        let (registry, name) = (package.registry, &package.name);
        Resolution::of(registry, name, Some(program), document).ok()
    }

    /// Finds out which version of `asked` there is now, and what that needs.
    pub fn resolve(&self, asked: &Asked) -> Result<Resolution, SupervisorError> {
        let (files, command, written) = match asked.registry {
            Registry::Npm => {
                let version = asked.version.as_deref().unwrap_or("latest");
                let package = serde_json::json!({
                    "private": true, "dependencies": { &asked.name: version },
                });
                let files = vec![("package.json", package.to_string().into_bytes())];
                (files, NPM_RESOLVES, "package-lock.json")
            }
            Registry::Pypi => {
                let wanted = format!("{}\n", asked.wanted());
                let files = vec![("requirements.in", wanted.into_bytes())];
                (files, UV_RESOLVES, "requirements.txt")
            }
        };
        let target = Path::new(INSIDE).join("new");
        let folder = self.run(asked.registry, files, command, &target)?;
        let bytes = read_hostile(&folder.workspace().join(written));
        let bytes = bytes.map_err(|error| {
            refused(format!(
                "{} wrote no {written}: {error}",
                asked.registry.manager()
            ))
        })?;
        let resolution = Resolution::read(asked, &bytes);
        resolution.map_err(|error| refused(format!("{}: {error}", asked.wanted())))
    }

    /// Installs exactly what `resolution` names, if it is not there yet.
    pub fn install(&self, resolution: &Resolution) -> Result<Installed, SupervisorError> {
        let package = Package {
            registry: resolution.registry(),
            name: resolution.name().to_owned(),
            version: resolution.version().to_owned(),
            resolved: resolution.digest(),
        };
        let place = self.place(&package.resolved);
        fs::create_dir_all(&place).map_err(SupervisorError::state(&place))?;
        // Who comes second waits, and finds it there.
        let _lock = lock(&place).map_err(SupervisorError::state(&place))?;
        if let Some(installed) = self.installed(&package) {
            return Ok(installed);
        }
        let command = match resolution.registry() {
            Registry::Npm => NPM_INSTALLS,
            Registry::Pypi => UV_INSTALLS,
        };
        let target = inside(&package.resolved);
        let folder = self.run(resolution.registry(), resolution.files(), command, &target)?;
        keep(&folder, &place, resolution).map_err(SupervisorError::state(&place))?;
        let installed = self.installed(&package);
        installed.ok_or_else(|| refused(format!("{package} was not kept")))
    }

    fn place(&self, resolved: &str) -> PathBuf {
        self.host.state.path().join("packages").join(resolved)
    }

    /// Runs `command` in a folder that is at `target` inside and has `files` in it.
    fn run(
        &self,
        registry: Registry,
        mut files: Vec<(&str, Vec<u8>)>,
        command: &str,
        target: &Path,
    ) -> Result<Folder, SupervisorError> {
        let sources = sources(self.host, registry);
        if registry == Registry::Npm {
            files.push((".npmrc", npm_settings(&sources)));
        }
        let folder = Folder::make(&self.host.state)?;
        for (name, content) in files {
            let path = folder.workspace().join(name);
            fs::write(&path, content).map_err(SupervisorError::state(&path))?;
        }
        let wish = ServerWish {
            argv: ["/bin/sh", "-c", command].map(str::to_owned).to_vec(),
            allow: sources.rules.clone(),
            services: self.services.to_vec(),
            ..ServerWish::default()
        };
        let plan = BoxPlan::making(self.host, &wish, target)?;
        let network = ServerNetwork::plain(self.host, &plan, |_| {})?;
        let values = variables(&sources);
        let mut boxed = Boxed::build_in(folder, &self.host.state, &plan, &values, &network)?;
        let (said, errors) = listen()?;
        let ends = boxed.start(&errors)?;
        let printed = beginning(ends.output);
        drop((errors, ends.input));
        let ended = boxed.ended(LONGEST);
        let folder = boxed.into_folder();
        let said = [said.join(), printed.join()].map(Result::unwrap_or_default);
        outcome(registry, ended, &said)?;
        folder.ok_or_else(|| refused("nothing was made".to_owned()))
    }
}

/// Moves what was made in `folder` into the store, as a whole or not at all.
fn keep(folder: &Folder, place: &Path, resolution: &Resolution) -> io::Result<()> {
    let digest = tree::digest(&folder.workspace())?;
    for (name, value) in [
        (RESOLUTION, resolution.document()),
        (TREE_DIGEST, &digest.into()),
    ] {
        fs::write(place.join(name), value.to_string())?;
    }
    fs::rename(folder.workspace(), place.join(TREE))
}

fn lock(place: &Path) -> io::Result<File> {
    let lock = File::open(place)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// Nothing of a package runs: neither its scripts nor what would build it. What npm tells
/// its registry beyond names is turned off.
const NPM_RESOLVES: &str = "exec npm install --package-lock-only --ignore-scripts --omit=dev \
     --no-audit --no-fund --no-update-notifier --loglevel=error";
const NPM_INSTALLS: &str = "exec npm ci --ignore-scripts --omit=dev \
     --no-audit --no-fund --no-update-notifier --loglevel=error";
/// Resolved for every platform, since others read the lock too.
const UV_RESOLVES: &str = "exec uv pip compile --quiet --generate-hashes --universal \
     --only-binary :all: --no-header --no-annotate requirements.in -o requirements.txt";
/// The modules are compiled, since they cannot be where they are used.
const UV_INSTALLS: &str = "uv venv --quiet venv && exec uv pip install --quiet \
     --python venv/bin/python --require-hashes --only-binary :all: --compile-bytecode \
     -r requirements.txt";

fn refused(reason: String) -> SupervisorError {
    SupervisorError::Package(reason)
}

/// What a package manager's end means.
fn outcome(
    registry: Registry,
    ended: Option<io::Result<ExitStatus>>,
    said: &[String],
) -> Result<(), SupervisorError> {
    let manager = registry.manager();
    let reason = match ended {
        Some(Ok(ExitStatus::Code(0))) => return Ok(()),
        None => format!(
            "{manager} did not end within {} minutes",
            LONGEST.as_secs() / 60
        ),
        Some(Ok(ExitStatus::Code(127))) => {
            format!("{registry} needs `{manager}` on PATH, and there is none inside")
        }
        Some(Ok(_)) => {
            let said = said.iter().filter(|said| !said.is_empty());
            let said: Vec<_> = said.map(String::as_str).collect();
            format!("{manager} failed: {}", said.join("; "))
        }
        Some(Err(error)) => format!("{manager} could not be started: {error}"),
    };
    Err(refused(reason))
}

fn npm_settings(sources: &PackageSources) -> Vec<u8> {
    // Where an archive was fetched from is not what it is.
    let mut text = "omit-lockfile-registry-resolved=true\n".to_owned();
    for (name, url) in &sources.settings {
        let _ = writeln!(text, "{name}={url}");
    }
    text.into_bytes()
}

/// What uv is told in its environment; npm reads none of it.
fn variables(sources: &PackageSources) -> Vec<(String, String)> {
    let index = sources.settings.first().map(|(_, url)| url.as_str());
    let own = [
        ("UV_DEFAULT_INDEX", index.unwrap_or_default()),
        ("UV_NO_CONFIG", "1"),
        ("UV_PYTHON_DOWNLOADS", "never"),
        ("UV_LINK_MODE", "copy"),
    ];
    own.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

fn listen() -> Result<(JoinHandle<String>, OwnedFd), SupervisorError> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)
        .map_err(io::Error::from)
        .map_err(SupervisorError::Control)?;
    Ok((beginning(read), write))
}

/// The beginning of what comes, in one line that no terminal obeys.
fn beginning(from: OwnedFd) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut piece = [0; SAID_MAX];
        let mut from = File::from(from);
        while let Ok(length @ 1..) = from.read(&mut piece) {
            kept.extend_from_slice(&piece[..length]);
            kept.truncate(SAID_MAX);
        }
        let text = String::from_utf8_lossy(&kept);
        let lines = text
            .lines()
            .map(|line| line.trim_start_matches("npm error").trim());
        let lines: Vec<_> = lines.filter(|line| !line.is_empty()).take(LINES).collect();
        visible::line(lines.join("; ").as_bytes())
    })
}

/// What stands in a file that a sandbox left.
fn read_hostile(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() || found.len() > DOCUMENT_MAX {
        return Err(io::Error::other("it is no file, or too large"));
    }
    let mut bytes = Vec::new();
    file.take(DOCUMENT_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
