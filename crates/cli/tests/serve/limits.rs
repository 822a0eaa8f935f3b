//! What is too much, too large or not there.

use std::{collections::BTreeSet, io::Write};

use serde_json::{Value, json};

use crate::{
    Server,
    client::{Open, connect},
    exec,
    host::{Host, eventually},
    marker, named, standing,
};

#[test]
fn more_commands_than_allowed_are_told_to_come_again() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let server = Server::start_with(&host, &["--commands", "2"]);
    let session = server.session(&task, &json!({}));
    let marker = marker("served-many");
    let command = json!({ "shell": format!("exec -a {marker} sleep 1000") });
    let running: Vec<Open> = (0..2)
        .map(|_| server.open(&exec(&task), &command, &[]))
        .collect();
    eventually("both run", || named(&marker) == 2);
    assert_eq!(server.get("/v1/health").done(200)["commands"], 2);
    for (path, body) in [
        (exec(&task), json!({ "argv": ["true"] })),
        (format!("{session}/exec"), json!({ "shell": "true" })),
    ] {
        let refused = server.post(&path, &body);
        let problem = refused.problem(429, "busy");
        assert_eq!(refused.headers["retry-after"], "1");
        assert!(!problem["fix"].as_array().unwrap().is_empty());
    }
    drop(running);
    eventually("there is room again", || {
        server.get("/v1/health").done(200)["commands"] == 0
    });
    assert_eq!(server.exec(&task, "true")["exit"], 0);
}

#[test]
fn more_connections_than_allowed_are_told_to_come_again() {
    let host = Host::new();
    let server = Server::start(&host);
    let idle: Vec<_> = (0..256)
        .map(|_| {
            let mut stream = connect(&server.socket).unwrap();
            stream.write_all(b"GET /v1/health HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    let mut refused = None;
    eventually("one more is too much", || {
        let answer = server.get("/v1/health");
        let busy = answer.status == 429;
        refused = busy.then_some(answer);
        busy
    });
    let refused = refused.unwrap();
    refused.problem(429, "busy");
    assert_eq!(refused.headers["retry-after"], "1");
    drop(idle);
    eventually("there is room again", || {
        server.get("/v1/health").status == 200
    });
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let (_host, task, server) = standing();
    let mut open = Open::raw(&server.socket, b"");
    for _ in 0..3 {
        assert_eq!(open.again("/v1/health")["status"], "ok");
        let sandboxes = &open.again("/v1/sandboxes")["sandboxes"];
        assert_eq!(sandboxes[0]["id"], json!(task.id));
    }
}

#[test]
fn a_sandbox_keeps_a_bounded_number_of_sessions() {
    let (_host, task, server) = standing();
    let sessions = format!("/v1/sandboxes/{}/sessions", task.id);
    let first = server.session(&task, &json!({}));
    for _ in 1..32 {
        server.session(&task, &json!({}));
    }
    server.post(&sessions, &json!({})).problem(429, "busy");
    // One that is over makes room.
    server.run(&first, "exit");
    server.post(&sessions, &json!({})).done(201);
    server.get(&first).problem(404, "not-found");
}

#[test]
fn large_bodies_and_heads_are_refused() {
    let (_host, task, server) = standing();
    let long = "x".repeat(800 * 1024);
    let body = json!({ "argv": ["true"], "stdin": long });
    server.post(&exec(&task), &body).problem(413, "too-large");
    let header = ("x-long", "y".repeat(200 * 1024));
    let headers = [(header.0, header.1.as_str())];
    let refused = Open::ask(&server.socket, "GET", "/v1/health", &headers, None).finish();
    assert_eq!(refused.status, 431);
    let names: Vec<String> = (0..100).map(|number| format!("x-{number}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let refused = Open::ask(&server.socket, "GET", "/v1/health", &headers, None).finish();
    assert_eq!(refused.status, 431);
    let refused = Open::raw(&server.socket, b"nonsense\r\n\r\n").finish();
    assert_eq!(refused.status, 400);
    // What is just small enough goes through whole.
    let body = json!({ "argv": ["wc", "-c"], "stdin": "x".repeat(600 * 1024) });
    let counted = server.post(&exec(&task), &body).done(200);
    assert_eq!(counted["stdout"]["text"], "614400\n");
    assert_eq!(server.get("/v1/health").status, 200);
}

#[test]
fn what_is_not_there_and_what_cannot_be_done_with_it_are_told() {
    let (_host, task, server) = standing();
    for path in ["/", "/v1", "/v1/sandboxes/", "/v2/health", "/v1/health/x"] {
        let problem = server.get(path).problem(404, "not-found");
        assert!(problem["fix"][0].as_str().unwrap().contains("openapi"));
    }
    let missing = format!("/v1/sandboxes/{}/sessions/4000000", task.id);
    server.get(&missing).problem(404, "not-found");
    for (path, allowed) in [
        ("/v1/health".to_owned(), "GET"),
        (exec(&task), "POST"),
        ("/v1/sandboxes".to_owned(), "GET, POST"),
    ] {
        let refused = server.delete(&path);
        refused.problem(405, "method");
        assert_eq!(refused.headers["allow"], allowed);
    }
    server.get("/v1/health?verbose").problem(400, "invalid");
}

/// What of `value` does not fit `schema`.
fn misfit(description: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(target) = schema["$ref"].as_str() {
        let schema = description.pointer(&target[1..]).unwrap();
        return misfit(description, schema, value, at);
    }
    if let Some(any) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let fits = |schema| misfit(description, schema, value, at).is_none();
        return (!any.iter().any(fits)).then(|| format!("{at}: {value} fits nothing"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let known: BTreeSet<&str> = match &schema["type"] {
        Value::String(one) => [one.as_str()].into(),
        Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
        _ => [kind].into(),
    };
    let fits = known.contains(kind) || kind == "integer" && known.contains("number");
    if !fits {
        return Some(format!("{at}: {value} is no {known:?}"));
    }
    if let Some(one) = schema.get("const").filter(|one| *one != value) {
        return Some(format!("{at}: {value} is not {one}"));
    }
    if let Some(items) = value.as_array() {
        let each = |item| misfit(description, &schema["items"], item, at);
        return items.iter().find_map(each);
    }
    let members = value.as_object()?;
    let properties = schema["properties"].as_object()?;
    let required = schema["required"].as_array();
    let missing = required.into_iter().flatten().filter_map(Value::as_str);
    if let Some(name) = missing
        .into_iter()
        .find(|name| !members.contains_key(*name))
    {
        return Some(format!("{at}: {name} is missing"));
    }
    members
        .iter()
        .find_map(|(name, value)| match properties.get(name) {
            Some(schema) => misfit(description, schema, value, &format!("{at}.{name}")),
            None => Some(format!("{at}.{name} is not described")),
        })
}

#[test]
fn every_answer_fits_the_description_that_is_served() {
    let (host, task, server) = standing();
    let description = server.get("/v1/openapi.json").done(200);
    let printed = host.stockade(&["serve", "--describe"]);
    assert_eq!(
        serde_json::from_str::<Value>(&printed.stdout).unwrap(),
        description
    );
    let session = server.session(&task, &json!({}));
    let at = format!("/v1/sandboxes/{}", task.id);
    let long = json!({ "shell": "seq 100000; curl -s https://example.com", "files": true });
    let handle = server.post(&exec(&task), &long).done(200)["whole_output"].clone();
    let wish = json!({ "repository": host.repository() });
    let agreed = |mut wish: Value| {
        let contract = &server.post("/v1/sandboxes", &wish).problem(409, "contract")["contract"];
        wish["contract"] = contract["digest"].clone();
        wish
    };
    let none = Value::Null;
    for (method, template, path, body) in [
        ("get", "/v1/health", "/v1/health", &none),
        ("get", "/v1/sandboxes", "/v1/sandboxes", &none),
        (
            "post",
            "/v1/sandboxes",
            "/v1/sandboxes",
            &agreed(wish.clone()),
        ),
        ("post", "/v1/sandboxes", "/v1/sandboxes", &wish),
        ("get", "/v1/sandboxes/{sandbox}", &at, &none),
        (
            "post",
            "/v1/sandboxes/{sandbox}/exec",
            &format!("{at}/exec"),
            &long,
        ),
        (
            "post",
            "/v1/sandboxes/{sandbox}/exec",
            &format!("{at}/exec"),
            &none,
        ),
        (
            "get",
            "/v1/sandboxes/{sandbox}/execs/{exec}/output",
            handle.as_str().unwrap(),
            &none,
        ),
        (
            "post",
            "/v1/sandboxes/{sandbox}/sessions",
            &format!("{at}/sessions"),
            &json!({}),
        ),
        (
            "get",
            "/v1/sandboxes/{sandbox}/sessions",
            &format!("{at}/sessions"),
            &none,
        ),
        (
            "get",
            "/v1/sandboxes/{sandbox}/sessions/{session}",
            &session,
            &none,
        ),
        (
            "post",
            "/v1/sandboxes/{sandbox}/sessions/{session}/exec",
            &format!("{session}/exec"),
            &json!({ "shell": "exit 3", "files": true }),
        ),
        (
            "delete",
            "/v1/sandboxes/{sandbox}/sessions/{session}",
            &session,
            &none,
        ),
        ("delete", "/v1/sandboxes/{sandbox}", &at, &none),
    ] {
        let text = (!body.is_null()).then(|| body.to_string());
        let method_name = method.to_ascii_uppercase();
        let answer = Open::ask(&server.socket, &method_name, path, &[], text.as_deref()).finish();
        let responses = &description["paths"][template][method]["responses"];
        let (response, kind) = match &responses[answer.status.to_string()] {
            Value::Null => (
                &description["components"]["responses"]["Problem"],
                "application/problem+json",
            ),
            described => (described, "application/json"),
        };
        if answer.status == 204 {
            assert_eq!((answer.body.as_str(), &response["content"]), ("", &none));
            continue;
        }
        assert_eq!(answer.headers["content-type"], kind);
        let document: Value = serde_json::from_str(&answer.body).unwrap();
        let schema = &response["content"][kind]["schema"];
        let misfit = misfit(&description, schema, &document, path);
        assert_eq!(misfit, None, "{method} {path}: {document}");
    }
}
