//! The repository on an overlay of the kernel's, without a sandbox: what
//! copy-on-write alone costs.

use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use crate::{failure::Failure, place::Place};

/// A shell that sees the overlay, and nobody else does.
pub(crate) struct BareOverlay {
    shell: Child,
    says: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Mounts, enters, and says so; then does what it is told.
const SHELL: &str = "mkdir upper work merged && \
    mount -t overlay overlay -o lowerdir=\"$1\",upperdir=upper,workdir=work merged && \
    cd merged && echo && while read -r script; do (eval \"$script\") > /dev/null; echo $?; done";

impl BareOverlay {
    /// `None` for an ordinary user, who has no mounts.
    pub(crate) fn begin(place: &Place) -> Result<Option<Self>, Failure> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let folder = place.join("overlay");
        std::fs::create_dir(&folder).map_err(Failure::file(&folder))?;
        let mut command = place.command("unshare");
        command.args(["--mount", "bash", "-c", SHELL, "bash"]);
        command.arg(place.repository()).current_dir(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().map_err(broken)?;
        let (Some(says), Some(answers)) = (shell.stdin.take(), shell.stdout.take()) else {
            return Err(Failure::InVain("a shell's ends".to_owned()));
        };
        let answers = BufReader::new(answers);
        let mut overlay = Self {
            shell,
            says,
            answers,
        };
        overlay.hear()?;
        Ok(Some(overlay))
    }

    pub(crate) fn run(&mut self, script: &str) -> Result<Duration, Failure> {
        let started = Instant::now();
        writeln!(self.says, "{}", script.replace('\n', " ")).map_err(broken)?;
        match self.hear()?.as_str() {
            "0" => Ok(started.elapsed()),
            code => Err(Failure::InVain(format!(
                "success on the overlay, not {code}"
            ))),
        }
    }

    fn hear(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).map_err(broken)?;
        if read == 0 {
            return Err(Failure::InVain("an overlay".to_owned()));
        }
        Ok(line.trim_end().to_owned())
    }
}

fn broken(source: io::Error) -> Failure {
    Failure::Start {
        program: "unshare --mount bash".to_owned(),
        source,
    }
}

impl Drop for BareOverlay {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
