//! The side of the command line.

use std::{
    io::{self, BufRead, BufReader, Read},
    os::unix::net::UnixStream,
};

use serde::Serialize;

use super::{ANSWER_MAX, Answer, Request, Typed, connect, write_line};
use crate::{error::SupervisorError, state::TaskDirectory};

/// A connection to a task's supervisor.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Connection {
    /// Connects to the supervisor of `task` and asks.
    pub fn ask(task: &TaskDirectory, request: &Request) -> Result<Self, SupervisorError> {
        let writer = connect(task)?;
        let reader = BufReader::new(writer.try_clone().map_err(SupervisorError::Control)?);
        let mut connection = Self { reader, writer };
        match connection.send(request) {
            Err(error) if is_end(&error) => Err(SupervisorError::NotRunning),
            sent => sent.map(|()| connection).map_err(SupervisorError::Control),
        }
    }

    /// Asks something that has one answer.
    pub fn ask_once(task: &TaskDirectory, request: &Request) -> Result<Answer, SupervisorError> {
        match Self::ask(task, request)?.answer()? {
            Some(Answer::Refused { reason, .. }) => Err(SupervisorError::Refused(reason)),
            Some(answer) => Ok(answer),
            None => Err(SupervisorError::NotRunning),
        }
    }

    /// The next answer; `None` once the supervisor is gone.
    pub fn answer(&mut self) -> Result<Option<Answer>, SupervisorError> {
        let mut line = String::new();
        match (&mut self.reader).take(ANSWER_MAX).read_line(&mut line) {
            Ok(0) => return Ok(None),
            Err(error) if is_end(&error) => return Ok(None),
            read => read.map_err(SupervisorError::Control)?,
        };
        let answer =
            serde_json::from_str(&line).map_err(|error| SupervisorError::Control(error.into()))?;
        Ok(Some(answer))
    }

    /// A way to type while another thread reads answers.
    pub fn typing(&self) -> io::Result<impl FnMut(&Typed) -> io::Result<()> + Send + use<>> {
        let writer = self.writer.try_clone()?;
        Ok(move |typed: &Typed| write_line(&writer, typed))
    }

    /// Asks again, once the last command of this connection has ended.
    pub fn ask_again(&mut self, request: &Request) -> Result<(), SupervisorError> {
        self.send(request).map_err(SupervisorError::Control)
    }

    fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        write_line(&self.writer, message)
    }
}

/// Whether the supervisor is gone, perhaps before it has read everything.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
