//! A shell that stays. It gets one text after another, and each has a result
//! of its own; folder, variables, functions and whatever else a shell knows
//! hold from one to the next.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rand::Rng;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::OFlags,
};
use serde_json::json;
use stockade_policy::Dialogue;

use super::{
    Before, Context, Owned,
    flow::{Cut, Flow, Hands, Input, LONGEST_END, Marker, Next, Told},
    pipe, verdict,
};
use crate::{
    control::{Answer, Lines, write_line},
    exec::{
        ending::Ending,
        request::{
            ExecError, ExecLimits, ExecRequest, Report, SESSION_FILES, SessionRequest, SessionText,
        },
        result::ExecResult,
    },
    programs::shortened,
};

/// What the shell runs. Texts come where its standard input was, each after a
/// word; the word and the code of the text go back on the fourth descriptor.
/// Both are moved out of the way of texts, and closed for whatever a text
/// starts. The inner loop is there for a `break` in a text.
const DRIVER: &str = r#"exec 60>&3 61<&0 3>&- </dev/null
while IFS= read -r -d '' -u 61 __stockade_word && IFS= read -r -d '' -u 61 __stockade_text; do
  for __stockade_once in 1; do eval "$__stockade_text" 60>&- 61<&-; done
  builtin printf '%s %d\n' "$__stockade_word" "$?" >&60 || exit 125
done"#;

/// A shell that runs.
struct Shell<'a> {
    id: u32,
    flow: Flow,
    ending: Ending<'a>,
    sources: usize,
    limits: ExecLimits,
    /// What it knows by the texts that it ran; nothing if they are not judged.
    dialogue: Option<Dialogue>,
}

impl Owned {
    /// Keeps a shell for `client` until one of them is gone.
    pub(crate) fn session(
        &self,
        client: &mut Lines,
        request: &SessionRequest,
    ) -> std::io::Result<()> {
        let mut shell = match self.open(request) {
            Ok(shell) => shell,
            Err(error) => return self.refuse(client, &error),
        };
        let served = self.serve(client, &mut shell);
        self.close(&shell);
        served
    }

    fn serve(&self, client: &mut Lines, shell: &mut Shell<'_>) -> std::io::Result<()> {
        write_line(client.stream(), &Answer::Session { exec: shell.id })?;
        while let Some(line) = shell.next_text(client)? {
            let Ok(text) = serde_json::from_slice::<SessionText>(&line) else {
                return self.refuse(client, &ExecError::NoCommand);
            };
            match self.run_text(client, shell, &text) {
                Ok(Some(result)) => {
                    let over = result.session_over;
                    tell_end(client, result)?;
                    if over {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => self.refuse(client, &error)?,
            }
        }
        match self.context.result(shell.id, shell.ending.end(), None) {
            // It ended between two texts.
            Some(ended) => tell_end(client, ended),
            None => Ok(()),
        }
    }

    fn open(&self, request: &SessionRequest) -> Result<Shell<'_>, ExecError> {
        let context = &self.context;
        let files = request.limits.open_files;
        if files.is_some_and(|files| files < SESSION_FILES) {
            return Err(ExecError::FewFiles);
        }
        let request = ExecRequest {
            argv: ["/bin/bash", "-c", DRIVER, "bash"]
                .map(str::to_owned)
                .to_vec(),
            cwd: request.cwd.clone(),
            env: request.env.clone(),
            merged: request.merged,
            limits: request.limits,
            leashed: true,
            no_policy: request.no_policy,
            ..ExecRequest::default()
        };
        request.check(&context.kept, |value| context.is_key(value))?;
        let id = context.gate.number();
        let cwd = request.folder(&context.cwd);
        let dialogue = if request.no_policy {
            None
        } else {
            let shell = context.judge.session(&cwd, &request.env);
            let what = json!({ "exec": id, "argv": shortened(&request.argv), "cwd": cwd });
            Some(shell.map_err(|denial| context.denied(what, denial))?)
        };
        let (stdin, texts) = pipe()?;
        let (told, tells) = pipe()?;
        let (out, stdout) = pipe()?;
        let (stderr, sources) = if request.merged {
            (stdout.try_clone()?, vec![out])
        } else {
            let (error, stderr) = pipe()?;
            (stderr, vec![out, error])
        };
        for source in &sources {
            rustix::fs::fcntl_setfl(source, OFlags::NONBLOCK).map_err(std::io::Error::from)?;
        }
        let count = sources.len();
        let input = Input::new(texts, Vec::new(), Next::Texts)?;
        let flow = Flow::session(input, sources, Marker::new(told));
        let body = json!({
            "exec": id, "main": false, "session": true, "argv": ["/bin/bash"], "cwd": cwd,
            "policy": verdict(request.no_policy, None),
        });
        let exec = context.exec(id, &request, &request.argv, &cwd);
        let inside = [&stdin, &stdout, &stderr, &tells].map(AsFd::as_fd);
        let ending = Ending::Told {
            slot: context.gate.start(exec, &inside, &self.wake, body)?,
            wake: &self.wake,
        };
        Ok(Shell {
            id,
            flow,
            ending,
            sources: count,
            limits: request.limits,
            dialogue,
        })
    }

    fn run_text(
        &self,
        client: &mut Lines,
        shell: &mut Shell<'_>,
        request: &SessionText,
    ) -> Result<Option<ExecResult>, ExecError> {
        let context = &self.context;
        if request.text.contains('\0') {
            return Err(ExecError::Nul);
        }
        let id = context.gate.number();
        let argv = std::slice::from_ref(&request.text);
        if let Some(dialogue) = &shell.dialogue {
            let after = context.judge.text(dialogue, &request.text);
            let what = json!({ "exec": id, "of_session": shell.id, "argv": shortened(argv) });
            shell.dialogue = Some(after.map_err(|denial| context.denied(what, denial))?);
        }
        let before = Before::command(context, request.files)?;
        context.gate.note_start(json!({
            "exec": id,
            "main": false,
            "of_session": shell.id,
            "argv": shortened(argv),
            "policy": verdict(shell.dialogue.is_none(), None),
        }))?;
        let sink = context.sink(id, request.report, shell.sources);
        let word = format!("{:032x}", rand::rng().random::<u128>());
        shell.flow.give(&request.text, &word, sink);
        if matches!(request.report, Report::Streamed | Report::Shown) {
            let watching = Answer::Watching {
                write: false,
                terminal: false,
            };
            write_line(client.stream(), &watching)?;
        }
        let deadline = request
            .timeout_ms
            .map(|time| before.started + Duration::from_millis(time));
        let hands = Hands {
            kill: &|| context.gate.kill(shell.id),
            look: &|| context.look(),
        };
        let cut = shell.flow.run(client, &shell.ending, deadline, &hands);
        let Some(mut result) = of_text(context, id, shell, cut) else {
            return Ok(None);
        };
        shell.flow.take_sink().report(id, &mut result);
        before.tell(context, &shell.limits, &mut result)?;
        context.note_end(&result)?;
        Ok((!shell.flow.client_is_gone()).then_some(result))
    }

    /// Ends what is left of a session, and records its end.
    fn close(&self, shell: &Shell<'_>) {
        self.context.gate.kill(shell.id);
        let deadline = Instant::now() + LONGEST_END;
        while shell.ending.end().is_none() && Instant::now() < deadline {
            shell.wait(deadline);
        }
        let ended = self
            .context
            .result(shell.id, shell.ending.end(), Some(Cut::ClientGone));
        if let Some(ended) = ended {
            let _ = self.context.note_end(&ended);
        }
    }
}

impl Shell<'_> {
    /// The client's next line; `None` once the shell or the client is gone.
    fn next_text(&self, client: &mut Lines) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = client.received() {
                return Ok(Some(line));
            }
            if self.ending.end().is_some() {
                return Ok(None);
            }
            let mut events = [
                PollFd::new(client.stream(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.ending.descriptor(), PollFlags::IN),
            ];
            let polled = poll(&mut events, None);
            let [asked, ended] = events.map(|event| !event.revents().is_empty());
            if polled.is_ok() && ended {
                self.ending.hear();
            }
            if polled.is_ok() && asked {
                client.receive()?;
            }
        }
    }

    /// Waits for the end, but not beyond `deadline`.
    fn wait(&self, deadline: Instant) {
        let time = deadline.saturating_duration_since(Instant::now());
        let time = rustix::event::Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let mut events = [PollFd::from_borrowed_fd(
            self.ending.descriptor(),
            PollFlags::IN,
        )];
        if poll(&mut events, Some(&time)).is_ok_and(|count| count > 0) {
            self.ending.hear();
        }
    }
}

fn tell_end(client: &Lines, result: ExecResult) -> std::io::Result<()> {
    let answer = Answer::Ended {
        exit: result.exit,
        result: Some(Box::new(result)),
    };
    write_line(client.stream(), &answer)
}

/// How a text ended: by itself, or with the shell.
fn of_text(context: &Context, id: u32, shell: &Shell<'_>, cut: Option<Cut>) -> Option<ExecResult> {
    if let (None, Some(Told::Code(exit))) = (cut, shell.flow.told()) {
        return Some(ExecResult::exited(id, exit));
    }
    Some(ExecResult {
        session_over: true,
        cpu_ms: None,
        peak_kib: None,
        ..context.result(id, shell.ending.end(), cut)?
    })
}
