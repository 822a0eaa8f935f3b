//! `stockade audit verify`: whether records are what was written.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Value, json};
use stockade_audit::{
    Binding, Checkpoint, Evidence, TreeHead, Verified, VerifierKey, VerifyError, bindings,
    check_proof, verify, verify_host,
};

use super::answers::{self, Answers};
use crate::{
    arguments::Verify,
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

/// What is to be checked.
struct Subject {
    /// The host's folder.
    host: PathBuf,
    /// The logs, by the names that the host log has for them.
    logs: BTreeMap<String, PathBuf>,
    /// Those that are being written.
    live: BTreeSet<String>,
    /// These must be all that the host log knows.
    all: bool,
    /// It is a copy of one record, with nothing beside it.
    alone: bool,
    /// Where removed tasks lie.
    trash: PathBuf,
}

pub(super) fn run(arguments: &Verify, printer: Printer) -> Result<ExitCode, Failure> {
    if let Some(proof) = &arguments.proof {
        return prove(proof, arguments, printer);
    }
    Ok(check(arguments, printer)?.finish())
}

/// Checks what the arguments name, and tells as it goes on.
pub(super) fn check(arguments: &Verify, printer: Printer) -> Result<Report, Failure> {
    let subject = subject(arguments)?;
    let key = key(arguments, &subject.host)?;
    let kept = kept(&arguments.against, key.as_ref())?;
    let mut report = Report {
        printer,
        told: Vec::new(),
        sound: BTreeMap::new(),
        tampered: false,
        incomplete: false,
    };
    let bindings = match &key {
        // The host log of this machine says nothing of another one's copy.
        Some(key)
            if !subject.alone || stockade_audit::key(&subject.host).ok().as_ref() == Some(key) =>
        {
            report.host(&subject.host, key, &kept)
        }
        _ => Vec::new(),
    };
    if key.is_none() {
        report.note("the signatures were not checked: there is no key; --key FILE names one");
    }
    for (name, log) in &subject.logs {
        let mut heads = key.as_ref().map_or_else(Vec::new, |key| {
            heads_of(&kept, &format!("{}/{name}", key.name()))
        });
        let answers = name.parse().map(|task| answers::check(log, &task));
        let answers = answers.unwrap_or_else(|_| Ok(Answers::default()));
        // Whoever approved has signed the state of the record at that moment.
        heads.extend(answers.iter().flat_map(|answers| &answers.heads));
        let evidence = Evidence {
            key: key.clone(),
            name: Some(name.clone()),
            bindings: bindings
                .iter()
                .filter(|one| one.log == *name)
                .cloned()
                .collect(),
            heads,
        };
        let found = verify(log, &evidence);
        let sound = found.is_ok();
        report.log(name, found, subject.live.contains(name));
        // Of a record that was changed, what stands in it says nothing.
        if sound {
            report.answers(name, answers);
        }
    }
    if subject.all {
        report.missing(&subject, &bindings, key.as_ref());
    }
    Ok(report)
}

/// What the arguments name.
fn subject(arguments: &Verify) -> Result<Subject, Failure> {
    let what = arguments.what.as_deref();
    // What reads like a path is none of a task's names.
    if let Some(folder) = what.filter(|what| what.contains('/') || what.starts_with('.')) {
        return copy(Path::new(folder));
    }
    let state = host::state()?;
    let tasks = if arguments.all {
        host::tasks(&state)?
    } else {
        match (host::find(&state, what), what.map(Path::new)) {
            (Err(_), Some(folder)) if folder.is_dir() => return copy(folder),
            (task, _) => vec![task?],
        }
    };
    for task in &tasks {
        task.directory.wait_until_signed();
    }
    let live = tasks.iter().filter(|task| task.directory.is_locked());
    Ok(Subject {
        host: state.audit(),
        live: live.map(|task| task.status.id.to_string()).collect(),
        logs: tasks
            .iter()
            .map(|task| (task.status.id.to_string(), task.directory.record()))
            .collect(),
        all: arguments.all,
        alone: false,
        trash: state.path().join("trash"),
    })
}

/// A copy of a record, of a task's folder, or of a whole state directory.
fn copy(folder: &Path) -> Result<Subject, Failure> {
    let mut subject = Subject {
        host: folder.join("audit"),
        logs: BTreeMap::new(),
        live: BTreeSet::new(),
        all: false,
        alone: false,
        trash: folder.join("trash"),
    };
    let tasks = folder.join("tasks");
    if tasks.is_dir() {
        subject.all = true;
        for entry in fs::read_dir(&tasks)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            subject.logs.insert(name, entry.path().join("record"));
        }
        return Ok(subject);
    }
    let log = if folder.join("checkpoint").exists() {
        folder.to_owned()
    } else {
        folder.join("record")
    };
    let checkpoint = stockade_audit::checkpoint(&log, &Evidence::default()).map_err(|error| {
        Failure::new(Kind::NotFound, describe(&error)).hint(
            "a folder is that of a record (with `checkpoint` in it), of a task, or a state directory",
        )
    })?;
    let name = checkpoint.origin.rsplit('/').next().unwrap_or_default();
    subject.logs.insert(name.to_owned(), log);
    // This machine may know more of it than the copy tells.
    subject.alone = true;
    subject.host = host::state()?.audit();
    Ok(subject)
}

/// The key that was named, else the one that lies beside the host log.
fn key(arguments: &Verify, host: &Path) -> Result<Option<VerifierKey>, Failure> {
    let Some(path) = &arguments.key else {
        return match stockade_audit::key(host) {
            Ok(key) => Ok(Some(key)),
            Err(VerifyError::Missing { .. }) => Ok(None),
            Err(error) => Err(Failure::new(Kind::Tampered, describe(&error))),
        };
    };
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(Kind::NotFound, format!("{}: {error}", path.display())))?;
    let key = text.parse();
    let key =
        key.map_err(|error| Failure::new(Kind::Usage, format!("{}: {error}", path.display())))?;
    Ok(Some(key))
}

/// The checkpoints that somebody kept.
fn kept(files: &[PathBuf], key: Option<&VerifierKey>) -> Result<Vec<Checkpoint>, Failure> {
    let open = |path: &PathBuf| {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(Kind::Usage, format!("{}: {error}", path.display()))
        };
        let note = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let opened = key.map_or_else(
            || Checkpoint::unchecked(&note),
            |key| Checkpoint::open(&note, key),
        );
        opened.map_err(|error| wrong(&error))
    };
    files.iter().map(open).collect()
}

fn heads_of(kept: &[Checkpoint], origin: &str) -> Vec<TreeHead> {
    let of_log = kept.iter().filter(|checkpoint| checkpoint.origin == origin);
    of_log.map(|checkpoint| checkpoint.head).collect()
}

/// What was found so far.
pub(super) struct Report {
    printer: Printer,
    /// All of it, for programs.
    pub(super) told: Vec<Value>,
    /// The logs that are what was written, by their names.
    pub(super) sound: BTreeMap<String, Verified>,
    /// Whether something was changed.
    pub(super) tampered: bool,
    /// Whether something could not be checked.
    pub(super) incomplete: bool,
}

impl Report {
    /// Something that keeps the check from being whole.
    fn note(&mut self, text: &str) {
        self.incomplete = true;
        self.printer.line(&self.printer.paint(Tone::Notice, text));
        self.told.push(json!({ "note": text }));
    }

    fn bad(&mut self, name: &str, reason: &str) {
        self.tampered = true;
        let line = format!("{name}  {}", self.printer.paint(Tone::Bad, reason));
        self.printer.line(&line);
        self.told
            .push(json!({ "log": name, "sound": false, "reason": reason }));
    }

    /// Checks the host log; what it says is used only if it is sound.
    fn host(&mut self, host: &Path, key: &VerifierKey, kept: &[Checkpoint]) -> Vec<Binding> {
        let heads = heads_of(kept, key.name());
        let found = verify_host(host, key, heads).and_then(|_| Ok(bindings(host)?));
        found.unwrap_or_else(|error| {
            self.bad("host log", &describe(&error));
            Vec::new()
        })
    }

    fn log(&mut self, name: &str, found: Result<Verified, VerifyError>, live: bool) {
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.bad(name, &describe(&error)),
        };
        let printer = self.printer;
        printer.line(&format!(
            "{name}  {}: {} records, root {}, fits {} known states",
            printer.paint(Tone::Good, "sound"),
            found.records,
            found.root,
            found.known
        ));
        self.told.push(json!({
            "log": name, "sound": true, "records": found.records, "root": found.root,
            "covered": found.covered, "signature": found.signature, "known": found.known,
        }));
        if found.covered < found.records && !live {
            let uncovered = found.records - found.covered;
            self.note(&format!(
                "the last {uncovered} records of {name} are covered by no checkpoint: its recorder \
                 was killed, or somebody added them"
            ));
        }
        self.sound.insert(name.to_owned(), found);
    }

    /// What approvers said, by their signatures alone.
    fn answers(&mut self, name: &str, answers: Result<Answers, String>) {
        match answers {
            Err(reason) => self.bad(name, &reason),
            Ok(answers) => {
                if let Some(summary) = answers.summary() {
                    self.printer.line(&format!("{name}  {summary}"));
                    self.told
                        .push(json!({ "log": name, "answers": answers.told }));
                }
            }
        }
    }

    /// Logs that the host log knows and that are not there.
    fn missing(&mut self, subject: &Subject, bindings: &[Binding], key: Option<&VerifierKey>) {
        let last: BTreeMap<&str, &Binding> = bindings
            .iter()
            .map(|binding| (binding.log.as_str(), binding))
            .collect();
        for (name, binding) in last {
            if subject.logs.contains_key(name) {
                continue;
            }
            let removed = subject.trash.join(name).join("record");
            if removed.exists() {
                let of_log = bindings.iter().filter(|one| one.log == name);
                let evidence = Evidence {
                    key: key.cloned(),
                    name: Some(name.to_owned()),
                    bindings: of_log.cloned().collect(),
                    heads: Vec::new(),
                };
                self.log(name, verify(&removed, &evidence), false);
            } else if binding.is_older_than_trash() {
                self.note(&format!(
                    "{name} is gone with its {} records: removed for good, or by somebody",
                    binding.size
                ));
            } else {
                let reason = format!("is missing: the host log knows {} records", binding.size);
                self.bad(name, &reason);
            }
        }
    }

    fn finish(self) -> ExitCode {
        self.printer.json(&json!({
            "sound": !self.tampered, "complete": !self.incomplete, "found": self.told,
        }));
        if self.tampered {
            ExitCode::from(Kind::Tampered as u8)
        } else if self.incomplete {
            ExitCode::from(Kind::Incomplete as u8)
        } else {
            ExitCode::SUCCESS
        }
    }
}

fn prove(path: &Path, arguments: &Verify, printer: Printer) -> Result<ExitCode, Failure> {
    let proof = fs::read_to_string(path)
        .map_err(|error| Failure::new(Kind::NotFound, format!("{}: {error}", path.display())))?;
    let key = key(arguments, &host::state()?.audit())?.ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            "there is no key here that the proof could be checked with",
        )
        .hint("name the public key: --key FILE")
    })?;
    let proved = check_proof(&proof, &key)
        .map_err(|error| Failure::new(Kind::Tampered, describe(&error)))?;
    let origin = &proved.checkpoint.origin;
    printer.line(&format!(
        "{}: event {} stands in {origin}, which had {} records",
        printer.paint(Tone::Good, "proved"),
        proved.number,
        proved.checkpoint.head.size
    ));
    printer.line(&serde_json::to_string_pretty(&proved.record).unwrap_or_default());
    printer.json(&json!({
        "proved": true, "log": origin, "event": proved.number, "record": proved.record,
        "checkpoint": proved.checkpoint.head,
    }));
    Ok(ExitCode::SUCCESS)
}

/// An error with those below it.
pub(crate) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        below = error.source();
    }
    text
}
