//! Reads what must not be shown.

use std::{
    fs::File,
    io::{Read, Write},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use stockade_types::Redacted;
use zeroize::Zeroizing;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const ERASE: [u8; 2] = [0x08, 0x7f];
const ERASE_LINE: u8 = 0x15;
/// Longer lines are a mistake.
const LINE_MAX: usize = 8 * 1024;

/// The caller's own terminal, whatever standard input and output are.
pub(super) fn open() -> std::io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}

/// Whether there is such a terminal.
pub(crate) fn is_there() -> bool {
    open().is_ok()
}

/// Echo and line editing are off until this is dropped. Signals are too: one
/// would leave the terminal so.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn enter(terminal: &'a File) -> std::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        // What was typed before the question is no answer to it.
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Asks at the caller's terminal and reads a line without showing it; nothing
/// if the person gave up.
pub(crate) fn ask_hidden(question: &str) -> std::io::Result<Option<Redacted<String>>> {
    let terminal = open()?;
    let hidden = Hidden::enter(&terminal)?;
    (&terminal).write_all(question.as_bytes())?;
    // As long as it may become: growing would leave copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    let mut byte = [0];
    let given = loop {
        if (&terminal).read(&mut byte)? == 0 {
            break false;
        }
        match byte[0] {
            b'\r' | b'\n' => break true,
            INTERRUPT | END => break false,
            ERASE_LINE => line.clear(),
            erase if ERASE.contains(&erase) => drop(line.pop()),
            typed if line.len() < LINE_MAX => line.push(typed),
            _ => {}
        }
    };
    drop(hidden);
    (&terminal).write_all(b"\n")?;
    let text = std::str::from_utf8(&line).map_err(std::io::Error::other)?;
    Ok(given.then(|| Redacted::new(text.to_owned())))
}
