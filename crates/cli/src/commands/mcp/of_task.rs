//! The MCP servers that a task gets: those of the repository's lock that somebody here
//! has agreed to.

use std::path::Path;

use stockade_mcp::{LOCK_FILE, Lock};
use stockade_supervisor::WantedServer;

use super::{Place, settings, trust, values, wrap::is_as_approved};
use crate::{
    failure::{Failure, Kind},
    print::Printer,
};

/// Servers of the lock that the folder's repository has: those that are `named`, or, if
/// none is and the task runs an agent, every one that could be started. What is left out
/// is told.
pub(crate) fn wanted(
    folder: &Path,
    named: &[String],
    all: bool,
    printer: Printer,
) -> Result<Vec<WantedServer>, Failure> {
    let Some(place) = place(folder) else {
        return match named.first() {
            None => Ok(Vec::new()),
            Some(name) => Err(Failure::new(
                Kind::NotFound,
                format!("--mcp {name}: the repository has no {LOCK_FILE}"),
            )
            .hint(format!("stockade mcp add {name} -- PROGRAM …"))),
        };
    };
    let lock = place.read()?;
    if !named.is_empty() {
        let each = named.iter().map(|name| server(&place, &lock, name));
        return each.collect();
    }
    let all = lock.servers.keys().filter(|_| all).map(String::as_str);
    Ok(startable(&place, &lock, all, printer))
}

/// Which of the servers of these `names`, which a task had, it could have now.
pub(crate) fn still_wanted(
    folder: &Path,
    names: &[String],
    printer: Printer,
) -> Result<Vec<WantedServer>, Failure> {
    let Some(place) = place(folder).filter(|_| !names.is_empty()) else {
        return Ok(Vec::new());
    };
    let lock = place.read()?;
    let names = names.iter().map(String::as_str);
    Ok(startable(&place, &lock, names, printer))
}

/// Those of `names` that could be started; what is left out is told.
fn startable<'n>(
    place: &Place,
    lock: &Lock,
    names: impl Iterator<Item = &'n str>,
    printer: Printer,
) -> Vec<WantedServer> {
    let mut wanted = Vec::new();
    for name in names {
        match server(place, lock, name) {
            Ok(server) => wanted.push(server),
            Err(failure) => {
                let why = failure.message;
                printer.note(&format!(
                    "  note        MCP server `{name}` is left out: {why}"
                ));
            }
        }
    }
    wanted
}

/// Where the lock is, from `folder` up to the top of its repository.
fn place(folder: &Path) -> Option<Place> {
    let folder = folder.canonicalize().ok()?;
    for folder in folder.ancestors() {
        if folder.join(LOCK_FILE).exists() {
            let folder = folder.to_owned();
            return Some(Place { folder });
        }
        if folder.join(".git").exists() {
            return None;
        }
    }
    None
}

/// One that could be started as it was approved.
fn server(place: &Place, lock: &Lock, name: &str) -> Result<WantedServer, Failure> {
    let entry = place.entry(lock, name)?;
    trust::require(place, name, entry)?;
    is_as_approved(place, name, &entry.launch)?;
    // What it is to be given must be there before anything starts.
    values(&entry.launch)?;
    Ok(WantedServer {
        name: name.to_owned(),
        start: place.wish(&entry.launch)?,
        approved: settings(entry),
    })
}
