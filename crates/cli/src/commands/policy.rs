//! `stockade policy`: what rules there are, and what they decide.

mod replay;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::json;
use stockade_policy::{
    Decision, Finding, Layer, Source, Surroundings, effects_of_text, effects_of_words,
};
use stockade_supervisor::{Answer, Connection, Request, rules_of_repository};
use stockade_types::{Effect, Verdict};
use stockade_workspace::{Repository, RepositoryError};

use crate::{
    arguments::{Policy, PolicyTest, PolicyVerb, TaskName},
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

pub(crate) fn run(arguments: &Policy, printer: Printer) -> Result<ExitCode, Failure> {
    match &arguments.verb {
        PolicyVerb::Check { files } => check(files, printer),
        PolicyVerb::Test(command) => test(command, printer),
        PolicyVerb::Explain { rule } => explain(rule, printer),
        PolicyVerb::Ls => list(printer),
        PolicyVerb::Replay(arguments) => replay::replay(arguments, printer),
        PolicyVerb::Diff(arguments) => replay::diff(arguments, printer),
        PolicyVerb::Reload(task) => reload(task, printer),
        PolicyVerb::Schema => {
            printer.named_text("schema", &stockade_policy::schema());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The rules in force in the current folder.
fn policy(files: &[PathBuf]) -> Result<stockade_policy::Policy, Failure> {
    rules(Path::new("."), files)
}

/// The rules in force in `folder`, and those in `files` as the user's own.
pub(crate) fn rules(folder: &Path, files: &[PathBuf]) -> Result<stockade_policy::Policy, Failure> {
    let mut sources = host::rules()?;
    for file in files {
        sources.push(Source::of_file(Layer::User, file)?);
    }
    sources.extend(of_repository(folder)?);
    Ok(stockade_policy::Policy::load(&sources)?)
}

/// The rules of the repository around `folder`, as they are at its commit.
fn of_repository(folder: &Path) -> Result<Vec<Source>, Failure> {
    let git = host::git()?;
    let repository = match Repository::discover(&git, folder) {
        Ok(repository) => repository,
        Err(RepositoryError::NotARepository(_) | RepositoryError::Bare(_)) => return Ok(Vec::new()),
        Err(error) => return Err(Failure::failed(error)),
    };
    let commit = match repository.base(&git, None) {
        Ok(commit) => commit,
        Err(RepositoryError::Unborn(_)) => return Ok(Vec::new()),
        Err(error) => return Err(Failure::failed(error)),
    };
    Ok(rules_of_repository(&git, &repository, &commit)?)
}

/// Has a running task judge by the rules of the administrator and the user as they
/// are now.
fn reload(name: &TaskName, printer: Printer) -> Result<ExitCode, Failure> {
    let task = host::find(&host::state()?, name.task.as_deref())?;
    let rules = host::rules()?;
    let answer = Connection::ask_once(&task.directory, &Request::Policy { rules })?;
    let Answer::Policy { policy } = answer else {
        return Err(Failure::failed("the task did not say which rules hold"));
    };
    printer.json(&json!({ "task": task.status.id, "policy": policy }));
    printer.line(&format!(
        "{} judges by {} from now on",
        task.status.slug, policy.digest
    ));
    Ok(ExitCode::SUCCESS)
}

fn check(files: &[PathBuf], printer: Printer) -> Result<ExitCode, Failure> {
    let mut policy = policy(files)?;
    policy.check_examples()?;
    let count = |layer| policy.rules().filter(|rule| rule.layer == layer).count();
    let layers = [Layer::Admin, Layer::User, Layer::Default, Layer::Repository];
    let counted: Vec<_> = layers
        .iter()
        .map(|layer| (layer.name(), count(*layer)))
        .collect();
    let total: usize = counted.iter().map(|(_, count)| count).sum();
    let of: serde_json::Map<_, _> = counted
        .iter()
        .map(|(name, count)| ((*name).to_owned(), json!(count)))
        .collect();
    printer.json(&json!({ "rules": total, "layers": of }));
    let texts: Vec<_> = counted
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    printer.line(&format!(
        "{total} rules hold, and do what their examples say: {}",
        texts.join(", ")
    ));
    Ok(ExitCode::SUCCESS)
}

fn test(command: &PolicyTest, printer: Printer) -> Result<ExitCode, Failure> {
    let policy = policy(&[])?;
    let around = surroundings(&std::env::current_dir()?);
    let effects = match &command.shell {
        Some(text) => effects_of_text(text, &around),
        None => effects_of_words(&command.command, &around),
    };
    let decision = policy.decide(&effects);
    printer.json(&decision);
    show(&decision, printer);
    let refused = decision.verdict >= Verdict::Ask;
    Ok(if refused {
        ExitCode::from(Kind::Refused as u8)
    } else {
        ExitCode::SUCCESS
    })
}

/// `folder`, and the checkout that it is in.
pub(crate) fn surroundings(folder: &Path) -> Surroundings {
    let top = folder
        .ancestors()
        .find(|folder| folder.join(".git").exists());
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Surroundings {
        workspace: text(top.unwrap_or(folder)),
        home: host::home().map_or_else(|| "/nonexistent".to_owned(), |home| text(&home)),
        folder: text(folder),
    }
}

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Allow => Tone::Good,
        Verdict::Contain | Verdict::Ask => Tone::Notice,
        Verdict::Deny => Tone::Bad,
    }
}

fn show(decision: &Decision, printer: Printer) {
    let meaning = match decision.verdict {
        Verdict::Allow => "it may run",
        Verdict::Contain => "it may run, with nothing outward granted to it",
        Verdict::Ask => "a person is asked first",
        Verdict::Deny => "it may not run",
    };
    printer.line(&format!(
        "{}  {meaning}",
        printer.paint(tone(decision.verdict), decision.verdict.name())
    ));
    for finding in &decision.findings {
        show_finding(finding, printer);
    }
}

fn show_finding(finding: &Finding, printer: Printer) {
    printer.line(&format!(
        "\n{}  {}",
        printer.paint(
            tone(finding.verdict),
            &format!("{:<7}", finding.verdict.name())
        ),
        described(&finding.effect)
    ));
    if finding.verdict == Verdict::Allow {
        return;
    }
    if let Some(rule) = finding.rules.first() {
        printer.line(&format!("         rule     {rule}"));
    }
    printer.line(&format!("         why      {}", finding.reason));
    if let Some(instead) = &finding.instead {
        printer.line(&format!("         instead  {instead}"));
    }
}

/// An effect in one line. Its words come from a command: what would hide in them
/// is spelled out.
fn described(effect: &Effect) -> String {
    let visible = |text: &str| stockade_types::visible::line(text.as_bytes());
    let mut text = format!("{} by {}", effect.kind, visible(&effect.program));
    if !effect.target.is_empty() {
        let _ = write!(text, " on {}", visible(&effect.target));
    }
    for mark in &effect.marks {
        let _ = write!(text, " +{mark}");
    }
    text
}

fn explain(name: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let policy = policy(&[])?;
    let Some(rule) = policy.rule(name) else {
        let near = policy.rules().map(|rule| rule.id.as_str());
        let near: Vec<_> = near.filter(|id| shares_a_part(id, name)).take(5).collect();
        let failure = Failure::new(Kind::NotFound, format!("there is no rule `{name}`"));
        return Err(if near.is_empty() {
            failure.hint("`stockade policy ls` lists them")
        } else {
            failure.hint(format!("did you mean {}?", near.join(", ")))
        });
    };
    printer.json(&json!({
        "id": rule.id, "verdict": rule.verdict, "layer": rule.layer, "file": rule.file, "line": rule.line,
        "reason": rule.reason, "instead": rule.instead, "incident": rule.incident, "match": rule.matches,
        "not_match": rule.not_matches, "lifts": rule.lifts, "text": rule.text(),
    }));
    printer.line(&format!(
        "{}  {}  {} {}:{}",
        printer.paint(Tone::Strong, &rule.id),
        printer.paint(tone(rule.verdict), rule.verdict.name()),
        rule.layer.name(),
        rule.file,
        rule.line
    ));
    printer.line(&format!("why       {}", rule.reason));
    let optional = [("instead", &rule.instead), ("incident", &rule.incident)];
    for (name, text) in optional {
        if let Some(text) = text {
            printer.line(&format!("{name:<9} {text}"));
        }
    }
    for example in &rule.matches {
        printer.line(&format!("applies   {example}"));
    }
    for example in &rule.not_matches {
        printer.line(&format!("not to    {example}"));
    }
    printer.line(&format!("\n{}", rule.text()));
    Ok(ExitCode::SUCCESS)
}

fn shares_a_part(id: &str, name: &str) -> bool {
    let parts = |text: &str| -> Vec<String> { text.split(['.', '-']).map(str::to_owned).collect() };
    let of_name = parts(name);
    parts(id)
        .iter()
        .any(|part| part.len() > 2 && of_name.contains(part))
}

fn list(printer: Printer) -> Result<ExitCode, Failure> {
    let policy = policy(&[])?;
    let rules: Vec<_> = policy
        .rules()
        .map(|rule| {
            json!({
                "id": rule.id, "verdict": rule.verdict, "layer": rule.layer, "reason": rule.reason,
                "file": rule.file, "line": rule.line,
            })
        })
        .collect();
    printer.json(&json!({ "rules": rules }));
    for rule in policy.rules() {
        let verdict = format!("{:<7}", rule.verdict.name());
        let layer = match rule.layer {
            Layer::Default => String::new(),
            other => format!("  ({})", other.name()),
        };
        printer.line(&format!(
            "{}  {:<32} {}{layer}",
            printer.paint(tone(rule.verdict), &verdict),
            rule.id,
            rule.reason
        ));
    }
    Ok(ExitCode::SUCCESS)
}
