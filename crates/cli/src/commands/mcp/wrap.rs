//! `stockade mcp wrap`: a server for an MCP client.

use std::{io, os::fd::AsFd, process::ExitCode};

use stockade_mcp::Seen;
use stockade_supervisor::mcp::{FirewallProcess, FirewallSettings, Told};

use super::{Place, packages::unpinned, settings, trust};
use crate::{
    arguments::Wrap,
    commands::secret::unlock::given_passphrase,
    failure::{Failure, Kind},
    host,
    print::Printer,
};

pub(super) fn run(place: &Place, wrap: &Wrap, printer: Printer) -> Result<ExitCode, Failure> {
    printer.needs_no_json("what a client reads is MCP", "stockade mcp ls --json")?;
    let (launch, settings) = match &wrap.name {
        Some(name) => {
            let lock = place.read()?;
            let entry = place.entry(&lock, name)?;
            trust::require(place, name, entry)?;
            is_as_approved(place, name, &entry.launch)?;
            let settings = settings(entry).judged(&host::host()?, name);
            (entry.launch.clone(), settings)
        }
        None if wrap.first_use => {
            let launch = place.launch(&wrap.command, &wrap.shown, printer)?;
            (launch, FirewallSettings::default())
        }
        None => {
            let failure = Failure::new(Kind::Usage, "no server is named");
            return Err(failure
                .hint("an approved one by its name: stockade mcp wrap NAME (stockade mcp ls)")
                .hint("without approval: stockade mcp wrap --first-use -- PROGRAM …"));
        }
    };
    if let Some(why) = unpinned(&wrap.command) {
        printer.note(&format!(
            "stockade: S02: {why}; the newest runs, which may be another tomorrow"
        ));
    }
    let mut boxed = place.boxed(&launch, given_passphrase)?;
    let (errors, shown) = super::errors()?;
    let server = boxed.start(&errors)?;
    let client = (io::stdin(), io::stdout());
    let client = (client.0.as_fd(), client.1.as_fd());
    let mut firewall = FirewallProcess::serve(&settings, client, &server)?;
    drop(server);
    while let Some(told) = firewall.hear()? {
        match told {
            Told::Seen(all) => all.iter().for_each(|seen| tell(seen, printer)),
            Told::StartAgain => firewall.start_again(&boxed.start(&errors)?)?,
            Told::Sealed | Told::Listed => {}
        }
    }
    let failure = boxed.failure();
    drop((firewall, boxed, errors));
    let _ = shown.join();
    match failure {
        None => Ok(ExitCode::SUCCESS),
        Some(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let failure = Failure::failed(format!("the server cannot be started inside: {error}"));
            Err(failure.hint(
                "as root a server is a user of its own, who has to be allowed to read what it is \
                 shown, and to enter the folder that it is started in",
            ))
        }
        Some(error) => {
            let program = launch.argv.first().map_or("", String::as_str);
            Err(
                Failure::failed(format!("`{program}` cannot be started inside: {error}")).hint(
                    "it sees the system's programs, those on PATH, and what --ro and --rw show it",
                ),
            )
        }
    }
}

/// Refuses a server whose files are not what they were.
pub(super) fn is_as_approved(
    place: &Place,
    name: &str,
    launch: &stockade_mcp::Launch,
) -> Result<(), Failure> {
    let changes = launch.changes(&place.folder, &host::search_path())?;
    if changes.is_empty() {
        return Ok(());
    }
    let reason = format!("R05: {}", changes.join("; "));
    Err(Failure::new(Kind::Refused, reason).hint(format!(
        "look at what changed, then: stockade mcp approve {name}"
    )))
}

/// What a person should know; that a tool is called is nothing new.
fn tell(seen: &Seen, printer: Printer) {
    let line = match seen {
        Seen::Called { .. } | Seen::Opened { .. } => return,
        Seen::Withheld {
            kind,
            name,
            rule,
            reason,
        } => format!(
            "{} is withheld ({rule}): {reason}",
            stockade_mcp::title(*kind, name)
        ),
        Seen::Refused { what, rule, reason } => format!("refused {what} ({rule}): {reason}"),
        Seen::Treated { tool, rule, what } => format!("the result of `{tool}` ({rule}): {what}"),
        Seen::Dropped { from_server, why } => {
            let from = if *from_server { "server" } else { "client" };
            format!("a message of the {from} went nowhere: {why}")
        }
    };
    printer.note(&format!("stockade: {line}"));
}
