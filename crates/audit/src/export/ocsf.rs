//! Events of OCSF 1.9. What OCSF has no place for is its `unmapped`; with the
//! profile `record_integrity` each event attests itself and names the one before.

use serde_json::{Value, json};
use stockade_types::{EventKind, canonical_json};

use super::{kind, words};
use crate::{
    hash::Hash,
    record::{Record, RecordKind},
};

/// The version of the schema.
const VERSION: &str = "1.9.0";

/// The chain of a log's events.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The event before, as the next one names it.
    before: Option<Value>,
}

/// Which class an event belongs to, and which of its activities it is.
#[derive(Clone, Copy)]
enum Class {
    /// 1007: launch, terminate.
    Process(u32),
    /// 4001: open, close, refuse.
    Network(u32),
    /// 6003: other.
    Api,
}

impl Class {
    fn of(record: &Record) -> Self {
        let RecordKind::Event(kind) = record.kind else {
            return Self::Api;
        };
        let body = &record.body;
        match kind {
            EventKind::ExecStarted | EventKind::ProgramSeen => Self::Process(1),
            EventKind::ExecEnded => Self::Process(2),
            EventKind::NetworkRequest | EventKind::InboundConnection => Self::Network(1),
            EventKind::NetworkOutcome | EventKind::InboundOutcome => Self::Network(2),
            EventKind::Denied if body["host"].is_string() => Self::Network(5),
            EventKind::Denied if body["argv"].is_array() => Self::Process(1),
            _ => Self::Api,
        }
    }

    /// The class, its category and the activity.
    fn numbers(self) -> (u32, u32, u32) {
        match self {
            Self::Process(activity) => (1007, 1, activity),
            Self::Network(activity) => (4001, 4, activity),
            Self::Api => (6003, 6, 99),
        }
    }
}

impl Chain {
    /// The event of the next record of `log`.
    pub(super) fn event(
        &mut self,
        machine: &str,
        log: &str,
        record: &Record,
    ) -> Result<String, serde_json::Error> {
        let mut event = event(log, record)?;
        let uid = format!("{log}/{}", record.seq);
        let mut attestation = json!({
            "authority_uid": machine,
            "chain_uid": format!("{machine}/{log}"),
            "uid": uid,
        });
        if let Some(before) = self.before.take() {
            attestation["prev_event"] = before;
        }
        event["attestation_list"] = json!([attestation]);
        // Over the whole event but the fingerprint itself.
        let fingerprint = fingerprint(&canonical_json(&event), JCS);
        self.before = Some(json!({
            "fingerprint": fingerprint, "type_uid": event["type_uid"], "uid": uid,
        }));
        event["attestation_list"][0]["fingerprint"] = fingerprint;
        Ok(canonical_json(&event))
    }
}

/// How what is fingerprinted is spelled: as RFC 8785 has it, or as it stands.
const JCS: (&str, u32) = ("JCS", 2);
const FLAT: (&str, u32) = ("Flat", 1);

fn fingerprint(text: &str, (serialization, serialization_id): (&str, u32)) -> Value {
    json!({
        "algorithm": "SHA-256", "algorithm_id": 3, "encoding": "Hex", "encoding_id": 1,
        "serialization": serialization, "serialization_id": serialization_id,
        "value": Hash::of(text.as_bytes()),
    })
}

fn event(log: &str, record: &Record) -> Result<Value, serde_json::Error> {
    let body = &record.body;
    let class = Class::of(record);
    let (class_uid, category, activity) = class.numbers();
    let refused = record.kind == RecordKind::Event(EventKind::Denied);
    let severity = match (refused, body["alarm"] == true) {
        (_, true) => 4,
        (true, _) => 2,
        _ => 1,
    };
    let entry = record.encode()?;
    let entry = String::from_utf8_lossy(&entry);
    let milliseconds = record.at.unix_timestamp_nanos() / 1_000_000;
    let mut event = json!({
        "activity_id": activity,
        "actor": { "app_name": "Stockade", "app_uid": log },
        "category_uid": category,
        "class_uid": class_uid,
        "message": kind(record)?,
        "metadata": {
            "log_name": log,
            "product": { "name": "Stockade", "vendor_name": "Stockade" },
            "profiles": ["record_integrity"],
            "sequence": record.seq,
            "uid": format!("{log}/{}", record.seq),
            "version": VERSION,
        },
        "raw_data": entry,
        "raw_data_hash": fingerprint(&entry, FLAT),
        "severity_id": severity,
        "time": i64::try_from(milliseconds).unwrap_or_default(),
        "type_uid": class_uid * 100 + activity,
        "unmapped": body,
    });
    if class_uid == 6003 {
        event["activity_name"] = json!("Other");
    }
    if refused {
        event["status_id"] = json!(2);
    }
    match class {
        Class::Process(_) => {
            event["device"] = json!({ "type_id": 6, "type": "Virtual", "uid": log });
            event["process"] = process(body);
            if let Some(exit) = body["exit"].as_i64() {
                event["exit_code"] = json!(exit);
            }
        }
        Class::Network(_) => {
            let inbound = matches!(
                record.kind,
                RecordKind::Event(EventKind::InboundConnection | EventKind::InboundOutcome)
            );
            let mut other = match body["host"].as_str() {
                Some(host) => json!({ "hostname": host }),
                None => json!({ "uid": log }),
            };
            if !body["port"].is_null() {
                other["port"] = body["port"].clone();
            }
            event["dst_endpoint"] = other;
            if !inbound {
                event["src_endpoint"] = json!({ "uid": log });
            }
        }
        Class::Api => {
            event["api"] = json!({ "operation": kind(record)? });
            event["src_endpoint"] = json!({ "uid": log });
        }
    }
    Ok(event)
}

/// A command or program, as far as its record tells: at least its number.
fn process(body: &Value) -> Value {
    let number = body["exec"].as_u64().or(body["process"].as_u64());
    let mut process = json!({
        "uid": number.map_or_else(|| "main".to_owned(), |number| number.to_string()),
    });
    if let Some(words) = words(body) {
        process["cmd_line"] = json!(words.join(" "));
        let name = words.first().and_then(|program| program.rsplit('/').next());
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            process["name"] = json!(name);
        }
    }
    if let Some(path) = body["ran"].as_str() {
        process["path"] = json!(path);
    }
    process
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{hostile, record},
        *,
    };

    fn events(records: &[Record]) -> Vec<Value> {
        let mut chain = Chain::default();
        let lines = records
            .iter()
            .map(|record| chain.event("stockade/m", "t", record).unwrap());
        lines
            .map(|line| serde_json::from_str(&line).unwrap())
            .collect()
    }

    #[test]
    fn a_refusal_is_a_network_activity_that_failed() {
        let event = events(&[hostile()]).remove(0);
        assert_eq!(event["class_uid"], 4001);
        assert_eq!(event["type_uid"], 400_105);
        assert_eq!(event["status_id"], 2);
        assert_eq!(event["time"], 1_767_323_045_006_i64);
        assert_eq!(event["dst_endpoint"]["port"], 443);
        assert_eq!(event["metadata"]["uid"], "t/7");
    }

    #[test]
    fn each_class_has_what_the_schema_requires() {
        let argv = json!({ "exec": 3, "argv": ["/usr/bin/make", "all"] });
        let all = [
            record(0, EventKind::ExecStarted, argv.clone()),
            record(1, EventKind::ExecEnded, json!({ "exec": 3, "exit": 2 })),
            record(2, EventKind::Denied, argv),
            record(
                3,
                EventKind::NetworkRequest,
                json!({ "host": "a.test", "port": 443 }),
            ),
            record(4, EventKind::InboundConnection, json!({ "port": 80 })),
            record(5, EventKind::Approved, json!({})),
        ];
        for event in events(&all) {
            for name in [
                "activity_id",
                "category_uid",
                "class_uid",
                "metadata",
                "severity_id",
                "time",
                "type_uid",
            ] {
                assert!(!event[name].is_null(), "{name}: {event}");
            }
            let required: &[&str] = match event["class_uid"].as_u64() {
                Some(1007) => &["actor", "device", "process"],
                Some(6003) => &["actor", "api", "src_endpoint"],
                _ => &["dst_endpoint"],
            };
            for name in required {
                assert!(event[name].is_object(), "{name}: {event}");
            }
        }
        let process = &events(&all)[0]["process"];
        assert_eq!(process["name"], "make");
        assert_eq!(process["cmd_line"], "/usr/bin/make all");
        assert_eq!(events(&all)[1]["exit_code"], 2);
    }

    #[test]
    fn a_changed_or_missing_event_breaks_the_chain_of_fingerprints() {
        let all: Vec<_> = (0..4)
            .map(|seq| record(seq, EventKind::Denied, json!({ "n": seq })))
            .collect();
        let events = events(&all);
        let holds = |events: &[Value]| {
            let mut before = Value::Null;
            events.iter().all(|event| {
                let mut event = event.clone();
                let attestation = event["attestation_list"][0].as_object_mut().unwrap();
                let said = attestation.remove("fingerprint").unwrap();
                let named = attestation.get("prev_event").cloned().unwrap_or_default();
                let fits = said == fingerprint(&canonical_json(&event), JCS)
                    && named["fingerprint"] == before;
                before = said;
                fits
            })
        };
        assert!(holds(&events));
        let mut changed = events.clone();
        changed[2]["unmapped"]["n"] = json!(9);
        assert!(!holds(&changed));
        let mut missing = events.clone();
        missing.remove(1);
        assert!(!holds(&missing));
        // The record itself comes along, as the log has it.
        let raw = events[1]["raw_data"].as_str().unwrap();
        assert_eq!(raw.as_bytes(), all[1].encode().unwrap());
    }
}
