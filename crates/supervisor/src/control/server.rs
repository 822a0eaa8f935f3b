//! The side of the supervisor: a thread for the socket, one for each client.

use std::{
    io::Write,
    os::unix::net::UnixListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Answer, Lines, Request, Typed, write_line};
use crate::{
    exec::{Context, Fault, Owned, Stdin},
    happening::Happening,
    output::Viewer,
};

/// A request with the way to answer it.
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// Who asks, by user id, as the kernel knows it.
    pub(crate) peer: Option<u32>,
    pub(crate) reply: Sender<Reply>,
}

/// What the supervisor's main loop answers a request with.
pub(crate) enum Reply {
    /// One answer.
    Once(Answer),
    /// A command to watch.
    Watch(Watch),
}

/// A command that a client watches.
pub(crate) struct Watch {
    /// What it prints.
    pub(crate) output: Viewer,
    /// How it ended, sent once `output` is closed.
    pub(crate) exit: Receiver<i32>,
    /// Its standard input or terminal, if the client may type.
    pub(crate) input: Option<std::fs::File>,
    /// Held for as long as the client types; there is one such.
    pub(crate) turn: Option<Arc<()>>,
    /// Whether it has a terminal.
    pub(crate) terminal: bool,
}

/// Clients that are being shown a command.
static SHOWING: AtomicUsize = AtomicUsize::new(0);
/// How long they may take to read its end: the next in a pipeline may be slow,
/// and a person may read page by page.
const LAST_WORDS: Duration = Duration::from_mins(10);

/// Waits until every client has been told how its command ended.
pub(crate) fn wait_for_viewers() {
    let deadline = Instant::now() + LAST_WORDS;
    while SHOWING.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Accepts clients for as long as the process lives.
pub(crate) fn serve(listener: UnixListener, happenings: Sender<Happening>, commands: Arc<Context>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (happenings, commands) = (happenings.clone(), Arc::clone(&commands));
            std::thread::spawn(move || {
                let _ = client(Lines::new(stream), &happenings, commands);
            });
        }
    });
}

fn client(
    mut lines: Lines,
    happenings: &Sender<Happening>,
    commands: Arc<Context>,
) -> std::io::Result<()> {
    let commands = Owned::new(commands)?;
    while let Some(line) = lines.next()? {
        let Ok(request) = serde_json::from_slice(&line) else {
            let answer = Answer::Refused {
                reason: "the request is not understood".to_owned(),
                fault: Fault::Request,
                denial: None,
            };
            return write_line(lines.stream(), &answer);
        };
        if let Request::Session(request) = request {
            let _showing = Showing::begin();
            return commands.session(&mut lines, &request);
        }
        if let Request::Exec(request) = request {
            let _showing = Showing::begin();
            commands.run(&mut lines, &request)?;
            if request.stdin == Stdin::Typed {
                // What was typed for nobody is no request.
                return Ok(());
            }
            continue;
        }
        let peer = rustix::net::sockopt::socket_peercred(lines.stream()).ok();
        let peer = peer.map(|peer| peer.uid.as_raw());
        let (reply, answer) = channel();
        if happenings
            .send(Happening::Asked(Asked {
                request,
                peer,
                reply,
            }))
            .is_err()
        {
            return Ok(());
        }
        match answer.recv() {
            Ok(Reply::Once(answer)) => write_line(lines.stream(), &answer)?,
            Ok(Reply::Watch(watch)) => {
                let _showing = Showing::begin();
                return show(lines, watch);
            }
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Counts a client that is being shown a command.
struct Showing;

impl Showing {
    fn begin() -> Self {
        SHOWING.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for Showing {
    fn drop(&mut self) {
        SHOWING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Shows a command to a client until it ends or the client is gone.
fn show(lines: Lines, watch: Watch) -> std::io::Result<()> {
    let stream = lines.stream().try_clone()?;
    write_line(
        &stream,
        &Answer::Watching {
            write: watch.input.is_some(),
            terminal: watch.terminal,
        },
    )?;
    if let Some(input) = watch.input {
        let (terminal, turn) = (watch.terminal, watch.turn);
        std::thread::spawn(move || {
            take_input(lines, input, terminal);
            // A client that left lets the next one type, even if nothing is
            // printed by which `show` would notice.
            drop(turn);
        });
    }
    while let Some(bytes) = watch.output.next() {
        write_line(
            &stream,
            &Answer::Output {
                bytes: STANDARD.encode(bytes),
                error: false,
            },
        )?;
    }
    if let Ok(exit) = watch.exit.recv() {
        write_line(&stream, &Answer::Ended { exit, result: None })?;
    }
    Ok(())
}

fn take_input(mut lines: Lines, mut input: std::fs::File, terminal: bool) {
    while let Ok(Some(line)) = lines.next() {
        match serde_json::from_slice(&line) {
            Ok(Typed::Input { bytes }) => {
                let Ok(bytes) = STANDARD.decode(bytes) else {
                    return;
                };
                if input.write_all(&bytes).is_err() {
                    return;
                }
            }
            Ok(Typed::Resize { rows, columns }) if terminal => resize(&input, rows, columns),
            Ok(Typed::Resize { .. }) => {}
            Ok(Typed::EndOfInput) | Err(_) => return,
        }
    }
}

fn resize(terminal: &std::fs::File, rows: u16, columns: u16) {
    let size = rustix::termios::Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let _ = rustix::termios::tcsetwinsize(terminal, size);
}
