//! A session: a shell that stays, of which one client at a time runs a text.

use std::{collections::BTreeMap, sync::Arc};

use hyper::{Response, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stockade_supervisor::{
    Answer, Request, SessionRequest, SessionText as TextRequest, TaskDirectory, now,
};
use tokio::sync::{Mutex, OwnedSemaphorePermit, watch};

use super::{
    control::{Control, sandbox_ended},
    exec::{Limits, Outcome, report},
    run::{Done, Run},
};
use crate::http::{Body, Form, Kind, Problem, json};

/// A session to open.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewSession {
    /// The folder, absolute inside or relative to the workspace.
    cwd: Option<String>,
    /// Variables on top of the sandbox's own.
    env: BTreeMap<String, String>,
    /// Whether both outputs are one, in the order of printing.
    merged: bool,
    /// Caps on each process that is started in it.
    limits: Limits,
}

/// A text for the shell of a session. It reads nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionText {
    /// The text.
    shell: String,
    /// After how many milliseconds the session is ended, with everything that
    /// was started in it.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// Whether to tell which files of the workspace changed meanwhile.
    #[serde(default)]
    files: bool,
}

/// A session.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Session {
    /// Its number: that of its shell among the sandbox's commands.
    number: u32,
    /// When it was opened, RFC 3339 in UTC.
    opened_at: String,
    /// Whether it takes a text now.
    state: State,
    /// With what code its shell ended, if it did by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<i32>,
    /// Why it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether a session takes a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It does.
    Ready,
    /// It runs one.
    Busy,
    /// It never will again.
    Over,
}

/// A session of this server.
pub(crate) struct Running {
    task: TaskDirectory,
    exec: u32,
    opened_at: String,
    life: Arc<Mutex<Life>>,
    closing: watch::Sender<bool>,
}

/// What a session is.
enum Life {
    Ready(Control),
    Over { exit: Option<i32>, reason: String },
}

impl Life {
    fn over(reason: &str) -> Self {
        Self::Over {
            exit: None,
            reason: reason.to_owned(),
        }
    }

    fn ended(exit: i32) -> Self {
        Self::Over {
            exit: Some(exit),
            reason: "its shell has ended".to_owned(),
        }
    }

    /// Notices a shell that ended between two texts.
    async fn look(&mut self) {
        if let Self::Ready(control) = self
            && control.has_news()
        {
            *self = match control.answer().await {
                Ok(Some(Answer::Ended { exit, .. })) => Self::ended(exit),
                _ => Self::over("the sandbox has ended"),
            };
        }
    }

    /// What it is after a text.
    fn after(result: &Result<Outcome, Problem>, control: Option<Control>) -> Self {
        match (result, control) {
            (Ok(outcome), _) if outcome.session_over => Self::ended(outcome.exit),
            (_, Some(control)) => Self::Ready(control),
            (_, None) => Self::over("the sandbox has ended"),
        }
    }
}

impl Running {
    /// Opens one in the sandbox of `task`.
    pub(super) async fn open(
        task: &TaskDirectory,
        wanted: NewSession,
        no_policy: bool,
    ) -> Result<Self, Problem> {
        let request = Request::Session(Box::new(SessionRequest {
            cwd: wanted.cwd,
            env: wanted.env,
            merged: wanted.merged,
            limits: wanted.limits.into(),
            no_policy,
        }));
        let mut control = Control::ask(task, &request).await?;
        match control.answer().await? {
            Some(Answer::Session { exec }) => Ok(Self {
                task: task.clone(),
                exec,
                opened_at: now(),
                life: Arc::new(Mutex::new(Life::Ready(control))),
                closing: watch::channel(false).0,
            }),
            _ => Err(sandbox_ended()),
        }
    }

    /// Its number.
    pub(super) fn exec_number(&self) -> u32 {
        self.exec
    }

    /// What it is now.
    pub(crate) async fn show(&self) -> Session {
        let (state, exit, reason) = match self.life.try_lock() {
            Err(_) => (State::Busy, None, None),
            Ok(mut life) => {
                life.look().await;
                match &*life {
                    Life::Ready(_) => (State::Ready, None, None),
                    Life::Over { exit, reason } => (State::Over, *exit, Some(reason.clone())),
                }
            }
        };
        Session {
            number: self.exec,
            opened_at: self.opened_at.clone(),
            state,
            exit,
            reason,
        }
    }

    /// Runs a text.
    pub(crate) async fn exec(
        &self,
        text: SessionText,
        form: Form,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Problem> {
        let Ok(mut life) = Arc::clone(&self.life).try_lock_owned() else {
            let detail = format!("session {} runs another text", self.exec);
            return Err(
                Problem::new(Kind::InUse, detail).fix("wait for it, or open another session")
            );
        };
        life.look().await;
        // Where the request goes away from here on, this is what is left.
        let gone = Life::over("its client went away in the middle of a text");
        let mut control = match std::mem::replace(&mut *life, gone) {
            Life::Ready(control) => control,
            Life::Over { exit, reason } => {
                let problem = self.over(exit, &reason);
                *life = Life::Over { exit, reason };
                return Err(problem);
            }
        };
        let request = TextRequest {
            text: text.shell,
            report: report(form),
            timeout_ms: text.timeout_ms,
            files: text.files,
        };
        if control.send(&request).await.is_err() {
            *life = Life::over("the sandbox has ended");
            return Err(sandbox_ended());
        }
        let run = Run::new(&self.task, control, Some(self.closing.subscribe()), permit);
        if form == Form::Whole {
            let Done { result, control } = run.wait().await;
            *life = Life::after(&result, control);
            return result.map(|outcome| json(StatusCode::OK, &outcome));
        }
        run.stream(form, move |result, control| {
            *life = Life::after(result, control);
        })
        .await
    }

    /// Ends it, with the text that it runs.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        *self.life.lock().await = Life::over("it was closed");
    }

    /// Whether it will never take a text again, as far as is known at once.
    pub(super) fn is_over(&self) -> bool {
        match self.life.try_lock().as_deref() {
            Ok(Life::Ready(control)) => control.has_news(),
            Ok(Life::Over { .. }) => true,
            Err(_) => false,
        }
    }

    /// What is answered once it was opened.
    pub(super) async fn opened(&self) -> Response<Body> {
        json(StatusCode::CREATED, &self.show().await)
    }

    fn over(&self, exit: Option<i32>, reason: &str) -> Problem {
        let code = exit.map_or_else(String::new, |exit| format!(", with code {exit}"));
        let detail = format!("session {} is over: {reason}{code}", self.exec);
        Problem::new(Kind::SessionOver, detail)
            .fix("POST /v1/sandboxes/{sandbox}/sessions opens another")
    }
}
