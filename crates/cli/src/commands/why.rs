//! `stockade why`: what a refusal in the record means, and what hides a path.

mod path;

use std::process::ExitCode;

use serde_json::{Value, json};
use stockade_audit::RecordKind;
use stockade_gateway::Looks;
use stockade_types::{Denial, EventKind};

use crate::{
    arguments::{About, Why},
    failure::{Failure, Kind},
    host,
    print::Printer,
};

pub(crate) fn run(arguments: &Why, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, arguments.task.as_deref())?;
    let event = match &arguments.about {
        Some(About::Path(path)) => {
            path::explain(&task, path, printer)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(About::Event(number)) => Some(*number),
        None => None,
    };
    let records = stockade_audit::read(&task.directory.record()).map_err(Failure::failed)?;
    let mut chosen = None;
    for record in records {
        let record = record.map_err(Failure::failed)?;
        let wanted = match event {
            Some(number) => record.seq == number,
            None => match record.kind {
                RecordKind::Event(EventKind::Advice) => record.body["refused"] == true,
                kind => kind == RecordKind::Event(EventKind::Denied),
            },
        };
        if wanted {
            chosen = Some(record);
        }
    }
    let Some(record) = chosen else {
        let message = match event {
            Some(number) => format!("the record of {} has no event {number}", task.status.slug),
            None => format!("nothing was refused in {}", task.status.slug),
        };
        return Err(Failure::new(Kind::NotFound, message));
    };
    let at = record.written_at().map_err(Failure::failed)?;
    printer
        .json(&json!({ "event": record.seq, "at": at, "kind": record.kind, "body": record.body }));
    printer.line(&format!("event {} at {at}", record.seq));
    if record.kind == RecordKind::Event(EventKind::Advice) {
        print_advice(&record.body, printer);
        return Ok(ExitCode::SUCCESS);
    }
    match denial(&record.body) {
        Some(denial) => {
            let card = &record.body["card"];
            // Who owns the host comes first.
            if let Some(domain) = card["domain"].as_str() {
                printer.line(&format!("domain  {domain}"));
            }
            let looks = serde_json::from_value::<Looks>(card.clone()).ok();
            if let Some(mark) = looks.and_then(|looks| looks.mark()) {
                printer.line(&format!("looks   {mark}"));
            }
            print(&denial, printer);
            if let Some(rule) = card["exactly"].as_str() {
                let id = &task.status.id;
                printer.line(&format!("exactly stockade allow '{rule}' --task {id}"));
            }
        }
        None => printer.line(&serde_json::to_string_pretty(&record.body).unwrap_or_default()),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(denial: &Denial, printer: Printer) {
    printer.line(&format!("what    {}", denial.what));
    printer.line(&format!("rule    {}", denial.rule));
    printer.line(&format!("why     {}", denial.reason));
    if let Some(instead) = &denial.instead {
        printer.line(&format!("instead {instead}"));
    }
    let allow = denial.allow.as_deref().unwrap_or("nothing allows it");
    printer.line(&format!("allow   {allow}"));
}

/// What an agent's hook told, and what was said of it.
fn print_advice(body: &Value, printer: Printer) {
    let text = |name: &str| body[name].as_str();
    let line = |label: &str, value: &str| printer.line(&format!("{label:<7} {value}"));
    if let Some(agent) = text("agent") {
        let what = text("what").unwrap_or("make a tool call that is not understood");
        line("what", &format!("{agent} is about to {what}"));
    }
    if let Some(verdict) = text("verdict") {
        line("verdict", verdict);
    }
    for (label, name) in [("rule", "rule"), ("why", "reason"), ("instead", "instead")] {
        if let Some(value) = text(name) {
            line(label, value);
        }
    }
    if let Some(known) = text("known") {
        let advice = "the answer is advice, and the walls go by neither";
        line("known", &format!("{known}; {advice}"));
    }
}

/// The denial in an event's body: as such, or put together from what the
/// gateway notes of a request.
fn denial(body: &Value) -> Option<Denial> {
    let inner = body.get("denial").unwrap_or(body);
    if let Ok(denial) = serde_json::from_value(inner.clone()) {
        return Some(denial);
    }
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let port = body.get("port").and_then(Value::as_u64);
    let where_to = match (text("host"), port) {
        (Some(host), Some(port)) if host.contains(':') => format!(" to [{host}]:{port}"),
        (Some(host), Some(port)) => format!(" to {host}:{port}"),
        (Some(host), None) => format!(" to {host}"),
        (None, _) => String::new(),
    };
    Some(Denial {
        what: match (text("method"), text("path")) {
            (Some(method), Some(path)) => format!("send {method} {path}{where_to}"),
            _ => format!("connect{where_to}"),
        },
        rule: text("rule")?.to_owned(),
        reason: text("reason")?.to_owned(),
        instead: text("instead").map(str::to_owned),
        allow: text("allow").map(str::to_owned),
    })
}
