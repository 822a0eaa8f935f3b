//! What can be asked for, as calls to the rooms that do it.

mod caps;
mod control;
mod exec;
mod output;
mod run;
mod sandbox;
mod session;
mod sessions;
mod start;

use std::sync::Arc;

use hyper::{Request, Response, StatusCode, body::Incoming};
use schemars::JsonSchema;
use serde::Serialize;
use stockade_supervisor::{SupervisorError, TaskDirectory};
use stockade_types::TaskId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use self::{
    exec::{Exec, Outcome},
    output::OutputPiece,
    sandbox::{Sandbox, Sandboxes},
    session::{NewSession, Session, SessionText},
    sessions::Sessions,
    start::{Agreement, NewSandbox, Started},
};
use crate::{
    Settings,
    http::{Body, Form, Kind, Operation, Problem, Target, description, json, nothing, read},
};

/// How many sandboxes are started at once; each keeps a processor busy.
const STARTS_MAX: usize = 4;

/// Everything that requests share.
pub(crate) struct Service {
    settings: Arc<Settings>,
    commands: Arc<Semaphore>,
    starts: Arc<Semaphore>,
    sessions: sessions::Table,
}

/// That the server answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
    /// The version of Stockade.
    version: &'static str,
    /// How many commands run for clients of this server.
    commands: usize,
    /// How many may run at once; one more is answered with 429.
    commands_max: usize,
}

impl Service {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            commands: Arc::new(Semaphore::new(settings.commands)),
            starts: Arc::new(Semaphore::new(STARTS_MAX)),
            sessions: sessions::Table::default(),
            settings: Arc::new(settings),
        }
    }

    /// Does what a request asks.
    pub(crate) async fn call(
        &self,
        target: &Target,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Problem> {
        let form = Form::of(request.headers());
        let body = request.into_body();
        match target.operation {
            Operation::Health => Ok(json(StatusCode::OK, &self.health())),
            Operation::Describe => Ok(json(StatusCode::OK, &description())),
            Operation::ListSandboxes => {
                let sandboxes = sandbox::list(self.settings.state.clone()).await?;
                Ok(json(StatusCode::OK, &sandboxes))
            }
            Operation::StartSandbox => self.start(read(body).await?).await,
            Operation::ShowSandbox => {
                let sandbox = sandbox::show(self.task(target)?).await?;
                Ok(json(StatusCode::OK, &sandbox))
            }
            Operation::StopSandbox => {
                let task = self.task(target)?;
                self.sessions.forget(task.id());
                Ok(json(StatusCode::OK, &sandbox::stop(task).await?))
            }
            Operation::Exec => {
                let task = self.task(target)?;
                let exec = read::<Exec>(body).await?;
                let permit = self.permit()?;
                exec::exec(&task, exec, self.settings.no_policy, form, permit).await
            }
            Operation::Output => {
                let piece = output::piece(self.task(target)?, target).await?;
                Ok(json(StatusCode::OK, &piece))
            }
            Operation::ListSessions => {
                let task = self.task(target)?;
                Ok(json(StatusCode::OK, &self.sessions.list(task.id()).await))
            }
            Operation::OpenSession => {
                let task = self.task(target)?;
                let wanted = read(body).await?;
                let no_policy = self.settings.no_policy;
                self.sessions.open(&task, wanted, no_policy).await
            }
            Operation::ShowSession => {
                let session = self.session(target)?;
                Ok(json(StatusCode::OK, &session.show().await))
            }
            Operation::CloseSession => {
                let session = self.session(target)?;
                self.sessions.remove(self.task(target)?.id(), &session);
                session.close().await;
                Ok(nothing())
            }
            Operation::SessionExec => {
                let session = self.session(target)?;
                let text = read(body).await?;
                session.exec(text, form, self.permit()?).await
            }
        }
    }

    fn health(&self) -> Health {
        let commands_max = self.settings.commands;
        Health {
            status: "ok",
            version: env!("CARGO_PKG_VERSION"),
            commands: commands_max - self.commands.available_permits(),
            commands_max,
        }
    }

    async fn start(&self, wanted: NewSandbox) -> Result<Response<Body>, Problem> {
        let Ok(permit) = Arc::clone(&self.starts).try_acquire_owned() else {
            return Err(Problem::busy(format!(
                "{STARTS_MAX} sandboxes are being started already"
            )));
        };
        start::start(Arc::clone(&self.settings), wanted, permit).await
    }

    /// The task that a path names. Whether there is one is for its use to find.
    fn task(&self, target: &Target) -> Result<TaskDirectory, Problem> {
        let name = target.parameter(0);
        match name.parse::<TaskId>() {
            Ok(id) => Ok(self.settings.state.task(&id)),
            Err(_) => Err(no_sandbox(name)),
        }
    }

    fn session(&self, target: &Target) -> Result<Arc<session::Running>, Problem> {
        let task = self.task(target)?;
        self.sessions.find(task.id(), target.number(1)?)
    }

    /// Room for a command.
    fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.commands).try_acquire_owned();
        permit.map_err(|_| {
            let most = self.settings.commands;
            Problem::busy(format!("{most} commands run already"))
                .fix("stockade serve --commands N allows more")
        })
    }
}

fn no_sandbox(name: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no sandbox `{name}`"))
        .fix("GET /v1/sandboxes lists those that run")
}

/// Runs what blocks beside everything else.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem::failed(error)),
    }
}

impl From<SupervisorError> for Problem {
    fn from(error: SupervisorError) -> Self {
        let kind = match &error {
            SupervisorError::Sandbox(_) => Kind::Wall,
            SupervisorError::Repository(_) | SupervisorError::Agent(_) => Kind::Invalid,
            SupervisorError::NotRunning => Kind::NotRunning,
            SupervisorError::Refused(_)
            | SupervisorError::Policy(_)
            | SupervisorError::Running
            | SupervisorError::IdentityTaken(_) => Kind::Refused,
            _ => Kind::Failed,
        };
        let problem = Self::new(kind, error.to_string());
        match kind {
            Kind::Wall => problem.fix("stockade doctor tells which layer is missing"),
            _ => problem,
        }
    }
}
