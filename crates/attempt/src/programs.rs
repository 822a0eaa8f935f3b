//! Programs of the machine: whether they work, and what they show.

use std::{
    io,
    process::{Command, Stdio},
};

use stockade_attempt::End;

use crate::report::{Report, end};

/// The most of a program's output that is shown, in bytes.
const SHOWN_MAX: usize = 64 << 10;

pub(crate) fn run(programs: &[Vec<String>], report: &Report) {
    for words in programs {
        let output = output(words);
        report.tell(
            format!("run {}", words.join(" ")),
            end(output.map(|output| match output.status.code() {
                Some(0) => End::Worked,
                _ => End::Unable(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            })),
        );
    }
}

pub(crate) fn show(programs: &[Vec<String>], report: &Report) {
    for words in programs {
        let shown = output(words).map(|output| {
            let mut bytes = output.stdout;
            bytes.truncate(SHOWN_MAX);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let step = format!("run {}", words.join(" "));
        match shown {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                report.tell(step, End::Unable(format!("there is no {}", words[0])));
            }
            shown => report.seen(step, shown),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this executable that starts programs"
)]
fn output(words: &[String]) -> io::Result<std::process::Output> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
}
