//! `stockade approver`: whose answers count.

use std::{fs, path::Path, process::ExitCode};

use serde_json::json;
use stockade_approval::{Approvers, LocalKey, PublicKey};

use crate::{
    arguments::Approver,
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

pub(crate) fn run(verb: &Approver, printer: Printer) -> Result<ExitCode, Failure> {
    match verb {
        Approver::Add { name, file } => add(name, file, printer),
        Approver::Ls => list(printer),
        Approver::Rm { name } => remove(name, printer),
    }
}

fn add(name: &str, file: &Path, printer: Printer) -> Result<ExitCode, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::new(Kind::Usage, format!("{}: {error}", file.display()))
    };
    let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let key: PublicKey = text.parse().map_err(|error| wrong(&error))?;
    let file = fs::canonicalize(file).map_err(|error| wrong(&error))?;
    let folder = host::state()?.approvals();
    Approvers::change(&folder, |list| list.add(name, key.clone(), file))?;
    printer.json(&json!({
        "added": name, "key": key.fingerprint(), "presence": key.is_security_key(),
    }));
    printer.line(&format!(
        "{} may approve with {}, {}",
        printer.paint(Tone::Strong, name),
        key.fingerprint(),
        strength(&key)
    ));
    printer.line("from now on the key of this machine approves nothing");
    Ok(ExitCode::SUCCESS)
}

fn list(printer: Printer) -> Result<ExitCode, Failure> {
    let approvers = Approvers::read(&host::state()?.approvals())?;
    let documents = approvers.all().iter().map(|approver| {
        json!({
            "name": approver.name, "key": approver.key, "fingerprint": approver.key.fingerprint(),
            "presence": approver.key.is_security_key(), "file": approver.file,
        })
    });
    printer.json(&documents.collect::<Vec<_>>());
    for approver in approvers.all() {
        let key = &approver.key;
        printer.line(&format!(
            "{:<16}  {}  {}",
            approver.name,
            key.fingerprint(),
            printer.paint(Tone::Faint, strength(key))
        ));
    }
    if approvers.all().is_empty() {
        printer.line(&format!(
            "nobody is enrolled: any program of yours may approve what can be taken back, as \
             `{}`",
            LocalKey::NAME
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(name: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let folder = host::state()?.approvals();
    let keys = Approvers::change(&folder, |list| list.remove(name))?;
    printer.json(&json!({ "removed": name, "keys": keys }));
    printer.line(&format!("{keys} keys of {name} approve nothing any more"));
    Ok(ExitCode::SUCCESS)
}

fn strength(key: &PublicKey) -> &'static str {
    if key.is_security_key() {
        "a security key that shows presence"
    } else {
        "counts as a local process"
    }
}
