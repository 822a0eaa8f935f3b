//! The OpenAPI description, made from the routes and the types.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    events::{Event, LINES, SERVER_SENT},
    problem,
    routes::{ROUTES, Route},
};

/// What can be asked and answered, as OpenAPI 3.1 has it.
pub fn description() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for route in &ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route, &mut schemas);
    }
    let problem = schemas.given.subschema_for::<problem::Document<'_>>();
    let mut description = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Stockade",
            "version": "1",
            "description": "Sandboxes for programs, on a unix socket that only its owner can reach. \
                What commands print is cleaned of control characters and of keys, and bounded: of \
                long output the result holds head, tail and the lines between that tell of errors.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://localhost", "description": "the unix socket" }],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions(),
            "responses": {
                "Problem": {
                    "description": "It was not done, and why. With status 429, `Retry-After` \
                        tells when to try again.",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
        },
    });
    // By name, so that it is the same text however the rest of the program is built.
    description.sort_all_objects();
    description
}

/// Schemas of what is taken and of what is given, where a field that is left
/// out when it is empty need not be there.
struct Schemas {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        Self {
            taken: settings.clone().into_generator(),
            given: settings.for_serialize().into_generator(),
        }
    }

    fn definitions(mut self) -> Map<String, Value> {
        let mut all = self.taken.take_definitions(true);
        all.extend(self.given.take_definitions(true));
        all
    }
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let (status, gives) = route.gives;
    let mut content = Map::new();
    if let Some(document) = gives {
        let schema = document(&mut schemas.given);
        content.insert("application/json".to_owned(), json!({ "schema": schema }));
    } else if status == 200 {
        content.insert("application/json".to_owned(), json!({}));
    }
    if route.streams {
        let schema = schemas.given.subschema_for::<Event<'_>>();
        for kind in [SERVER_SENT, LINES] {
            content.insert(kind.to_owned(), json!({ "schema": schema }));
        }
    }
    let mut done = json!({ "description": "Done." });
    if !content.is_empty() {
        done["content"] = content.into();
    }
    let name = format!("{:?}", route.operation);
    let mut operation = json!({
        "operationId": name[..1].to_ascii_lowercase() + &name[1..],
        "summary": route.does,
        "responses": {
            status.to_string(): done,
            "default": { "$ref": "#/components/responses/Problem" },
        },
    });
    let parameters = parameters(route);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(document) = route.takes {
        let schema = document(&mut schemas.taken);
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": schema } },
        });
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        let kind = if name == "sandbox" {
            "string"
        } else {
            "integer"
        };
        Some(json!({ "name": name, "in": "path", "required": true, "schema": { "type": kind } }))
    });
    let in_query = route.query.iter().map(|(name, does)| {
        json!({
            "name": name, "in": "query", "description": does,
            "schema": { "type": "integer", "minimum": 0 },
        })
    });
    in_path.chain(in_query).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every `$ref` below `value`.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    found.insert(target.clone());
                }
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
        let description = description();
        let mut found = BTreeSet::new();
        references(&description, &mut found);
        assert!(found.len() > 10, "{found:?}");
        for target in found {
            let path = target.strip_prefix('#').unwrap();
            assert!(description.pointer(path).is_some(), "{target}");
        }
        let names: BTreeSet<String> = ROUTES
            .iter()
            .map(|route| {
                let method = route.method.to_ascii_lowercase();
                description["paths"][route.path][method]["operationId"].to_string()
            })
            .collect();
        assert_eq!(names.len(), ROUTES.len());
    }

    #[test]
    fn the_description_in_the_documents_is_the_one_that_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let text = serde_json::to_string_pretty(&description()).unwrap() + "\n";
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == text,
            "docs/openapi.json is not what is served; `stockade serve --describe` prints what is"
        );
    }
}
