//! `stockade audit export`: each form is read here by the rules of its standard.
#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stockade_audit::Record;
use stockade_types::canonical_json;

use self::host::{Host, Task};

/// A task with commands, one of which has words that other formats could trip over.
fn task(host: &Host) -> Task {
    let task = host.start("sleep 600");
    assert_eq!(host.exec(&task, "true \"a ]b\\\\ é\u{202e}\"; exit 3").0, 3);
    assert_eq!(host.exec(&task, "curl -s http://203.0.113.7/ ; true").0, 0);
    host.json(&["stop", &task.id]);
    task.wait_until_settled();
    task
}

fn exported(host: &Host, words: &[&str]) -> Vec<String> {
    let outcome = host.stockade(&[&["audit", "export", "--format"], words].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.stdout.lines().map(str::to_owned).collect()
}

fn documents(lines: &[String]) -> Vec<Value> {
    let lines = lines.iter();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

/// A message of RFC 5424, read by its grammar.
#[derive(Debug)]
struct Message {
    priority: u8,
    header: Vec<String>,
    elements: BTreeMap<String, BTreeMap<String, String>>,
    text: String,
}

impl Message {
    fn read(line: &str) -> Self {
        let (priority, rest) = line.strip_prefix('<').unwrap().split_once('>').unwrap();
        let mut rest = rest;
        let mut header = Vec::new();
        for _ in 0..6 {
            let (word, after) = rest.split_once(' ').unwrap();
            assert!(!word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()));
            header.push(word.to_owned());
            rest = after;
        }
        let mut elements = BTreeMap::new();
        while let Some(element) = rest.strip_prefix('[') {
            let (name, parameters, after) = Self::element(element);
            assert!(
                elements.insert(name, parameters).is_none(),
                "an element is told once"
            );
            rest = after;
        }
        Self {
            priority: priority.parse().unwrap(),
            header,
            elements,
            text: rest.strip_prefix(" \u{feff}").unwrap().to_owned(),
        }
    }

    fn element(text: &str) -> (String, BTreeMap<String, String>, &str) {
        let end = text.find([' ', ']']).unwrap();
        let (name, mut rest) = text.split_at(end);
        let mut parameters = BTreeMap::new();
        while let Some(parameter) = rest.strip_prefix(' ') {
            let (key, after) = parameter.split_once("=\"").unwrap();
            let mut value = String::new();
            let mut characters = after.char_indices();
            loop {
                let (at, character) = characters.next().unwrap();
                match character {
                    '"' => {
                        rest = &after[at + 1..];
                        break;
                    }
                    '\\' => value.push(characters.next().unwrap().1),
                    ']' => unreachable!("a bracket in a value is escaped"),
                    other => value.push(other),
                }
            }
            parameters.insert(key.to_owned(), value);
        }
        (name.to_owned(), parameters, rest.strip_prefix(']').unwrap())
    }
}

#[test]
fn a_syslog_export_is_messages_of_rfc_5424_that_name_their_record() {
    let host = Host::new();
    let task = task(&host);
    let records = task.record();
    let messages = exported(&host, &["syslog"]);
    assert_eq!(messages.len(), records.len());
    for (line, record) in messages.iter().zip(&records) {
        let message = Message::read(line);
        let [version, at, machine, application, process, kind] = message.header.as_slice() else {
            unreachable!("six words: {message:?}");
        };
        assert_eq!((version.as_str(), machine.as_str()), ("1", "-"));
        assert_eq!(*at, record.written_at().unwrap());
        assert_eq!((application.as_str(), process), ("stockade", &task.id));
        let value = serde_json::to_value(record).unwrap();
        assert_eq!(value["kind"], **kind);
        let severity = if kind == "denied" { 4 } else { 6 };
        assert_eq!(message.priority, 13 * 8 + severity, "{line}");
        let own = &message.elements["record@32473"];
        assert_eq!(own["log"], task.id);
        assert_eq!(own["seq"], record.seq.to_string());
        assert_eq!(message.elements["origin"]["software"], "stockade");
        let body: Value = serde_json::from_str(&message.text).unwrap();
        assert_eq!(body, record.body);
        assert!(
            line.chars().all(|character| !character.is_control()),
            "{line}"
        );
    }
}

#[test]
fn an_ocsf_export_attests_each_event_and_a_filtered_one_says_the_same_of_it() {
    let host = Host::new();
    let task = task(&host);
    let records = task.record();
    let events = documents(&exported(&host, &["ocsf", "--task", &task.id]));
    assert_eq!(events.len(), records.len());
    let mut before = Value::Null;
    for (event, record) in events.iter().zip(&records) {
        assert_eq!(event["metadata"]["version"], "1.9.0");
        assert_eq!(event["metadata"]["profiles"][0], "record_integrity");
        let number = |name: &str| event[name].as_u64().unwrap();
        let activity = number("activity_id");
        assert_eq!(number("type_uid"), number("class_uid") * 100 + activity);
        assert_eq!(number("category_uid"), number("class_uid") / 1000);
        let required: &[&str] = match number("class_uid") {
            1007 => &["actor", "device", "process"],
            4001 => &["dst_endpoint"],
            6003 => &["actor", "api", "src_endpoint"],
            other => unreachable!("no class {other} is written"),
        };
        for name in required {
            assert!(event[name].is_object(), "{name}: {event}");
        }
        // The fingerprint is over the event in its canonical form without itself.
        let mut rest = event.clone();
        let attestation = rest["attestation_list"][0].as_object_mut().unwrap();
        let fingerprint = attestation.remove("fingerprint").unwrap();
        let named = attestation.get("prev_event").cloned().unwrap_or_default();
        let digest = hex::encode(Sha256::digest(canonical_json(&rest)));
        assert_eq!(fingerprint["value"], digest);
        assert_eq!(
            (
                &fingerprint["algorithm_id"],
                &fingerprint["serialization_id"]
            ),
            (&3.into(), &2.into())
        );
        assert_eq!(named["fingerprint"], before);
        before = fingerprint;
        let raw = event["raw_data"].as_str().unwrap();
        let raw_digest = hex::encode(Sha256::digest(raw));
        assert_eq!(event["raw_data_hash"]["value"], raw_digest);
        let raw: Value = serde_json::from_str(raw).unwrap();
        assert_eq!(raw, serde_json::to_value(record).unwrap());
    }
    let refused = documents(&exported(&host, &["ocsf", "--kind", "denied"]));
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|event| events.contains(event)));
}

#[test]
fn an_otlp_export_is_one_trace_a_task_whose_spans_name_their_records() {
    let host = Host::new();
    let task = task(&host);
    let records = task.record();
    let mut spans = Vec::new();
    for message in documents(&exported(&host, &["otlp"])) {
        let resources = message["resourceSpans"].as_array().unwrap();
        for scope in resources
            .iter()
            .flat_map(|resource| resource["scopeSpans"].as_array().unwrap())
        {
            spans.extend(scope["spans"].as_array().unwrap().iter().cloned());
        }
    }
    let attributes = |of: &Value| -> BTreeMap<String, Value> {
        let all = of["attributes"].as_array().unwrap().iter();
        all.map(|one| {
            (
                one["key"].as_str().unwrap().to_owned(),
                one["value"].clone(),
            )
        })
        .collect()
    };
    let hexadecimal = |value: &Value, digits: usize| {
        let text = value.as_str().unwrap();
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let roots: Vec<_> = spans
        .iter()
        .filter(|span| span["parentSpanId"].is_null())
        .collect();
    let [root] = roots.as_slice() else {
        unreachable!("one span is the task's: {spans:?}");
    };
    let mut told = BTreeSet::new();
    for span in &spans {
        assert!(hexadecimal(&span["traceId"], 32) && hexadecimal(&span["spanId"], 16));
        assert_eq!(span["traceId"], root["traceId"]);
        let is_root = span["spanId"] == root["spanId"];
        assert!(is_root || span["parentSpanId"] == root["spanId"]);
        let time = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
        let own = attributes(span);
        for name in ["stockade.record", "stockade.record.end"] {
            told.extend(
                own.get(name)
                    .map(|value| value["stringValue"].as_str().unwrap().to_owned()),
            );
        }
        if span["name"].as_str().unwrap().starts_with("execute_tool") {
            assert_eq!(own["gen_ai.operation.name"]["stringValue"], "execute_tool");
            assert_eq!(own["gen_ai.tool.name"]["stringValue"], "bash");
        }
    }
    let failed = spans.iter().filter(|span| span["status"]["code"] == 2);
    let codes: Vec<_> = failed
        .map(|span| attributes(span)["process.exit.code"]["intValue"].clone())
        .collect();
    assert_eq!(codes, ["3"]);
    assert_eq!(
        attributes(root)["gen_ai.operation.name"]["stringValue"],
        "invoke_agent"
    );
    for event in root["events"].as_array().unwrap() {
        let record = &attributes(event)["stockade.record"]["stringValue"];
        told.insert(record.as_str().unwrap().to_owned());
    }
    // Every record is told, and none that is not there.
    let all: BTreeSet<_> = seqs(&records).iter().map(u64::to_string).collect();
    assert_eq!(told, all);
}
