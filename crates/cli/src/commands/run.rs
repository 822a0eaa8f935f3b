//! `stockade run`: contract, workspace, sandbox, agent.

use std::process::ExitCode;

use serde_json::{Value, json};
use stockade_agents::{AgentError, AgentKind};
use stockade_supervisor::{
    Assurance, ExtraPaths, Host, Plan, Prepared, Runs, STATUS, SupervisorError, TaskStatus, Times,
    Wish, begin, gateway::Keys, prepare, unlock,
};
use stockade_types::Denial;
use stockade_workspace::BackEnd;

use crate::{
    arguments::{BackEndName, Level, Recorded, Run, Switch},
    commands::{
        mcp,
        secret::unlock::{environment, passphrase},
        watch,
    },
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
    terminal,
};

pub(crate) fn run(arguments: &Run, printer: Printer) -> Result<ExitCode, Failure> {
    if arguments.interactive && !arguments.detach {
        printer.needs_no_json(
            "what a terminal shows is no document",
            "with --detach the task starts, and `stockade attach` shows its terminal",
        )?;
    }
    let host = host::host()?;
    let mut wish = wish(arguments)?;
    let all = arguments.command.is_empty() && !arguments.no_mcp;
    wish.mcp = mcp::of_task::wanted(&arguments.folder, &arguments.mcp, all, printer)?;
    let prepared = prepare(&host, &wish).map_err(missing_agent)?;
    let keys = keys(&host, &prepared)?;
    agree(&host, &prepared, arguments.yes, printer)?;
    let times = begin(&host, &prepared, &keys)?;
    let document = announce(&prepared, times, printer);
    if arguments.detach {
        printer.json(&document);
        return Ok(ExitCode::SUCCESS);
    }
    if printer.is_json() {
        return watch::outcome(&prepared.task, document, printer);
    }
    watch::follow(&prepared.task, printer)
}

fn wish(arguments: &Run) -> Result<Wish, Failure> {
    let interactive = arguments.interactive;
    let runs = match (arguments.words.as_slice(), arguments.command.as_slice()) {
        ([], []) => {
            return Err(Failure::new(
                Kind::Usage,
                "say what to run: an agent and a prompt, or a command after `--`",
            )
            .hint("stockade run codex \"make the failing test pass\"")
            .hint("stockade run -- make test"));
        }
        ([], command) => Runs::Command {
            argv: command.to_vec(),
            terminal: interactive,
        },
        ([agent, rest @ ..], []) => {
            let kind = agent.parse::<AgentKind>().map_err(|error| {
                Failure::new(Kind::Usage, error.to_string())
                    .hint("any other program runs after `--`: stockade run -- PROGRAM ARGUMENTS")
            })?;
            let prompt = rest.first().cloned();
            if prompt.is_none() && !interactive {
                return Err(
                    Failure::new(Kind::Usage, format!("say what {agent} shall do"))
                        .hint(format!(
                            "stockade run {agent} \"make the failing test pass\""
                        ))
                        .hint(format!("stockade run {agent} --interactive")),
                );
            }
            Runs::Agent {
                kind,
                prompt,
                interactive,
            }
        }
        _ => {
            return Err(Failure::new(
                Kind::Usage,
                "give an agent or a command after `--`, not both",
            ));
        }
    };
    let model_url = arguments
        .model_url
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|error| Failure::new(Kind::Usage, format!("--model-url: {error}")))?;
    Ok(Wish {
        base: Some(arguments.base.clone()).filter(|base| base != "HEAD"),
        with_dirty: arguments.with_dirty,
        name: arguments.name.clone(),
        model: arguments.model.clone(),
        model_url,
        cap: arguments.spending.cap(),
        network: arguments.network.wish(),
        secrets: arguments.secrets.wanted(),
        extra: ExtraPaths {
            read: arguments.ro.clone(),
            write: arguments.rw.clone(),
            hide: arguments.hide.clone(),
            caches: arguments.cache.clone(),
            ..ExtraPaths::default()
        },
        forget_extra: arguments.forget_paths,
        memory_bytes: arguments.memory,
        disk_bytes: arguments.quota.map(|quota| quota.bytes),
        own_disk: arguments.quota.is_some_and(|quota| quota.hard),
        processor_hundredths: arguments.cpus,
        require: arguments.require.map(assurance),
        accept: arguments.accept.map(assurance),
        nested: arguments.nested,
        record_programs: arguments.record.contains(&Recorded::Exec),
        hooks: arguments.hooks.map(|switch| switch == Switch::On),
        back_end: match arguments.backend {
            BackEndName::Auto => None,
            BackEndName::Overlay => Some(BackEnd::Overlay),
            BackEndName::Checkout => Some(BackEnd::Checkout),
            BackEndName::Btrfs => Some(BackEnd::Btrfs),
        },
        ..Wish::new(arguments.folder.clone(), runs, arguments.wall)
    })
}

fn assurance(level: Level) -> Assurance {
    match level {
        Level::Weak => Assurance::Weak,
        Level::Reduced => Assurance::Reduced,
        Level::Full => Assurance::Full,
    }
}

fn missing_agent(error: SupervisorError) -> Failure {
    match error {
        SupervisorError::Agent(error) => {
            let kind = match error {
                AgentError::NotFound { .. } => Kind::NotFound,
                AgentError::CommandMissing => Kind::Usage,
                _ => Kind::Failed,
            };
            Failure::new(kind, error.to_string())
        }
        other => other.into(),
    }
}

/// The keys that the task needs, from the caller's environment, and its secrets
/// from where they are.
fn keys(host: &Host, prepared: &Prepared) -> Result<Keys, Failure> {
    let mut keys = model_keys(&prepared.plan)?;
    unlock(
        &prepared.plan,
        &host.catalogue,
        &environment(),
        passphrase,
        &mut keys,
    )?;
    Ok(keys)
}

/// The keys of models that `plan` needs, and what its MCP servers are given, from the
/// caller's environment.
pub(crate) fn model_keys(plan: &Plan) -> Result<Keys, Failure> {
    let keys = Keys::of_models(plan, host::key).map_err(|name| {
        let reason =
            format!("{name} is not set, and a login of the agent's own cannot be used inside");
        Failure::new(Kind::Refused, reason).hint(format!(
            "{}  (it stays outside; the agent gets a placeholder)",
            plan.key_advice(name)
        ))
    });
    let mut keys = keys?;
    for (server, name) in plan.mcp_variables() {
        let value = host::key(name).ok_or_else(|| {
            let reason = format!("{name} is not set, and the MCP server `{server}` is to have it");
            Failure::new(Kind::Refused, reason)
        })?;
        keys.add_variable(name, value);
    }
    Ok(keys)
}

/// Shows the contract; a wider one than last time needs a yes.
fn agree(host: &Host, prepared: &Prepared, yes: bool, printer: Printer) -> Result<(), Failure> {
    let contract = &prepared.plan.contract;
    printer.note(&contract.render());
    for note in &prepared.notes {
        printer.note(&format!("  note        {note}"));
    }
    let widening = prepared.widening(&host.state);
    for line in widening.granted.iter().chain(&widening.lowered) {
        let line = printer.paint(Tone::Notice, line);
        printer.note(&format!("  wider       {line}"));
    }
    let asks = widening.unaccepted();
    if !asks.is_empty() && !yes && !confirm("This is more than last time. Type `yes` to go on: ") {
        let denial = Denial {
            what: "start a task".to_owned(),
            rule: "contract.wider".to_owned(),
            reason: format!("{}.", asks.join("; ")),
            instead: None,
            allow: Some("the same command with --yes".to_owned()),
        };
        let reason = "the contract is wider than the last one";
        let refused = Failure::refused(reason, Some(Box::new(denial)))
            .hint(asks.join("; "))
            .hint("accept it with --yes");
        return Err(match widening.level {
            Some(level) => refused.hint(format!("a lower level alone: --accept {}", level.name())),
            None => refused,
        });
    }
    Ok(prepared.agree(&host.state)?)
}

/// Asks at the caller's own terminal; without one the answer is no.
pub(crate) fn confirm(question: &str) -> bool {
    if !terminal::is_interactive() {
        return false;
    }
    // What was typed before the question was read is no answer to it.
    let _ = rustix::termios::tcflush(
        rustix::stdio::stdin(),
        rustix::termios::QueueSelector::IFlush,
    );
    let _ = rustix::io::write(rustix::stdio::stderr(), question.as_bytes());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}

/// Says what was started; returns it as a document.
fn announce(prepared: &Prepared, times: Times, printer: Printer) -> Value {
    let status = &prepared.status;
    let made = times.made;
    let (tree, start) = (
        made.tree.as_secs_f64() * 1e3,
        times.start.as_secs_f64() * 1e3,
    );
    if made.brought + made.hidden > 0 {
        printer.note(&format!(
            "  brought     {} files that are not committed, {} of them hidden",
            made.brought + made.hidden,
            made.hidden
        ));
    }
    printer.note(&format!(
        "{} {}  workspace {tree:.0} ms, running after {start:.0} ms",
        printer.paint(Tone::Strong, &status.slug),
        status.id
    ));
    // Which ports were free is known only now.
    let published = prepared.task.read::<TaskStatus>(STATUS);
    let published = published.map(|status| status.published).unwrap_or_default();
    for port in &published {
        printer.note(&format!("  published   {port}"));
    }
    json!({
        "task": status.id,
        "slug": status.slug,
        "published": published,
        "contract": prepared.plan.contract,
        "notes": prepared.notes,
        "back_end": made.back_end,
        "workspace_ms": tree,
        "running_after_ms": start,
    })
}
