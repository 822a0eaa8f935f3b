//! Values by JSON schema, as far as clients use it.

use serde_json::{Map, Value, json};

use crate::conversation::elements;

const EXPLANATIONS: &[&str] = &[
    "description",
    "explanation",
    "instruction",
    "prompt",
    "purpose",
    "reason",
    "summary",
];

/// How deep a schema is followed when a value is made up from it.
const SCHEMA_DEPTH_MAX: usize = 8;

/// Arguments by `schema`: each wanted value under the first of its names that
/// is a property, every other required property made up. `None` if a wanted
/// value has no place.
pub(super) fn arguments(schema: &Value, wanted: &[(&[&str], String)]) -> Option<Value> {
    let properties = schema["properties"].as_object()?;
    let mut filled = Map::new();
    for (names, value) in wanted {
        let name = names.iter().find(|name| properties.contains_key(**name))?;
        filled.insert((*name).to_owned(), shaped(&properties[*name], name, value));
    }
    for name in elements(&schema["required"])
        .iter()
        .filter_map(Value::as_str)
    {
        if !filled.contains_key(name) {
            let value = if EXPLANATIONS.contains(&name) {
                json!("A step of the rehearsal")
            } else {
                made_up(&schema["properties"][name], 0)
            };
            filled.insert(name.to_owned(), value);
        }
    }
    Some(Value::Object(filled))
}

/// `value` as a string, or as the list that the property asks for.
fn shaped(property: &Value, name: &str, value: &str) -> Value {
    if !allows(property, "array") || allows(property, "string") {
        return json!(value);
    }
    // An argument vector, as against a list of commands.
    if name == "command" {
        return json!(["sh", "-c", value]);
    }
    json!([value])
}

fn allows(property: &Value, kind: &str) -> bool {
    let is_kind = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.eq_ignore_ascii_case(kind))
    };
    is_kind(&property["type"])
        || elements(&property["type"]).iter().any(is_kind)
        || ["anyOf", "oneOf"].iter().any(|key| {
            elements(&property[*key])
                .iter()
                .any(|part| is_kind(&part["type"]))
        })
}

/// A small value that satisfies the part of JSON Schema that clients use.
pub(crate) fn made_up(schema: &Value, depth: usize) -> Value {
    if depth > SCHEMA_DEPTH_MAX {
        return Value::Null;
    }
    for key in ["const", "default"] {
        if let Some(value) = schema.get(key) {
            return value.clone();
        }
    }
    if let Some(value) = elements(&schema["enum"]).first() {
        return value.clone();
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(first) = elements(&schema[key]).first() {
            return made_up(first, depth + 1);
        }
    }
    if allows(schema, "object") || schema.get("properties").is_some() {
        let names = elements(&schema["required"])
            .iter()
            .filter_map(Value::as_str);
        return names
            .map(|name| {
                (
                    name.to_owned(),
                    made_up(&schema["properties"][name], depth + 1),
                )
            })
            .collect::<Map<_, _>>()
            .into();
    }
    if allows(schema, "array") {
        let needed = schema["minItems"].as_u64().is_some_and(|count| count > 0);
        return if needed {
            json!([made_up(&schema["items"], depth + 1)])
        } else {
            json!([])
        };
    }
    if allows(schema, "boolean") {
        return json!(false);
    }
    if allows(schema, "integer") || allows(schema, "number") {
        return schema.get("minimum").cloned().unwrap_or_else(|| json!(0));
    }
    json!("rehearsal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_value_satisfies_the_schema() {
        let schema = json!({"type": "object", "required": ["a", "b", "c", "d"], "properties": {
            "a": {"enum": ["user", "model"]}, "b": {"type": "ARRAY", "minItems": 1, "items": {"type": "integer"}},
            "c": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "d": {"type": ["string", "null"]}}});
        assert_eq!(
            made_up(&schema, 0),
            json!({"a": "user", "b": [0], "c": false, "d": "rehearsal"})
        );
        let mut nested = json!({"type": "string"});
        for _ in 0..40 {
            nested = json!({"anyOf": [nested]});
        }
        assert_eq!(made_up(&nested, 0), Value::Null);
    }
}
