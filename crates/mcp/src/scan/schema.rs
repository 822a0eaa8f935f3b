//! What a tool wants to be told, and how much work its schema makes.

use serde_json::Value;

use super::Finding;

/// The largest schema, in bytes of its one spelling.
const BYTES_MAX: usize = 64 * 1024;
/// The deepest.
const DEPTH_MAX: usize = 32;
/// The most objects and arrays in one.
const NODES_MAX: usize = 2000;

/// Names of parameters that ask for what the model was told, not for what the tool
/// needs.
const ABOUT_THE_MODEL: [&str; 8] = [
    "sidenote",
    "side_note",
    "system_prompt",
    "conversation_history",
    "chat_history",
    "full_context",
    "hidden_instructions",
    "model_context",
];

/// Names of parameters that hold secrets.
const SECRETS: [&str; 8] = [
    "api_key",
    "apikey",
    "token",
    "access_token",
    "password",
    "secret",
    "credential",
    "private_key",
];

/// Looks at the schemas of a tool.
pub(super) fn check(tool: &Value, findings: &mut Vec<Finding>) {
    for name in ["inputSchema", "outputSchema"] {
        let place = format!("/{name}");
        match &tool[name] {
            Value::Null => {}
            schema => measured(schema, &place, findings),
        }
    }
    let properties = tool["inputSchema"]["properties"].as_object();
    for (name, property) in properties.into_iter().flatten() {
        let place = format!("/inputSchema/properties/{name}");
        let lower = name.to_ascii_lowercase().replace('-', "_");
        if ABOUT_THE_MODEL.contains(&lower.as_str()) {
            findings.push(Finding::new(
                "P09",
                &place,
                format!("`{name}` asks for what the model was told"),
            ));
        }
        header(name, property, &place, findings);
    }
    let open = tool["inputSchema"]["additionalProperties"] == true;
    if open && properties.is_none_or(serde_json::Map::is_empty) {
        let detail = "it takes anything under any name";
        findings.push(Finding::new("P09", "/inputSchema", detail));
    }
}

/// A parameter that is to stand in a header of a request, where everybody on the way
/// reads it (2026-07-28).
fn header(name: &str, property: &Value, place: &str, findings: &mut Vec<Finding>) {
    let Some(header) = property.get("x-mcp-header") else {
        return;
    };
    let place = format!("{place}/x-mcp-header");
    let is_token = |text: &str| {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(token)
    };
    let lower = name.to_ascii_lowercase().replace('-', "_");
    let words = super::names::words(name);
    let is_secret = SECRETS.iter().any(|secret| lower.contains(secret))
        || words
            .iter()
            .any(|word| matches!(word.as_str(), "key" | "auth" | "authorization"));
    if !header.as_str().is_some_and(is_token) {
        findings.push(Finding::new("P10", &place, "it is no name of a header"));
    } else if is_secret {
        findings.push(Finding::new(
            "P10",
            &place,
            format!("`{name}` holds a secret"),
        ));
    } else if property["type"] == "object" || property["type"] == "array" {
        findings.push(Finding::new(
            "P10",
            &place,
            format!("`{name}` has no bound"),
        ));
    }
}

fn measured(schema: &Value, place: &str, findings: &mut Vec<Finding>) {
    let mut nodes = 0;
    let too_deep = depth(schema, 0, &mut nodes);
    let bytes = schema.to_string().len();
    if too_deep || nodes > NODES_MAX || bytes > BYTES_MAX {
        let detail = format!(
            "{bytes} bytes, {nodes} parts{}",
            if too_deep { ", nested too deep" } else { "" }
        );
        findings.push(Finding::new("P11", place, detail));
        return;
    }
    references(schema, schema, place, findings);
}

/// Whether `value` is nested deeper than schemas are; counts its parts.
fn depth(value: &Value, level: usize, nodes: &mut usize) -> bool {
    if level > DEPTH_MAX {
        return true;
    }
    let mut below = |value| depth(value, level + 1, nodes);
    match value {
        Value::Array(items) => {
            let deep = items.iter().any(&mut below);
            *nodes += 1;
            deep
        }
        Value::Object(members) => {
            let deep = members.values().any(&mut below);
            *nodes += 1;
            deep
        }
        _ => false,
    }
}

fn references(whole: &Value, part: &Value, place: &str, findings: &mut Vec<Finding>) {
    match part {
        Value::Array(items) => {
            for item in items {
                references(whole, item, place, findings);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let refers = matches!(name.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef");
                match member.as_str().filter(|_| refers) {
                    Some(target) if !target.starts_with('#') => {
                        let detail = format!("it refers to {}", super::quoted(target));
                        findings.push(Finding::new("P11", place, detail));
                    }
                    Some(target) if is_loop(whole, target) => {
                        let detail = format!(
                            "{} refers to itself and nothing else",
                            super::quoted(target)
                        );
                        findings.push(Finding::new("P11", place, detail));
                    }
                    _ => references(whole, member, place, findings),
                }
            }
        }
        _ => {}
    }
}

/// Whether following references from `target` comes back without meeting anything but
/// references: checking a value against it would not end.
fn is_loop(whole: &Value, target: &str) -> bool {
    let mut seen = vec![target.to_owned()];
    let mut at = target.to_owned();
    loop {
        let pointer = at.trim_start_matches('#').replace("%25", "%");
        let next = whole
            .pointer(&pointer)
            .and_then(|part| part.get("$ref")?.as_str());
        match next {
            None => return pointer.is_empty() && whole.get("$ref").is_some(),
            Some(next) if seen.iter().any(|before| before == next) => return true,
            Some(next) => {
                seen.push(next.to_owned());
                next.clone_into(&mut at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(schema: &Value) -> Vec<&'static str> {
        let mut findings = Vec::new();
        check(&json!({ "inputSchema": schema }), &mut findings);
        findings.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_schema_that_refers_elsewhere_or_to_itself_is_found() {
        assert_eq!(rules(&json!({ "$ref": "https://a.test/s.json" })), ["P11"]);
        assert_eq!(rules(&json!({ "$ref": "other.json#/x" })), ["P11"]);
        let turns = json!({ "properties": { "a": { "$ref": "#/$defs/a" } }, "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } });
        assert!(rules(&turns).contains(&"P11"));
        assert_eq!(rules(&json!({ "$ref": "#" })), ["P11"]);
        // A tree of trees ends with the value.
        let tree = json!({ "properties": { "left": { "$ref": "#/$defs/t" } }, "$defs": { "t": { "type": "object", "properties": { "left": { "$ref": "#/$defs/t" } } } } });
        assert_eq!(rules(&tree), [] as [&str; 0]);
    }

    #[test]
    fn a_schema_that_makes_endless_work_is_found() {
        let mut deep = json!({ "type": "string" });
        for _ in 0..40 {
            deep = json!({ "properties": { "a": deep } });
        }
        assert_eq!(rules(&deep), ["P11"]);
        let wide = json!({ "anyOf": vec![json!({ "type": "string" }); 3000] });
        assert_eq!(rules(&wide), ["P11"]);
    }

    #[test]
    fn a_secret_does_not_stand_in_a_header() {
        let with = |name: &str, header: Value| {
            let mut schema = json!({ "properties": {} });
            schema["properties"][name] = json!({ "type": "string", "x-mcp-header": header });
            rules(&schema)
        };
        assert_eq!(with("api_key", json!("Key")), ["P10"]);
        assert_eq!(with("authToken", json!("Auth")), ["P10"]);
        assert_eq!(with("region", json!("Region\r\nHost")), ["P10"]);
        assert_eq!(with("region", json!(1)), ["P10"]);
        assert_eq!(with("region", json!("Region")), [] as [&str; 0]);
    }
}
