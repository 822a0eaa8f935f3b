//! The tools that a project declares, as an MCP server of the task: behind a firewall as
//! every server, with nothing between that and the task's commands.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use serde_json::{Map, Value, json};
use stockade_mcp::{Id, LEGACY, Lines, Message};
use stockade_types::visible;

use super::ServerEnds;
use crate::{
    control::{self, Answer},
    exec::{Context, ExecEnd, ExecRequest, ExecResult, Owned, Report},
    project::{ProjectTool, ToolCall},
};

/// What the server is called.
pub const TOOLS: &str = "stockade";
/// The tool that tells more of what another printed.
const OUTPUT: &str = "tool_output";
/// How many calls run at once.
const AT_ONCE: usize = 8;
/// Of how many calls the output is kept to be told.
const KEPT: usize = 16;
/// The most lines of an output that are told at once, and bytes.
const LINES_MAX: usize = 400;
const BYTES_MAX: usize = 8_000;

/// One instance: the tools for one client.
struct Instance {
    tools: BTreeMap<String, ProjectTool>,
    context: Arc<Context>,
    state: Mutex<State>,
    /// A call has ended.
    ended: Condvar,
    output: Mutex<File>,
}

#[derive(Default)]
struct State {
    /// The calls that run, and what ends each.
    running: BTreeMap<Id, UnixStream>,
    count: usize,
    /// What calls printed, by the number of their command, where it is not kept whole in
    /// the task's folder.
    printed: BTreeMap<u32, String>,
    over: bool,
}

/// Serves `tools` until the other side has gone; ends what it started then.
pub(crate) fn serve(ends: ServerEnds, tools: BTreeMap<String, ProjectTool>, context: Arc<Context>) {
    let instance = Arc::new(Instance {
        tools,
        context,
        state: Mutex::default(),
        ended: Condvar::new(),
        output: Mutex::new(ends.input.into()),
    });
    let mut input = File::from(ends.output);
    let (mut lines, mut piece) = (Lines::default(), [0; 16 * 1024]);
    while let Ok(length @ 1..) = input.read(&mut piece) {
        let pushed = lines.push(&piece[..length], |line| {
            // The firewall writes messages and nothing else.
            if let Ok(message) = Message::parse(line) {
                instance.hear(message);
            }
        });
        if pushed.is_err() {
            break;
        }
    }
    instance.end();
}

impl Instance {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(self: &Arc<Self>, message: Message) {
        match message {
            Message::Request { id, method, params } => self.asked(id, &method, params),
            Message::Notification { method, params } if method == "notifications/cancelled" => {
                let state = self.lock();
                let mut running = state.running.iter();
                let meant = running.find(|(id, _)| id.to_value() == params["requestId"]);
                if let Some((_, stream)) = meant {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
            Message::Notification { .. } | Message::Response { .. } => {}
        }
    }

    fn asked(self: &Arc<Self>, id: Id, method: &str, params: Map<String, Value>) {
        let answer = match method {
            "initialize" => Ok(json!({
                "protocolVersion": LEGACY[LEGACY.len() - 1],
                "capabilities": { "tools": {} },
                "serverInfo": { "name": TOOLS, "version": env!("CARGO_PKG_VERSION") },
            })),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({ "tools": self.list() })),
            "tools/call" if params.get("name").is_some_and(|name| name == OUTPUT) => {
                Ok(self.tell(params.get("arguments")))
            }
            "tools/call" => return self.call(id, params),
            _ => Err((-32601, "there is no such method")),
        };
        self.answer(&id, answer);
    }

    fn answer(&self, id: &Id, answer: Result<Value, (i64, &str)>) {
        let mut message = json!({ "jsonrpc": "2.0", "id": id });
        match answer {
            Ok(result) => message["result"] = result,
            Err((code, reason)) => message["error"] = json!({ "code": code, "message": reason }),
        }
        let mut line = message.to_string();
        line.push('\n');
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has gone reads nothing.
        let _ = output.write_all(line.as_bytes());
    }

    fn list(&self) -> Vec<Value> {
        let declared = self.tools.iter().map(|(name, tool)| {
            json!({
                "name": name, "description": tool.about, "inputSchema": tool.schema(),
                "annotations": {
                    "readOnlyHint": tool.is_reading(), "openWorldHint": tool.network,
                },
            })
        });
        let output = json!({
            "name": OUTPUT,
            "description": "More of what one of the other tools printed: those lines of it.",
            "inputSchema": {
                "type": "object", "additionalProperties": false, "required": ["of"],
                "properties": {
                    "of": { "type": "integer", "description": "The number that its result names." },
                    "from": { "type": "integer", "minimum": 1, "description": "The first line; 1 without it." },
                    "lines": { "type": "integer", "minimum": 1, "maximum": LINES_MAX },
                },
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        });
        declared.chain([output]).collect()
    }

    /// Runs a tool in a thread of its own, and answers when it has ended.
    fn call(self: &Arc<Self>, id: Id, mut params: Map<String, Value>) {
        let name = params
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !self.tools.contains_key(name) {
            return self.answer(&id, Err((-32602, "there is no such tool")));
        }
        let call = ToolCall {
            name: name.to_owned(),
            arguments: match params.remove("arguments") {
                Some(Value::Object(arguments)) => arguments,
                _ => Map::new(),
            },
        };
        let Ok((ours, theirs)) = UnixStream::pair() else {
            return self.answer(&id, Err((-32603, "no more can be started")));
        };
        let mut state = self.lock();
        if state.over || state.count >= AT_ONCE {
            drop(state);
            let busy = format!("{AT_ONCE} calls run already; wait for one of them");
            return self.answer(&id, Ok(text(&busy, true)));
        }
        state.count += 1;
        // By this it is ended: a command whose client goes ends with all that it started.
        if let Ok(own) = ours.try_clone() {
            state.running.insert(id.clone(), own);
        }
        drop(state);
        let instance = Arc::clone(self);
        thread::spawn(move || {
            let result = instance.run(call, &ours, theirs);
            instance.answer(&id, Ok(result));
            let mut state = instance.lock();
            state.running.remove(&id);
            state.count -= 1;
            instance.ended.notify_all();
        });
    }

    fn run(&self, call: ToolCall, ours: &UnixStream, theirs: UnixStream) -> Value {
        let request = ExecRequest {
            tool: Some(call),
            report: Report::Collected,
            merged: true,
            leashed: true,
            ..ExecRequest::default()
        };
        let context = Arc::clone(&self.context);
        let runs = thread::spawn(move || {
            let mut lines = control::Lines::new(theirs);
            Owned::new(context)?.run(&mut lines, &request)
        });
        let answer = ours.try_clone().ok().and_then(|ours| {
            let line = control::Lines::new(ours).next().ok()??;
            serde_json::from_slice(&line).ok()
        });
        let _ = runs.join();
        match answer {
            Some(Answer::Ended {
                result: Some(result),
                ..
            }) => self.ended(*result),
            Some(Answer::Refused { reason, .. }) => {
                text(&format!("it was not started: {reason}"), true)
            }
            _ => text("it was ended before it was done", true),
        }
    }

    /// What is told of a call that ended.
    fn ended(&self, result: ExecResult) -> Value {
        let mut said = format!("exit {}", result.exit);
        if let Some(signal) = result.signal {
            said = format!("ended by signal {signal}");
        }
        if result.end == ExecEnd::Timeout {
            said.push_str(", because its time was up");
        }
        for seen in &result.denials {
            let _ = write!(
                said,
                "\nthe gateway refused {}:{} ({})",
                visible::line(seen.host.as_bytes()),
                seen.port,
                seen.rule
            );
        }
        let _ = writeln!(said, "\n[of: {}]", result.exec);
        said.push_str(result.summary.as_deref().unwrap_or_default());
        if let Some(output) = result.output.filter(|_| !result.log) {
            let mut state = self.lock();
            state.printed.insert(result.exec, output.text);
            while state.printed.len() > KEPT {
                state.printed.pop_first();
            }
        }
        text(&said, result.exit != 0)
    }

    /// Lines of what a call printed.
    fn tell(&self, arguments: Option<&Value>) -> Value {
        let number = |name: &str| arguments?.get(name)?.as_u64();
        let number = |name: &str| number(name).and_then(|number| usize::try_from(number).ok());
        let of = number("of")
            .and_then(|of| u32::try_from(of).ok())
            .unwrap_or_default();
        let kept = self.lock().printed.get(&of).cloned();
        let kept = kept.or_else(|| self.context.whole_output(of));
        let Some(kept) = kept else {
            return text(&format!("of {of} nothing is kept"), true);
        };
        let from = number("from").unwrap_or(1).max(1);
        let most = number("lines").unwrap_or(LINES_MAX).min(LINES_MAX);
        let (mut said, mut count) = (String::new(), 0);
        for line in kept.lines().skip(from - 1).take(most) {
            if said.len() + line.len() > BYTES_MAX && count > 0 {
                break;
            }
            said.push_str(&visible::beginning(line, BYTES_MAX));
            said.push('\n');
            count += 1;
        }
        let total = kept.lines().count();
        text(
            &format!("[lines {from} to {} of {total}]\n{said}", from + count - 1),
            false,
        )
    }

    /// Ends what still runs, and waits for that.
    fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        for stream in state.running.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        while state.count > 0 {
            let waited = self.ended.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn text(text: &str, is_error: bool) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "isError": is_error })
}

impl ProjectTool {
    /// Whether it changes nothing that stays.
    fn is_reading(&self) -> bool {
        !self.isolation().changes_workspace()
    }
}
