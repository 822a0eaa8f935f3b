//! `stockade mcp find`: the servers that clients on this machine start, and how each would
//! be approved.

use std::{env, process::ExitCode};

use serde_json::json;
use stockade_agents::{Configured, mcp_servers};
use stockade_mcp::remote;
use stockade_scan::Formats;
use stockade_types::visible;

use super::packages::unpinned;
use crate::{
    failure::Failure,
    host,
    print::{Printer, Tone},
};

pub(super) fn run(printer: Printer) -> Result<ExitCode, Failure> {
    let project = env::current_dir()?;
    let (servers, unread) = mcp_servers(host::home().as_deref(), &project);
    let formats = Formats::new().map_err(Failure::failed)?;
    let mut documents = Vec::new();
    for server in &servers {
        let keys = keys_in(server, &formats);
        show(server, &keys, printer);
        let names: Vec<_> = server.given.iter().map(|(name, _)| name).collect();
        documents.push(json!({
            "client": server.client, "file": server.file, "server": server.name,
            "starts": server.argv, "given": names, "keys_in_clear": keys,
            "through_stockade": is_through_stockade(server), "off": server.is_off,
        }));
    }
    for unread in &unread {
        printer.note(&format!(
            "{} is not read: {}",
            unread.file.display(),
            unread.reason
        ));
    }
    if servers.is_empty() {
        printer.line("no client here has an MCP server in its settings");
    }
    printer.json(&documents);
    Ok(ExitCode::SUCCESS)
}

/// Which of the values that a server is given are written down and look like keys.
fn keys_in(server: &Configured, formats: &Formats) -> Vec<String> {
    let given = server.given.iter();
    let keys = given.filter(|(_, value)| !formats.find(value.as_bytes()).is_empty());
    keys.map(|(name, _)| name.clone()).collect()
}

fn is_through_stockade(server: &Configured) -> bool {
    let mut words = server.argv.iter();
    let program = words.next().map(std::path::Path::new);
    let is_ours = program.and_then(|program| program.file_name()?.to_str()) == Some("stockade");
    is_ours && words.next().is_some_and(|verb| verb == "mcp")
}

fn show(server: &Configured, keys: &[String], printer: Printer) {
    let line = |text: &str| visible::line(text.as_bytes());
    let off = if server.is_off { ", off" } else { "" };
    let name = printer.paint(Tone::Notice, &line(&server.name));
    let file = line(&server.file.to_string_lossy());
    printer.line(&format!("{name}  {} ({file}{off})", server.client));
    printer.line(&format!("  starts   {}", line(&server.argv.join(" "))));
    for key in keys {
        let key = line(key);
        printer.line(&format!(
            "  key      {key} is written there in clear; `stockade secret add` keeps it"
        ));
    }
    if let Some(why) = unpinned(&server.argv) {
        printer.line(&format!("  S02      {}", line(&why)));
    }
    if is_through_stockade(server) {
        printer.line("  runs through Stockade");
    } else if !server.argv.is_empty() {
        printer.line(&format!("  approve  {}", line(&approval(server))));
    }
}

/// The words that would approve it.
fn approval(server: &Configured) -> String {
    let mut words = vec!["stockade mcp add".to_owned(), quoted(&server.name)];
    let is_remote = remote(&server.argv).is_some();
    if !is_remote {
        words.extend(
            server
                .given
                .iter()
                .map(|(name, _)| format!("--env {}", quoted(name))),
        );
    }
    words.push("--".to_owned());
    words.extend(server.argv.iter().map(|word| quoted(word)));
    if is_remote {
        // A value is nobody's business here: a variable has it.
        let headers = server
            .given
            .iter()
            .map(|(name, _)| format!("{name}: ${{VARIABLE}}"));
        words.extend(headers.map(|header| quoted(&header)));
    }
    words.join(" ")
}

/// `word` as a shell reads it as one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
