//! A command that runs for a request: an answer when it has ended, or events
//! while it goes on. Whoever drops a [`Run`] ends the command.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::Response;
use stockade_supervisor::{Answer, TaskDirectory};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{
    control::{Control, sandbox_ended},
    exec::Outcome,
};
use crate::http::{Body, EventSender, Form, Gone, Kind, Problem};

/// A command that runs.
pub(super) struct Run {
    task: TaskDirectory,
    control: Control,
    /// Whether the other end has hung up.
    gone: bool,
    /// Tells when the command is to end before its time.
    closing: Option<watch::Receiver<bool>>,
    /// Held while it runs.
    _permit: OwnedSemaphorePermit,
}

/// How a command went, and the connection if it takes another.
pub(super) struct Done {
    pub(super) result: Result<Outcome, Problem>,
    pub(super) control: Option<Control>,
}

impl Run {
    pub(super) fn new(
        task: &TaskDirectory,
        control: Control,
        closing: Option<watch::Receiver<bool>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            task: task.clone(),
            control,
            gone: false,
            closing,
            _permit: permit,
        }
    }

    /// Waits for the end.
    pub(super) async fn wait(mut self) -> Done {
        let closed = closed(self.closing.take());
        let result = tokio::select! {
            result = self.outcome() => result,
            problem = closed => {
                self.gone = true;
                Err(problem)
            }
        };
        self.done(result)
    }

    /// Answers with events, once it is known that it runs. `after` is called
    /// before the client is told of the end, unless the client is gone before.
    pub(super) async fn stream(
        mut self,
        form: Form,
        after: impl FnOnce(&Result<Outcome, Problem>, Option<Control>) + Send + 'static,
    ) -> Result<Response<Body>, Problem> {
        if let Err(problem) = self.next().await {
            let done = self.done(Err(problem.clone()));
            after(&done.result, done.control);
            return Err(problem);
        }
        let (events, response) = EventSender::new(form);
        let closed = closed(self.closing.take());
        tokio::spawn(async move {
            let result = tokio::select! {
                passed = self.pass(&events) => match passed {
                    Ok(result) => result,
                    Err(Gone) => return,
                },
                () = events.gone() => return,
                problem = closed => {
                    self.gone = true;
                    Err(problem)
                }
            };
            let done = self.done(result);
            after(&done.result, done.control);
            // A client that is gone now has missed nothing but this.
            let _ = match done.result {
                Ok(outcome) => events.result(outcome).await,
                Err(problem) => events.problem(&problem).await,
            };
        });
        Ok(response)
    }

    /// How it ended.
    async fn outcome(&mut self) -> Result<Outcome, Problem> {
        loop {
            let answer = self.next().await?;
            if let Some(outcome) = self.ended(answer) {
                return Ok(outcome);
            }
        }
    }

    /// Passes on what is printed, up to the end.
    async fn pass(&mut self, events: &EventSender) -> Result<Result<Outcome, Problem>, Gone> {
        loop {
            let answer = match self.next().await {
                Ok(answer) => answer,
                Err(problem) => return Ok(Err(problem)),
            };
            if let Answer::Output { bytes, error } = &answer {
                let bytes = STANDARD.decode(bytes).unwrap_or_default();
                events
                    .output(*error, &String::from_utf8_lossy(&bytes))
                    .await?;
            }
            if let Some(outcome) = self.ended(answer) {
                return Ok(Ok(outcome));
            }
        }
    }

    fn ended(&self, answer: Answer) -> Option<Outcome> {
        match answer {
            Answer::Ended {
                result: Some(result),
                ..
            } => Some(Outcome::of(&self.task, *result)),
            _ => None,
        }
    }

    /// The next answer of the supervisor.
    async fn next(&mut self) -> Result<Answer, Problem> {
        let answer = self.control.answer().await?;
        self.gone = answer.is_none();
        answer.ok_or_else(sandbox_ended)
    }

    /// Lets go of everything but what can be used again.
    fn done(self, result: Result<Outcome, Problem>) -> Done {
        Done {
            result,
            control: (!self.gone).then_some(self.control),
        }
    }
}

/// Waits until the session of a text is closed.
async fn closed(closing: Option<watch::Receiver<bool>>) -> Problem {
    let Some(mut closing) = closing else {
        return std::future::pending().await;
    };
    let _ = closing.wait_for(|closing| *closing).await;
    Problem::new(Kind::SessionOver, "the session was closed meanwhile")
}
