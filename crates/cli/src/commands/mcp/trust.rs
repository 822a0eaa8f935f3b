//! What of locks somebody on this machine has agreed to. A lock comes with a repository,
//! and whoever wrote that has not asked anybody here.

use std::{collections::BTreeSet, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use stockade_mcp::Entry;
use stockade_supervisor::{read_json, write_json};
use stockade_types::canonical_json;

use super::Place;
use crate::{
    failure::{Failure, Kind},
    host,
};

/// The file in the state directory.
const FILE: &str = "mcp-trusted.json";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Trusted {
    /// One digest for each server at each place.
    entries: BTreeSet<String>,
}

fn file() -> Result<PathBuf, Failure> {
    Ok(host::state()?.path().join(FILE))
}

/// What stands for all that the lock at `place` says of a server.
fn digest(place: &Place, name: &str, entry: &Entry) -> String {
    // What paths lead to today counts, not how they are written.
    let real = |paths: &[PathBuf]| -> Vec<String> {
        let paths = paths.iter().map(|path| place.real(path));
        paths
            .map(|path| path.to_string_lossy().into_owned())
            .collect()
    };
    let all = json!({
        "folder": place.folder.to_string_lossy(), "server": name, "entry": entry,
        "reads": real(&entry.launch.read), "changes": real(&entry.launch.write),
    });
    hex::encode(Sha256::digest(canonical_json(&all)))
}

/// Refuses a server that nobody here has agreed to.
pub(super) fn require(place: &Place, name: &str, entry: &Entry) -> Result<(), Failure> {
    let trusted: Trusted = read_json(&file()?).unwrap_or_default();
    if trusted.entries.contains(&digest(place, name, entry)) {
        return Ok(());
    }
    let reason = format!(
        "nobody on this machine has agreed to what the lock says of `{name}`, which came with \
         the repository"
    );
    Err(Failure::new(Kind::Refused, reason)
        .hint(format!("look at it, and agree: stockade mcp trust {name}")))
}

/// Notes that somebody here agrees.
pub(super) fn note(place: &Place, name: &str, entry: &Entry) -> Result<(), Failure> {
    let path = file()?;
    let mut trusted: Trusted = if path.exists() {
        read_json(&path)?
    } else {
        Trusted::default()
    };
    trusted.entries.insert(digest(place, name, entry));
    Ok(write_json(&path, &trusted)?)
}
