//! What the built-in agent can do: run a command, write, read and edit files.

use std::{
    collections::BTreeMap,
    io,
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::{
    fs,
    io::{AsyncRead, AsyncReadExt},
    net::unix::pipe,
    process::Child,
};

use crate::{conversation::ToolResult, process};

const OUTPUT_BYTES_MAX: usize = 64 << 10;
const FILE_BYTES_MAX: u64 = 4 << 20;
/// How long output is read on when the command itself has ended; what it left
/// running may keep the pipe open for ever.
const DRAIN_TIME: Duration = Duration::from_millis(200);

/// The tools as the model is told of them.
pub(super) fn offered() -> Value {
    let tool = |name: &str, description: &str, parameters: &[&str]| {
        let properties: serde_json::Map<_, _> = parameters
            .iter()
            .map(|name| ((*name).to_owned(), json!({"type": "string"})))
            .collect();
        json!({
            "name": name, "description": description,
            "input_schema": {"type": "object", "properties": properties, "required": parameters},
        })
    };
    json!([
        tool("Bash", "Run a command in a POSIX shell.", &["command"]),
        tool(
            "Write",
            "Create or replace a file.",
            &["file_path", "content"]
        ),
        tool("Read", "Read a file.", &["file_path"]),
        tool(
            "Edit",
            "Replace a text in a file, once.",
            &["file_path", "old_string", "new_string"]
        ),
    ])
}

/// A call in one line, for the transcript.
pub(super) fn summary(call: &Value) -> String {
    let input = &call["input"];
    match call["name"].as_str() {
        Some("Bash") => input["command"].as_str().unwrap_or_default().to_owned(),
        name => {
            let path = input["file_path"].as_str().unwrap_or_default();
            format!("{} {path}", name.unwrap_or("?").to_lowercase())
        }
    }
}

pub(super) struct Tools {
    directory: PathBuf,
    command_time: Duration,
    environment: BTreeMap<String, String>,
}

impl Tools {
    pub(super) fn new(directory: PathBuf, command_time: Duration) -> Self {
        Self {
            directory,
            command_time,
            environment: BTreeMap::new(),
        }
    }

    /// Sets variables for the commands.
    pub(super) fn with_environment(self, environment: BTreeMap<String, String>) -> Self {
        Self {
            environment,
            ..self
        }
    }

    /// Runs the tool that `call` names; what goes wrong is told to the model.
    pub(super) async fn run(&self, call: &Value) -> ToolResult {
        let outcome = match call["name"].as_str() {
            Some("Bash") => return self.shell(call).await,
            Some("Write") => self.write(call).await,
            Some("Read") => self.read(call).await,
            Some("Edit") => self.edit(call).await,
            _ => Err("there is no such tool".to_owned()),
        };
        match outcome {
            Ok(text) => ToolResult {
                text,
                is_error: false,
            },
            Err(text) => ToolResult {
                text,
                is_error: true,
            },
        }
    }

    async fn shell(&self, call: &Value) -> ToolResult {
        let ran = match argument(call, "command") {
            Ok(command) => self
                .run_command(command)
                .await
                .map_err(|error| error.to_string()),
            Err(text) => Err(text),
        };
        match ran {
            Ok((output, ending)) => {
                let failed = ending.is_some();
                ToolResult {
                    text: output + &ending.unwrap_or_default(),
                    is_error: failed,
                }
            }
            Err(text) => ToolResult {
                text: format!("cannot run the command: {text}"),
                is_error: true,
            },
        }
    }

    /// The command's output, both streams in their order, and how it ended
    /// unless well.
    async fn run_command(&self, command: &str) -> io::Result<(String, Option<String>)> {
        let (reader, writer) = io::pipe()?;
        let mut shell = process::inheriting("sh");
        shell
            .args(["-c", command])
            .current_dir(&self.directory)
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let mut shell = tokio::process::Command::from(shell);
        let mut child = shell.kill_on_drop(true).spawn()?;
        // The command holds the writing end as long as it exists.
        drop(shell);
        let mut reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let mut output = Vec::new();
        let status = tokio::select! {
            status = tokio::time::timeout(self.command_time, child.wait()) => status.ok(),
            never = read_on(&mut reader, &mut output) => match never {},
        };
        let status = if let Some(status) = status {
            Some(status?)
        } else {
            kill_group(&mut child).await?;
            None
        };
        let _ = tokio::time::timeout(DRAIN_TIME, drain(&mut reader, &mut output)).await;
        Ok((
            String::from_utf8_lossy(&output).into_owned(),
            self.ending(status),
        ))
    }

    fn ending(&self, status: Option<ExitStatus>) -> Option<String> {
        let Some(status) = status else {
            return Some(format!(
                "\n(killed after {} s)\n",
                self.command_time.as_secs()
            ));
        };
        match (status.code(), status.signal()) {
            (Some(0), _) => None,
            (Some(code), _) => Some(format!("\n(exit status {code})\n")),
            (None, signal) => Some(format!(
                "\n(killed by signal {})\n",
                signal.unwrap_or_default()
            )),
        }
    }

    async fn write(&self, call: &Value) -> Result<String, String> {
        let path = self.path(call)?;
        let content = argument(call, "content")?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .await
                .map_err(|error| told("create", parent, &error))?;
        }
        fs::write(&path, content)
            .await
            .map_err(|error| told("write", &path, &error))?;
        Ok(format!(
            "wrote {} bytes to {}",
            content.len(),
            path.display()
        ))
    }

    async fn read(&self, call: &Value) -> Result<String, String> {
        let mut text = self.text(&self.path(call)?).await?;
        text.truncate(text.floor_char_boundary(OUTPUT_BYTES_MAX));
        Ok(text)
    }

    async fn edit(&self, call: &Value) -> Result<String, String> {
        let path = self.path(call)?;
        let (old, new) = (argument(call, "old_string")?, argument(call, "new_string")?);
        let text = self.text(&path).await?;
        if old.is_empty() || !text.contains(old) {
            return Err(format!(
                "{} does not hold the text to replace",
                path.display()
            ));
        }
        let changed = text.replacen(old, new, 1);
        fs::write(&path, changed)
            .await
            .map_err(|error| told("write", &path, &error))?;
        Ok(format!("changed {}", path.display()))
    }

    async fn text(&self, path: &Path) -> Result<String, String> {
        let file = fs::File::open(path)
            .await
            .map_err(|error| told("read", path, &error))?;
        let mut bytes = Vec::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| told("read", path, &error))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!(
                "{} has more than {FILE_BYTES_MAX} bytes",
                path.display()
            ));
        }
        String::from_utf8(bytes).map_err(|_| format!("{} is not text", path.display()))
    }

    fn path(&self, call: &Value) -> Result<PathBuf, String> {
        Ok(self.directory.join(argument(call, "file_path")?))
    }
}

fn argument<'a>(call: &'a Value, name: &str) -> Result<&'a str, String> {
    call["input"][name]
        .as_str()
        .ok_or_else(|| format!("the argument `{name}` is missing"))
}

fn told(verb: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {verb} {}: {error}", path.display())
}

/// Reads for ever: at the end of the file, or on an error, it waits.
async fn read_on(
    reader: &mut (impl AsyncRead + Unpin),
    output: &mut Vec<u8>,
) -> std::convert::Infallible {
    drain(reader, output).await;
    std::future::pending().await
}

/// Reads to the end; what exceeds the limit is read and dropped, so that the
/// writer is not stopped by a full pipe.
async fn drain(reader: &mut (impl AsyncRead + Unpin), output: &mut Vec<u8>) {
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(output.len());
        output.extend_from_slice(&buffer[..length.min(room)]);
    }
}

async fn kill_group(child: &mut Child) -> io::Result<()> {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in between.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    child.wait().await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(directory: &Path) -> Tools {
        Tools::new(directory.to_owned(), Duration::from_secs(20))
    }

    fn bash(command: &str) -> Value {
        json!({"name": "Bash", "input": {"command": command}})
    }

    #[tokio::test]
    async fn a_command_gives_both_streams_in_order_and_its_exit_status() {
        let directory = tempfile::tempdir().unwrap();
        let result = tools(directory.path())
            .run(&bash("echo a; echo b >&2; echo c; exit 3"))
            .await;
        assert_eq!(result.text, "a\nb\nc\n\n(exit status 3)\n");
        assert!(result.is_error);
    }

    #[tokio::test]
    async fn a_child_that_holds_the_output_open_does_not_hold_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        let command = "sleep 30 & echo $!";
        let result = tools(directory.path()).run(&bash(command)).await;
        assert!(!result.is_error);
        let pid: i32 = result.text.trim().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn a_command_is_killed_with_its_children_when_its_time_is_up() {
        let directory = tempfile::tempdir().unwrap();
        let tools = Tools::new(directory.path().to_owned(), Duration::from_millis(300));
        let result = tools.run(&bash("sleep 60 & echo $!; wait")).await;
        assert!(
            result.is_error && result.text.contains("killed after"),
            "{}",
            result.text
        );
        let pid: i32 = result.text.lines().next().unwrap().parse().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while alive(pid) {
            assert!(std::time::Instant::now() < deadline, "the child lives on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A killed child may stay a zombie where nobody reaps orphans.
    fn alive(pid: i32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        status
            .rsplit(')')
            .next()
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    }

    #[tokio::test]
    async fn output_beyond_the_limit_is_dropped_and_the_command_still_ends() {
        let directory = tempfile::tempdir().unwrap();
        let result = tools(directory.path())
            .run(&bash("head -c 1000000 /dev/zero | tr '\\0' x"))
            .await;
        assert!(!result.is_error);
        assert_eq!(result.text.len(), OUTPUT_BYTES_MAX);
    }

    #[tokio::test]
    async fn files_are_written_read_and_edited_and_errors_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let tools = tools(directory.path());
        let call = |name: &str, input: Value| json!({"name": name, "input": input});
        let write = call(
            "Write",
            json!({"file_path": "a/b.txt", "content": "one two two"}),
        );
        assert!(!tools.run(&write).await.is_error);
        let edit = json!({"file_path": "a/b.txt", "old_string": "two", "new_string": "2"});
        assert!(!tools.run(&call("Edit", edit.clone())).await.is_error);
        let read = call("Read", json!({"file_path": "a/b.txt"}));
        assert_eq!(tools.run(&read).await.text, "one 2 two");
        assert!(!tools.run(&call("Edit", edit.clone())).await.is_error);
        let again = tools.run(&call("Edit", edit)).await;
        assert!(
            again.is_error && again.text.contains("b.txt does not hold"),
            "{}",
            again.text
        );
        let missing = tools.run(&call("Read", json!({"file_path": "none"}))).await;
        assert!(
            missing.is_error && missing.text.contains("none"),
            "{}",
            missing.text
        );
        assert!(tools.run(&call("Fly", json!({}))).await.is_error);
        assert!(tools.run(&call("Bash", json!({}))).await.is_error);
    }
}
