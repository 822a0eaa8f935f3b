//! Findings in SARIF 2.1.0, for code scanning.

use std::path::Path;

use serde_json::{Value, json};
use stockade_mcp::scan::{RULES, Weight};

use super::scan::Scanned;

/// The report; `lock` is the file that findings are shown at.
pub(super) fn report(found: &[Scanned], lock: &Path) -> Value {
    let rules: Vec<_> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.name,
                "shortDescription": { "text": rule.about },
                "defaultConfiguration": { "level": level(rule.weight) },
            })
        })
        .collect();
    let results: Vec<_> = found
        .iter()
        .map(|one| {
            let text = format!("{} of {} at {}: {}", one.item, one.server, one.finding.place, one.finding.detail);
            json!({
                "ruleId": one.finding.rule,
                "level": level(one.finding.weight),
                "message": { "text": text },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": lock.file_name().map(|name| name.to_string_lossy()) },
                    "region": { "startLine": 1 },
                } }],
                "partialFingerprints": { "item/v1": format!("{}{}", one.digest, one.finding.place) },
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "stockade",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "results": results,
        }],
    })
}

fn level(weight: Weight) -> &'static str {
    match weight {
        Weight::Note => "note",
        Weight::Ask => "warning",
        Weight::Block => "error",
    }
}
