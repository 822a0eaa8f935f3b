//! A task's control socket, without blocking. Dropping the connection ends the
//! command that it waits for.

use std::io;

use rustix::net::RecvFlags;
use serde::Serialize;
use stockade_supervisor::{Answer, Fault, Request, SupervisorError, TaskDirectory, connect};
use stockade_types::Denial;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

use super::no_sandbox;
use crate::http::{Kind, Problem};

/// The longest answer: what a result may hold, and room for its escapes.
const ANSWER_MAX: u64 = 16 << 20;

/// A connection to a task's supervisor.
pub(super) struct Control(BufReader<UnixStream>);

impl Control {
    /// Connects to the supervisor of `task` and asks.
    pub(super) async fn ask(task: &TaskDirectory, request: &Request) -> Result<Self, Problem> {
        let stream = connect(task).and_then(|stream| {
            let stream = stream.set_nonblocking(true).map(|()| stream);
            stream.map_err(SupervisorError::Control)
        });
        let stream = match stream {
            Err(SupervisorError::NotRunning) => return Err(not_running(task)),
            stream => UnixStream::from_std(stream?).map_err(Problem::failed)?,
        };
        let mut control = Self(BufReader::new(stream));
        match control.send(request).await {
            Ok(()) => Ok(control),
            Err(_) => Err(not_running(task)),
        }
    }

    pub(super) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line).await
    }

    /// The next answer; `None` once the supervisor has hung up.
    pub(super) async fn answer(&mut self) -> Result<Option<Answer>, Problem> {
        let mut line = Vec::new();
        let read = (&mut self.0)
            .take(ANSWER_MAX)
            .read_until(b'\n', &mut line)
            .await;
        if read.is_err() || line.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice(&line) {
            Ok(Answer::Refused {
                reason,
                fault,
                denial,
            }) => Err(refused(reason, fault, denial)),
            Ok(answer) => Ok(Some(answer)),
            Err(error) => Err(Problem::failed(format!(
                "the task's control socket: {error}"
            ))),
        }
    }

    /// Whether something has come, or the other end is gone.
    pub(super) fn has_news(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let seen = rustix::net::recv(self.0.get_ref(), &mut [0_u8; 1], flags);
        !self.0.buffer().is_empty() || seen != Err(rustix::io::Errno::AGAIN)
    }
}

fn refused(reason: String, fault: Fault, denial: Option<Box<Denial>>) -> Problem {
    let kind = match fault {
        Fault::Request => Kind::Invalid,
        Fault::Policy => Kind::Policy,
        Fault::State => Kind::NotRunning,
        Fault::Own => Kind::Failed,
    };
    Problem::new(kind, reason).by(denial)
}

/// Nobody is at a task's socket.
pub(super) fn not_running(task: &TaskDirectory) -> Problem {
    match task.status() {
        Ok(status) => {
            let detail = format!("the sandbox is {}", status.state.name());
            Problem::new(Kind::NotRunning, detail)
                .fix("stockade resume starts it again on its workspace")
        }
        Err(_) => no_sandbox(task.id().as_str()),
    }
}

/// A sandbox that ended while a command ran in it.
pub(super) fn sandbox_ended() -> Problem {
    Problem::new(
        Kind::NotRunning,
        "the sandbox has ended, and the command with it",
    )
    .fix("GET /v1/sandboxes/{sandbox} tells why")
}
