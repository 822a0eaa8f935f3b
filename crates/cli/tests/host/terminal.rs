//! A terminal with the program under test at its other end.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags},
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::{LONGEST, Outcome, eventually, holds_within};

/// A program at a terminal, which keeps everything that was shown.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

/// A new pair of ends, of 33 lines with 101 characters.
pub fn pair() -> (OwnedFd, OwnedFd) {
    let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&outer).unwrap();
    unlockpt(&outer).unwrap();
    let name = ptsname(&outer, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inner = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    set_size(&outer, 33, 101);
    (outer, inner)
}

fn set_size(terminal: impl AsFd, lines: u16, characters: u16) {
    let size = Winsize {
        ws_row: lines,
        ws_col: characters,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

impl Terminal {
    /// Starts `command` with a terminal as its three standard descriptors.
    pub fn start(mut command: Command) -> Self {
        let (outer, inner) = pair();
        command
            .stdin(Stdio::from(inner.try_clone().unwrap()))
            .stdout(Stdio::from(inner.try_clone().unwrap()))
            .stderr(Stdio::from(inner));
        let child = command.spawn().unwrap();
        // The command would keep the other end open, and hide its end.
        drop(command);
        let keyboard = File::from(outer);
        let mut screen = keyboard.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                let mut keep = keep.lock().unwrap_or_else(PoisonError::into_inner);
                keep.extend_from_slice(&buffer[..length]);
            }
        });
        Self {
            child,
            keyboard,
            shown,
            reader,
        }
    }

    /// Types.
    pub fn send(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Changes the size of the window.
    pub fn resize(&self, lines: u16, characters: u16) {
        set_size(&self.keyboard, lines, characters);
    }

    /// Everything that was shown so far.
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until `text` is shown.
    pub fn wait_for(&self, text: &str) {
        let is_shown = holds_within(LONGEST, || self.shown().contains(text));
        assert!(is_shown, "`{text}` not in: {}", self.shown());
    }

    /// Waits until `question` was shown `count` times, and answers the last.
    pub fn answer(&mut self, question: &str, count: usize, answer: &str) {
        eventually(&format!("`{question}` for the {count}th time"), || {
            self.shown().matches(question).count() >= count
        });
        self.send(&format!("{answer}\r"));
    }

    /// Sends the program a signal, as closing a window does.
    pub fn signal(&self, signal: Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(id, signal);
    }

    /// Waits for the program to end by itself.
    pub fn finish(mut self) -> Outcome {
        let mut status = None;
        eventually("the program at the terminal ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        eventually("the screen is read to its end", || {
            self.reader.is_finished()
        });
        Outcome {
            code: status.and_then(|status| status.code()).unwrap_or(-1),
            stdout: self.shown(),
            stderr: String::new(),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
