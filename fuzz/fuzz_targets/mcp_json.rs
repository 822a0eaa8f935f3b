//! What is read strictly has one spelling, which reads as the same; and the same digest
//! however it is spelled.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_mcp::{Item, ItemKind, JsonError, parse, scan};
use stockade_types::canonical_json;

fn item(body: serde_json::Value) -> Item {
    Item {
        kind: ItemKind::Tool,
        name: body["name"].as_str().unwrap_or_default().to_owned(),
        body: body.into(),
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(value) = parse(data) else { return };
    let canonical = canonical_json(&value);
    let again = match parse(canonical.as_bytes()) {
        Ok(again) => again,
        // 1e20 is spelled with more digits than are taken from others.
        Err(JsonError::Number(_)) => return,
        Err(other) => panic!("the one spelling is not strict: {other}"),
    };
    assert_eq!(canonical_json(&again), canonical);
    let (one, other) = (item(value), item(again));
    // Nothing stands for a whole number that a double does not have, as which a double may
    // be spelled.
    if let (Ok(one), Ok(other)) = (one.digest(), other.digest()) {
        assert_eq!(one, other);
    }
    // The rules read anything, and the same thing in both.
    let (found, again) = (scan::scan(&one), scan::scan(&other));
    assert_eq!(found.len(), again.len());
});
