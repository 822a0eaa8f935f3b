//! The tools that a project declares: what they are, and a task's for a client outside.

use std::{env, process::ExitCode};

use serde_json::json;
use stockade_supervisor::{ExecRequest, PROJECT_FILE, Project, Stdin, mcp::TOOLS, starters};
use stockade_types::mcp::CLIENT;

use crate::{
    arguments::TaskName,
    commands::exec::{Inside, show},
    failure::{Failure, Kind},
    host,
    print::Printer,
};

/// Joins standard input and output to the tools of a task.
pub(super) fn serve(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    printer.needs_no_json("what a client reads is MCP", "stockade mcp tools --json")?;
    let task = host::find(&host::state()?, name.task.as_deref())?;
    if !task.status.state.is_live() {
        let failure = Failure::new(
            Kind::Refused,
            "the task does not run, and its tools run in it",
        );
        return Err(failure.hint("stockade resume starts it again"));
    }
    let request = ExecRequest {
        argv: [CLIENT, TOOLS].map(str::to_owned).to_vec(),
        stdin: Stdin::Typed,
        leashed: true,
        // It is Stockade's own program; each tool that is called is judged.
        no_policy: true,
        ..ExecRequest::default()
    };
    let mut inside = Inside::ask(&task.directory, request)?;
    let result = show(&mut inside.connection, printer)?;
    Ok(if result.exit == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Lists what the working copy declares, or proposes something.
pub(super) fn list(printer: Printer) -> Result<ExitCode, Failure> {
    let here = env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join(".git").exists());
    let root = root.unwrap_or(&here);
    let project = Project::of_tree(root)?;
    let tools: Vec<_> = project
        .tools
        .iter()
        .map(|(name, tool)| {
            json!({
                "name": name, "about": tool.about, "run": tool.run, "arguments": tool.schema(),
                "network": tool.network, "read_only": tool.read_only, "seconds": tool.seconds,
            })
        })
        .collect();
    for (name, tool) in &project.tools {
        printer.line(&tool.in_words(name));
        printer.line(&format!(
            "  {}",
            stockade_types::visible::line(tool.about.as_bytes())
        ));
    }
    let proposed = project.tools.is_empty().then(|| starters(root)).flatten();
    if project.tools.is_empty() {
        printer.note(&format!(
            "{PROJECT_FILE} declares no tools; agents run commands by a shell"
        ));
    }
    if let Some(proposed) = &proposed {
        printer.note(&format!(
            "These would fit; put what you like of them into {PROJECT_FILE} and commit it:\n"
        ));
        printer.line(proposed.trim_end());
    }
    printer.json(&json!({ "tools": tools, "proposed": proposed }));
    Ok(ExitCode::SUCCESS)
}
