//! What tests install from public registries, kept for the next run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use super::{Host, wait_within};

/// Some hundred megabytes are fetched.
const INSTALL: Duration = Duration::from_mins(10);

/// The folder `name` of a cache for tests of one `kind`; `make` makes it if it
/// is not there. It is where the build keeps such things if that can be
/// written, else in the user's cache, and appears whole, by rename.
pub fn kept(
    kind: &str,
    name: &str,
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join(kind);
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let own = own.map(|cache| cache.join(format!("stockade-test-{kind}")));
    let places: Vec<PathBuf> = [Some(shared), own].into_iter().flatten().collect();
    let there = |place: &PathBuf| Some(place.join(name)).filter(|folder| folder.exists());
    if let Some(folder) = places.iter().find_map(there) {
        return Ok(folder);
    }
    let can_be_written = |place: &&PathBuf| {
        fs::create_dir_all(place).is_ok() && fs::write(place.join(".writable"), "").is_ok()
    };
    let place = places.iter().find(can_be_written);
    let place = place.ok_or("no folder to install it in can be written")?;
    let told = |error: std::io::Error| error.to_string();
    // Other tests, and other runs of the tests, wait here.
    let lock = fs::File::create(place.join(".lock")).map_err(told)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
    if let Some(folder) = there(place) {
        return Ok(folder);
    }
    let part = place.join(format!("{name}.part"));
    let _ = fs::remove_dir_all(&part);
    fs::create_dir(&part).map_err(told)?;
    make(&part)?;
    let whole = place.join(name);
    fs::rename(&part, &whole).map_err(told)?;
    Ok(whole)
}

/// Runs a package manager in `folder` as this machine has configured it: its
/// registry, its certificates.
pub fn install(host: &Host, folder: &Path, program: &str, words: &[&str]) -> Result<(), String> {
    let mut manager = host.other_command(program);
    manager
        .args(words)
        .current_dir(folder)
        .env_clear()
        .envs(std::env::vars_os())
        // Where npm reaches nobody, it would wait a minute and more for each package.
        .env("npm_config_fetch_retry_mintimeout", "1000")
        .env("npm_config_fetch_retry_maxtimeout", "5000")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = manager.spawn();
    let child = child.map_err(|error| format!("{program}: {error}"))?;
    let outcome = wait_within(child, INSTALL).ok_or(format!("{program} took too long"))?;
    if outcome.code == 0 {
        return Ok(());
    }
    let reason = outcome.stderr.lines().find(|line| !line.trim().is_empty());
    Err(reason.map_or_else(|| format!("{program} failed"), str::to_owned))
}
