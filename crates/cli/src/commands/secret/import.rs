//! `stockade secret import`: what a `.env` file holds becomes secrets.

use std::{io::Read, process::ExitCode};

use serde_json::json;
use stockade_vault::{Catalogue, Entry, SecretName, Shape, Source, check_value, variables};
use zeroize::Zeroizing;

use super::keep;
use crate::{
    arguments::ImportSecrets,
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

/// Larger files hold something else.
const FILE_MAX: u64 = 1 << 20;

pub(super) fn run(arguments: &ImportSecrets, printer: Printer) -> Result<ExitCode, Failure> {
    let path = arguments.file.display();
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("{path}: {error}"));
    let mut text = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(&arguments.file).map_err(|error| failed(&error))?;
    let read = file.take(FILE_MAX).read_to_end(&mut text);
    read.map_err(|error| failed(&error))?;
    let text = std::str::from_utf8(&text).map_err(|error| failed(&error))?;
    let (mut values, mut skipped) = (Vec::new(), Vec::new());
    let folder = host::config_folder()?;
    Catalogue::change(&folder, |catalogue| {
        for (name, value) in variables(text) {
            let usable = name.parse::<SecretName>().and_then(|name| {
                let value = check_value(&name, value.expose().clone())?;
                let shape = Shape::of(value.expose());
                catalogue.add(name.clone(), Entry::new(Source::File, shape))?;
                Ok((name, value))
            });
            match usable {
                Ok(pair) => values.push(pair),
                Err(error) => skipped.push(error.to_string()),
            }
        }
        if values.is_empty() {
            let nothing = Failure::new(Kind::Refused, format!("{path} holds nothing to add"));
            return Err(skipped.iter().fold(nothing, Failure::hint));
        }
        keep(catalogue, arguments.identity.as_deref(), values.clone())
    })?;
    let names: Vec<_> = values.iter().map(|(name, _)| name).collect();
    for name in &names {
        printer.line(&format!(
            "{} is added",
            printer.paint(Tone::Strong, name.as_str())
        ));
    }
    for reason in &skipped {
        printer.note(&format!("left out: {reason}"));
    }
    printer.note(&format!(
        "{path} still holds the values in clear; remove it if nothing needs it"
    ));
    printer.json(&json!({ "added": names, "left_out": skipped }));
    Ok(ExitCode::SUCCESS)
}
