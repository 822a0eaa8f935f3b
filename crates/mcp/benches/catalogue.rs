//! What it costs to hold a list of tools against what was approved, and to read it by the
//! rules; and what that adds to reading it as JSON.
//!
//!     cargo bench -p stockade-mcp --bench catalogue

#![expect(clippy::unwrap_used, reason = "a bench without a list ends")]

use std::{
    hint::black_box,
    io::Write,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stockade_mcp::{Catalogue, Item, ItemKind, Offer, Pins, parse, scan};

const ROUNDS: usize = 200;
const TOOLS: usize = 1_000;
const SCANNED: usize = 256;

/// A tool as servers describe them, in some 1,000 bytes of JSON.
fn tool(number: usize) -> Value {
    let words = "Searches the issues of a project by state, labels and people, newest first; returns at \
                 most a page of them, each with its number, its title and who is meant to look at it.";
    let text = |about: &str| json!({ "type": "string", "description": about });
    json!({
        "name": format!("search_issues_{number}"), "title": "Search issues", "description": words,
        "inputSchema": { "type": "object", "properties": {
            "project": text("The project, as owner and name."),
            "state": { "type": "string", "enum": ["open", "closed", "all"], "default": "open" },
            "labels": { "type": "array", "items": text("The name of a label."), "maxItems": 20 },
            "page": { "type": "integer", "minimum": 1, "description": "Which page; 1 is the newest." },
            "since": text("A time as RFC 3339; issues that changed later are left out."),
        }, "required": ["project"], "additionalProperties": false },
        "annotations": { "readOnlyHint": true, "openWorldHint": true },
    })
}

fn items(count: usize) -> Vec<Item> {
    let bodies = (0..count).map(tool);
    let item = |body: Value| Item {
        kind: ItemKind::Tool,
        name: body["name"].as_str().unwrap().to_owned(),
        body: body.into(),
    };
    bodies.map(item).collect()
}

/// Median and 99th percentile of `measured`, in milliseconds.
fn times(mut measured: impl FnMut()) -> (f64, f64) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            measured();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e3;
    (at(50), at(99))
}

fn main() {
    let catalogue = Catalogue {
        items: items(TOOLS),
    };
    let digests = catalogue.digests();
    let bodies: Vec<_> = catalogue.items.iter().map(|item| &item.body).collect();
    let text = serde_json::to_vec(&bodies).unwrap();
    let few = items(SCANNED);
    let read = times(|| drop(black_box(parse(&text).unwrap())));
    let verified = times(|| {
        let offer = Offer::of(&catalogue, &mut Pins::Approved(digests.clone()));
        assert_eq!(black_box(offer).tools().count(), TOOLS);
    });
    let scanned = times(|| {
        for item in &few {
            black_box(scan::scan(item));
        }
    });
    let mut out = std::io::stdout().lock();
    for (what, (median, worst)) in [
        (
            format!("read {TOOLS} tools, {} KiB of JSON", text.len() / 1024),
            read,
        ),
        (
            format!("hold {TOOLS} tools against what was approved"),
            verified,
        ),
        (format!("scan {SCANNED} definitions"), scanned),
    ] {
        writeln!(out, "{what}: {median:.2} ms (p99 {worst:.2} ms)").unwrap();
    }
}
