//! The same executable as one of Stockade's own processes.

use std::{ffi::OsStr, path::PathBuf, process::ExitCode};

use stockade_supervisor::{
    BUILT_IN_ARGUMENT, Part, gateway, github_app, hashicorp, life, mcp, recorder,
};
use stockade_vault::{GITHUB_APP_ARGUMENT, GITHUB_GIVE_BACK_ARGUMENT, HASHICORP_ARGUMENT};

/// Runs a process of Stockade's own if the first argument asks for one.
pub(crate) fn run() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next()?;
    let path = arguments.next().map(PathBuf::from).unwrap_or_default();
    let result: Result<(), Box<dyn std::error::Error>> =
        if first == OsStr::new(Part::Supervisor.argument()) {
            life::run(&path).map_err(Into::into)
        } else if first == OsStr::new(Part::Recorder.argument()) {
            recorder::run(&path).map_err(Into::into)
        } else if first == OsStr::new(Part::Gateway.argument()) {
            gateway::run().map_err(Into::into)
        } else if first == OsStr::new(Part::McpFirewall.argument()) {
            mcp::run().map_err(Into::into)
        } else if first == OsStr::new(mcp::BRIDGE_ARGUMENT) {
            let words = std::env::args_os().skip(2);
            let words = words.map(|word| word.to_string_lossy().into_owned());
            stockade_bridge::run(words).map_err(Into::into)
        } else if first == OsStr::new(stockade_sandbox::ANCHOR_ARGUMENT) {
            stockade_sandbox::anchor::run().map_err(Into::into)
        } else if first == OsStr::new(stockade_sandbox::probe::PROBE_ARGUMENT) {
            stockade_sandbox::probe::run(&path).map_err(Into::into)
        } else if first == OsStr::new(HASHICORP_ARGUMENT) {
            hashicorp::run(&path).map_err(Into::into)
        } else if first == OsStr::new(GITHUB_APP_ARGUMENT) {
            github_app::run(&path).map_err(Into::into)
        } else if first == OsStr::new(GITHUB_GIVE_BACK_ARGUMENT) {
            github_app::run_give_back().map_err(Into::into)
        } else if first == OsStr::new(stockade_sandbox::probe::OVERLAY_ARGUMENT) {
            stockade_sandbox::probe::run_overlay(&path).map_err(Into::into)
        } else if first == OsStr::new(BUILT_IN_ARGUMENT) {
            return Some(crate::commands::demo::built_in_agent());
        } else {
            return None;
        };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error of a part is its log.
            let _ = rustix::io::write(rustix::stdio::stderr(), format!("{error}\n").as_bytes());
            ExitCode::FAILURE
        }
    })
}
