//! Clients of many kinds work in a task as they are: no proxy, no switch.

mod client_kinds;
mod host;

use std::{io::Write, path::Path};

use crate::{
    client_kinds::{CLIENTS, VARIABLES},
    host::{Host, PATH, server::Server, skip},
};

/// What a shell exits with where a client is not installed.
const MISSING: i64 = 77;

#[test]
fn g2_clients_of_every_kind_reach_an_allowed_host_as_they_are() {
    let mut host = Host::new();
    let place = client_kinds::install(&host);
    // The tests' own cargo, which is not where others are.
    if let Some(cargo) = std::env::var_os("CARGO")
        && let Some(folder) = Path::new(&cargo).parent()
    {
        host.set("PATH", format!("{}:{PATH}", folder.display()));
    }
    let server = Server::start("web.test");
    let mut words = vec!["--service", &server.service, "--allow", "ANY web.test"];
    words.push("--yes");
    let place = place.map(|place| place.to_str().unwrap().to_owned());
    if let Some(place) = &place {
        words.extend(["--ro", place]);
    }
    let task = host.start_with(&words, "sleep 1800");
    let place = place.unwrap_or_default();

    let mut table = Vec::new();
    let mut failed = Vec::new();
    for client in CLIENTS {
        let script = format!(
            "C={place}; {VARIABLES}; ({}) >/dev/null 2>&1 || exit {MISSING}; \
             asks() {{\n{}\n}}; export -f asks; timeout 20 bash -c asks 2>&1",
            client.installed, client.asks
        );
        let (code, printed) = host.exec(&task, &script);
        let asked = format!("/{}", client.name);
        let reached = server.lines().iter().any(|line| {
            let rest = line.split_once(&asked).map(|(_, rest)| rest);
            rest.is_some_and(|rest| rest.starts_with(['/', '?', ' ']))
        });
        let outcome = match (code, reached) {
            (MISSING, _) => {
                skip(client.name, "it is not installed");
                continue;
            }
            (_, true) => "works",
            (_, false) => "FAILS",
        };
        table.push(format!("{:<22}{outcome}", client.name));
        if !reached {
            failed.push((client.name, printed));
        }
    }
    let _ = writeln!(std::io::stderr(), "{}", table.join("\n"));
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(!table.is_empty());
}
