//! What a person, or a machine without one, gives to open the store.

use std::io::{IsTerminal, Read};

use stockade_types::{Redacted, env};
use stockade_vault::{Environment, SecretName, Store, VaultError};
use zeroize::Zeroizing;

use crate::{
    failure::{Failure, Kind},
    terminal,
};

/// Longer values and passphrases are a mistake.
const INPUT_MAX: u64 = 8 * 1024;

/// The caller's variables, for sources.
pub(crate) fn environment() -> Environment {
    let variables = std::env::vars_os();
    let text = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    text.collect()
}

/// The value of a new secret: typed without echo, or from standard input.
pub(super) fn value(name: &SecretName) -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        return Ok(ask(&format!("Value of {name} (not shown): "))?
            .expose()
            .clone());
    }
    let mut text = Zeroizing::new(Vec::new());
    std::io::stdin().take(INPUT_MAX).read_to_end(&mut text)?;
    let text = std::str::from_utf8(&text).map_err(|_| VaultError::Value(name.clone()))?;
    Ok(text.to_owned())
}

/// The passphrase of the store, from a person or a file.
pub(crate) fn passphrase(store: &Store) -> Result<Redacted<String>, Failure> {
    match passphrase_file()? {
        Some(passphrase) => Ok(passphrase),
        None if terminal::is_there() => ask("Passphrase of your secrets (not shown): "),
        None => Err(VaultError::Locked(store.path().to_owned()).into()),
    }
}

/// The passphrase of the store where nobody can be asked.
pub(crate) fn given_passphrase(store: &Store) -> Result<Redacted<String>, Failure> {
    passphrase_file()?.ok_or_else(|| VaultError::Locked(store.path().to_owned()).into())
}

/// The passphrase of a store that is to be made; a person types it twice.
pub(super) fn new_passphrase(store: &Store) -> Result<Redacted<String>, Failure> {
    if let Some(passphrase) = passphrase_file()? {
        return Ok(passphrase);
    }
    if !terminal::is_there() {
        return Err(Failure::from(VaultError::Locked(store.path().to_owned()))
            .hint("or --identity FILE locks it for an age identity"));
    }
    let once = ask("New passphrase for your secrets (not shown): ")?;
    if once.expose().is_empty() {
        return Err(Failure::new(
            Kind::Refused,
            "an empty passphrase locks nothing",
        ));
    }
    if ask("The same again: ")? != once {
        return Err(Failure::new(Kind::Refused, "the two are not the same"));
    }
    Ok(once)
}

fn ask(question: &str) -> Result<Redacted<String>, Failure> {
    let typed = terminal::ask_hidden(question)?;
    typed.ok_or_else(|| Failure::new(Kind::Refused, "given up"))
}

/// The first line of the file that `STOCKADE_PASSPHRASE_FILE` names.
fn passphrase_file() -> Result<Option<Redacted<String>>, Failure> {
    let Some(path) = std::env::var_os(env::PASSPHRASE_FILE) else {
        return Ok(None);
    };
    let failed = |reason: &dyn std::fmt::Display| {
        let path = path.display();
        Failure::new(
            Kind::Refused,
            format!("{}={path}: {reason}", env::PASSPHRASE_FILE),
        )
    };
    let mut text = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(&path).map_err(|error| failed(&error))?;
    let read = file.take(INPUT_MAX).read_to_end(&mut text);
    read.map_err(|error| failed(&error))?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match std::str::from_utf8(line) {
        Ok(line) if !line.is_empty() => Ok(Some(Redacted::new(line.to_owned()))),
        _ => Err(failed(&"its first line is no passphrase")),
    }
}
