//! A server of the legacy era with one tool.

use std::{
    io::{self, BufRead, Write},
    process::ExitCode,
};

use serde_json::{Value, json};

pub(crate) fn serve() -> ExitCode {
    match answer_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer_all() -> io::Result<()> {
    let text = "a word of text ".repeat(1024 / 15);
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let Some(id) = request.get("id") else {
            continue;
        };
        let result = match request["method"].as_str() {
            Some("initialize") => {
                json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} }, "serverInfo": { "name": "bench", "version": "1" } })
            }
            Some("tools/list") => {
                json!({ "tools": [{ "name": "echo", "description": "Answers.", "inputSchema": { "type": "object", "properties": { "text": { "type": "string" } } } }] })
            }
            _ => json!({ "content": [{ "type": "text", "text": text }] }),
        };
        let mut reply = json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string();
        reply.push('\n');
        out.write_all(reply.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}
