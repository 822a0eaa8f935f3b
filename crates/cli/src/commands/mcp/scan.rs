//! `stockade mcp scan`: what definitions should not say.

use std::process::ExitCode;

use serde_json::json;
use stockade_mcp::{
    Item, LOCK_FILE, body,
    scan::{self, Finding, Weight},
};

use super::{Place, packages::unpinned, sarif, show};
use crate::{
    arguments::{FailOn, Scan},
    failure::{Failure, Kind},
    print::Printer,
};

/// What was found in one server's items.
pub(super) struct Scanned {
    /// The server's name, or its program.
    pub(super) server: String,
    /// The item, as people name it, and what stands for it.
    pub(super) item: String,
    /// Empty where nothing can stand for it.
    pub(super) digest: String,
    pub(super) finding: Finding,
}

pub(super) fn run(place: &Place, scan: &Scan, printer: Printer) -> Result<ExitCode, Failure> {
    let mut count = 0;
    let mut found = Vec::new();
    let mut look = |server: &str, items: &[Item], argv: &[String]| {
        count += items.len();
        found.extend(items.iter().flat_map(|item| scanned(server, item)));
        found.extend(package(server, argv));
    };
    if scan.command.is_empty() {
        let lock = place.read()?;
        for name in &scan.names {
            place.entry(&lock, name)?;
        }
        if lock.servers.is_empty() {
            let reason = format!(
                "{} has no server to scan",
                place.folder.join(LOCK_FILE).display()
            );
            return Err(Failure::new(Kind::NotFound, reason)
                .hint("stockade mcp scan -- PROGRAM … starts one in a sandbox"));
        }
        let chosen =
            |name: &str| scan.names.is_empty() || scan.names.iter().any(|wanted| wanted == name);
        for (name, entry) in lock.servers.iter().filter(|(name, _)| chosen(name)) {
            let mut items = Vec::new();
            for pinned in &entry.items {
                let kept = body(&place.folder, pinned).ok_or_else(|| {
                    let title = stockade_mcp::title(pinned.kind, &pinned.name);
                    Failure::failed(format!(
                        "what was approved of {title} is not kept beside the lock"
                    ))
                    .hint(format!("stockade mcp diff {name}"))
                })?;
                items.push(Item {
                    kind: pinned.kind,
                    name: pinned.name.clone(),
                    body: kept.into(),
                });
            }
            look(name, &items, &entry.launch.argv);
        }
    } else {
        let launch = place.launch(&scan.command, &scan.shown, printer)?;
        let listed = place.listed(&launch)?;
        let server = scan.command.join(" ");
        look(&server, &listed.catalogue.items, &scan.command);
    }
    for one in &found {
        show::findings(&one.item, std::slice::from_ref(&one.finding), printer);
    }
    printer.line(&format!("{} findings in {count} items", found.len()));
    let findings: Vec<_> = found.iter().map(|one| json!({
        "server": one.server, "item": one.item, "digest": one.digest, "finding": one.finding,
    })).collect();
    printer.json(&json!({ "items": count, "findings": findings }));
    if let Some(path) = &scan.sarif {
        let lock = place.folder.join(LOCK_FILE);
        let text = serde_json::to_string_pretty(&sarif::report(&found, &lock)).unwrap_or_default();
        std::fs::write(path, text)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    }
    let least = match scan.fail_on {
        FailOn::Note => Weight::Note,
        FailOn::Ask => Weight::Ask,
        FailOn::Block => Weight::Block,
    };
    let heavy = found.iter().any(|one| one.finding.weight >= least);
    Ok(if heavy {
        ExitCode::from(Kind::Refused as u8)
    } else {
        ExitCode::SUCCESS
    })
}

fn scanned(server: &str, item: &Item) -> Vec<Scanned> {
    let digest = item
        .digest()
        .map(|digest| digest.to_string())
        .unwrap_or_default();
    let found = scan::scan(item).into_iter();
    found
        .map(|finding| Scanned {
            server: server.to_owned(),
            item: item.title(),
            digest: digest.clone(),
            finding,
        })
        .collect()
}

/// A package that is run without a version.
fn package(server: &str, argv: &[String]) -> Option<Scanned> {
    let detail = unpinned(argv)?;
    Some(Scanned {
        server: server.to_owned(),
        item: "launch".to_owned(),
        digest: String::new(),
        finding: Finding {
            rule: "S02",
            weight: Weight::Ask,
            place: "/launch/argv".to_owned(),
            detail,
        },
    })
}
