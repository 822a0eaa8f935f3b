//! Programs that start inside, as the record keeps them.

use std::{io, os::unix::ffi::OsStrExt, sync::mpsc::Sender, thread::JoinHandle};

use serde_json::json;
use stockade_audit::RecorderClient;
use stockade_sandbox::{ExecWatch, Ran, Sandbox, SeenExec};
use stockade_types::{Event, EventKind};

use crate::{error::SupervisorError, happening::Happening};

/// Records every program that starts in a task's sandboxes; see
/// `docs/decisions/0025-programs-are-recorded-as-they-are-seen.md`.
pub(crate) struct ProgramRecord {
    watch: ExecWatch,
    writer: Option<JoinHandle<()>>,
}

impl ProgramRecord {
    /// Begins with a sandbox that was told to let its programs be seen, and in
    /// which none has started.
    pub(crate) fn start(
        sandbox: &Sandbox,
        record: &RecorderClient,
        happenings: &Sender<Happening>,
    ) -> Result<Self, SupervisorError> {
        let watch = ExecWatch::new().map_err(SupervisorError::Control)?;
        let listener = sandbox.init().ready().and_then(|listener| {
            let listener = listener.ok_or(io::ErrorKind::UnexpectedEof)?;
            watch.add(listener)
        });
        listener.map_err(SupervisorError::Control)?;
        let (watched, record, happenings) = (watch.clone(), record.clone(), happenings.clone());
        let writer = std::thread::spawn(move || {
            let mut recorded = true;
            let seen = watched.run(|seen| {
                recorded = record.post(&event(&seen)).is_ok();
                recorded
            });
            if seen.is_err() || !recorded {
                let _ = happenings.send(Happening::RecordLost);
            }
        });
        Ok(Self {
            watch,
            writer: Some(writer),
        })
    }

    /// For the further sandboxes of the task.
    pub(crate) fn watch(&self) -> ExecWatch {
        self.watch.clone()
    }

    /// Waits until all is handed to the recorder; everything inside has ended.
    pub(crate) fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn event(seen: &SeenExec) -> Event {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let argv: Vec<String> = seen.words.argv.iter().map(|word| text(word)).collect();
    let kept = shortened(&argv);
    let (outcome, ran) = match &seen.ran {
        Ran::Program(path) => ("started", Some(text(path.as_os_str().as_bytes()))),
        Ran::Nothing => ("failed", None),
        Ran::Ended => ("ended", None),
    };
    let body = json!({
        "process": seen.process,
        "path": text(&seen.words.path),
        "argv": kept,
        "cut": seen.words.cut || kept != argv,
        "outcome": outcome,
        "ran": ran,
        "known": "as seen, may race",
    });
    Event::new(EventKind::ProgramSeen, body)
}

/// Most words that the record keeps of a command.
const WORDS_MAX: usize = 64;
/// Most characters that it keeps of a word.
const WORD_MAX: usize = 512;

/// Words of a command as the record keeps them: bounded.
pub(crate) fn shortened(argv: &[String]) -> Vec<String> {
    let words = argv.iter().take(WORDS_MAX);
    let shorten = |word: &String| word.chars().take(WORD_MAX).collect();
    words.map(shorten).collect()
}

/// Whether words of the record may be only the beginning of a command.
pub fn is_shortened(words: &[String]) -> bool {
    words.len() >= WORDS_MAX || words.iter().any(|word| word.chars().count() >= WORD_MAX)
}
