//! `stockade mcp`: MCP servers in sandboxes of their own, behind what was approved.

pub(crate) mod calls;
mod find;
mod lock;
pub(crate) mod of_task;
mod packages;
mod sarif;
mod scan;
mod show;
mod tools;
mod trust;
mod wrap;

use std::{
    env,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
    thread::{self, JoinHandle},
};

use rustix::pipe::{PipeFlags, pipe_with};
use stockade_gateway::HostRule;
use stockade_mcp::{Entry, LOCK_FILE, Launch, Lock, LockError};
use stockade_supervisor::{
    mcp::{BoxPlan, Boxed, FirewallProcess, FirewallSettings, Listed, ServerNetwork, ServerWish},
    service,
};
use stockade_types::{Event, Redacted};
use stockade_vault::{Store, VaultError};

use crate::{
    arguments::{Mcp, McpVerb, Shown},
    commands::secret::unlock::{environment, passphrase},
    failure::{Failure, Kind},
    host,
    print::Printer,
};

/// How much of one line of a server's standard error is shown, in bytes.
const LINE_MAX: usize = 4096;

pub(crate) fn run(arguments: &Mcp, printer: Printer) -> Result<ExitCode, Failure> {
    let place = Place::find(arguments.lock.as_deref())?;
    match &arguments.verb {
        McpVerb::Wrap(wrap) => wrap::run(&place, wrap, printer),
        McpVerb::Add(add) => lock::add(&place, add, printer),
        McpVerb::Ls => lock::list(&place, printer),
        McpVerb::Diff { name } => lock::diff(&place, name, printer),
        McpVerb::Approve { name, consent } => lock::approve(&place, name, consent, printer),
        McpVerb::Verify { names, offline } => lock::verify(&place, names, *offline, printer),
        McpVerb::Find => find::run(printer),
        McpVerb::Scan(scan) => scan::run(&place, scan, printer),
        McpVerb::Tools => tools::list(printer),
        McpVerb::Serve(task) => tools::serve(task, printer),
        McpVerb::Trust { name, yes } => lock::trust(&place, name, *yes, printer),
        McpVerb::Rm { name } => lock::remove(&place, name, printer),
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::failed(error)
    }
}

/// Where the lock is.
struct Place {
    folder: PathBuf,
}

impl Place {
    /// The folder that was named, else the nearest that has a lock, else this one.
    fn find(named: Option<&Path>) -> Result<Self, Failure> {
        if let Some(folder) = named {
            let folder = folder.canonicalize();
            let folder =
                folder.map_err(|error| Failure::new(Kind::NotFound, format!("--lock: {error}")))?;
            return Ok(Self { folder });
        }
        let here = env::current_dir()?;
        let above = here
            .ancestors()
            .find(|folder| folder.join(LOCK_FILE).exists());
        let folder = above.unwrap_or(&here).to_owned();
        Ok(Self { folder })
    }

    /// What `path` of a lock leads to.
    fn real(&self, path: &Path) -> PathBuf {
        let path = self.folder.join(path);
        path.canonicalize().unwrap_or(path)
    }

    fn read(&self) -> Result<Lock, Failure> {
        Ok(Lock::read(&self.folder)?)
    }

    /// The server `name` of `lock`.
    fn entry<'a>(&self, lock: &'a Lock, name: &str) -> Result<&'a Entry, Failure> {
        lock.servers.get(name).ok_or_else(|| {
            let reason = format!(
                "{} has no server `{name}`",
                self.folder.join(LOCK_FILE).display()
            );
            let known: Vec<_> = lock.servers.keys().map(String::as_str).collect();
            let failure = Failure::new(Kind::NotFound, reason);
            if known.is_empty() {
                failure.hint(format!("stockade mcp add {name} -- PROGRAM …"))
            } else {
                failure.hint(format!("it has: {}", known.join(", ")))
            }
        })
    }

    /// How a server is started that is not in the lock yet.
    fn launch(&self, argv: &[String], shown: &Shown, printer: Printer) -> Result<Launch, Failure> {
        let here = env::current_dir()?;
        let paths = |paths: &[PathBuf]| -> Result<Vec<PathBuf>, Failure> {
            let real = |path: &PathBuf| {
                let real = here.join(path).canonicalize();
                let real = real.map_err(|error| {
                    Failure::new(Kind::NotFound, format!("{}: {error}", path.display()))
                })?;
                Ok(match real.strip_prefix(&self.folder) {
                    Ok(below) if below == Path::new("") => PathBuf::from("."),
                    Ok(below) => below.to_owned(),
                    Err(_) => real,
                })
            };
            paths.iter().map(real).collect()
        };
        let launch = Launch {
            argv: argv.to_vec(),
            env: shown.env.clone(),
            read: paths(&shown.read)?,
            write: paths(&shown.write)?,
            secrets: shown.secret.iter().map(ToString::to_string).collect(),
            reaches: shown.allow.iter().map(ToString::to_string).collect(),
            services: shown.service.clone(),
            ..Launch::default()
        };
        let launch = packages::pinned(launch, printer)?;
        Ok(launch.digested(&self.folder, &host::search_path())?)
    }

    /// What a server is started with, and what it is shown.
    fn wish(&self, launch: &Launch) -> Result<ServerWish, Failure> {
        let rule = |rule: &String| {
            rule.parse::<HostRule>()
                .map_err(|error| Failure::new(Kind::Usage, error.to_string()))
        };
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| self.folder.join(path)).collect();
        let package = self.installed(launch)?;
        let mut argv = launch.argv.clone();
        if let (Some(package), Some(program)) = (&package, argv.first_mut()) {
            *program = package.program(program);
        }
        Ok(ServerWish {
            argv,
            package,
            variables: launch.env.clone(),
            secrets: launch
                .secrets
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, VaultError>>()?,
            read: paths(&launch.read),
            write: paths(&launch.write),
            allow: launch.reaches.iter().map(rule).collect::<Result<_, _>>()?,
            services: launch
                .services
                .iter()
                .map(|text| service(text))
                .collect::<Result<_, _>>()?,
            folder: self.folder.clone(),
        })
    }

    /// Builds the sandbox of a server; `ask` opens the store of secrets.
    fn boxed(
        &self,
        launch: &Launch,
        ask: impl FnOnce(&Store) -> Result<Redacted<String>, Failure>,
    ) -> Result<Boxed, Failure> {
        let host = host::host()?;
        let plan = BoxPlan::alone(&host, &self.wish(launch)?)?;
        let network = ServerNetwork::alone(&host, &plan, &environment(), ask, refused)?;
        Ok(Boxed::build(
            &host.state,
            &plan,
            &values(launch)?,
            &network,
        )?)
    }

    /// Everything that a server offers now.
    fn listed(&self, launch: &Launch) -> Result<Listed, Failure> {
        let mut boxed = self.boxed(launch, passphrase)?;
        let (errors, shown) = errors()?;
        let listed = FirewallProcess::list(&mut boxed, &errors);
        drop((boxed, errors));
        let _ = shown.join();
        listed.map_err(|error| {
            Failure::from(error).hint("what it said on standard error is above; it has no network, and sees what --ro and --rw show it")
        })
    }
}

/// Tells of a request of a server that was refused.
fn refused(event: &Event) {
    let text = |name: &str| event.body[name].as_str().unwrap_or_default();
    if event.body["verdict"] == "deny" {
        let line = format!(
            "stockade: the server may not reach {} ({}): {}",
            text("host"),
            text("rule"),
            text("reason")
        );
        say(line.as_bytes());
    }
}

/// The values of variables that a server is given.
fn values(launch: &Launch) -> Result<Vec<(String, String)>, Failure> {
    let value = |name: &String| {
        let value = env::var(name).map_err(|_| {
            let reason = format!("{name} is not set, and the server is to have it");
            Failure::new(Kind::Usage, reason)
        });
        Ok::<_, Failure>((name.clone(), value?))
    };
    launch.env.iter().map(value).collect()
}

/// What a firewall goes by for a server that was approved.
fn settings(entry: &Entry) -> FirewallSettings {
    let items = entry.items.iter();
    let items = items.map(|item| (item.kind, item.name.clone(), item.digest));
    FirewallSettings {
        approved: Some(items.collect()),
        era: Some(entry.era),
        ..FirewallSettings::default()
    }
}

/// Where a server's standard error goes, and what shows it, with nothing in it that a
/// terminal obeys.
fn errors() -> Result<(OwnedFd, JoinHandle<()>), Failure> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let shown = thread::spawn(move || show(std::fs::File::from(read)));
    Ok((write, shown))
}

fn show(mut errors: impl Read) {
    let mut piece = [0; LINE_MAX];
    let mut line = Vec::new();
    while let Ok(length @ 1..) = errors.read(&mut piece) {
        for byte in &piece[..length] {
            if *byte == b'\n' || line.len() == LINE_MAX {
                say(&line);
                line.clear();
            }
            if *byte != b'\n' {
                line.push(*byte);
            }
        }
    }
    if !line.is_empty() {
        say(&line);
    }
}

fn say(line: &[u8]) {
    let line = stockade_types::visible::line(line);
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
