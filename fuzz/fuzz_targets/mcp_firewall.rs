//! A whole conversation: each line is what the server answers with, or, after a `c`, what
//! the client says. Nothing but messages goes on, and not without bounds.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use stockade_mcp::{Firewall, Lines, Message, Pins, ResultRules, Step, parse};
use stockade_scan::{Formats, TextCleaner};

const LINES_MAX: usize = 64;

static KNOWN: OnceLock<(Formats, TextCleaner)> = OnceLock::new();

/// The messages of `bytes`, which must be nothing else.
fn messages(bytes: &mut Vec<u8>) -> Vec<Message> {
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
    let mut all = Vec::new();
    let bytes = std::mem::take(bytes);
    let read = Lines::default().push(&bytes, |line| match Message::parse(line) {
        Ok(message) => all.push(message),
        // What could not be read has no number that an answer could name.
        Err(_) => {
            let line = parse(line).expect("what goes on is JSON");
            assert!(line["id"].is_null() && line["error"].is_object(), "{line}");
        }
    });
    read.expect("what goes on is no longer than a message");
    all
}

fuzz_target!(|data: &[u8]| {
    let (keys, cleaner) = KNOWN.get_or_init(|| {
        let cleaner = TextCleaner::new([], []);
        (
            Formats::new().expect("formats"),
            cleaner.expect("a cleaner"),
        )
    });
    let results = ResultRules::new(cleaner.clone());
    let pins = Pins::FirstUse(None);
    let mut firewall = Firewall::new(pins, None, keys.clone(), results, "mark".to_owned());
    let mut step = Step::default();
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "f", "version": "1" } } });
    let mut said = data.split(|byte| *byte == b'\n').take(LINES_MAX);
    firewall.from_client(hello.to_string().as_bytes(), &mut step);
    let mut asked: Vec<Message> = Vec::new();
    loop {
        messages(&mut step.to_client);
        asked.extend(messages(&mut step.to_server));
        step.seen.clear();
        let Some(line) = said.next() else { return };
        if let Some(line) = line.strip_prefix(b"c") {
            firewall.from_client(line, &mut step);
            continue;
        }
        let next = asked
            .iter()
            .position(|message| matches!(message, Message::Request { .. }));
        let answer = next.zip(parse(line).ok().filter(Value::is_object));
        match answer.map(|(next, result)| (asked.swap_remove(next), result)) {
            Some((Message::Request { id, .. }, result)) => {
                let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
                firewall.from_server(answer.to_string().as_bytes(), &mut step);
            }
            _ => firewall.from_server(line, &mut step),
        }
    }
});
