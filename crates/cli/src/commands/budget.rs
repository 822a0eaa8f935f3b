//! `stockade budget`: what tasks have spent, and a higher cap for one.

use std::{fmt::Write as _, process::ExitCode};

use serde_json::json;
use stockade_budget::{Ledger, Line};
use stockade_supervisor::{Answer, Connection, Request, raise as raise_ended, raised};
use stockade_types::EventKind;

use crate::{
    arguments::{Budget, BudgetChange, Raise, TaskName},
    commands::work,
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

pub(crate) fn run(arguments: &Budget, printer: Printer) -> Result<ExitCode, Failure> {
    match &arguments.change {
        Some(BudgetChange::Raise(more)) => raise(more, printer),
        Some(BudgetChange::Reset(task)) => reset(task, printer),
        None => report(arguments, printer),
    }
}

fn report(arguments: &Budget, printer: Printer) -> Result<ExitCode, Failure> {
    let ledger = Ledger::open(&host::state()?.ledger()).map_err(Failure::failed)?;
    let group = arguments.by.group();
    let lines = ledger.report(group, arguments.since.as_deref());
    let lines = lines.map_err(Failure::failed)?;
    printer.json(&json!({ "by": group.name(), "lines": lines }));
    if arguments.csv {
        printer.text(csv(group.name(), &lines).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    if lines.is_empty() {
        printer.line("nothing was spent");
    }
    for line in &lines {
        printer.line(&row(line, printer));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(line: &Line, printer: Printer) -> String {
    let guessed = if line.estimated.picos() > 0 {
        format!(", {:.4} of it a guess", line.estimated)
    } else {
        String::new()
    };
    let name = if line.name.is_empty() {
        "(not known)"
    } else {
        &line.name
    };
    format!(
        "{}  {:.4}  {} requests, {} tokens, {} turns, {} commands, {} subagents{}",
        printer.paint(Tone::Strong, &format!("{name:<16}")),
        line.cost,
        line.requests,
        line.usage.tokens(),
        line.turns,
        line.commands,
        line.subagents,
        printer.paint(Tone::Notice, &guessed)
    )
}

/// RFC 4180, but for its line ends; money in dollars.
fn csv(column: &str, lines: &[Line]) -> String {
    let mut text = format!(
        "{column},requests,turns,commands,subagents,input,cache_read,cache_write,\
         cache_write_hour,output,cost,estimated\n"
    );
    let dollars = |money: stockade_types::Money| money.to_string().replace('$', "");
    for line in lines {
        let usage = &line.usage;
        // A name that a spreadsheet would take for a formula is quoted as text.
        let name = line.name.replace('"', "\"\"");
        let guard = if name.starts_with(['=', '+', '-', '@']) {
            "'"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "\"{guard}{name}\",{},{},{},{},{},{},{},{},{},{},{}",
            line.requests,
            line.turns,
            line.commands,
            line.subagents,
            usage.input,
            usage.cache_read,
            usage.cache_write,
            usage.cache_write_hour,
            usage.output,
            dollars(line.cost),
            dollars(line.estimated)
        );
    }
    text
}

/// Lets an agent go on that a breaker has stopped. One that has ended begins anew
/// when it is started again.
fn reset(task: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, task.task.as_deref())?;
    if !task.directory.is_locked() {
        let failure = Failure::new(Kind::Conflict, "the task does not run");
        let command = format!("stockade resume {} --prompt \"…\"", task.status.slug);
        return Err(failure.hint(command));
    }
    Connection::ask_once(&task.directory, &Request::Reset)?;
    printer.json(&json!({ "task": task.status.id, "reset": "breakers" }));
    printer.line(&format!("{} may go on", task.status.slug));
    Ok(ExitCode::SUCCESS)
}

fn raise(arguments: &Raise, printer: Printer) -> Result<ExitCode, Failure> {
    let Some((unit, more)) = arguments.amount() else {
        let failure = Failure::new(Kind::Usage, "say which task, and by how much");
        return Err(failure.hint("stockade budget raise TASK '$1'"));
    };
    let task = host::find(&host::state()?, arguments.task.task.as_deref())?;
    let cap = if task.directory.is_locked() {
        let request = Request::Raise { unit, more };
        match Connection::ask_once(&task.directory, &request)? {
            Answer::Raised { cap } => cap,
            _ => return Err(Failure::failed("the task answered something else")),
        }
    } else {
        let by = Some(rustix::process::getuid().as_raw());
        work::record(&task.directory, EventKind::Budget, raised(unit, more, by))?;
        raise_ended(&task.directory, unit, more)?
    };
    printer.json(&json!({ "task": task.status.id, "unit": unit, "cap": unit.show(cap) }));
    printer.line(&format!(
        "{} may use {} of {}",
        task.status.slug,
        printer.paint(Tone::Strong, &unit.show(cap)),
        unit.name()
    ));
    Ok(ExitCode::SUCCESS)
}
