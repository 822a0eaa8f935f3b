//! `stockade serve`: sandboxes for programs.

use std::process::ExitCode;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;
use stockade_api::{ListenError, Listener, ServeError, Settings, description, serve};
use stockade_supervisor::unlock;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    arguments::Serve,
    commands::secret::unlock::{environment, given_passphrase},
    failure::{Failure, Kind},
    host,
    print::Printer,
};

pub(crate) fn run(arguments: &Serve, printer: Printer) -> Result<ExitCode, Failure> {
    if arguments.describe {
        let description = serde_json::to_string_pretty(&description()).map_err(Failure::failed)?;
        printer.text(&description);
        return Ok(ExitCode::SUCCESS);
    }
    // It may have keys in its environment.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let state = host::state()?;
    let socket = arguments.socket.clone();
    let socket = socket.unwrap_or_else(|| state.path().join("serve/socket"));
    let listener = Listener::bind(&socket)?;
    let settings = Settings {
        state,
        host: Box::new(|| host::host().map_err(|failure| failure.message)),
        key: Box::new(host::key),
        unlock: Box::new(|host, plan, keys| {
            let unlocked = unlock(
                plan,
                &host.catalogue,
                &environment(),
                given_passphrase,
                keys,
            );
            unlocked.map_err(|failure: Failure| failure.message)
        }),
        commands: arguments.commands,
        no_policy: arguments.no_policy,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime
        .block_on(async {
            let stop = Stop::listen()?;
            announce(&listener, printer);
            Ok(serve(&listener, settings, stop.asked()).await?)
        })
        .map(|()| ExitCode::SUCCESS)
}

fn announce(listener: &Listener, printer: Printer) {
    let path = listener.path().display();
    printer.line(&format!("listening at {path}"));
    printer.note(&format!(
        "try: curl --unix-socket {path} http://localhost/v1/health"
    ));
    if printer.is_json() {
        // On one line: whoever reads it waits for it.
        printer
            .text(&json!({ "socket": listener.path(), "process": std::process::id() }).to_string());
    }
}

/// The signals that ask a server to end.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let kind = match error {
            ListenError::System { .. } => Kind::Failed,
            _ => Kind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self::failed(error)
    }
}
