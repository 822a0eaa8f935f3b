//! `stockade secret`: which secrets there are, where they come from, where they
//! may stand. No value is ever printed, nor taken from an argument.

use std::{path::Path, process::ExitCode};

use serde_json::json;
use stockade_supervisor::{Connection, PLAN, Plan, Request, slot};
use stockade_types::Redacted;
use stockade_vault::{Binding, Catalogue, Entry, SecretName, Shape, Source, check_value};

use crate::{
    arguments::{AddSecret, BindSecret, NamedSecret, Secret, UnbindSecret},
    commands::secret::unlock::{environment, new_passphrase, passphrase, value},
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

mod import;
pub(super) mod unlock;

pub(crate) fn run(verb: &Secret, printer: Printer) -> Result<ExitCode, Failure> {
    match verb {
        Secret::Add(add) => self::add(add, printer),
        Secret::Import(import) => import::run(import, printer),
        Secret::Bind(bind) => self::bind(bind, printer),
        Secret::Unbind(unbind) => self::unbind(unbind, printer),
        Secret::Ls => list(printer),
        Secret::Rm(named) => remove(named, printer),
        Secret::Test(named) => test(named, printer),
    }
}

fn add(arguments: &AddSecret, printer: Printer) -> Result<ExitCode, Failure> {
    let folder = host::config_folder()?;
    let name = &arguments.name;
    if arguments.ttl.is_some() && !arguments.from.is_asked() {
        let message = "--ttl says how often a command or Vault is asked; this source is neither";
        return Err(Failure::new(Kind::Usage, message));
    }
    if arguments.identity.is_some() && arguments.from != Source::File {
        let message = "--identity locks the encrypted file; this source is another one";
        return Err(Failure::new(Kind::Usage, message));
    }
    let catalogue = Catalogue::read(&folder)?;
    if catalogue.get(name).is_ok() {
        return Err(stockade_vault::VaultError::Exists(name.clone()).into());
    }
    let mut stored = None;
    let shape = match &arguments.from {
        Source::File => {
            let value = check_value(name, value(name)?)?;
            let shape = Shape::of(value.expose());
            stored = Some(value);
            Some(shape)
        }
        Source::Env(variable) if std::env::var_os(variable).is_none() => None,
        source => {
            let value = had(source, name)?;
            value.map(|value| Shape::of(value.expose()))
        }
    };
    if shape.is_none() {
        printer.note(&format!(
            "{} is not set here, so that nothing is known of how its value looks",
            arguments.from
        ));
    }
    let entry = Entry {
        ttl_seconds: arguments.ttl,
        ..Entry::new(arguments.from.clone(), shape.unwrap_or_default())
    };
    Catalogue::change(&folder, |catalogue| {
        if let Some(value) = stored {
            keep(
                catalogue,
                arguments.identity.as_deref(),
                [(name.clone(), value)],
            )?;
        }
        Ok::<_, Failure>(catalogue.add(name.clone(), entry)?)
    })?;
    printer.line(&format!(
        "{} is added; say where it may stand:",
        printer.paint(Tone::Strong, name.as_str())
    ));
    printer.line(&format!(
        "  stockade secret bind {name} --host HOST --header Authorization='Bearer {{}}' --env VARIABLE"
    ));
    printer.json(&json!({ "added": name, "source": arguments.from }));
    Ok(ExitCode::SUCCESS)
}

/// Puts values into the store, which is made with the first ones.
fn keep(
    catalogue: &mut Catalogue,
    identity: Option<&Path>,
    values: impl IntoIterator<Item = (SecretName, Redacted<String>)>,
) -> Result<(), Failure> {
    if let Some(identity) = identity {
        let identity = std::fs::canonicalize(identity).map_err(|error| {
            Failure::failed(format!("{}: {error}", identity.display()))
                .hint("age-keygen -o FILE makes one")
        })?;
        if catalogue.store().exists() && catalogue.identity() != Some(&identity) {
            let message = "the encrypted file is there already, and locked in another way";
            return Err(
                Failure::new(Kind::Refused, message).hint("leave --identity out to add to it")
            );
        }
        catalogue.set_identity(Some(identity));
    }
    let store = catalogue.store();
    let key = store.key(|store| {
        if store.exists() {
            passphrase(store)
        } else {
            new_passphrase(store)
        }
    })?;
    Ok(store.put(&key, values)?)
}

fn bind(arguments: &BindSecret, printer: Printer) -> Result<ExitCode, Failure> {
    let slot = arguments
        .slot()
        .ok_or_else(|| Failure::new(Kind::Usage, "say in which place it may stand"))?;
    let binding = Binding {
        host: arguments.host.clone(),
        port: arguments.port,
        methods: arguments.method.clone(),
        path: arguments.path.clone(),
        slot,
        env: arguments.env.clone(),
        agent: arguments.agent.map(|agent| agent.to_string()),
    };
    self::slot(&binding).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
    if let Some(variable) = &arguments.env {
        check_variable(variable)?;
    }
    let name = &arguments.name;
    Catalogue::change(&host::config_folder()?, |catalogue| {
        let bindings = &mut catalogue.get_mut(name)?.bindings;
        if !bindings.contains(&binding) {
            bindings.push(binding.clone());
        }
        Ok::<_, Failure>(())
    })?;
    printer.line(&format!(
        "{} may stand in {binding}, in tasks that start from now on",
        printer.paint(Tone::Strong, name.as_str())
    ));
    printer.note(&format!(
        "the host itself must be allowed too: stockade run --allow '{}' …",
        binding.requests()
    ));
    printer.json(&json!({ "bound": name, "binding": binding }));
    Ok(ExitCode::SUCCESS)
}

/// A placeholder must not take the place of a variable by which programs are
/// found or loaded.
fn check_variable(name: &str) -> Result<(), Failure> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let kept = ["PATH", "HOME", "SHELL", "USER", "LOGNAME", "TMPDIR", "TERM"];
    let is_name = !name.is_empty()
        && name.bytes().all(plain)
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if is_name
        && !kept.contains(&name)
        && !["STOCKADE_", "LD_"]
            .iter()
            .any(|start| name.starts_with(start))
    {
        return Ok(());
    }
    let message = format!("`{name}` cannot hold a placeholder");
    Err(Failure::new(Kind::Usage, message).hint("name a variable such as GH_TOKEN"))
}

fn unbind(arguments: &UnbindSecret, printer: Printer) -> Result<ExitCode, Failure> {
    let UnbindSecret { name, host } = arguments;
    let gone = Catalogue::change(&host::config_folder()?, |catalogue| {
        let bindings = &mut catalogue.get_mut(name)?.bindings;
        let before = bindings.len();
        bindings.retain(|binding| binding.host != *host);
        Ok::<_, Failure>(before - bindings.len())
    })?;
    if gone == 0 {
        let message = format!("`{name}` is not bound to {host}");
        return Err(Failure::new(Kind::NotFound, message).hint("stockade secret ls shows bindings"));
    }
    let tasks = take_back(name)?;
    printer.line(&format!("{name} is not bound to {host} any more"));
    told(name, &tasks, printer);
    printer.json(&json!({ "unbound": name, "host": host, "taken_back_from": tasks }));
    Ok(ExitCode::SUCCESS)
}

fn remove(named: &NamedSecret, printer: Printer) -> Result<ExitCode, Failure> {
    let name = &named.name;
    let folder = host::config_folder()?;
    let removed = Catalogue::change(&folder, |catalogue| {
        Ok::<_, Failure>(catalogue.remove(name)?)
    })?;
    // First of all it is used no more; only then somebody may be asked.
    let tasks = take_back(name)?;
    printer.line(&format!("{name} is removed"));
    told(name, &tasks, printer);
    if removed.source == Source::File {
        let forgotten = Catalogue::change(&folder, |catalogue| {
            let store = catalogue.store();
            let key = store.key(passphrase)?;
            Ok::<_, Failure>(store.take_out(&key, name)?)
        });
        if let Err(failure) = forgotten {
            printer.note(&format!(
                "its value stays in the encrypted file: {}",
                failure.message
            ));
        }
    }
    printer.json(&json!({ "removed": name, "taken_back_from": tasks }));
    Ok(ExitCode::SUCCESS)
}

/// Takes a secret back from every task that runs with it.
fn take_back(name: &SecretName) -> Result<Vec<String>, Failure> {
    let mut taken = Vec::new();
    let mut failed = None;
    for task in host::tasks(&host::state()?)? {
        if !task.directory.is_locked() {
            continue;
        }
        let plan: Plan = task.directory.read(PLAN)?;
        if !plan.all_secrets().any(|secret| secret.bound.name == *name) {
            continue;
        }
        let request = Request::TakeBack {
            secret: name.clone(),
        };
        match Connection::ask_once(&task.directory, &request) {
            Ok(_) => taken.push(task.status.slug),
            // It may just have ended.
            Err(_) if !task.directory.is_locked() => {}
            Err(error) => {
                failed = Some(
                    Failure::failed(format!("{} may still use it: {error}", task.status.slug))
                        .hint(format!("stockade stop {}", task.status.slug)),
                );
            }
        }
    }
    failed.map_or(Ok(taken), Err)
}

fn told(name: &SecretName, tasks: &[String], printer: Printer) {
    for task in tasks {
        printer.line(&format!("{task} uses {name} no more"));
    }
}

fn list(printer: Printer) -> Result<ExitCode, Failure> {
    let catalogue = Catalogue::read(&host::config_folder()?)?;
    for (name, entry) in catalogue.secrets() {
        let ttl = entry.ttl_seconds.map(|ttl| format!(", every {ttl} s"));
        printer.line(&format!(
            "{}  {}{}",
            printer.paint(Tone::Strong, name.as_str()),
            entry.source,
            ttl.unwrap_or_default()
        ));
        for binding in &entry.bindings {
            let known = binding.env.as_deref().map(|name| format!(", as {name}"));
            let agent = binding.agent.as_deref().map(|name| format!(", for {name}"));
            printer.line(&format!(
                "  {binding}{}{}",
                known.unwrap_or_default(),
                agent.unwrap_or_default()
            ));
        }
        if entry.bindings.is_empty() {
            printer.line("  bound to nothing yet");
        }
    }
    if catalogue.secrets().is_empty() {
        printer.line("there is no secret; stockade secret add NAME makes one");
    }
    let table = catalogue.secrets().iter().map(|(name, entry)| {
        json!({ "name": name, "source": entry.source, "ttl_seconds": entry.ttl_seconds, "bindings": entry.bindings })
    });
    printer.json(&table.collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}

/// The value that `source` tells, if it is asked. One that was made for this is given
/// back at once.
fn had(source: &Source, name: &SecretName) -> Result<Option<Redacted<String>>, Failure> {
    let environment = environment();
    let value = source.read(name, &environment)?;
    if let Some(value) = &value {
        source.give_back(name, value, &environment)?;
    }
    Ok(value)
}

fn test(named: &NamedSecret, printer: Printer) -> Result<ExitCode, Failure> {
    let name = &named.name;
    let catalogue = Catalogue::read(&host::config_folder()?)?;
    let entry = catalogue.get(name)?;
    let value = if let Some(value) = had(&entry.source, name)? {
        value
    } else {
        let store = catalogue.store();
        let key = store.key(passphrase)?;
        let mut values = store.values(&key, std::slice::from_ref(name))?;
        values.remove(name).unwrap_or_default()
    };
    let length = value.expose().len();
    printer.line(&format!("{name} can be had: {length} characters"));
    let shape = Shape::of(value.expose());
    if shape != entry.shape {
        printer.note(
            "it looks otherwise than when it was added; new tasks get placeholders that look alike",
        );
        Catalogue::change(&host::config_folder()?, |catalogue| {
            catalogue.get_mut(name)?.shape = shape;
            Ok::<_, Failure>(())
        })?;
    }
    printer.json(&json!({ "name": name, "available": true, "length": length }));
    Ok(ExitCode::SUCCESS)
}
