//! `stockade allow`: what a task that runs may reach from now on.

use std::process::ExitCode;

use serde_json::json;
use stockade_gateway::HostRule;
use stockade_supervisor::{Answer, Connection, Preset, Request};

use crate::{
    arguments::Allow,
    failure::Failure,
    host::{self, Task},
    print::{Printer, Tone},
};

pub(crate) fn run(arguments: &Allow, printer: Printer) -> Result<ExitCode, Failure> {
    if arguments.presets {
        return presets(printer);
    }
    let task = host::find(&host::state()?, arguments.task.as_deref())?;
    match &arguments.rule {
        Some(rule) => allow(&task, rule, arguments.lasting, printer),
        None => list(&task, printer),
    }
}

fn allow(
    task: &Task,
    rule: &HostRule,
    seconds: Option<u64>,
    printer: Printer,
) -> Result<ExitCode, Failure> {
    let request = Request::Allow {
        rule: rule.clone(),
        seconds,
    };
    Connection::ask_once(&task.directory, &request)?;
    let methods = rule.allowed_methods().join(", ");
    let lasting = match seconds {
        Some(seconds) => format!("for {seconds} s"),
        None => "until it ends".to_owned(),
    };
    printer.json(&json!({ "task": task.status.id, "allowed": rule, "seconds": seconds }));
    printer.line(&format!(
        "{} may reach {} by {methods}, {lasting}",
        task.status.slug,
        printer.paint(Tone::Strong, &rule.host.to_string()),
    ));
    if let Some(mark) = rule.host.mark() {
        printer.note(&printer.paint(Tone::Notice, &format!("{}: {mark}", rule.host)));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(task: &Task, printer: Printer) -> Result<ExitCode, Failure> {
    let Answer::Rules { allow, deny } = Connection::ask_once(&task.directory, &Request::Rules)?
    else {
        return Err(Failure::failed("the task answered something else"));
    };
    printer.json(&json!({ "task": task.status.id, "allow": allow, "deny": deny }));
    for shown in &allow {
        let until = shown
            .until
            .as_deref()
            .map(|until| format!("  until {until}"));
        printer.line(&format!(
            "allow  {}{}",
            shown.rule,
            until.unwrap_or_default()
        ));
    }
    for rule in &deny {
        printer.line(&format!("deny   {rule}"));
    }
    if allow.is_empty() && deny.is_empty() {
        printer.line("no rules: nothing is reached but the model");
    }
    Ok(ExitCode::SUCCESS)
}

fn presets(printer: Printer) -> Result<ExitCode, Failure> {
    let mut table = Vec::new();
    for preset in Preset::ALL {
        let rules = preset.rules()?;
        printer.line(&format!(
            "{:<10}  {}",
            printer.paint(Tone::Strong, preset.name()),
            preset.describe()
        ));
        // That of all four would say the same again.
        for rule in rules.iter().filter(|_| preset != Preset::Balanced) {
            printer.line(&format!("            {rule}"));
        }
        table.push(json!({ "name": preset.name(), "what": preset.describe(), "allow": rules }));
    }
    printer.json(&json!(table));
    Ok(ExitCode::SUCCESS)
}
